#include "core/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_BURST       5
#define DEFAULT_INTERVAL_NS UINT64_C(1000000000)

void mkv__log_init(struct mkv__log *log, int level, mkv__log_fn fn, void *arg)
{
    log->level = level;
    log->fn = fn ? fn : mkv__log_stderr;
    log->arg = arg;
}

void mkv__log_set_level(struct mkv__log *log, int level)
{
    __atomic_store_n(&log->level, level, __ATOMIC_RELAXED);
}

const char *mkv__log_level_name(int level)
{
    switch (level) {
    case MKV__LOG_ERROR:
        return "error";
    case MKV__LOG_WARNING:
        return "warning";
    case MKV__LOG_INFO:
        return "info";
    default:
        return "debug";
    }
}

/* False: whoever should read it does not, and a worker that waits keeps no deadline. */
static bool stderr_takes_a_line(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) != 0;
}

/* Without the signals of a write that fails: it may be on a thread of the host's, which has them
 * unblocked. One that the write has raised is taken back. */
static void write_unsignalled(const struct iovec *parts, int n)
{
    static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
    sigset_t set, before, pending;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++) {
        sigaddset(&set, raised[i]);
    }
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    if (writev(STDERR_FILENO, parts, n) < 0 && (errno == EPIPE || errno == EFBIG) &&
        !sigismember(&pending, errno == EPIPE ? SIGPIPE : SIGXFSZ)) {
        sigtimedwait(&set, NULL, &(struct timespec){0});
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void mkv__log_stderr(void *arg, int level, const char *line, size_t len)
{
    (void)arg;
    if (!stderr_takes_a_line()) {
        return;
    }
    char head[24];
    int n = snprintf(head, sizeof(head), "memkv: %s: ", mkv__log_level_name(level));
    struct iovec parts[] = {
        {head, (size_t)n},
        {(void *)(uintptr_t)line, len},
        {"\n", 1},
    };
    /* One system call, so that the lines of several threads do not mix. Where nobody can be told
     * that telling failed, failing is ignored. */
    write_unsignalled(parts, 3);
}

/* Makes what could forge or garble a line harmless. Bytes over 0x7f stay: they may be UTF-8. */
static void clean(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f) {
            line[i] = c == '\t' || c == '\n' ? ' ' : '?';
        }
    }
}

static void emit(struct mkv__log *log, int level, char *line, size_t len)
{
    clean(line, len);
    log->fn(log->arg, level, line, len);
}

/* Returns the length of what is in `line`. room: bytes to leave for what is appended. */
static size_t format_line(char line[MKV_LOG_LINE], size_t room, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static size_t format_line(char line[MKV_LOG_LINE], size_t room, const char *format, va_list args)
{
    size_t cap = MKV_LOG_LINE - room;
    int n = vsnprintf(line, cap, format, args);
    if (n < 0) {
        n = snprintf(line, cap, "(a line that could not be formatted)");
    }
    if ((size_t)n >= cap) {
        memcpy(line + cap - 4, "...", 4);
        return cap - 1;
    }
    return (size_t)n;
}

void mkv__log_write(struct mkv__log *log, int level, const char *format, ...)
{
    char line[MKV_LOG_LINE];
    va_list args;
    va_start(args, format);
    size_t len = format_line(line, 0, format, args);
    va_end(args);
    emit(log, level, line, len);
}

void mkv__log_limit_init(struct mkv__log_limit *limit, uint64_t burst, uint64_t interval_ns)
{
    *limit = (struct mkv__log_limit){.interval_ns = interval_ns, .burst = burst};
}

bool mkv__log_limit_take(struct mkv__log_limit *limit, uint64_t now_ns, uint64_t *suppressed_out)
{
    uint64_t interval = limit->interval_ns ? limit->interval_ns : DEFAULT_INTERVAL_NS;
    uint64_t burst = limit->burst ? limit->burst : DEFAULT_BURST;
    uint64_t full_at = __atomic_load_n(&limit->full_at_ns, __ATOMIC_RELAXED);
    uint64_t next;
    do {
        uint64_t from = full_at > now_ns ? full_at : now_ns;
        next = from + interval;
        if (next - now_ns > burst * interval) {
            __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
            return false;
        }
    } while (!__atomic_compare_exchange_n(&limit->full_at_ns, &full_at, next, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *suppressed_out = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
    return true;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void mkv__log_write_limited(struct mkv__log *log, struct mkv__log_limit *limit, int level,
                            const char *format, ...)
{
    uint64_t suppressed;
    if (!mkv__log_limit_take(limit, now_ns(), &suppressed)) {
        return;
    }
    char tail[64] = "";
    if (suppressed > 0) {
        snprintf(tail, sizeof(tail), " (%" PRIu64 " more like this were not shown)", suppressed);
    }
    char line[MKV_LOG_LINE];
    va_list args;
    va_start(args, format);
    size_t len = format_line(line, strlen(tail), format, args);
    va_end(args);
    memcpy(line + len, tail, strlen(tail) + 1);
    emit(log, level, line, len + strlen(tail));
}
