/* Near which node an interface is, from files as the kernel shows them. */
#include "transport/tcp/nic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char sys[300];

static void make(const char *dir)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", sys, dir);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void say(const char *file, const char *text)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", sys, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void interfaces(void **state)
{
    (void)state;
    snprintf(sys, sizeof(sys), "%s/net-XXXXXX",
             getenv("TEST_TMPDIR") ? getenv("TEST_TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(sys));
    make("card");
    make("card/device");
    say("card/device/numa_node", "1\n");
    make("flat");
    make("flat/device");
    say("flat/device/numa_node", "-1\n"); /* a machine of one node */
    make("virtual");
    make("virtual/device");
    say("virtual/numa_node", "2\n"); /* device/.. is the PCI device */
    make("bond");
    make("bond/lower_card");
    make("vlan");
    make("vlan/lower_bond");
    make("loop");
    make("loop/lower_loop");
    make("lo");
    assert_int_equal(mkv__tcp_interface_node(sys, "card"), 1);
    assert_int_equal(mkv__tcp_interface_node(sys, "flat"), -1);
    assert_int_equal(mkv__tcp_interface_node(sys, "virtual"), 2);
    assert_int_equal(mkv__tcp_interface_node(sys, "bond"), 1);
    assert_int_equal(mkv__tcp_interface_node(sys, "vlan"), 1);
    assert_int_equal(mkv__tcp_interface_node(sys, "loop"), -1);
    assert_int_equal(mkv__tcp_interface_node(sys, "lo"), -1);
    assert_int_equal(mkv__tcp_interface_node(sys, "nothing"), -1);
}

static void addresses_without_a_nic(void **state)
{
    (void)state;
    static const char *const none[] = {
        "127.0.0.1:9900", "[::1]:9900", "localhost:9900", "0.0.0.0:1", "", ":", "10.0.0.1"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(mkv__tcp_numa_node(none[i]), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interfaces),
        cmocka_unit_test(addresses_without_a_nic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
