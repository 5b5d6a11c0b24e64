/* Whatever strangers send or hold open: a client beside them goes on, and the log stays short. */
#include "core/codec/header.h"
#include "testing/faults/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES     32u
#define PAGE      20000u
#define STRANGERS 200

static struct fleet fleet;

/* ---- the client beside ------------------------------------------------------------------------ */

static struct {
    pthread_t thread;
    struct mkv_client *client;
    unsigned rounds, wrong; /* atomic */
    bool end;               /* atomic */
} beside;

static void *go_on(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&beside.end, __ATOMIC_RELAXED)) {
        unsigned there = pages_read(beside.client, "beside", PAGES, PAGE);
        __atomic_add_fetch(&beside.wrong, there != PAGES, __ATOMIC_RELAXED);
        __atomic_add_fetch(&beside.rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void beside_start(void)
{
    memset(&beside, 0, sizeof(beside));
    beside.client = fleet_client(&fleet, 1, NULL);
    assert_int_equal(pages_write(beside.client, "beside", PAGES, PAGE), PAGES);
    assert_int_equal(pthread_create(&beside.thread, NULL, go_on, NULL), 0);
}

/* It has finished batches that began after this call. */
static void beside_goes_on(void)
{
    unsigned from = __atomic_load_n(&beside.rounds, __ATOMIC_RELAXED);
    double end = fleet_now() + 30;
    while (__atomic_load_n(&beside.rounds, __ATOMIC_RELAXED) < from + 3) {
        assert_true(fleet_now() < end);
        usleep(1000);
    }
    assert_int_equal(__atomic_load_n(&beside.wrong, __ATOMIC_RELAXED), 0);
}

static void beside_stop(void)
{
    __atomic_store_n(&beside.end, true, __ATOMIC_RELAXED);
    pthread_join(beside.thread, NULL);
    assert_int_equal(fleet_stats(beside.client).connects, 1); /* never lost its session */
    assert_int_equal(mkv_client_close(&beside.client), 0);
}

/* ---- strangers -------------------------------------------------------------------------------- */

static void header_of(uint8_t out[MKV_HEADER_BYTES], uint8_t type, uint32_t len)
{
    const struct mkv__header h = {
        .version = MKV_WIRE_VERSION, .type = type, .body_len = len, .aux = 1ull << 63};
    mkv__header_encode(&h, out);
}

/* What stranger number i says; returns its length. */
static size_t words(int i, uint8_t bytes[4096])
{
    static uint32_t x = 2463534242u;
    for (int at = 0; at < 4096; at++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        bytes[at] = (uint8_t)x;
    }
    switch (i % 8) {
    case 0: /* noise */
        return 1 + x % 4096;
    case 1: /* a greeting of noise */
        header_of(bytes, MKV_TYPE_HELLO, 100);
        return 164;
    case 2: /* cut short */
        header_of(bytes, MKV_TYPE_HELLO, 100);
        return 1 + x % 163;
    case 3: /* too long */
        header_of(bytes, MKV_TYPE_HELLO, UINT32_MAX);
        return 4096;
    case 4: /* another version */
        header_of(bytes, MKV_TYPE_HELLO, 100);
        bytes[4] = 2;
        return 164;
    case 5: /* nobody has shaken hands */
        header_of(bytes, MKV_TYPE_DATA, 256u << 10);
        return 4096;
    case 6:
        header_of(bytes, MKV_TYPE_GET, 300);
        return 364;
    default: /* nothing at all */
        return 0;
    }
}

static void until_closed(int fd)
{
    char bytes[512];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        assert_int_equal(poll(&p, 1, 30000), 1);
        if (recv(fd, bytes, sizeof(bytes), 0) <= 0) {
            close(fd);
            return;
        }
    }
}

static void nonsense_costs_its_own_connection(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    outside_start(&fleet, "64M");
    beside_start();
    int lines = outside_log_lines();
    double begin = fleet_now();
    for (int i = 0; i < STRANGERS; i++) {
        int fd = outside_connect(&fleet);
        assert_true(fd >= 0);
        size_t len = words(i, bytes);
        (void)!send(fd, bytes, len, MSG_NOSIGNAL);
        if (i % 8 == 2 || i % 8 == 7) {
            shutdown(fd, SHUT_WR);
        }
        until_closed(fd);
        if (i % 20 == 0) {
            beside_goes_on();
        }
    }
    beside_goes_on();
    int more = outside_log_lines() - lines;
    print_message("%d strangers, %d lines\n", STRANGERS, more);
    assert_true(more >= 1);
    assert_true(more <= 5 + 1 + (int)(fleet_now() - begin)); /* a burst, then one a second */
    beside_stop();
    outside_until(&fleet, "connections", 1);
    fleet_stop(&fleet);
}

/* Half a greeting each, and then silence: all are gone after the time for connecting. */
static void silence_is_not_waited_for(void **state)
{
    (void)state;
    uint8_t bytes[MKV_HEADER_BYTES];
    int fds[STRANGERS];
    outside_start(&fleet, "64M");
    beside_start();
    int lines = outside_log_lines(), before = outside_descriptors(fleet.servers[0].pid);
    header_of(bytes, MKV_TYPE_HELLO, 100);
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = outside_connect(&fleet);
        assert_true(fds[i] >= 0);
        assert_int_equal(send(fds[i], bytes, 10, MSG_NOSIGNAL), 10);
    }
    beside_goes_on();
    struct mkv_client *c = fleet_client(&fleet, 1, NULL); /* another one comes in */
    assert_int_equal(pages_read(c, "beside", PAGES, PAGE), PAGES);
    assert_int_equal(mkv_client_close(&c), 0);
    for (int i = 0; i < STRANGERS; i++) {
        until_closed(fds[i]);
    }
    beside_goes_on();
    outside_until(&fleet, "connections", 2);
    outside_until_descriptors(&fleet, before);
    assert_true(outside_log_lines() > lines && outside_log_lines() < lines + 20);
    beside_stop();
    fleet_stop(&fleet);
}

/* The server runs out of descriptors: who is in goes on, and later others come in again. */
static void out_of_descriptors(void **state)
{
    (void)state;
    int fds[STRANGERS], n = 0;
    outside_start(&fleet, "64M");
    beside_start();
    const struct rlimit few = {40, 40};
    assert_int_equal(prlimit(fleet.servers[0].pid, RLIMIT_NOFILE, &few, NULL), 0);
    int lines = outside_log_lines();
    while (n < STRANGERS && (fds[n] = outside_connect(&fleet)) >= 0) {
        n++;
    }
    assert_true(n > 40); /* the rest waits in the kernel */
    double end = fleet_now() + 30;
    while (outside_log_lines() == lines) {
        assert_true(fleet_now() < end);
        usleep(1000);
    }
    beside_goes_on();
    while (n > 0) {
        close(fds[--n]);
    }
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    fleet_until_up(c, 1);
    assert_int_equal(pages_read(c, "beside", PAGES, PAGE), PAGES);
    assert_int_equal(mkv_client_close(&c), 0);
    beside_goes_on();
    beside_stop();
    fleet_stop(&fleet);
}

/* More than the server lets shake hands at once: the oldest go, clients still come in. */
static void a_flood_of_connections(void **state)
{
    (void)state;
    enum { FLOOD = 1500 };
    struct rlimit limit;
    int *fds = calloc(FLOOD, sizeof(*fds)), n = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0); /* the server's, too */
    if (limit.rlim_max < FLOOD + 100) {
        free(fds);
        print_message("skipped: too few descriptors are allowed here\n");
        skip();
        return;
    }
    outside_start(&fleet, "64M");
    beside_start();
    int most = 0;
    for (int round = 0; round < 3; round++) {
        for (n = 0; n < FLOOD && (fds[n] = outside_connect(&fleet)) >= 0;) {
            n++;
        }
        assert_int_equal(n, FLOOD);
        int now = outside_descriptors(fleet.servers[0].pid);
        most = now > most ? now : most;
        beside_goes_on();
        while (n > 0) {
            close(fds[--n]);
        }
    }
    print_message("at most %d descriptors\n", most);
    assert_true(most < 1200);
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    assert_int_equal(pages_read(c, "beside", PAGES, PAGE), PAGES);
    assert_int_equal(mkv_client_close(&c), 0);
    beside_stop();
    fleet_stop(&fleet);
    free(fds);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_costs_its_own_connection),
        cmocka_unit_test(silence_is_not_waited_for),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(a_flood_of_connections),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
