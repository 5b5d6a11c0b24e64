/*
 * libibverbs, found at run time, so that the same binary works where it is not installed; and the
 * one place that knows how verbs tell of errors: some return -1 and set errno, some return errno,
 * some return NULL, completions have a status. Everything here returns a negative errno.
 */
#ifndef TRANSPORT_RDMA_VERBS_H
#define TRANSPORT_RDMA_VERBS_H

#include "transport/transport.h"

#include <infiniband/verbs.h>

#include <stddef.h>
#include <stdint.h>

/* The calls that are functions of the library. Those of the data path (post, poll, arm) are inline
 * functions of its header, which go through the device's own table. */
struct mkv__verbs {
    int (*fork_init)(void);
    struct ibv_device **(*get_device_list)(int *n);
    void (*free_device_list)(struct ibv_device **list);
    const char *(*get_device_name)(struct ibv_device *device);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attributes);
    int (*query_port)(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *out);
    ssize_t (*query_gid_table)(struct ibv_context *context, struct ibv_gid_entry *entries,
                               size_t max, uint32_t flags, size_t entry_size);
    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *address, size_t length, int access);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int n, void *cq_context,
                                struct ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(struct ibv_cq *cq);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned n);
    struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attributes);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attributes, int mask);
    int (*destroy_qp)(struct ibv_qp *qp);
    struct ibv_srq *(*create_srq)(struct ibv_pd *pd, struct ibv_srq_init_attr *attributes);
    int (*destroy_srq)(struct ibv_srq *srq);
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);
    const char *(*wc_status_str)(enum ibv_wc_status status);
    bool at_once; /* modify_qp asks nobody, so it needs no thread: a fake's */
};

/* Loads it once, where the machine has a device. NULL, with a reason and a text that says what to
 * install: it is not there. Any thread. */
const struct mkv__verbs *mkv__verbs_load(enum mkv__rdma_reason *reason_out, char *why,
                                         size_t why_len);

/* For tests: these instead, from the next load on; NULL: the library's again. No thread may be using
 * verbs. The calls that are inline functions of the header go to the context's own table. */
void mkv__verbs_use(const struct mkv__verbs *other);

/* What a completion's status means: 0, -ECANCELED (flushed), -ETIMEDOUT (no answer), -EACCES (memory
 * rights), -EPROTO, -ECONNRESET. */
int mkv__verbs_status(enum ibv_wc_status status);
/* The key that a received SEND_WITH_INV has invalidated; NULL: it was another SEND. vendor: the
 * device's vendor_id. */
const uint32_t *mkv__verbs_invalidated(const struct ibv_wc *wc, uint32_t vendor);
/* Of a call that returned NULL or -1: errno, as a negative number that is never 0. */
int mkv__verbs_errno(void);

#endif
