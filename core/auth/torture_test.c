/*
 * Every allocation of a handshake and of its seals fails once, ours (the linker's --wrap) and those
 * inside of OpenSSL (its own allocator is replaced): the 1st, the 2nd, the 3rd ... until a run
 * succeeds. Each failure is told by a listed error, and (under asan) nothing leaks. The greatest
 * danger is a step that is left out in silence: then two sides would agree on something else.
 */
#include "core/auth/test_pair.h"
#include "core/error.h"

#include <openssl/crypto.h>

void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);

static long until_failure = -1; /* allocations that still succeed; -1: all */
static int ours, theirs;        /* failures of our allocations, and of OpenSSL's */

static bool fails(int *count)
{
    if (until_failure < 0 || until_failure-- != 0) {
        return false;
    }
    *count += 1;
    return true;
}

void *__wrap_calloc(size_t n, size_t len)
{
    return fails(&ours) ? NULL : __real_calloc(n, len);
}

static void *ssl_malloc(size_t len, const char *file, int line)
{
    (void)file;
    (void)line;
    return len == 0 || fails(&theirs) ? NULL : malloc(len);
}

static void *ssl_realloc(void *p, size_t len, const char *file, int line)
{
    (void)file;
    (void)line;
    if (len == 0) {
        free(p);
        return NULL;
    }
    return fails(&theirs) ? NULL : realloc(p, len);
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static const struct mkv__auth_key key = {.id = 1, .key = {1}};

/* One message from side to side. */
static int step(struct mkv__handshake *to, struct note *note)
{
    struct note answer;
    char why[200];
    int r = mkv__handshake_take(to, note->type, note->body, note->len, &answer.type, answer.body,
                                sizeof(answer.body), &answer.len, why);
    assert_true(r >= 0 || (why[0] != '\0' && !mkv__handshake_done(to)));
    *note = answer;
    return r < 0 ? r : 0;
}

static int send_one(struct mkv__seal *send, struct mkv__seal *receive)
{
    uint8_t header[MKV_HEADER_BYTES] = {0};
    int r = mkv__seal_apply(send, header, "body", 4);
    return r < 0 ? r : mkv__seal_check(receive, header, "body", 4);
}

static int shake(struct mkv__handshake *side[2])
{
    struct note note;
    int r = mkv__handshake_start(side[CLIENT], &note.type, note.body, sizeof(note.body));
    note.len = r < 0 ? 0 : (size_t)r;
    r = r < 0 ? r : step(side[SERVER], &note);
    r = r < 0 ? r : step(side[CLIENT], &note);
    return r < 0 ? r : step(side[SERVER], &note);
}

static int seal(struct mkv__handshake *side[2])
{
    struct mkv__seal *send[2] = {NULL}, *receive[2] = {NULL};
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        r = mkv__handshake_seals(side[i], &send[i], &receive[i]);
        assert_true(r == 0 || (send[i] == NULL && receive[i] == NULL));
    }
    r = r < 0 ? r : send_one(send[CLIENT], receive[SERVER]);
    r = r < 0 ? r : send_one(send[SERVER], receive[CLIENT]);
    for (int i = 0; i < 2; i++) {
        mkv__seal_destroy(&send[i]);
        mkv__seal_destroy(&receive[i]);
    }
    return r;
}

static int life(void)
{
    struct mkv__hello hello = {.version_low = 1, .version_high = 1};
    struct mkv__handshake *side[2] = {NULL};
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        r = mkv__handshake_create(i == SERVER, &hello, &key, 1, &side[i]);
    }
    r = r < 0 ? r : shake(side);
    r = r < 0 ? r : seal(side);
    mkv__handshake_destroy(&side[CLIENT]);
    mkv__handshake_destroy(&side[SERVER]);
    return r;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    assert_int_equal(life(), 0); /* what OpenSSL makes once for the process */
    int told = 0;
    for (long n = 0; n < 5000; n++) {
        until_failure = n;
        int r = life();
        bool failed = until_failure < 0;
        until_failure = -1;
        if (!failed) {
            assert_int_equal(r, 0);
            assert_int_equal(ours, 12); /* 2 handshakes, 2 digests, 4 seals, 4 MACs */
            assert_in_range(theirs, 20, 4999);
            assert_in_range(told, 30, 4999);
            return;
        }
        assert_true(r == 0 || r == -ENOMEM); /* 0: OpenSSL does without */
        told += r < 0;
    }
    fail_msg("no run succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    if (CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) != 1) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
