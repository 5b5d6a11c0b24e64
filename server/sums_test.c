/* Values that come without a checksum. */
#include "testing/server/world.h"

#include <stdlib.h>

/* As over RDMA: nobody sends what it reads. */
static int read_by_itself(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    bulk->sent = bulk->checked = false;
    return mkv__fake.read(conn, bulk);
}

static struct mkv__answer ask_unsummed(struct client *c, uint8_t type, uint32_t flags, bool sum)
{
    struct batch b = {.request.flags = flags};
    uint8_t value[5] = "value";
    void *memory[] = {value};
    add(&b, "k", 5, sum ? value : NULL);
    (void)ask(c, &b, type, memory);
    return c->answers[0];
}

/* Its server makes the checksum of what arrives, or, where it verifies nothing, when it is wanted. */
static void values_without_checksums(void **state)
{
    (void)state;
    struct mkv__transport fenced = mkv__fake;
    struct client c;
    uint64_t right = mkv__sum_seed("ns", 2, "k", 1, 5) ^ mkv__sum_slice("value", 5, 0);
    fenced.limits.reads_are_fenced = true;
    fenced.read = read_by_itself;
    for (int lazy = 0; lazy < 2; lazy++) {
        open_world((struct setting){.seed = 1, .unverified = lazy, .transport = &fenced});
        connect_to(&c, NULL);
        struct mkv__answer a = ask_unsummed(&c, MKV_TYPE_SET, MKV_REQ_UNSUMMED, false);
        assert_int_equal(a.status, MKV_WIRE_STORED);
        assert_true((a.flags & MKV_ANSWER_UNSUMMED) != 0 || a.checksum == right);
        a = ask_unsummed(&c, MKV_TYPE_GET, MKV_REQ_UNSUMMED, false);
        assert_int_equal(a.status, MKV_WIRE_HIT);
        assert_int_equal(a.flags & MKV_ANSWER_UNSUMMED, lazy ? MKV_ANSWER_UNSUMMED : 0);
        a = ask_unsummed(&c, MKV_TYPE_SET, 0, true); /* what is not known does not differ */
        assert_int_equal(a.status, MKV_WIRE_KEPT);
        assert_int_equal(a.flags & MKV_ANSWER_UNSUMMED, lazy ? MKV_ANSWER_UNSUMMED : 0);
        a = ask_unsummed(&c, MKV_TYPE_SET, MKV_REQ_UNSUMMED, false);
        assert_int_equal(a.status, MKV_WIRE_KEPT);
        assert_int_equal(stat_now().kept_differing, 0);
        assert_int_equal(ask_one(&c, MKV_TYPE_REPORT, "ns", "k", 0), MKV_WIRE_HIT);
        a = ask_unsummed(&c, MKV_TYPE_GET, 0, false);
        assert_int_equal(a.status, MKV_WIRE_HIT);
        assert_int_equal(a.flags & MKV_ANSWER_UNSUMMED, 0);
        assert_int_equal(a.checksum, right);
        assert_int_equal(ask_one(&c, MKV_TYPE_REPORT, "ns", "k", 0), MKV_WIRE_HIT);
        disconnect(&c);
        close_world();
    }
}

/* Where the client sends the bytes it sends their sums, too, and the server looks at them whatever it is
 * told: what a client withdraws goes out as zeros. */
static void sums_come_with_the_bytes(void **state)
{
    (void)state;
    uint64_t right = mkv__sum_seed("ns", 2, "k", 1, 5) ^ mkv__sum_slice("value", 5, 0);
    for (int unverified = 0; unverified < 2; unverified++) {
        struct client c;
        open_world((struct setting){.seed = 1, .chunk = 3, .unverified = unverified});
        connect_to(&c, NULL);
        c.silent = true;
        struct mkv__answer a = ask_unsummed(&c, MKV_TYPE_SET, MKV_REQ_UNSUMMED, false);
        assert_int_equal(a.status, MKV_WIRE_DAMAGED);
        assert_int_equal(ask_one(&c, MKV_TYPE_EXISTS, "ns", "k", 0), MKV_WIRE_MISS);
        assert_int_equal(stat_now().damaged, 1);
        assert_int_equal(in_flight(), 0);
        c.silent = false;
        a = ask_unsummed(&c, MKV_TYPE_SET, MKV_REQ_UNSUMMED, false);
        assert_int_equal(a.status, MKV_WIRE_STORED);
        assert_int_equal(a.flags & MKV_ANSWER_UNSUMMED, 0);
        assert_true(a.checksum == right);
        a = ask_unsummed(&c, MKV_TYPE_GET, 0, false);
        assert_int_equal(a.status, MKV_WIRE_HIT);
        assert_true(a.checksum == right);
        disconnect(&c);
        close_world();
    }
}

/* Making sums is for others to wait for: one get makes those of 64 MiB, and what is left is a miss. */
static void one_get_makes_so_many(void **state)
{
    (void)state;
    enum { N = 5, SIZE = 16 << 20 };
    struct mkv__transport fenced = mkv__fake;
    struct client c;
    struct batch b = {0};
    uint8_t *value = calloc(1, SIZE);
    assert_non_null(value);
    fenced.limits.reads_are_fenced = true;
    fenced.read = read_by_itself;
    open_world(
        (struct setting){.seed = 1, .memory = 128 * MIB, .unverified = true, .transport = &fenced});
    connect_to(&c, NULL);
    for (int i = 0; i < N; i++) {
        struct batch one = {.request.flags = MKV_REQ_UNSUMMED};
        char name[8] = {(char)('a' + i)};
        void *memory[] = {value};
        add(&one, name, SIZE, NULL);
        assert_int_equal(ask(&c, &one, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
        add(&b, name, SIZE, NULL);
    }
    for (int round = 0; round < 2; round++) {
        struct mkv__object *objects[N];
        struct mkv__answer answers[N];
        mkv__store_get(world.store, &b.request, world.now_ns, objects, answers);
        for (int i = 0; i < N; i++) {
            bool left = round == 0 && i == N - 1;
            assert_int_equal(answers[i].status, left ? MKV_WIRE_MISS : MKV_WIRE_HIT);
            assert_int_equal(answers[i].flags & MKV_ANSWER_UNSUMMED, 0);
            assert_int_equal(answers[i].length, left ? 0 : SIZE);
            assert_int_equal(objects[i] == NULL, left);
        }
        mkv__store_put(world.store, objects, N);
    }
    disconnect(&c);
    close_world();
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_without_checksums),
        cmocka_unit_test(sums_come_with_the_bytes),
        cmocka_unit_test(one_get_makes_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
