/* Pings: who is silent is given up, who answers is not. */
#include "core/auth/auth.h"
#include "testing/conformance/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

static const struct mkv__subject subject = {.transport = &mkv__tcp, .any_address = "127.0.0.1:0"};
static const struct mkv__auth_key key = {.id = 1, .key = {1, 2, 3}};

/* The peer's host is gone: nothing comes, nothing is refused. */
static void silent_peer(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, &subject, &key, &key);
    rig_connect(&rig);
    rig.server_stalls = true; /* pings once a second, gives up after three */
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -ETIMEDOUT);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_fini(&rig);
}

static void every_10_ms(struct mkv__endpoint_options *options, bool server)
{
    (void)server;
    options->idle_ping_ns = 10000000;
}

/* Each ping goes out late, but is answered at once: the peer is not silent. */
static void late_pings(void **state)
{
    struct mkv__subject often = subject;
    struct rig rig;

    (void)state;
    often.tune = every_10_ms;
    rig_init(&rig, &often, &key, &key);
    rig_connect(&rig);
    for (int i = 0; i < 10; i++) {
        usleep(15000);
        rig_turns(&rig, 20);
    }
    assert_int_equal(rig.client.closed + rig.server.closed, 0);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(silent_peer), cmocka_unit_test(late_pings)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
