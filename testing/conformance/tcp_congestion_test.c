/* Which congestion control sockets get: what the kernel here has. */
#include "transport/tcp/congestion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void of_a_socket(int fd, char out[MKV_TCP_CONGESTION])
{
    socklen_t len = MKV_TCP_CONGESTION;

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, out, &len), 0);
}

static void automatic(void **state)
{
    struct mkv__tcp_congestion c;

    (void)state;
    mkv__tcp_congestion_choose("auto", &c);
    assert_string_not_equal(c.system, "");
    if (strncmp(c.system, "bbr", 3) != 0) {
        assert_string_equal(c.used, c.system);
        assert_string_equal(c.why, "");
    } else if (strcmp(c.used, c.system) != 0) {
        assert_true(strcmp(c.used, "cubic") == 0 || strcmp(c.used, "reno") == 0);
        assert_string_equal(c.why, "");
    } else {
        assert_non_null(strstr(c.why, "may use neither cubic nor reno"));
    }
}

/* reno is built into every kernel, and allowed to all. */
static void by_name(void **state)
{
    struct mkv__tcp_congestion c;
    char used[MKV_TCP_CONGESTION];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    mkv__tcp_congestion_choose("reno", &c);
    assert_string_equal(c.used, "reno");
    assert_string_equal(c.why, "");
    mkv__tcp_congestion_set(fd, "");
    of_a_socket(fd, used);
    assert_string_equal(used, c.system);
    mkv__tcp_congestion_set(fd, "reno");
    of_a_socket(fd, used);
    assert_string_equal(used, "reno");
    close(fd);
}

static void the_system_s(void **state)
{
    struct mkv__tcp_congestion c;

    (void)state;
    mkv__tcp_congestion_choose("system", &c);
    assert_string_equal(c.used, c.system);
    assert_string_equal(c.why, "");
}

static void there_is_none(void **state)
{
    struct mkv__tcp_congestion c;

    (void)state;
    mkv__tcp_congestion_choose("carrier-pigeon", &c);
    assert_string_equal(c.used, c.system);
    assert_non_null(strstr(c.why, "congestion_control: \"carrier-pigeon\": "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(automatic),
        cmocka_unit_test(by_name),
        cmocka_unit_test(the_system_s),
        cmocka_unit_test(there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
