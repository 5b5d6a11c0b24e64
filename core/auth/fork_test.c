/* Forks beside threads that are in the middle of a handshake: the child's own do not hang. */
#include "core/auth/crypto.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define THREADS 3
#define FORKS   150

/* All that a handshake takes from OpenSSL. */
static int once(void)
{
    uint8_t key[MKV_KEY_BYTES], out[32];
    struct mkv__digest *digest = NULL;
    struct mkv__gmac *gmac = NULL;
    int bad = mkv__random(key, sizeof(key));
    bad |= mkv__sha256(key, sizeof(key), out);
    bad |= mkv__hmac(key, "label", out, out);
    bad |= mkv__hkdf(key, sizeof(key), out, sizeof(out), "label", out);
    bad |= mkv__digest_create(&digest);
    bad |= mkv__gmac_create(key, &gmac);
    if (digest != NULL) {
        mkv__digest_add(digest, key, sizeof(key));
        bad |= mkv__digest_now(digest, out);
    }
    mkv__digest_destroy(&digest);
    mkv__gmac_destroy(&gmac);
    return bad;
}

static bool stop; /* atomic */

static void *busy(void *arg)
{
    int *bad = arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        *bad |= once();
    }
    return NULL;
}

static void *in_child(void *arg)
{
    *(int *)arg = once();
    return NULL;
}

/* In a thread of its own, as a worker would. */
static int child(void)
{
    pthread_t thread;
    int bad = -1;
    alarm(60);
    if (pthread_create(&thread, NULL, in_child, &bad) != 0) {
        return 2;
    }
    pthread_join(thread, NULL);
    return bad != 0;
}

static void test_forks_beside_handshakes(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int bad[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, busy, &bad[i]), 0);
    }
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            _exit(child());
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forks_beside_handshakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
