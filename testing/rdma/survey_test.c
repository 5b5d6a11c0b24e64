/* What memkv doctor learns of this machine, over fake verbs. */
#include "testing/rdma/fake_verbs.h"
#include "transport/rdma/rdma_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define MIB (1u << 20)

static struct mkv__rdma_survey survey;

static int setup(void **state)
{
    (void)state;
    fake_verbs_begin(2);
    return 0;
}

static int teardown(void **state)
{
    struct fake_counts c;

    (void)state;
    fake_verbs_counts(&c);
    assert_int_equal(fake_verbs_left(), 0);
    assert_int_equal(c.misuses, 0);
    fake_verbs_end();
    return 0;
}

/* Of all devices, or of this one. */
static void finds(const char *name, enum mkv__rdma_reason reason, const char *why)
{
    mkv__rdma_survey(&name, name ? 1 : 0, MIB, &survey);
    assert_int_equal(survey.reason, reason);
    assert_int_equal(survey.works, reason == MKV_REASON_NONE);
    if (!strstr(survey.why, why)) {
        fail_msg("says: %s", survey.why);
    }
}

static void what_works(void **state)
{
    const struct mkv__rdma_port *p = &survey.ports[1];

    (void)state;
    fake_verbs_device(1)->mtu = IBV_MTU_1024;
    finds(NULL, MKV_REASON_NONE, "");
    assert_int_equal(survey.n, 2);
    assert_string_equal(p->device, "fake1");
    assert_string_equal(p->state, "active");
    assert_string_equal(p->link_layer, "ethernet");
    assert_string_equal(p->gid, "127.0.0.2");
    assert_string_equal(p->gid_type, "RoCE v2");
    assert_int_equal(p->gid_index, 2);
    assert_int_equal(p->mtu, 1024);
    assert_int_equal(p->numa_node, -1);
    assert_true(p->used);
}

static void one_that_works_is_enough(void **state)
{
    (void)state;
    fake_verbs_device(0)->state = IBV_PORT_DOWN;
    finds(NULL, MKV_REASON_NONE, "");
    assert_string_equal(survey.ports[0].state, "down");
    fake_verbs_device(0)->state = IBV_PORT_ACTIVE;
    fake_verbs_device(1)->state = IBV_PORT_DOWN;
    finds(NULL, MKV_REASON_NONE, "");
    finds("fake0", MKV_REASON_NONE, "");
    assert_false(survey.ports[1].used);
    finds("fake1", MKV_REASON_PORT_DOWN, "fake1: no port is up");
}

static void no_device(void **state)
{
    (void)state;
    finds("mlx5_0", MKV_REASON_NOT_NAMED, "no RDMA device called mlx5_0");
    assert_int_equal(survey.n, 2);
    fake_verbs_device(0)->gone = fake_verbs_device(1)->gone = true;
    finds("mlx5_0", MKV_REASON_NO_DEVICE, "has no RDMA device");
    finds(NULL, MKV_REASON_NO_DEVICE, "has no RDMA device");
    assert_int_equal(survey.n, 0);
}

static void no_gid(void **state)
{
    (void)state;
    fake_verbs_device(0)->n_gids = 0;
    finds("fake0", MKV_REASON_NO_GID, "fake0 has no GID");
    assert_string_equal(survey.ports[0].gid, "");
    fake_verbs_device(0)->gids[0].type = IBV_GID_TYPE_ROCE_V1;
    fake_verbs_device(0)->n_gids = 1;
    finds("fake0", MKV_REASON_NONE, "");
    assert_string_equal(survey.ports[0].gid_type, "RoCE v1");
}

static void memory_that_cannot_be_locked(void **state)
{
    (void)state;
    fake_verbs_device(0)->memlock = MIB - 1;
    finds("fake0", MKV_REASON_MEMORY, "fake0: 1 MiB of memory cannot be registered");
    fake_verbs_device(0)->memlock = MIB;
    finds("fake0", MKV_REASON_NONE, "");
}

static void a_device_that_fails(void **state)
{
    (void)state;
    fake_verbs_event(0, IBV_EVENT_DEVICE_FATAL);
    finds("fake0", MKV_REASON_FAULT, "fake0 cannot be opened");
    finds(NULL, MKV_REASON_NONE, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_works), TEST(one_that_works_is_enough),     TEST(no_device),
        TEST(no_gid),     TEST(memory_that_cannot_be_locked), TEST(a_device_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
