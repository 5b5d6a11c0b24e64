#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mkv__auth_key key_b = {.id = 1, .key = {9, 2, 3}};
static const struct mkv__auth_key key_other = {.id = 7, .key = {1, 2, 3}};

/* Connecting -------------------------------------------------------------------------------- */

void opens_and_closes(void **state)
{
    struct rig rig;

    (void)state;
    case_open(&rig);
    assert_non_null(strchr(rig.t->peer_name(rig.client.conn), ':'));
    assert_int_equal(rig.t->numa_node("127.0.0.1:1"), -1); /* no NIC */
    assert_int_equal(rig.t->numa_node("no address"), -1);
    rig.t->close(rig.client.conn);
    assert_int_equal(rig.client.closed, 1);
    assert_int_equal(rig.client.error, -ECANCELED);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.server.error, -ECONNRESET);
    rig_fini(&rig);
}

void works_without_keys(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, case_subject, NULL, NULL);
    rig_connect(&rig);
    case_still_works(&rig);
    rig_fini(&rig);
}

void nobody_listens(void **state)
{
    struct rig rig;
    char address[80];

    (void)state;
    rig_init(&rig, case_subject, NULL, NULL);
    rig_connect(&rig);
    snprintf(address, sizeof(address), "%s", rig.t->listener_address(rig.listener));
    rig.t->close(rig.client.conn);
    rig.t->listener_close(&rig.listener);
    assert_null(rig.listener);
    rig.client.closed = 0;
    rig.client.opened = 0;
    {
        struct mkv__listen_handlers none = {0};

        assert_int_equal(
            rig.t->listen(rig.server_endpoint, 2, case_subject->any_address, &none, &rig.listener),
            0);
        snprintf(address, sizeof(address), "%s", rig.t->listener_address(rig.listener));
    }
    rig_dial(&rig);
    rig.t->listener_close(&rig.listener);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.opened, 0);
    assert_int_equal(rig.client.error, -ECONNRESET);
    rig_fini(&rig);
}

static void refused(const struct mkv__auth_key *client, const struct mkv__auth_key *server)
{
    struct rig rig;

    rig_init(&rig, case_subject, client, server);
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -EACCES);
    assert_int_equal(rig.client.opened, 0);
    rig_turns(&rig, 50);
    assert_int_equal(rig.sessions, 0);
    rig_fini(&rig);
}

void wrong_keys(void **state)
{
    (void)state;
    refused(&key_b, &case_key);
    refused(&key_other, &case_key);
    refused(NULL, &case_key);
    refused(&case_key, NULL);
}

/* In a block of its own, so that a sanitizer sees who looks at it when it is gone. */
static struct mkv__auth_key *key_copy(const struct mkv__auth_key *of)
{
    struct mkv__auth_key *key = malloc(sizeof(*key));

    assert_non_null(key);
    *key = *of;
    return key;
}

static void change_key(struct rig *rig, struct mkv__auth_key **held, const struct mkv__auth_key *to)
{
    struct mkv__auth_key *key = key_copy(to);

    for (int i = 0; i < 2; i++) {
        rig->t->use_keys(rig->server_endpoint[i], key, 1);
    }
    free(*held);
    *held = key;
}

static bool dials(struct rig *rig)
{
    rig->client.opened = 0;
    rig_dial(rig);
    for (int i = 0; i < 100000 && !rig->client.opened && !rig->client.closed; i++) {
        rig_turns(rig, 1);
    }
    return rig->client.opened;
}

/* The server's key changes `turns` turns after a client that has the old one has begun. */
static bool changes_after(int turns, int *sessions)
{
    struct mkv__auth_key *held = key_copy(&case_key);
    struct mkv__auth_key mine = case_key;
    struct rig rig;
    bool open;

    rig_init(&rig, case_subject, &mine, held);
    rig_dial(&rig);
    rig_turns(&rig, turns);
    change_key(&rig, &held, &key_b);
    for (int i = 0; i < 100000 && !rig.client.opened && !rig.client.closed; i++) {
        rig_turns(&rig, 1);
    }
    open = rig.client.opened;
    assert_true(open || rig.client.error == -EACCES || rig.client.error == -ECONNRESET);
    if (open) {
        assert_true(rig_until(&rig, &rig.sessions, 1));
        case_still_works(&rig);
        rig.t->close(rig.client.conn);
        assert_true(rig_until(&rig, &rig.server.closed, 1));
    }
    *sessions += rig.sessions;
    assert_false(dials(&rig));
    assert_int_equal(rig.client.error, -EACCES);
    rig.t->use_keys(rig.client_endpoint, &key_b, 1);
    assert_true(dials(&rig));
    case_still_works(&rig);
    change_key(&rig, &held, &key_other);
    case_still_works(&rig); /* what is open goes on */
    rig_fini(&rig);
    free(held);
    return open;
}

void keys_change_at_every_turn(void **state)
{
    int sessions = 0, opened = 0;

    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        opened += changes_after(turns, &sessions);
    }
    assert_in_range(opened, 1, 39);
    assert_int_equal(opened, sessions);
}

void listens_on_any_port(void **state)
{
    struct rig rig;
    struct mkv__listener *second = NULL, *third = NULL;
    struct mkv__listen_handlers none = {0};
    const char *port;

    (void)state;
    rig_init(&rig, case_subject, NULL, NULL);
    port = strrchr(rig.t->listener_address(rig.listener), ':');
    assert_non_null(port);
    assert_int_not_equal(atoi(port + 1), 0);
    assert_int_equal(
        rig.t->listen(rig.server_endpoint, 2, case_subject->any_address, &none, &second), 0);
    assert_string_not_equal(rig.t->listener_address(rig.listener), rig.t->listener_address(second));
    assert_int_equal(
        rig.t->listen(rig.server_endpoint, 2, rig.t->listener_address(second), &none, &third),
        -EADDRINUSE);
    assert_null(third);
    rig.t->listener_close(&second);
    assert_int_equal(rig.t->listen(rig.server_endpoint, 2, "nonsense", &none, &third), -EINVAL);
    rig_fini(&rig);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

void thousand_cycles(void **state)
{
    struct rig rig;
    int before;

    (void)state;
    case_open(&rig);
    rig.t->close(rig.client.conn);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_turns(&rig, 20);
    before = open_descriptors();
    for (int i = 0; i < 1000; i++) {
        rig_connect(&rig);
        rig.t->close(i % 2 ? rig.client.conn : rig.server.conn);
        assert_true(rig_until(&rig, &rig.server.closed, 1));
        assert_true(rig_until(&rig, &rig.client.closed, 1));
    }
    rig_turns(&rig, 20);
    assert_int_equal(open_descriptors(), before);
    assert_true(rig.on_worker[0] > 100 && rig.on_worker[1] > 100);
    rig_fini(&rig);
}

/* Messages ------------------------------------------------------------------------------------ */

void echoes(void **state)
{
    struct rig rig;
    uint32_t sizes[] = {0, 1, 8, 1000, 65536, 0};
    uint8_t *body;

    (void)state;
    case_open(&rig);
    sizes[5] = rig.t->limits.max_message;
    body = malloc(rig.t->limits.max_message + 1);
    memset(body, 0x5a, rig.t->limits.max_message + 1);
    rig.server.on_message = case_echo;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(end_send(&rig.client, 36, ID(i, 1), false, body, sizes[i]), 0);
        assert_true(rig_until(&rig, &rig.client.messages, i + 1));
        assert_int_equal(rig.client.body_len, sizes[i]);
    }
    assert_int_equal(
        end_send(&rig.client, 36, ID(1, 1), false, body, rig.t->limits.max_message + 1), -EMSGSIZE);
    assert_int_equal(end_send(&rig.client, 36, ID(rig.t->limits.max_requests, 1), false, body, 1),
                     -EINVAL);
    free(body);
    rig_fini(&rig);
}

void full_then_writable(void **state)
{
    struct rig rig;
    static uint8_t body[100000];
    uint64_t sum = 0;
    int sent = 0;
    int error;

    (void)state;
    case_open(&rig);
    rig.server_stalls = true;
    for (;;) {
        uint64_t n = (uint64_t)sent;

        memcpy(body, &n, sizeof(n));
        error = end_send(&rig.client, 36, ID(sent % 256, 1), false, body, sizeof(body));
        if (error) {
            break;
        }
        sum = sum * 31 + n;
        sent++;
        rig_turns(&rig, 1);
        assert_true(sent < 10000);
    }
    assert_int_equal(error, -EAGAIN);
    assert_int_equal(rig.client.writable, 0);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.client.writable, 1));
    assert_true(rig_until(&rig, &rig.server.messages, sent));
    assert_true(rig.server.sum == sum); /* in order */
    rig_fini(&rig);
}

/* The other way round. */
void full_then_writable_at_the_server(void **state)
{
    struct rig rig;
    static uint8_t body[100000];
    uint64_t sum = 0;
    int sent = 0;

    (void)state;
    case_open(&rig);
    rig.client_stalls = true;
    for (;; sent++) {
        uint64_t n = (uint64_t)sent;

        memcpy(body, &n, sizeof(n));
        if (end_send(&rig.server, 68, ID(sent % 256, 1), false, body, sizeof(body)) != 0) {
            break;
        }
        sum = sum * 31 + n;
        rig_turns(&rig, 1);
        assert_true(sent < 10000);
    }
    assert_int_equal(end_send(&rig.server, 68, ID(0, 1), false, body, sizeof(body)), -EAGAIN);
    assert_true(rig.t->unsent(rig.server.conn) > 0);
    assert_int_equal(rig.server.writable, 0);
    rig.client_stalls = false;
    assert_true(rig_until(&rig, &rig.server.writable, 1));
    assert_true(rig_until(&rig, &rig.client.messages, sent));
    assert_true(rig.client.sum == sum);
    for (int i = 0; i < 10000 && rig.t->unsent(rig.server.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.server.conn) == 0);
    case_still_works(&rig);
    rig_fini(&rig);
}

/* What has been sent and has not arrived is told. */
void unsent_is_told(void **state)
{
    struct rig rig;

    (void)state;
    case_open(&rig);
    for (int i = 0; i < 10000 && rig.t->unsent(rig.client.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.client.conn) == 0);
    assert_int_equal(end_send(&rig.client, 36, ID(1, 1), false, "", 0), 0);
    assert_true(rig.t->unsent(rig.client.conn) > 0);
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    for (int i = 0; i < 10000 && rig.t->unsent(rig.client.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.client.conn) == 0);
    rig_fini(&rig);
}

/* Nobody answers the greeting. */
void slow_handshake(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, case_subject, &case_key, &case_key);
    rig.server_stalls = true;
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -ETIMEDOUT);
    assert_int_equal(rig.client.opened, 0);
    rig.server_stalls = false;
    rig_turns(&rig, 50);
    assert_null(rig.server.conn);
    rig_connect(&rig);
    case_still_works(&rig);
    rig_fini(&rig);
}
