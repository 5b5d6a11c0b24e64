#include "core/config/servers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pair {
    const char *text;
    const char *expected; /* canonical form, or the error */
};

static void test_addresses(void **state)
{
    (void)state;
    static const struct pair cases[] = {
        {"10.0.0.10:9900", "10.0.0.10:9900"},
        {"10.0.0.10", "10.0.0.10:9900"},
        {" 10.0.0.10 : 1 ", "10.0.0.10:1"},
        {"localhost:65535", "localhost:65535"},
        {"Node-1.Example.COM", "node-1.example.com:9900"},
        {"kv_1", "kv_1:9900"},
        {"[::1]:9901", "[::1]:9901"},
        {"[::1]", "[::1]:9900"},
        {" [ ::1 ] : 9901", "[::1]:9901"},
        {"[0:0::0001]:9900", "[::1]:9900"},
        {"[FE80::1%Eth0]:9900", "[fe80::1%Eth0]:9900"},
        {"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]:9900"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv__address a;
        char error[MKV_SPAN_ERROR] = "";
        if (mkv__address_parse(cases[i].text, false, &a, error) != 0) {
            fail_msg("\"%s\": %s", cases[i].text, error);
        }
        assert_string_equal(a.text, cases[i].expected);
    }
}

static void test_address_parts(void **state)
{
    (void)state;
    struct mkv__address a;
    char error[MKV_SPAN_ERROR];
    assert_int_equal(mkv__address_parse("[::1]:9901", false, &a, error), 0);
    assert_string_equal(a.host, "::1");
    assert_int_equal(a.port, 9901);
    assert_int_equal(mkv__address_parse("host:0", true, &a, error), 0);
    assert_int_equal(a.port, 0);
    assert_string_equal(a.text, "host:0");
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const struct pair cases[] = {
        {"", "\"\" is not a host (expected e.g. 10.0.0.10, 10.0.0.10:9900, [::1]:9900)"},
        {":9900", "\"\" is not a host (expected e.g. 10.0.0.10, 10.0.0.10:9900, [::1]:9900)"},
        {"10.0.0.300", "\"10.0.0.300\" is not an IPv4 address"},
        {"10.0.1", "\"10.0.1\" is not an IPv4 address"},
        {"9900", "\"9900\" is not an IPv4 address"},
        {"a b", "\"a b\" is not the name of a host"},
        {"-a", "\"-a\" is not the name of a host"},
        {"http://a", "\"http://a\" has no valid port (expected 1 to 65535)"},
        {"a/b", "\"a/b\" is not the name of a host"},
        {"a:", "\"a:\" has no valid port (expected 1 to 65535)"},
        {"a:0", "\"a:0\" has no valid port (expected 1 to 65535)"},
        {"a:65536", "\"a:65536\" has no valid port (expected 1 to 65535)"},
        {"a:-1", "\"a:-1\" has no valid port (expected 1 to 65535)"},
        {"a:99x", "\"a:99x\" has no valid port (expected 1 to 65535)"},
        {"a:99999999999999999999", "\"a:99999999999999999999\" has no valid port (expected 1 to "
                                   "65535)"},
        {"::1", "\"::1\" looks like an IPv6 address without brackets (expected e.g. [::1]:9900)"},
        {"[::1", "\"[::1\" has no closing bracket (expected e.g. [::1]:9900)"},
        {"[", "\"[\" has no closing bracket (expected e.g. [::1]:9900)"},
        {"[]", "\"\" is not an IPv6 address"},
        {"[::1]9900", "\"[::1]9900\" has something else than a port after the bracket (expected "
                      "e.g. [::1]:9900)"},
        {"[::g]", "\"::g\" is not an IPv6 address"},
        {"[fe80::1%]", "\"fe80::1%\" is not an IPv6 address"},
        {"[10.0.0.1]", "\"10.0.0.1\" is not an IPv6 address"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv__address a = {.port = 7};
        char error[MKV_SPAN_ERROR] = "";
        int rc = mkv__address_parse(cases[i].text, false, &a, error);
        if (rc != -EINVAL || strcmp(error, cases[i].expected) != 0) {
            fail_msg("\"%s\": %d, %s", cases[i].text, rc, error);
        }
        assert_int_equal(a.port, 7); /* untouched */
    }
}

static void test_long_hosts(void **state)
{
    (void)state;
    char text[400], error[MKV_SPAN_ERROR];
    struct mkv__address a;
    memset(text, 'h', sizeof(text));
    text[253] = '\0';
    assert_int_equal(mkv__address_parse(text, false, &a, error), 0);
    assert_int_equal(strlen(a.text), 258);
    text[253] = 'h';
    text[254] = '\0';
    assert_int_equal(mkv__address_parse(text, false, &a, error), -EINVAL);
    assert_non_null(strstr(error, "hhh...\" is not the name of a host"));
}

static void check_list(const char *text, const char *expected)
{
    struct mkv__server_list *list = NULL;
    char error[MKV_SPAN_ERROR] = "", printed[500];
    if (mkv__server_list_parse(text, &list, error) != 0) {
        fail_msg("\"%s\": %s", text, error);
    }
    assert_int_equal(mkv__server_list_print(list, printed, sizeof(printed)), strlen(expected));
    assert_string_equal(printed, expected);
    mkv__server_list_destroy(&list);
    assert_null(list);
    if (strcmp(text, expected) != 0) {
        check_list(expected, expected); /* what is printed is read back */
    }
}

static void test_lists(void **state)
{
    (void)state;
    check_list("10.0.0.10:9900,10.0.0.11:9900", "10.0.0.10:9900,10.0.0.11:9900");
    check_list("10.0.0.10", "10.0.0.10:9900");
    check_list("10.0.0.10:9900*2", "10.0.0.10:9900*2");
    check_list("[::1]:9900 * 2", "[::1]:9900*2");
    check_list("a=10.0.0.10", "a=10.0.0.10:9900");
    check_list(" a = 10.0.0.10 | [::1]:1 * 3 , b=10.0.0.11 ", "a=10.0.0.10:9900|[::1]:1*3,"
                                                              "b=10.0.0.11:9900");
    check_list("a,b,", "a:9900,b:9900");
    check_list("a\nb\n\n", "a:9900,b:9900");
    check_list("a,\n  b", "a:9900,b:9900");
    check_list("10.0.0.10|10.0.1.10", "10.0.0.10:9900|10.0.1.10:9900");
    check_list("a:9900*1", "a:9900");
    check_list("a.b_c-d=h", "a.b_c-d=h:9900");
    check_list("b:9900,a:9900", "b:9900,a:9900"); /* the order given */
}

static void test_fields(void **state)
{
    (void)state;
    struct mkv__server_list *list;
    char error[MKV_SPAN_ERROR];
    assert_int_equal(mkv__server_list_parse("kv-1=A:1|[::1]:2*5,B", &list, error), 0);
    assert_int_equal(list->n, 2);
    const struct mkv__server_entry *s = list->servers;
    assert_string_equal(s[0].name, "kv-1");
    assert_int_equal(s[0].weight, 5);
    assert_int_equal(s[0].n_addresses, 2);
    assert_string_equal(s[0].addresses[0].host, "a");
    assert_int_equal(s[0].addresses[0].port, 1);
    assert_string_equal(s[0].addresses[1].host, "::1");
    assert_string_equal(s[0].addresses[1].text, "[::1]:2");
    assert_string_equal(s[1].name, "b:9900");
    assert_int_equal(s[1].weight, 1);
    mkv__server_list_destroy(&list);
    mkv__server_list_destroy(&list); /* takes NULL */
}

/* A page placed by a default name stays where it is when the port is left out or written. */
static void test_default_names_are_canonical(void **state)
{
    (void)state;
    static const char *const texts[] = {"KV.local", "kv.local:9900", " kv.LOCAL : 9900 "};
    for (size_t i = 0; i < 3; i++) {
        struct mkv__server_list *list;
        char error[MKV_SPAN_ERROR];
        assert_int_equal(mkv__server_list_parse(texts[i], &list, error), 0);
        assert_string_equal(list->servers[0].name, "kv.local:9900");
        mkv__server_list_destroy(&list);
    }
}

static void check_refused(const char *text, const char *expected)
{
    struct mkv__server_list *list = NULL;
    char error[MKV_SPAN_ERROR] = "";
    int rc = mkv__server_list_parse(text, &list, error);
    if (rc != -EINVAL || strcmp(error, expected) != 0) {
        fail_msg("\"%s\": %d, %s", text, rc, error);
    }
    assert_null(list);
}

static void test_bad_lists(void **state)
{
    (void)state;
    check_refused("", "no servers (expected e.g. 10.0.0.10:9900,10.0.0.11)");
    check_refused(" ", "no servers (expected e.g. 10.0.0.10:9900,10.0.0.11)");
    check_refused(",", "no servers (expected e.g. 10.0.0.10:9900,10.0.0.11)");
    check_refused("a,,b", "\"a,,b\" has nothing between two commas");
    check_refused(",a", "\",a\" has nothing between two commas");
    check_refused("a b", "\"a b\" is not the name of a host");
    check_refused("a*0", "\"a*0\" has no valid weight (expected *1 to *1000)");
    check_refused("a*1001", "\"a*1001\" has no valid weight (expected *1 to *1000)");
    check_refused("a*", "\"a*\" has no valid weight (expected *1 to *1000)");
    check_refused("a*1.5", "\"a*1.5\" has no valid weight (expected *1 to *1000)");
    check_refused("a*2*3", "\"a*2*3\" has no valid weight (expected *1 to *1000)");
    check_refused("=a", "\"\" is not a name of a server (expected 1 to 63 letters, digits, '.', "
                        "'_', '-')");
    check_refused("a b=c", "\"a b\" is not a name of a server (expected 1 to 63 letters, digits, "
                           "'.', '_', '-')");
    check_refused("a=", "\"\" is not a host (expected e.g. 10.0.0.10, 10.0.0.10:9900, "
                        "[::1]:9900)");
    check_refused("a=b=c", "\"b=c\" is not the name of a host");
    check_refused("a|", "\"\" is not a host (expected e.g. 10.0.0.10, 10.0.0.10:9900, "
                        "[::1]:9900)");
    check_refused("10.0.0.1;10.0.0.2", "\"10.0.0.1;10.0.0.2\" is not the name of a host");
}

static void test_duplicates(void **state)
{
    (void)state;
    check_refused("10.0.0.1,10.0.0.1:9900",
                  "\"10.0.0.1:9900\" is given twice (every address belongs to one server)");
    check_refused("a=h1,b=H1", "\"h1:9900\" is given twice (every address belongs to one server)");
    check_refused("a=h1|h1", "\"h1:9900\" is given twice (every address belongs to one server)");
    check_refused("a=[::1],[0::1]", "\"[::1]:9900\" is given twice (every address belongs to one "
                                    "server)");
    check_refused("a=h1,a=h2", "\"a\" is given twice (names of servers must differ)");
    check_list("h1:1,h1:2", "h1:1,h1:2"); /* two servers on one host */
    check_list("a=h1,A=h2", "a=h1:9900,A=h2:9900");
}

static void test_limits(void **state)
{
    (void)state;
    char *text = malloc(20 * (MKV_SERVERS_MAX + 1)), *end = text;
    struct mkv__server_list *list;
    char error[MKV_SPAN_ERROR];
    assert_non_null(text);
    for (unsigned i = 0; i < MKV_SERVERS_MAX; i++) {
        end += snprintf(end, 20, "host-%u,", i);
    }
    assert_int_equal(mkv__server_list_parse(text, &list, error), 0);
    assert_int_equal(list->n, MKV_SERVERS_MAX);
    mkv__server_list_destroy(&list);
    snprintf(end, 20, "host-%u", MKV_SERVERS_MAX);
    assert_int_equal(mkv__server_list_parse(text, &list, error), -EINVAL);
    assert_string_equal(error, "more than 1024 servers");
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == ',' ? '|' : *p;
    }
    assert_int_equal(mkv__server_list_parse(text, &list, error), -EINVAL);
    assert_non_null(strstr(error, "...\" has more than 16 addresses"));
    free(text);
}

static void test_longest_name(void **state)
{
    (void)state;
    char text[80], error[MKV_SPAN_ERROR];
    struct mkv__server_list *list;
    memset(text, 'n', sizeof(text));
    memcpy(text + 63, "=a", 3);
    assert_int_equal(mkv__server_list_parse(text, &list, error), 0);
    assert_int_equal(strlen(list->servers[0].name), 63);
    mkv__server_list_destroy(&list);
    memcpy(text + 63, "n=a", 4);
    assert_int_equal(mkv__server_list_parse(text, &list, error), -EINVAL);
    assert_non_null(strstr(error, "is not a name of a server"));
}

static void test_printing_counts_what_does_not_fit(void **state)
{
    (void)state;
    struct mkv__server_list *list;
    char error[MKV_SPAN_ERROR], out[8];
    assert_int_equal(mkv__server_list_parse("a=h1*2,b=h2", &list, error), 0);
    assert_int_equal(mkv__server_list_print(list, NULL, 0), strlen("a=h1:9900*2,b=h2:9900"));
    assert_int_equal(mkv__server_list_print(list, out, sizeof(out)), 21);
    assert_string_equal(out, "a=h1:99");
    mkv__server_list_destroy(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_address_parts),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_long_hosts),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_default_names_are_canonical),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_printing_counts_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
