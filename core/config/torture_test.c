/*
 * Every allocation fails once: the 1st, the 2nd, the 3rd ... until a run succeeds. Each failure is
 * told as -ENOMEM, and (under asan) nothing leaks. The linker's --wrap puts these functions before
 * the ones of libc for calls from our code; what libyaml and libcrypto allocate is not touched.
 */
#include "core/config/config.h"
#include "core/config/test_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);

static long until_failure = -1; /* allocations that still succeed; -1: all */

static bool fails(void)
{
    if (until_failure < 0) {
        return false;
    }
    return until_failure-- == 0;
}

void *__wrap_malloc(size_t len)
{
    return fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
    return fails() ? NULL : __real_calloc(n, len);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return fails() ? NULL : __real_strndup(text, len);
}

static const char file[] = "servers: [a=10.0.0.1|10.0.0.2, b]\n"
                           "rdma_devices: [mlx5_0, mlx5_1]\n"
                           "workers.cpus: 0-3\n"
                           "auth_key_file: key\n"
                           "auth_keys_file: keys\n"
                           "listen: 127.0.0.1:0\n"
                           "log_level: debug\n";
static const char key[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
static const char keys[] =
    "1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
    "2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f team-a/\n";

static int load_once(struct mkv__config_error *error)
{
    struct mkv__config *config;
    int rc = mkv__config_create(&config);
    if (rc == 0) {
        *error = (struct mkv__config_error){0};
        rc = mkv__config_load(config, MKV__CLIENT | MKV__SERVER, "memkv.yaml", NULL, NULL, 0,
                              error);
        assert_true(rc == 0 || strcmp(error->text, "out of memory") == 0);
        mkv__config_destroy(&config);
    }
    return rc;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    struct mkv__config_error error;
    assert_int_equal(test_files_write("memkv.yaml", file, strlen(file), 0600), 0);
    assert_int_equal(test_files_write("key", key, strlen(key), 0600), 0);
    assert_int_equal(test_files_write("keys", keys, strlen(keys), 0600), 0);
    for (long n = 0; n < 1000; n++) {
        until_failure = n;
        int rc = load_once(&error);
        bool failed = until_failure < 0;
        until_failure = -1;
        if (!failed) {
            assert_int_equal(rc, 0);
            assert_in_range(n, 30, 999); /* the wrappers are there */
            return;
        }
        assert_int_equal(rc, -ENOMEM);
    }
    fail_msg("no run succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    return test_files_enter() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
