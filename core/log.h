/*
 * Log lines, and where they go. There is no global logger: a pointer to a struct mkv__log is handed
 * down; NULL is a log that drops everything. Lines are lower case, name the peer and the cause, and
 * are written once, where an error is decided.
 *
 *     MKV_WARNING(log, "%s: connection lost: %s", peer, mkv__error_text(error));
 *     MKV_LIMITED(log, &server->bad_frames, MKV__LOG_WARNING, "%s: malformed frame", peer);
 *
 * Writing a line formats it on the stack, makes control characters harmless (a peer's text cannot
 * forge a line) and calls the sink once. No allocation, no lock of ours. Thread: any thread.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The same numbers as enum mkv_log_level of memkv.h. */
enum mkv__log_level { MKV__LOG_ERROR, MKV__LOG_WARNING, MKV__LOG_INFO, MKV__LOG_DEBUG };

#define MKV_LOG_LINE 512u /* bytes of a line, the final zero included; longer ones end in "..." */

/* Takes a line without newline. Called from any thread, workers included: does not block for long.
 * `line` is zero-terminated and borrowed until return. */
typedef void (*mkv__log_fn)(void *arg, int level, const char *line, size_t len);

struct mkv__log {
    int level; /* lines above it are dropped; atomic, see mkv__log_set_level */
    mkv__log_fn fn;
    void *arg;
};

/* fn NULL: standard error. In the caller's memory; needs no fini. */
void mkv__log_init(struct mkv__log *log, int level, mkv__log_fn fn, void *arg);

/* Thread: any thread. */
void mkv__log_set_level(struct mkv__log *log, int level);

/* "error", "warning", "info", "debug". Owner: static. */
const char *mkv__log_level_name(int level);

/* The default sink: "memkv: warning: LINE\n" in one write to standard error. A line that nobody
 * takes (a pipe that is full) is dropped. */
void mkv__log_stderr(void *arg, int level, const char *line, size_t len);

static inline bool mkv__log_wanted(const struct mkv__log *log, int level)
{
    return log && level <= __atomic_load_n(&log->level, __ATOMIC_RELAXED);
}

/* Use the macros: they look at the level before the arguments are computed. */
void mkv__log_write(struct mkv__log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define MKV_LOG(log, lvl, ...)                            \
    do {                                                  \
        struct mkv__log *mkv_log_ = (log);                \
        if (mkv__log_wanted(mkv_log_, (lvl))) {           \
            mkv__log_write(mkv_log_, (lvl), __VA_ARGS__); \
        }                                                 \
    } while (0)
#define MKV_ERROR(log, ...)   MKV_LOG(log, MKV__LOG_ERROR, __VA_ARGS__)
#define MKV_WARNING(log, ...) MKV_LOG(log, MKV__LOG_WARNING, __VA_ARGS__)
#define MKV_INFO(log, ...)    MKV_LOG(log, MKV__LOG_INFO, __VA_ARGS__)
#define MKV_DEBUG(log, ...)   MKV_LOG(log, MKV__LOG_DEBUG, __VA_ARGS__)

/*
 * A limiter for lines that a peer can cause: a token bucket (as one time, "the bucket is full
 * again at"), shared by any number of threads. What it suppresses is counted and told at the end
 * of the next line that passes: "... (17 more like this were not shown)".
 */
struct mkv__log_limit {
    uint64_t full_at_ns;  /* atomic; CLOCK_MONOTONIC */
    uint64_t suppressed;  /* atomic */
    uint64_t interval_ns; /* one token per; 0 (a zeroed limiter): 1 s */
    uint64_t burst;       /* tokens of a full bucket; 0 (a zeroed limiter): 5 */
};

/* A zeroed limiter is ready to use (a burst of 5, then 1 a second); this sets other figures. */
void mkv__log_limit_init(struct mkv__log_limit *limit, uint64_t burst, uint64_t interval_ns);

/* Takes a token. True: the line may pass, *suppressed_out were not shown since the last one that
 * did. False: counted as suppressed. Thread: any thread. */
bool mkv__log_limit_take(struct mkv__log_limit *limit, uint64_t now_ns, uint64_t *suppressed_out);

/* Use the macro MKV_LIMITED. */
void mkv__log_write_limited(struct mkv__log *log, struct mkv__log_limit *limit, int level,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

#define MKV_LIMITED(log, limit, lvl, ...)                                  \
    do {                                                                   \
        struct mkv__log *mkv_log_ = (log);                                 \
        if (mkv__log_wanted(mkv_log_, (lvl))) {                            \
            mkv__log_write_limited(mkv_log_, (limit), (lvl), __VA_ARGS__); \
        }                                                                  \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
