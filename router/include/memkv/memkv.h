/*
 * memkv.h - the client of MemKV, a store for the KV pages of LLM inference.
 *
 * A client talks to a list of servers. Work is done in batches: get, set or exists of many keys at
 * once. A batch is submitted, and is done when its completion counter reaches zero; a caller may
 * test, wait, be called back, or wait on a descriptor in a loop of its own. Values are
 * scatter/gather lists; a GET writes straight into the caller's memory, a SET reads from it.
 *
 *     struct mkv_client *client;
 *     struct mkv_error error;
 *     struct mkv_option option = {"servers", "10.0.0.10,10.0.0.11"};
 *     struct mkv_client_options options = {.size = sizeof(options), .options = &option,
 *                                          .n_options = 1};
 *     if (mkv_client_open(&options, &client, &error) < 0) {
 *         fprintf(stderr, "%s\n", error.text);
 *         return 1;
 *     }
 *     struct mkv_batch *batch;
 *     mkv_batch_create(client, &batch);
 *     mkv_batch_begin(batch, MKV_OP_GET, NULL);
 *     mkv_batch_add(batch, "page-1", 6, &(struct mkv_segment){page1, sizeof(page1)}, 1);
 *     mkv_batch_add(batch, "page-2", 6, &(struct mkv_segment){page2, sizeof(page2)}, 1);
 *     mkv_batch_run(batch);
 *     if (mkv_batch_status(batch, 0) == MKV_HIT) { use(page1); }
 *     mkv_batch_destroy(&batch);
 *     mkv_client_close(&client);
 *
 * Errors. Functions return 0 or a positive count, or a negative errno from this list:
 *   -ENOENT miss, -EAGAIN full (try again later), -ETIMEDOUT, -ECONNRESET, -EPROTO, -EMSGSIZE,
 *   -ENOSPC, -ECANCELED, -EINVAL, -ENOMEM, -EACCES, -EBUSY, -ENOTSUP.
 * A miss, a late or dead server are answers per key, never a crash and never a hang.
 *
 * Threads. "any thread": may be called at any time by any thread. "owner": a batch has one owner
 * at a time, which alone calls functions on it; handing it over needs the owner's own ordering.
 *
 * fork(). In a child every handle of the parent answers -ECANCELED and touches nothing of the
 * parent's: batches test as done, their keys are MKV_UNKNOWN; destroy and close forget the handle.
 * Opening a client anew works.
 *
 * Ownership words. copied; borrowed until return; borrowed until completion; counted (shared).
 */
#ifndef MEMKV_MEMKV_H
#define MEMKV_MEMKV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MKV_VERSION_MAJOR 0
#define MKV_VERSION_MINOR 1
#define MKV_VERSION_PATCH 0

/* Keys are 1 to 255 opaque bytes; values are 0 to 64 MiB in up to 4,096 segments. */
#define MKV_KEY_MAX       255u
#define MKV_NAMESPACE_MAX 255u
#define MKV_VALUE_MAX     ((uint64_t)64 << 20)
#define MKV_SEGMENTS_MAX  4096u
/* Keys of one batch; a batch of more than a server takes at once is sent in several requests. */
#define MKV_BATCH_MAX ((uint32_t)1 << 20)

/* Log levels, as given to mkv_log_fn. */
enum mkv_log_level { MKV_LOG_ERROR, MKV_LOG_WARNING, MKV_LOG_INFO, MKV_LOG_DEBUG };

/* A line of log without its newline. Called from any thread, workers included: do not block.
 * `line` is borrowed until return. */
typedef void (*mkv_log_fn)(void *arg, enum mkv_log_level level, const char *line, size_t len);

/* Name and value of a configuration option, as docs/configuration.md lists them ("servers",
 * "get_timeout", "auth_key", ...). Both are copied. */
struct mkv_option {
    const char *name;
    const char *value;
};

struct mkv_client_options {
    size_t size;                      /* sizeof(struct mkv_client_options) */
    const struct mkv_option *options; /* win over environment and file */
    size_t n_options;
    const char *config_file; /* a YAML file; NULL: the one named by MEMKV_CONFIG, if any */
    bool ignore_environment; /* do not look at MEMKV_* variables */
    mkv_log_fn log;          /* NULL: standard error */
    void *log_arg;
};

/* What went wrong, in words that say what to do. */
struct mkv_error {
    int code; /* the negative errno returned */
    char text[500];
};

struct mkv_client;
struct mkv_region;
struct mkv_batch;

/* The version of the library that runs, "0.1.0". */
const char *mkv_version(void);

/* A text for an error of the list above. Owner: static. Thread: any thread. */
const char *mkv_error_text(int error);

/*
 * Opens a client: reads the configuration and starts its workers, with RDMA one for each NIC that
 * works, else one. Servers are connected to lazily; that they are away is no error (unless the
 * option fail_open is false).
 * Errors: -EINVAL bad configuration (error_out says where), -ENOMEM, -ECONNRESET/-EACCES with
 * fail_open false. Thread: any thread. error_out may be NULL.
 */
int mkv_client_open(const struct mkv_client_options *options, struct mkv_client **client_out,
                    struct mkv_error *error_out);

/*
 * Ends the sessions and the workers, frees all. Batches and regions must have been destroyed or
 * closed before: -EBUSY otherwise (and nothing happens), and in a mkv_done_fn. In the child of a
 * fork() it forgets the client. NULL and *client == NULL do nothing.
 * Thread: any thread, once, with no other call on this client in progress.
 */
int mkv_client_close(struct mkv_client **client);

/* Replaces the server list (the grammar of the option "servers"); batches in flight end on the old
 * one. The list that is there already changes nothing. Errors: -EINVAL, -ENOMEM, -ECANCELED (fork).
 * Thread: any thread. */
int mkv_client_set_servers(struct mkv_client *client, const char *servers,
                           struct mkv_error *error_out);

/* "rdma" or "tcp": what sessions go over. With "rdma" by the option "transport" auto, sessions with
 * servers that have none go over tcp. Owner: static. Thread: any thread. */
const char *mkv_client_transport(const struct mkv_client *client);

/* The namespace of the client (the option "namespace"); opaque bytes. Owner: borrowed until the
 * client is closed. Thread: any thread. */
const char *mkv_client_namespace(const struct mkv_client *client, size_t *len_out);

/*
 * A descriptor that polls readable while batches submitted with MKV_NOTIFY are done and not yet
 * reaped. Owner: the client's; never read or close it. Thread: any thread.
 */
int mkv_client_fd(struct mkv_client *client);

/* Takes up to `max` done batches that were submitted with MKV_NOTIFY; who takes one is its owner.
 * Returns their number. Errors: -ECANCELED (fork). Thread: any thread. */
int mkv_client_reap(struct mkv_client *client, struct mkv_batch **batches_out, int max);

/* Counters since the client was opened. */
struct mkv_client_stats {
    size_t size; /* in: sizeof(struct mkv_client_stats) */
    uint64_t batches, keys, hits, misses, unknown;
    uint64_t bytes_read, bytes_written; /* of values */
    uint64_t requests, second_rounds;   /* messages sent to servers; rounds at the next in rank */
    uint64_t timeouts, connection_errors, checksum_errors;
    uint64_t connects, servers, servers_up;
    uint64_t reissued;        /* requests sent again, since their session was lost */
    uint64_t rails, rails_up; /* NICs used, and those that reach all servers that are up as they
                               * should */
};
/* Errors: -ECANCELED (fork). Thread: any thread. */
int mkv_client_stats(struct mkv_client *client, struct mkv_client_stats *stats_out);

/* Regions ---------------------------------------------------------------------------------- */

enum mkv_memory_kind { MKV_MEMORY_HOST, MKV_MEMORY_CUDA, MKV_MEMORY_DMABUF };

struct mkv_region_options {
    size_t size; /* sizeof(struct mkv_region_options) */
    enum mkv_memory_kind kind;
    int dmabuf_fd;          /* MKV_MEMORY_DMABUF only */
    uint64_t dmabuf_offset; /* bytes */
};

/*
 * Registers memory once, so that transports that need it (RDMA) do not do so per batch. The memory
 * must stay mapped until the region is closed. options may be NULL (host memory).
 * Errors: -EINVAL, -ENOMEM, -ENOTSUP (a kind that this build or machine does not support).
 * Thread: any thread.
 */
int mkv_region_open(struct mkv_client *client, void *addr, size_t len,
                    const struct mkv_region_options *options, struct mkv_region **region_out);

/* Errors: -EBUSY while a batch in flight uses it. *region == NULL does nothing. Thread: any thread. */
int mkv_region_close(struct mkv_region **region);

/* Batches ---------------------------------------------------------------------------------- */

enum mkv_op { MKV_OP_GET = 1, MKV_OP_SET, MKV_OP_EXISTS, MKV_OP_DELETE };

/* The answer for a key. */
enum mkv_status {
    MKV_PENDING = 0, /* the batch is not done */
    MKV_HIT,         /* get: the value is in place and verified; exists: there */
    MKV_MISS,        /* get, exists, delete: not there (get: or of another length) */
    MKV_STORED,      /* set: the value is stored */
    MKV_KEPT,        /* set: it was there already; the first one stays */
    MKV_DELETED,     /* delete: it was there and is gone */
    MKV_UNKNOWN,     /* no answer: dead, late or refusing server; see mkv_batch_error */
    MKV_FULL,        /* set: the server has no room */
    MKV_REFUSED,     /* set: a value of another length is there, or not permitted */
};

enum mkv_batch_flags {
    MKV_NOTIFY = 1u << 0,     /* show completion at mkv_client_fd / mkv_client_reap */
    MKV_REPLACE = 1u << 1,    /* set: write anew though the key is there */
    MKV_PREFIX = 1u << 2,     /* keys are one prefix: after a miss later keys do not matter */
    MKV_NO_LEASE = 1u << 3,   /* exists: take no lease (a look, not an announcement of a get) */
    MKV_BACKGROUND = 1u << 4, /* not urgent: a server may serve it after others */
    MKV_DIFFERS = 1u << 5,    /* set: mkv_batch_differs is to tell; a pass over all bytes first */
};

/*
 * Called when the batch is done, before whoever waits for it wakes: on a worker, or on a thread that
 * does a worker's work while it waits for a batch of its own (mkv_batch_run, mkv_get, ...; no lock that
 * such a caller holds may be taken here). It must not block; with several workers those of other
 * batches may run beside it.
 * It may submit other batches; destroy its own, if nobody runs it; or, where no other thread tests it or
 * waits for it, begin and submit its own again. Until it returns another thread may only test, wait or destroy.
 * What would have to wait answers -EBUSY here: mkv_batch_wait, mkv_batch_run, mkv_get and the like,
 * mkv_client_close.
 */
typedef void (*mkv_done_fn)(void *arg, struct mkv_batch *batch);

struct mkv_batch_options {
    size_t size;            /* sizeof(struct mkv_batch_options) */
    uint64_t timeout_ns;    /* from submit; 0: the client's option of the operation; 8 s at most */
    uint64_t deadline_ns;   /* CLOCK_MONOTONIC; 0: none; the earlier of both counts */
    const char *namespace_; /* opaque bytes; NULL: the client's; copied */
    size_t namespace_len;   /* bytes; with namespace_ != NULL */
    uint32_t flags;         /* enum mkv_batch_flags */
    uint32_t first_depth;   /* pages before the first key in its prefix; a hint */
    uint32_t ttl_ms;        /* set: time to live; 0: the server's */
    mkv_done_fn done;       /* NULL: none */
    void *done_arg;
};

/* One piece of a value. */
struct mkv_segment {
    void *addr;
    size_t len; /* bytes */
};

/* Makes an empty batch, of exists until begun; it can be used again and again.
 * Errors: -ENOMEM, -ECANCELED (fork). Thread: any thread. */
int mkv_batch_create(struct mkv_client *client, struct mkv_batch **batch_out);

/* Frees a batch; one in flight is cancelled and waited for. In a mkv_done_fn another one in flight is
 * cancelled only: where it is on other workers, or takes the transport some time to fence, its memory
 * is in use for a moment longer; and where it is just done its mkv_done_fn may be running there. *batch == NULL does nothing. Thread: owner. */
void mkv_batch_destroy(struct mkv_batch **batch);

/* Empties the batch and sets what it will do. Errors: -EBUSY in flight, -EINVAL.
 * Thread: owner. options may be NULL. */
int mkv_batch_begin(struct mkv_batch *batch, enum mkv_op op,
                    const struct mkv_batch_options *options);

/*
 * Adds a key and where its value goes to (get) or comes from (set); exists and delete take no
 * segments. The value's length is the sum of the segments. The key is copied, the list of segments
 * too; the memory they name is borrowed until completion.
 * Errors: -EINVAL key of 0 or over 255 bytes, segments where there can be none, a segment without
 * memory, more than MKV_BATCH_MAX keys; -EMSGSIZE value over 64 MiB or over 4,096 segments; -ENOMEM;
 * -EBUSY submitted, and not begun again. An error leaves the batch as it was.
 * Thread: owner. Returns the key's position in the batch.
 */
int mkv_batch_add(struct mkv_batch *batch, const void *key, size_t key_len,
                  const struct mkv_segment *segments, size_t n_segments);

/* Sends the batch. Returns at once. Errors: -EBUSY submitted, and not begun again; -ENOMEM;
 * -ECANCELED (fork). Thread: owner. An error means that the batch was not sent, that nothing
 * completes, and that it may be submitted again. */
int mkv_batch_submit(struct mkv_batch *batch);

/*
 * Submits the batch and returns when it is done, as mkv_batch_submit and mkv_batch_wait do, and sooner:
 * where the worker sleeps the caller does its work for a batch of up to 1 MiB, instead of waking it
 * and being woken by it. Errors are those of mkv_batch_submit, and -EBUSY in a mkv_done_fn; what the
 * keys say is told by mkv_batch_wait, which then returns at once, and mkv_batch_status. Thread: owner;
 * not to be left by longjmp out of a signal's handler.
 */
int mkv_batch_run(struct mkv_batch *batch);

/* 1: done, or not submitted; 0: not yet. Thread: owner. After "done" the memory is the caller's own
 * again. */
int mkv_batch_test(struct mkv_batch *batch);

/*
 * Waits until the batch is done: by its deadline plus the time of one fence at the latest. When it
 * returns nobody reads or writes the batch's memory any more.
 * Returns 0, or the first error among the keys that is not a miss; other keys stay valid. -EINVAL:
 * it was not submitted; -EBUSY: in a mkv_done_fn, and it is not done. Thread: owner.
 */
int mkv_batch_wait(struct mkv_batch *batch);

/* Asks for an early end and returns at once; the batch is done after the fence, with the keys not
 * answered yet MKV_UNKNOWN (-ECANCELED). One that is done stays as it is. Thread: owner. */
int mkv_batch_cancel(struct mkv_batch *batch);

/* Results, valid once done; before, MKV_PENDING and zeros. i < mkv_batch_count. Thread: owner. */
uint32_t mkv_batch_count(const struct mkv_batch *batch);
enum mkv_status mkv_batch_status(const struct mkv_batch *batch, uint32_t i);
int mkv_batch_error(const struct mkv_batch *batch, uint32_t i); /* 0, or why UNKNOWN, FULL, ... */
uint64_t mkv_batch_length(const struct mkv_batch *batch, uint32_t i); /* stored length if known */
bool mkv_batch_differs(const struct mkv_batch *batch, uint32_t i); /* KEPT, MKV_DIFFERS: others */
uint32_t mkv_batch_prefix(const struct mkv_batch *batch); /* leading run of HIT, STORED or KEPT */

/* One key, blocking -------------------------------------------------------------------------- */

/* Returns the length (hit), -ENOENT or another error; *length_out, if not NULL, is the stored
 * length also when it is not `len` (then -EMSGSIZE, and the memory is untouched; a stored value of
 * 0 bytes reads as a miss there). */
int64_t mkv_get(struct mkv_client *client, const void *key, size_t key_len, void *value, size_t len,
                uint64_t *length_out);
/* Returns 1 stored, 0 kept, or an error. */
int mkv_set(struct mkv_client *client, const void *key, size_t key_len, const void *value,
            size_t len);
/* Returns 1 there, 0 not there, or an error. */
int mkv_exists(struct mkv_client *client, const void *key, size_t key_len);

#ifdef __cplusplus
}
#endif

#endif /* MEMKV_MEMKV_H */
