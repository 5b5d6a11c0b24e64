#include "core/config/key.h"
#include "core/config/test_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static void write_text(const char *name, const char *text, mode_t mode)
{
    assert_int_equal(test_files_write(name, text, strlen(text), mode), 0);
}

static void test_one_key(void **state)
{
    (void)state;
    uint8_t key[MKV_KEY_BYTES];
    char error[MKV_SPAN_ERROR] = "";
    bool exposed = true;
    write_text("key", "\n " KEY_A " \r\n", 0600);
    assert_int_equal(mkv__key_read("key", key, &exposed, error), 0);
    assert_false(exposed);
    for (size_t i = 0; i < MKV_KEY_BYTES; i++) {
        assert_int_equal(key[i], i);
    }
    write_text("key", KEY_A, 0644);
    assert_int_equal(mkv__key_read("key", key, &exposed, error), 0);
    assert_true(exposed);
}

static void test_largest_file(void **state)
{
    (void)state;
    uint8_t key[MKV_KEY_BYTES];
    char text[4096], error[MKV_SPAN_ERROR] = "";
    bool exposed;
    memset(text, ' ', sizeof(text));
    memcpy(text, KEY_A, strlen(KEY_A));
    assert_int_equal(test_files_write("key", text, sizeof(text), 0600), 0);
    assert_int_equal(mkv__key_read("key", key, &exposed, error), 0);
}

static void check_bad_file(const char *name, const char *expected)
{
    uint8_t key[MKV_KEY_BYTES] = {7};
    char error[MKV_SPAN_ERROR] = "";
    bool exposed = false;
    assert_int_equal(mkv__key_read(name, key, &exposed, error), -EINVAL);
    assert_string_equal(error, expected);
    assert_int_equal(key[0], 7); /* untouched */
}

static void test_bad_files(void **state)
{
    (void)state;
    char large[5000];
    memset(large, 'a', sizeof(large));
    check_bad_file("nowhere", "nowhere: No such file or directory");
    check_bad_file(".", ".: is not a regular file");
    write_text("key", "", 0600);
    check_bad_file("key", "key: not a key (expected 64 hex digits, got 0 characters)");
    write_text("key", KEY_A "\n" KEY_B, 0600);
    check_bad_file("key", "key: not a key (expected 64 hex digits, got 129 characters)");
    assert_int_equal(test_files_write("key", large, sizeof(large), 0600), 0);
    check_bad_file("key", "key: is too large");
    assert_int_equal(test_files_write("key", KEY_A "\0x", 66, 0600), 0);
    check_bad_file("key", "key: is not a text (it holds a zero byte)");
    unlink("key");
    assert_int_equal(mkfifo("key", 0600), 0);
    check_bad_file("key", "key: is not a regular file"); /* and does not wait for a writer */
}

static void test_many_keys(void **state)
{
    (void)state;
    struct mkv__key_list list = {0};
    char error[MKV_SPAN_ERROR] = "";
    bool exposed;
    write_text("keys",
               "# rotation\n"
               "1 " KEY_A "\n"
               "\n"
               "  4294967295\t" KEY_B "  team-a/ \r\n"
               "0 " KEY_A " x",
               0600);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), 0);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.keys[2].namespaces, "x");
    assert_int_equal(list.keys[0].id, 1);
    assert_int_equal(list.keys[0].key[31], 31);
    assert_null(list.keys[0].namespaces);
    assert_int_equal(list.keys[1].id, UINT32_MAX);
    assert_int_equal(list.keys[1].key[0], 0xff);
    assert_string_equal(list.keys[1].namespaces, "team-a/");
    mkv__key_list_fini(&list);
    assert_int_equal(list.n, 0);
    assert_false(exposed);
    write_text("keys", "1 " KEY_A, 0604);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), 0);
    assert_true(exposed);
    mkv__key_list_fini(&list);
}

static void test_longest_prefix(void **state)
{
    (void)state;
    struct mkv__key_list list = {0};
    char error[MKV_SPAN_ERROR] = "", text[400];
    bool exposed;
    int len = snprintf(text, sizeof(text), "1 %s %0255d", KEY_A, 7);
    write_text("keys", text, 0600);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), 0);
    assert_int_equal(strlen(list.keys[0].namespaces), 255);
    mkv__key_list_fini(&list);
    memcpy(text + len, "8", 2);
    write_text("keys", text, 0600);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), -EINVAL);
    assert_non_null(strstr(error, "...\" is longer than 255 bytes"));
    mkv__key_list_fini(&list);
}

static void check_bad_list(const char *text, const char *expected)
{
    struct mkv__key_list list = {0};
    char error[MKV_SPAN_ERROR] = "";
    bool exposed;
    write_text("keys", text, 0600);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), -EINVAL);
    assert_string_equal(error, expected);
    mkv__key_list_fini(&list);
}

static void test_bad_lists(void **state)
{
    (void)state;
    check_bad_list("1 " KEY_A "\n1 " KEY_B "\n", "keys:2: key id 1 is given twice");
    check_bad_list("1 " KEY_A "\n2 " KEY_A "\n3 " KEY_A "\n3 " KEY_B "\n",
                   "keys:4: key id 3 is given twice");
    check_bad_list("\n" KEY_A "\n",
                   "keys:2: the line does not begin with a key's id (expected ID KEY [PREFIX])");
    check_bad_list("4294967296 " KEY_A,
                   "keys:1: the line does not begin with a key's id (expected ID KEY [PREFIX])");
    check_bad_list("99999999999999999999999 " KEY_A,
                   "keys:1: the line does not begin with a key's id (expected ID KEY [PREFIX])");
    check_bad_list("-1 " KEY_A,
                   "keys:1: the line does not begin with a key's id (expected ID KEY [PREFIX])");
    check_bad_list("1", "keys:1: not a key (expected 64 hex digits, got 0 characters)");
    check_bad_list("1 abc", "keys:1: not a key (expected 64 hex digits, got 3 characters)");
}

static void test_number_of_keys_is_bounded(void **state)
{
    (void)state;
    struct mkv__key_list list = {0};
    char error[MKV_SPAN_ERROR] = "", *text = malloc((MKV_KEY_LINES_MAX + 1) * 80), *end = text;
    bool exposed;
    assert_non_null(text);
    for (unsigned i = 0; i <= MKV_KEY_LINES_MAX; i++) {
        end += snprintf(end, 80, "%u %s\n", i, KEY_A);
    }
    write_text("keys", text, 0600);
    assert_int_equal(mkv__key_list_read(&list, "keys", &exposed, error), -EINVAL);
    assert_string_equal(error, "keys:1025: more than 1024 keys");
    assert_int_equal(list.n, MKV_KEY_LINES_MAX);
    mkv__key_list_fini(&list);
    free(text);
}

static void test_fingerprint(void **state)
{
    (void)state;
    uint8_t key[MKV_KEY_BYTES];
    char text[MKV_FINGERPRINT_TEXT], error[MKV_SPAN_ERROR];
    assert_int_equal(mkv__key_parse(KEY_A, key, error), 0);
    assert_string_equal(mkv__key_fingerprint(key, text), "630dcd29");
    assert_int_equal(mkv__key_parse(KEY_B, key, error), 0);
    assert_string_equal(mkv__key_fingerprint(key, text), "af961376");
    mkv__key_forget(key, sizeof(key));
    for (size_t i = 0; i < sizeof(key); i++) {
        assert_int_equal(key[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_key),
        cmocka_unit_test(test_largest_file),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_longest_prefix),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_number_of_keys_is_bounded),
        cmocka_unit_test(test_fingerprint),
    };
    return test_files_enter() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
