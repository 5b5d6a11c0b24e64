/* The fake does what verbs do, where the transport does not ask for it (yet). */
#include "testing/rdma/fake_verbs.h"
#include "transport/rdma/verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define REMOTE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

/* One end of a wire, on a device of its own. */
struct side {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    uint8_t memory[4096];
};

static const struct mkv__verbs *v;
static struct side a, b;

static void make(struct side *s, unsigned device, bool with_srq)
{
    struct ibv_device **list = v->get_device_list(&(int){0});
    struct ibv_srq_init_attr srq = {.attr = {.max_wr = 8, .max_sge = 1}};
    struct ibv_qp_init_attr how = {.qp_type = IBV_QPT_RC,
                                   .cap = {.max_send_wr = 8,
                                           .max_recv_wr = 8,
                                           .max_send_sge = 2,
                                           .max_recv_sge = 1,
                                           .max_inline_data = 64}};
    struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = REMOTE};

    memset(s, 0, sizeof(*s));
    s->context = v->open_device(list[device]);
    v->free_device_list(list);
    s->pd = v->alloc_pd(s->context);
    s->cq = v->create_cq(s->context, 64, NULL, NULL, 0);
    s->srq = with_srq ? v->create_srq(s->pd, &srq) : NULL;
    how.send_cq = how.recv_cq = s->cq;
    how.srq = s->srq;
    s->qp = v->create_qp(s->pd, &how);
    s->mr = v->reg_mr(s->pd, s->memory, sizeof(s->memory),
                      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
    assert_int_equal(
        v->modify_qp(s->qp, &init,
                     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS),
        0);
}

static void join(struct side *s, const struct side *other)
{
    struct ibv_gid_entry gids[FAKE_GIDS];
    struct ibv_qp_attr to = {.qp_state = IBV_QPS_RTR,
                             .path_mtu = IBV_MTU_1024,
                             .dest_qp_num = other->qp->qp_num,
                             .max_dest_rd_atomic = 1,
                             .ah_attr = {.is_global = 1, .port_num = 1, .grh = {.sgid_index = 2}}};

    assert_int_equal(v->query_gid_table(other->context, gids, FAKE_GIDS, 0, sizeof(gids[0])), 3);
    to.ah_attr.grh.dgid = gids[2].gid;
    assert_int_equal(v->modify_qp(s->qp, &to,
                                  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                      IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                                      IBV_QP_MIN_RNR_TIMER),
                     0);
    to.qp_state = IBV_QPS_RTS;
    to.max_rd_atomic = 1;
    assert_int_equal(v->modify_qp(s->qp, &to,
                                  IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                      IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
                     0);
}

static void unmake(struct side *s)
{
    assert_int_equal(v->destroy_qp(s->qp), 0);
    if (s->srq) {
        assert_int_equal(v->destroy_srq(s->srq), 0);
    }
    assert_int_equal(v->dereg_mr(s->mr), 0);
    assert_int_equal(v->destroy_cq(s->cq), 0);
    assert_int_equal(v->dealloc_pd(s->pd), 0);
    assert_int_equal(v->close_device(s->context), 0);
}

static int setup(void **state)
{
    enum mkv__rdma_reason reason;
    char why[100];

    (void)state;
    fake_verbs_begin(2);
    v = mkv__verbs_load(&reason, why, sizeof(why));
    make(&a, 0, false);
    make(&b, 1, true);
    join(&a, &b);
    join(&b, &a);
    return 0;
}

static int teardown(void **state)
{
    struct fake_counts c;

    (void)state;
    unmake(&a);
    unmake(&b);
    fake_verbs_counts(&c);
    assert_int_equal(fake_verbs_left(), 0);
    assert_int_equal(c.misuses, 0);
    fake_verbs_end();
    return 0;
}

static void post(struct side *s, struct ibv_send_wr wr, uint32_t len)
{
    struct ibv_sge sge = {(uintptr_t)s->memory, len, s->mr->lkey};
    struct ibv_send_wr *bad;

    wr.sg_list = &sge;
    wr.num_sge = len > 0;
    wr.send_flags |= IBV_SEND_SIGNALED;
    assert_int_equal(ibv_post_send(s->qp, &wr, &bad), 0);
}

static struct ibv_wc ended(struct side *s)
{
    struct ibv_wc wc;

    assert_int_equal(ibv_poll_cq(s->cq, 1, &wc), 1);
    return wc;
}

/* A window of b's memory, for what a does through their queue pair. */
static struct ibv_mw *window(uint64_t from, uint64_t len, int expected)
{
    struct ibv_mw *mw = ibv_alloc_mw(b.pd, IBV_MW_TYPE_2);
    struct ibv_send_wr bind = {.opcode = IBV_WR_BIND_MW};

    assert_non_null(mw);
    bind.bind_mw.mw = mw;
    bind.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
    bind.bind_mw.bind_info = (struct ibv_mw_bind_info){
        .mr = b.mr,
        .addr = (uintptr_t)b.memory + from,
        .length = len,
        .mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
    };
    post(&b, bind, 0);
    assert_int_equal(ended(&b).status, expected);
    mw->rkey = bind.bind_mw.rkey;
    return mw;
}

static struct ibv_send_wr write_to(uint64_t at, uint32_t rkey)
{
    struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE};

    wr.wr.rdma.remote_addr = (uintptr_t)b.memory + at;
    wr.wr.rdma.rkey = rkey;
    return wr;
}

static void a_window_opens_and_closes(void **state)
{
    struct ibv_mw *mw = window(1000, 100, IBV_WC_SUCCESS);
    struct ibv_send_wr close = {.opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = mw->rkey};

    (void)state;
    memset(a.memory, 7, 100);
    post(&a, write_to(1000, mw->rkey), 100);
    assert_int_equal(ended(&a).status, IBV_WC_SUCCESS);
    assert_int_equal(b.memory[1099], 7);
    post(&b, close, 0);
    assert_int_equal(ended(&b).opcode, IBV_WC_LOCAL_INV);
    post(&a, write_to(1000, mw->rkey), 100);
    assert_int_equal(ended(&a).status, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(b.qp->state, IBV_QPS_ERR);
    assert_int_equal(ibv_dealloc_mw(mw), 0);
}

static void a_window_has_an_end_and_rights(void **state)
{
    struct ibv_mw *mw = window(1000, 100, IBV_WC_SUCCESS);
    struct ibv_send_wr read = write_to(1000, mw->rkey);

    (void)state;
    read.opcode = IBV_WR_RDMA_READ;
    post(&a, read, 10);
    assert_int_equal(ended(&a).status, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(ibv_dealloc_mw(mw), 0);
}

static void a_window_is_within_its_memory(void **state)
{
    (void)state;
    assert_int_equal(ibv_dealloc_mw(window(4000, 97, IBV_WC_MW_BIND_ERR)), 0);
    assert_int_equal(b.qp->state, IBV_QPS_ERR);
}

static void a_send_closes_a_window(void **state)
{
    struct ibv_mw *mw = window(0, 100, IBV_WC_SUCCESS);
    struct ibv_sge sge = {(uintptr_t)b.memory + 2000, 100, b.mr->lkey};
    struct ibv_recv_wr receive = {.wr_id = 5, .sg_list = &sge, .num_sge = 1}, *bad;
    struct ibv_send_wr send = {.opcode = IBV_WR_SEND_WITH_INV, .invalidate_rkey = mw->rkey};
    struct ibv_wc wc;
    struct fake_counts c;

    (void)state;
    send.send_flags = IBV_SEND_INLINE;
    memset(a.memory, 9, 64);
    post(&a, send, 64);
    memset(a.memory, 8, 64); /* inline: gone already */
    fake_verbs_counts(&c);
    assert_int_equal(c.rnrs, 1);
    assert_int_equal(ibv_post_srq_recv(b.srq, &receive, &bad), 0);
    wc = ended(&b);
    assert_int_equal(wc.wr_id, 5);
    assert_int_equal(wc.byte_len, 64);
    assert_true(wc.wc_flags & IBV_WC_WITH_INV);
    assert_int_equal(wc.invalidated_rkey, mw->rkey);
    assert_int_equal(b.memory[2063], 9);
    assert_int_equal(ended(&a).status, IBV_WC_SUCCESS);
    post(&a, write_to(0, mw->rkey), 10);
    assert_int_equal(ended(&a).status, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(ibv_dealloc_mw(mw), 0);
}

static void too_long_for_inline(void **state)
{
    struct ibv_sge sge = {(uintptr_t)a.memory, 65, 0};
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE, .sg_list = &sge, .num_sge = 1};
    struct ibv_send_wr *bad = NULL;

    (void)state;
    assert_int_equal(ibv_post_send(a.qp, &wr, &bad), EINVAL);
    assert_ptr_equal(bad, &wr);
}

static void events_come(void **state)
{
    struct ibv_async_event event;
    struct ibv_port_attr port;

    (void)state;
    assert_int_equal(fcntl(b.context->async_fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(v->get_async_event(b.context, &event), -1);
    fake_verbs_event(1, IBV_EVENT_PORT_ERR);
    assert_int_equal(v->get_async_event(b.context, &event), 0);
    assert_int_equal(event.event_type, IBV_EVENT_PORT_ERR);
    assert_int_equal(event.element.port_num, 1);
    v->ack_async_event(&event);
    assert_int_equal(v->query_port(b.context, 1, (struct _compat_ibv_port_attr *)&port), 0);
    assert_int_equal(port.state, IBV_PORT_DOWN);
    fake_verbs_event(1, IBV_EVENT_QP_FATAL);
    for (int i = 0; i < 2; i++) { /* this, and that no receive of the shared queue is in use */
        assert_int_equal(v->get_async_event(b.context, &event), 0);
        assert_ptr_equal(event.element.qp, b.qp);
        v->ack_async_event(&event);
    }
    assert_int_equal(v->get_async_event(b.context, &event), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_window_opens_and_closes),     TEST(a_window_has_an_end_and_rights),
        TEST(a_window_is_within_its_memory), TEST(a_send_closes_a_window),
        TEST(too_long_for_inline),           TEST(events_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
