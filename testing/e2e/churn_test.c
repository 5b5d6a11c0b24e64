/* Lists replaced, processes forked, sessions broken and clients closed while batches fly. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 64u
#define PAGE  4096u
#define LISTS 1000
#define FORKS 60

static struct fleet fleet;

static int start(void **state)
{
    (void)state;
    fleet_start(&fleet, 4, "64M");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fleet_stop(&fleet);
    return 0;
}

struct churn {
    struct mkv_client *client;
    char lists[4][400];
    int replaced, failed; /* atomic */
    bool end;             /* atomic */
};

static void churn_init(struct churn *churn, struct mkv_client *client)
{
    *churn = (struct churn){.client = client};
    for (int i = 0; i < 4; i++) {
        snprintf(churn->lists[i], sizeof(churn->lists[i]), "%s%s", fleet_list(&fleet, 2 + i % 3),
                 i == 3 ? "*3" : "");
    }
}

static void *replace_lists(void *arg)
{
    struct churn *churn = arg;
    for (int i = 0; !__atomic_load_n(&churn->end, __ATOMIC_RELAXED); i++) {
        int r = mkv_client_set_servers(churn->client, churn->lists[i % 4], NULL);
        __atomic_add_fetch(&churn->failed, r < 0, __ATOMIC_RELAXED);
        __atomic_add_fetch(&churn->replaced, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Not a byte is wrong, and no key is without an answer. */
static void the_list_is_replaced_under_batches(void **state)
{
    (void)state;
    struct churn churn;
    pthread_t thread;
    struct mkv_client *c = fleet_client(&fleet, 4, NULL);
    unsigned rounds = 0, there = 0;
    churn_init(&churn, c);
    assert_int_equal(pages_write(c, "churn", PAGES, PAGE), PAGES);
    assert_int_equal(pthread_create(&thread, NULL, replace_lists, &churn), 0);
    while (__atomic_load_n(&churn.replaced, __ATOMIC_RELAXED) < LISTS || rounds < 50) {
        char tag[32];
        snprintf(tag, sizeof(tag), "churn-%u", rounds++ % 8);
        assert_int_equal(pages_write(c, tag, PAGES, PAGE), PAGES);
        there += pages_read(c, tag, PAGES, PAGE); /* compares every byte */
    }
    __atomic_store_n(&churn.end, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_int_equal(churn.failed, 0);
    assert_int_equal(fleet_stats(c).unknown, 0);
    assert_int_equal(fleet_stats(c).checksum_errors, 0);
    print_message("%d lists, %u rounds, %u of %u pages found\n", churn.replaced, rounds, there,
                  rounds * PAGES);
    assert_true(there > 0);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* tsan allows no thread after a fork; asan's own malloc has locks that a child may find held. */
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define FORKS_MAY_HAVE_THREADS
#endif

#ifdef FORKS_MAY_HAVE_THREADS
static int in_child(struct mkv_client *c, struct churn *churn)
{
    int bad = 0;
    bad += mkv_client_set_servers(c, churn->lists[0], NULL) != -ECANCELED;
    bad += mkv_exists(c, "k", 1) != -ECANCELED;
    struct mkv_client *own = fleet_client(&fleet, 2, NULL);
    for (int i = 0; i < 4; i++) {
        bad += mkv_client_set_servers(own, churn->lists[i], NULL) != 0;
        bad += mkv_exists(own, "nothing", 7) != 0;
    }
    bad += mkv_client_close(&own) != 0;
    return bad;
}

/* A child that hangs on a lock that is held for ever may do so with its signals blocked. */
static int status_of(pid_t pid)
{
    int status = 0;
    for (double end = fleet_now() + 30; fleet_now() < end; usleep(500)) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        assert_true(ended >= 0);
        if (ended == pid) {
            return status;
        }
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return status;
}

/* Other threads hold every lock there is at some moment; the child has to get on without them. */
static void forks_beside_threads(void **state)
{
    (void)state;
    struct churn churn;
    pthread_t threads[2];
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    churn_init(&churn, c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, replace_lists, &churn), 0);
    }
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            _exit(in_child(c, &churn));
        }
        assert_int_equal(status_of(pid), 0);
        assert_true(mkv_exists(c, "nothing", 7) == 0);
    }
    __atomic_store_n(&churn.end, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(churn.failed, 0);
    assert_int_equal(mkv_client_close(&c), 0);
}
#endif

/* Takes each connection and drops it, at once or after some bytes. */
static void *drop_connections(void *arg)
{
    int listener = *(int *)arg;
    char bytes[64];
    for (unsigned i = 0;; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        if (i % 3 == 0) {
            (void)!read(fd, bytes, sizeof(bytes));
        }
        struct linger hard = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
    }
}

static void clients_close_while_sessions_break(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;
    char list[100];
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 100), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    snprintf(list, sizeof(list), "127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&thread, NULL, drop_connections, &listener), 0);
    for (unsigned i = 0; i < 300; i++) {
        struct mkv_client *c = fleet_client(&fleet, 1, "lanes", "2", NULL);
        assert_int_equal(mkv_client_set_servers(c, list, NULL), 0);
        struct mkv_batch *b = pages_batch(c, MKV_OP_EXISTS, "k", 4, NULL, 0, NULL);
        assert_int_equal(mkv_batch_submit(b), 0);
        usleep(i % 10 * 20);
        mkv_batch_destroy(&b);
        assert_int_equal(mkv_client_close(&c), 0);
    }
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* A thousand clients, a batch of each operation in each: nothing grows after the first hundred. */
static void nothing_grows(void **state)
{
    (void)state;
    int fds = 0, threads = 0;
    size_t heap = 0;
    char value[300] = "v";
    for (int i = 0; i < 1000; i++) {
        struct mkv_client *c = fleet_client(&fleet, 2, NULL);
        assert_true(mkv_set(c, "grow", 4, value, sizeof(value)) >= 0);
        assert_int_equal(mkv_get(c, "grow", 4, value, sizeof(value), NULL), sizeof(value));
        assert_int_equal(mkv_exists(c, "grow", 4), 1);
        assert_int_equal(mkv_client_close(&c), 0);
        if (i == 99) {
            fds = fleet_count("/proc/self/fd");
            threads = fleet_count("/proc/self/task");
            heap = mallinfo2().uordblks + mallinfo2().hblkhd;
        }
    }
    assert_int_equal(fleet_count("/proc/self/fd"), fds);
    assert_int_equal(fleet_count("/proc/self/task"), threads);
    size_t now = mallinfo2().uordblks + mallinfo2().hblkhd;
    print_message("heap after 100 clients: %zu bytes, after 1000: %zu\n", heap, now);
    assert_true(now <= heap + 16384); /* 18 bytes a client would be seen */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_is_replaced_under_batches),
#ifdef FORKS_MAY_HAVE_THREADS
        cmocka_unit_test(forks_beside_threads),
#endif
        cmocka_unit_test(clients_close_while_sessions_break),
        cmocka_unit_test(nothing_grows),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, start, stop);
}
