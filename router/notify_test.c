/* Batches done, for a loop of one's own: the descriptor and reap. */
#include "testing/router/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define N 10

static struct rig rig;
static struct mkv_batch *b[N], *got[N];
static int loop;

static int readable(void)
{
    struct epoll_event event;
    int n = epoll_wait(loop, &event, 1, 0);
    assert_true(n >= 0);
    return n;
}

static void submit_all(unsigned n)
{
    struct mkv_batch_options o = {.size = sizeof(o), .flags = MKV_NOTIFY};
    for (unsigned i = 0; i < n; i++) {
        b[i] = rig_one(&rig, MKV_OP_EXISTS, "k", NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
}

static void begin(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    rig_init(&rig, 1, 1, NULL);
    loop = epoll_create1(EPOLL_CLOEXEC);
    assert_true(loop >= 0);
    assert_int_equal(epoll_ctl(loop, EPOLL_CTL_ADD, mkv_client_fd(rig.client), &event), 0);
}

static void end(void)
{
    close(loop);
    rig_fini(&rig);
}

static void readable_while_something_is_there(void **state)
{
    (void)state;
    begin();
    assert_int_equal(readable(), 0);
    assert_int_equal(mkv_client_reap(rig.client, got, N), 0);
    submit_all(N);
    assert_int_equal(readable(), 0);
    rig_turns(&rig, 200);
    for (int left = N; left > 0;) {
        assert_int_equal(readable(), 1);
        assert_int_equal(mkv_client_reap(rig.client, got, 0), 0);
        assert_int_equal(mkv_client_reap(rig.client, got, -1), 0);
        int n = mkv_client_reap(rig.client, got, 3);
        assert_int_equal(n, left < 3 ? left : 3);
        for (int i = 0; i < n; i++) {
            assert_int_equal(mkv_batch_test(got[i]), 1);
            assert_int_equal(mkv_batch_status(got[i], 0), MKV_MISS);
            mkv_batch_destroy(&got[i]);
        }
        left -= n;
    }
    assert_int_equal(readable(), 0);
    end();
}

/* Waited for and destroyed, begun again, or not asked for: none is shown. */
static void what_is_not_shown(void **state)
{
    (void)state;
    begin();
    submit_all(4);
    rig_turns(&rig, 200);
    mkv_batch_destroy(&b[3]); /* the last of the list */
    mkv_batch_destroy(&b[0]); /* the first */
    assert_int_equal(mkv_batch_begin(b[1], MKV_OP_EXISTS, NULL), 0);
    assert_int_equal(readable(), 1);
    assert_int_equal(mkv_client_reap(rig.client, got, N), 1);
    assert_ptr_equal(got[0], b[2]);
    assert_int_equal(readable(), 0);
    assert_int_equal(mkv_batch_submit(b[1]), 0); /* without MKV_NOTIFY */
    assert_int_equal(rig_wait(&rig, b[1]), 0);
    assert_int_equal(readable(), 0);
    mkv_batch_destroy(&b[1]);
    mkv_batch_destroy(&b[2]);
    /* All of them gone before anybody looked. */
    submit_all(3);
    rig_turns(&rig, 200);
    assert_int_equal(readable(), 1);
    for (int i = 0; i < 3; i++) {
        mkv_batch_destroy(&b[i]);
    }
    assert_int_equal(readable(), 0);
    /* And the list still works. */
    submit_all(2);
    rig_turns(&rig, 200);
    assert_int_equal(mkv_client_reap(rig.client, got, N), 2);
    mkv_batch_destroy(&b[0]);
    mkv_batch_destroy(&b[1]);
    end();
}

/* Taken once, used again, shown again. */
static void shown_for_each_submit(void **state)
{
    (void)state;
    struct mkv_batch_options o = {.size = sizeof(o), .flags = MKV_NOTIFY};
    begin();
    submit_all(1);
    for (int i = 0; i < 20; i++) {
        rig_turns(&rig, 100);
        assert_int_equal(readable(), 1);
        assert_int_equal(mkv_client_reap(rig.client, got, N), 1);
        assert_ptr_equal(got[0], b[0]);
        assert_int_equal(mkv_client_reap(rig.client, got, N), 0);
        assert_int_equal(mkv_batch_begin(b[0], MKV_OP_EXISTS, &o), 0);
        assert_int_equal(mkv_batch_submit(b[0]), 0);
    }
    mkv_batch_destroy(&b[0]);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_while_something_is_there),
        cmocka_unit_test(what_is_not_shown),
        cmocka_unit_test(shown_for_each_submit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
