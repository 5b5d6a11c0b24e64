#include "transport/rdma/verbs.h"

#include "core/base.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static struct mkv__verbs verbs;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char missing[256];
static const struct mkv__verbs *others;

/*
 * Kernels since 5.12 copy what is registered when a process forks. For older ones libibverbs keeps it
 * out of the child, which then must not touch it: where that is not needed it must not be asked for.
 */
static void protect_forks(void *library)
{
    enum ibv_fork_status (*status)(void) = NULL;
    void *call = dlsym(library, "ibv_is_fork_initialized");

    memcpy(&status, &call, sizeof(status));
    if ((!status || status() != IBV_FORK_UNNEEDED) && verbs.fork_init() != 0) {
        errno = 0; /* too late: something was registered before */
    }
}

static void load(void)
{
    static const struct {
        const char *name;
        size_t at;
    } calls[] = {
#define CALL(name) {"ibv_" #name, offsetof(struct mkv__verbs, name)}
        CALL(fork_init),
        CALL(get_device_list),
        CALL(free_device_list),
        CALL(get_device_name),
        CALL(open_device),
        CALL(close_device),
        CALL(query_device),
        CALL(query_port),
        CALL(alloc_pd),
        CALL(dealloc_pd),
        CALL(reg_mr),
        CALL(dereg_mr),
        CALL(create_comp_channel),
        CALL(destroy_comp_channel),
        CALL(create_cq),
        CALL(destroy_cq),
        CALL(get_cq_event),
        CALL(ack_cq_events),
        CALL(create_qp),
        CALL(modify_qp),
        CALL(destroy_qp),
        CALL(create_srq),
        CALL(destroy_srq),
        CALL(get_async_event),
        CALL(ack_async_event),
        CALL(wc_status_str),
#undef CALL
        {"_ibv_query_gid_table", offsetof(struct mkv__verbs, query_gid_table)},
    };
    void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        snprintf(missing, sizeof(missing),
                 "libibverbs is not installed (Debian: ibverbs-providers has it and the drivers)");
        return;
    }
    for (size_t i = 0; i < MKV_ARRAY_LEN(calls); i++) {
        void *call = dlsym(library, calls[i].name);

        if (!call) {
            snprintf(missing, sizeof(missing), "libibverbs is too old: it has no %s",
                     calls[i].name);
            return;
        }
        memcpy((char *)&verbs + calls[i].at, &call, sizeof(call));
    }
    protect_forks(library);
}

/* The kernel's own word, so that nothing is loaded where there is nothing to use. */
static bool any_device(void)
{
    DIR *dir = opendir("/sys/class/infiniband");
    bool any = false;

    if (dir) {
        for (const struct dirent *e = readdir(dir); e && !any; e = readdir(dir)) {
            any = e->d_name[0] != '.';
        }
        closedir(dir);
    }
    return any;
}

const struct mkv__verbs *mkv__verbs_load(enum mkv__rdma_reason *reason_out, char *why,
                                         size_t why_len)
{
    if (others) {
        return others;
    }
    if (!any_device()) {
        *reason_out = MKV_REASON_NO_DEVICE;
        snprintf(why, why_len, "this machine has no RDMA device");
        return NULL;
    }
    pthread_once(&once, load);
    if (missing[0] != '\0') {
        *reason_out = MKV_REASON_NO_LIBRARY;
        snprintf(why, why_len, "%s", missing);
        return NULL;
    }
    return &verbs;
}

void mkv__verbs_use(const struct mkv__verbs *other)
{
    others = other;
}

int mkv__verbs_errno(void)
{
    return errno > 0 ? -errno : -EIO;
}

int mkv__verbs_status(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_SUCCESS:
        return 0;
    case IBV_WC_WR_FLUSH_ERR:
        return -ECANCELED;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
        return -ETIMEDOUT;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR:
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_MW_BIND_ERR:
        return -EACCES;
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_BAD_RESP_ERR:
        return -EPROTO;
    default:
        return -ECONNRESET;
    }
}

/* rdma_rxe hands the kernel's own flags to user space, where this bit is called another name (it means
 * a checksum, of datagrams only). */
#define SOFT_ROCE             0xffffffu
#define SOFT_ROCE_WC_WITH_INV (1u << 2)

const uint32_t *mkv__verbs_invalidated(const struct ibv_wc *wc, uint32_t vendor)
{
    unsigned flags = IBV_WC_WITH_INV | (vendor == SOFT_ROCE ? SOFT_ROCE_WC_WITH_INV : 0);

    return wc->wc_flags & flags ? &wc->invalidated_rkey : NULL;
}
