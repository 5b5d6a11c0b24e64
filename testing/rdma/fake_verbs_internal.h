/* What the files of the fake provider share. All of it is under one lock. */
#ifndef TESTING_RDMA_FAKE_VERBS_INTERNAL_H
#define TESTING_RDMA_FAKE_VERBS_INTERNAL_H

#include "testing/rdma/fake_verbs.h"
#include "transport/rdma/verbs.h"

#define FAKE_SGES    32u
#define FAKE_PENDING 4096u /* events of a queue */

/* Pending events and the descriptor that tells of them. */
struct fake_events {
    int fd; /* an eventfd that counts down */
    uint32_t head, n;
    struct ibv_async_event async[64];
    struct fake_cq *cqs[FAKE_PENDING];
};

struct fake_context {
    struct ibv_context ibv;
    struct fake_context *next;
    struct fake_device *device;
    struct fake_events events;
    unsigned users; /* of pd, cq, channel */
    uint64_t unacknowledged;
};

struct fake_pd {
    struct ibv_pd ibv;
    unsigned users;
};

struct fake_mr {
    struct ibv_mr ibv;
    struct fake_mr *next;
    int access;
    unsigned windows; /* that are bound to it */
};

struct fake_mw {
    struct ibv_mw ibv;
    struct fake_mw *next;
    struct fake_mr *mr; /* NULL: not bound */
    uint32_t rkey, qpn;
    uint64_t address, length;
    unsigned access;
};

struct fake_channel {
    struct ibv_comp_channel ibv;
    struct fake_events events;
    unsigned users;
};

struct fake_cqe {
    struct ibv_wc wc;
    uint64_t released; /* sends: work requests up to here leave their queue */
    struct fake_srq *srq;
    bool receive;
};

struct fake_cq {
    struct ibv_cq ibv;
    struct fake_cq *next;
    uint32_t room, head, n;
    struct fake_cqe *cqes;
    bool armed, dead;
    uint64_t unacknowledged;
    unsigned users;
};

struct fake_receive {
    uint64_t wr_id;
    struct ibv_sge sges[4];
    int n;
};

/* A ring; slots are free again when a completion has been polled. */
struct fake_receives {
    struct fake_receive *ring;
    uint32_t room;
    uint64_t posted, taken, released;
};

struct fake_srq {
    struct ibv_srq ibv;
    struct fake_srq *next;
    struct fake_receives receives;
    uint32_t limit;
    unsigned users;
};

struct fake_work {
    struct ibv_send_wr wr;
    struct ibv_sge sges[FAKE_SGES];
    uint8_t *inlined;
    uint64_t due; /* in polls */
    bool waited;  /* for a receive, and counted */
};

/* Bytes of a WRITE that has ended for its sender, and that do not lie in place yet. */
struct fake_landing {
    struct fake_landing *next;
    uint64_t due;
    uint8_t *to;
    uint64_t len;
    uint8_t bytes[];
};

struct fake_qp {
    struct ibv_qp ibv;
    struct fake_qp *next;
    struct fake_landing *landings, **landings_end; /* that have come over it */
    struct ibv_qp_init_attr how;
    struct ibv_qp_attr at; /* what it was brought to */
    struct fake_work *works;
    uint64_t posted, done, released;
    struct fake_receives receives;
    uint64_t unacknowledged;
    bool last_told;
    bool connecting;
};

struct fake_world {
    struct fake_device devices[FAKE_DEVICES];
    struct ibv_device ibv[FAKE_DEVICES];
    unsigned n;
    struct fake_context *contexts;
    struct fake_mr *mrs;
    struct fake_mw *mws;
    struct fake_cq *cqs;
    struct fake_srq *srqs;
    struct fake_qp *qps;
    uint32_t next_key, next_qpn;
    struct fake_counts counts;
    uint64_t now; /* polls */
    uint32_t late;
    bool relaxed, late_sends;
    uint64_t seed;
    uint32_t wire_mtu;
    bool wrong_window;
    int fail_opcode;
    uint32_t fail_nth;
    enum ibv_wc_status fail_status;
    uint32_t fail_vendor;
};

extern struct fake_world fake_world;
void fake_lock(void);
void fake_unlock(void);
void fake_misuse(const char *what);
struct fake_device *fake_device_of(const struct ibv_context *context);

/* fake_verbs.c */
int fake_events_open(struct fake_events *e);
void fake_events_close(struct fake_events *e);
bool fake_events_wait(struct fake_events *e); /* without the lock; false: errno */
bool fake_has_gid(const struct fake_device *d, const union ibv_gid *gid);
void fake_tell(struct fake_context *context, const struct ibv_async_event *event);

/* fake_verbs_objects.c: the calls of the library, in the table */
void fake_objects_fill(struct mkv__verbs *table);
void fake_qp_state(struct fake_qp *qp, enum ibv_qp_state state);
void fake_unbind(struct fake_mw *mw);

/* fake_verbs_post.c: those of the data path, in a context */
void fake_wire_fill(struct ibv_context_ops *ops);
uint64_t fake_due(void); /* in polls: when something late comes */

/* fake_verbs_wire.c */
struct fake_work *fake_work_at(struct fake_qp *qp, uint64_t count);
uint64_t fake_length_of(const struct fake_work *work);
/* Between the pieces of a work request and bytes that lie together. */
void fake_copy(const struct fake_work *work, uint8_t *there, bool out);
void fake_move(void);               /* what can */
void fake_land(struct fake_qp *qp); /* all of it: what comes behind on a queue pair pushes */
void fake_flush(struct fake_qp *qp);
void fake_complete(struct fake_cq *cq, const struct fake_cqe *cqe);

#endif
