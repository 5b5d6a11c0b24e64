/* What a stranger, or a peer gone mad, may write to a tcp socket: it loses its own session only. */
#include "core/auth/auth.h"
#include "testing/conformance/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LANES 3
#define ID    ((uint64_t)2 | (uint64_t)1 << 32)

static const struct mkv__subject subject = {.transport = &mkv__tcp, .any_address = "127.0.0.1:0"};
static const struct mkv__auth_key key = {.id = 1, .key = {1, 2, 3}};

struct raw {
    int fd;
    struct mkv__handshake *handshake;
    struct mkv__seal *send, *receive;
};

static struct sockaddr_in address_of(const struct rig *rig)
{
    const char *text = rig->t->listener_address(rig->listener);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    to.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    return to;
}

static int raw_connect(const struct rig *rig)
{
    struct sockaddr_in to = address_of(rig);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t len)
{
    (void)!send(fd, bytes, len, MSG_NOSIGNAL);
}

/* In one send: two would meet Nagle and wait for an acknowledgement. */
static void put_both(int fd, const void *header, const void *body, size_t len)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)header, MKV_HEADER_BYTES},
                           {(void *)(uintptr_t)body, len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* The other side closes it, within some seconds. */
static void is_closed(struct rig *rig, int fd)
{
    uint8_t bytes[4096];

    for (int i = 0; i < 40000; i++) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            close(fd);
            return;
        }
        rig_turns(rig, 1);
    }
    fail_msg("the connection was not closed");
}

static void echo_back(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(end_send(end, 68, m->request_id, false, m->body, m->body_len), 0);
}

static void still_works(struct rig *rig)
{
    int before = rig->client.messages;

    assert_int_equal(rig->client.closed, 0);
    rig->server.on_message = echo_back;
    assert_int_equal(end_send(&rig->client, 36, ID, false, "still", 5), 0);
    assert_true(rig_until(rig, &rig->client.messages, before + 1));
}

static void header_bytes(uint8_t out[MKV_HEADER_BYTES], uint8_t type, uint32_t len)
{
    struct mkv__header h = {.version = MKV_WIRE_VERSION, .type = type, .body_len = len};

    mkv__header_encode(&h, out);
}

static void strangers(void **state)
{
    uint8_t bytes[4096];
    uint32_t x = 12345;
    struct rig rig;

    (void)state;
    rig_init(&rig, &subject, &key, &key);
    rig_connect(&rig);
    for (int round = 0; round < 8; round++) {
        int fd = raw_connect(&rig);
        size_t len = sizeof(bytes);

        for (size_t i = 0; i < sizeof(bytes); i++) {
            x = x * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(x >> 24);
        }
        switch (round) {
        case 1: /* the header of a HELLO, a body of noise */
            header_bytes(bytes, MKV_TYPE_HELLO, 200);
            break;
        case 2: /* too long for a handshake */
            header_bytes(bytes, MKV_TYPE_HELLO, MKV_HANDSHAKE_MAX + 1);
            break;
        case 3:
            header_bytes(bytes, MKV_TYPE_HELLO, UINT32_MAX);
            break;
        case 4: /* a request of somebody who has not shaken hands */
            header_bytes(bytes, MKV_TYPE_GET, 10);
            break;
        case 5:
            header_bytes(bytes, MKV_TYPE_DATA, 10);
            break;
        case 6: /* another version */
            header_bytes(bytes, MKV_TYPE_HELLO, 10);
            bytes[4] = 77;
            break;
        case 7: /* empty */
            header_bytes(bytes, MKV_TYPE_HELLO, 0);
            len = MKV_HEADER_BYTES;
            break;
        default:
            break;
        }
        put(fd, bytes, len);
        is_closed(&rig, fd);
        still_works(&rig);
    }
    rig_fini(&rig);
}

/* Half a HELLO, then nothing: the time for connecting ends it. */
static void silence(void **state)
{
    struct rig rig;
    uint8_t bytes[MKV_HEADER_BYTES];
    int fd;

    (void)state;
    rig_init(&rig, &subject, &key, &key);
    rig_connect(&rig);
    fd = raw_connect(&rig);
    header_bytes(bytes, MKV_TYPE_HELLO, 100);
    put(fd, bytes, 40);
    is_closed(&rig, fd);
    still_works(&rig);
    rig_fini(&rig);
}

/* A client made by hand ------------------------------------------------------------------------- */

static void put_frame(struct raw *raw, uint8_t type, const uint8_t *body, size_t len)
{
    uint8_t header[MKV_HEADER_BYTES];

    header_bytes(header, type, (uint32_t)len);
    put_both(raw->fd, header, body, len);
}

static void get_bytes(struct rig *rig, struct raw *raw, uint8_t *out, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = recv(raw->fd, out + have, len - have, 0);

        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        have += n > 0 ? (size_t)n : 0;
        rig_turns(rig, 1);
    }
}

static void raw_open(struct rig *rig, struct raw raw[LANES])
{
    uint8_t in[MKV_HANDSHAKE_MAX], out[MKV_HANDSHAKE_MAX], bytes[MKV_HEADER_BYTES];
    int before = rig->sessions;

    for (uint8_t i = 0; i < LANES; i++) {
        struct mkv__hello ours = {
            .version_low = 1, .version_high = 1, .session = 42, .lane = i, .n_lanes = LANES};
        struct mkv__header header;
        size_t unused = 0;
        char why[200];
        uint8_t type;
        int n;

        memset(&raw[i], 0, sizeof(raw[i]));
        raw[i].fd = raw_connect(rig);
        assert_int_equal(mkv__handshake_create(false, &ours, &key, 1, &raw[i].handshake), 0);
        n = mkv__handshake_start(raw[i].handshake, &type, out, sizeof(out));
        assert_true(n > 0);
        put_frame(&raw[i], type, out, (size_t)n);
        get_bytes(rig, &raw[i], bytes, sizeof(bytes));
        assert_int_equal(mkv__header_decode(bytes, &header), 0);
        get_bytes(rig, &raw[i], in, header.body_len);
        n = mkv__handshake_take(raw[i].handshake, header.type, in, header.body_len, &type, out,
                                sizeof(out), &unused, why);
        assert_true(n >= 0);
        put_frame(&raw[i], type, out, (size_t)n);
        assert_int_equal(mkv__handshake_seals(raw[i].handshake, &raw[i].send, &raw[i].receive), 0);
    }
    assert_true(rig_until(rig, &rig->sessions, before + 1));
    rig->server.closed = 0;
}

static void raw_close(struct raw raw[LANES])
{
    for (int i = 0; i < LANES; i++) {
        mkv__handshake_destroy(&raw[i].handshake);
        mkv__seal_destroy(&raw[i].send);
        mkv__seal_destroy(&raw[i].receive);
        close(raw[i].fd);
    }
}

static void put_sealed(struct raw *raw, struct mkv__header header, const void *body, size_t len)
{
    uint8_t bytes[MKV_HEADER_BYTES];

    header.version = MKV_WIRE_VERSION;
    mkv__header_encode(&header, bytes);
    assert_int_equal(
        mkv__seal_apply(raw->send, bytes, body, header.type == MKV_TYPE_DATA ? 0 : len), 0);
    put_both(raw->fd, bytes, body, len);
}

static void bad_mac(struct raw *raw)
{
    uint8_t bytes[MKV_HEADER_BYTES];

    header_bytes(bytes, MKV_TYPE_STAT, 0);
    (void)mkv__seal_apply(raw[0].send, bytes, NULL, 0);
    bytes[60] ^= 1;
    put(raw[0].fd, bytes, sizeof(bytes));
}

static void changed_body(struct raw *raw)
{
    struct mkv__header header = {.version = MKV_WIRE_VERSION, .type = MKV_TYPE_STAT, .body_len = 4};
    uint8_t bytes[MKV_HEADER_BYTES];

    mkv__header_encode(&header, bytes);
    (void)mkv__seal_apply(raw[0].send, bytes, "good", 4);
    put(raw[0].fd, bytes, sizeof(bytes));
    put(raw[0].fd, "evil", 4);
}

static void replay(struct raw *raw)
{
    uint8_t bytes[MKV_HEADER_BYTES];

    header_bytes(bytes, MKV_TYPE_STAT, 0);
    (void)mkv__seal_apply(raw[0].send, bytes, NULL, 0);
    put(raw[0].fd, bytes, sizeof(bytes));
    put(raw[0].fd, bytes, sizeof(bytes));
}

static void unknown_type(struct raw *raw)
{
    put_sealed(&raw[0], (struct mkv__header){.type = 20}, NULL, 0);
}

static void second_hello(struct raw *raw)
{
    put_sealed(&raw[0], (struct mkv__header){.type = MKV_TYPE_HELLO}, NULL, 0);
}

static void impossible_slot(struct raw *raw)
{
    put_sealed(&raw[0], (struct mkv__header){.type = MKV_TYPE_STAT, .request_id = 256}, NULL, 0);
}

static void too_long(struct raw *raw)
{
    put_sealed(&raw[0],
               (struct mkv__header){.type = MKV_TYPE_STAT, .body_len = MKV_MESSAGE_MAX + 1}, "", 0);
}

static void data_on_control(struct raw *raw)
{
    put_sealed(&raw[0], (struct mkv__header){.type = MKV_TYPE_DATA, .body_len = 4}, "data", 4);
}

static void data_too_long(struct raw *raw)
{
    put_sealed(&raw[1], (struct mkv__header){.type = MKV_TYPE_DATA, .body_len = MKV_DATA_MAX + 1},
               "data", 4);
}

static void pull_of_a_client(struct raw *raw)
{
    uint64_t range[2] = {0, htole64(1ull << 63)};

    put_sealed(&raw[0], (struct mkv__header){.type = MKV_TYPE_PULL, .body_len = 16}, range, 16);
}

static void control_on_bulk(struct raw *raw)
{
    put_sealed(&raw[1], (struct mkv__header){.type = MKV_TYPE_CANCEL}, NULL, 0);
}

static void half_a_frame(struct raw *raw)
{
    uint8_t bytes[MKV_HEADER_BYTES];

    header_bytes(bytes, MKV_TYPE_STAT, 1000);
    put(raw[0].fd, bytes, sizeof(bytes));
    shutdown(raw[0].fd, SHUT_WR);
}

/* Right bytes of a right request, sent before the server has pulled them. */
static void data_unasked(struct raw *raw)
{
    put_sealed(&raw[1],
               (struct mkv__header){.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 4}, "data",
               4);
    /* Acknowledged, hence in the server's socket, before the server's next turn can pull. */
    for (int waiting = 1; waiting > 0;) {
        assert_int_equal(ioctl(raw[1].fd, SIOCOUTQ, &waiting), 0);
    }
}

/* While the server reads 1000 bytes of request ID, which travels on lane 1. */
static void data_far_away(struct raw *raw)
{
    put_sealed(&raw[1],
               (struct mkv__header){
                   .type = MKV_TYPE_DATA, .request_id = ID, .body_len = 4, .aux = 1ull << 63},
               "data", 4);
}

static void data_over_the_end(struct raw *raw)
{
    static const uint8_t bytes[1001];

    put_sealed(&raw[1],
               (struct mkv__header){.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 1001},
               bytes, sizeof(bytes));
}

static void data_out_of_order(struct raw *raw)
{
    put_sealed(
        &raw[1],
        (struct mkv__header){.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 4, .aux = 8},
        "data", 4);
}

static void data_on_another_lane(struct raw *raw)
{
    put_sealed(&raw[2],
               (struct mkv__header){.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 4}, "data",
               4);
}

static void mad_clients(void **state)
{
    void (*const cases[])(struct raw *) = {bad_mac,
                                           changed_body,
                                           replay,
                                           unknown_type,
                                           second_hello,
                                           too_long,
                                           impossible_slot,
                                           data_on_control,
                                           data_too_long,
                                           pull_of_a_client,
                                           half_a_frame,
                                           control_on_bulk,
                                           data_far_away,
                                           data_over_the_end,
                                           data_out_of_order,
                                           data_on_another_lane,
                                           data_unasked};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw raw[LANES];
        struct rig rig;

        rig_init(&rig, &subject, &key, &key);
        raw_open(&rig, raw);
        memory_init(&rig.theirs, &rig.server, 3, 1000, false);
        assert_int_equal(memory_bulk(&rig.theirs, ID, false), 0);
        if (cases[i] != data_unasked) {
            rig_turns(&rig, 5);
        }
        cases[i](raw);
        if (!rig_until(&rig, &rig.server.closed, 1)) {
            fail_msg("case %zu: the session goes on", i);
        }
        assert_int_equal(rig.server.error, cases[i] == half_a_frame ? -ECONNRESET : -EPROTO);
        assert_int_equal(rig.theirs.status, -ECONNRESET);
        assert_true(memory_canaries(&rig.theirs));
        rig.theirs.bulk.request_id = 0;
        raw_close(raw);
        rig_connect(&rig);
        still_works(&rig);
        rig_fini(&rig);
    }
}

/* What is unknown because it came too late is no offence. */
static void late_data(void **state)
{
    struct raw raw[LANES];
    struct rig rig;

    (void)state;
    rig_init(&rig, &subject, &key, &key);
    raw_open(&rig, raw);
    put_sealed(&raw[1],
               (struct mkv__header){.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 4}, "data",
               4);
    put_sealed(&raw[0], (struct mkv__header){.type = MKV_TYPE_STAT, .body_len = 2}, "ok", 2);
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    assert_int_equal(rig.server.closed, 0);
    raw_close(raw);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_fini(&rig);
}

/* A server made by hand --------------------------------------------------------------------------- */

static const struct mkv__conn_handlers nothing = {0};

struct victim {
    int closed, error;
    struct mkv__conn *conn;
};

static void victim_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct victim *v = arg;

    (void)conn;
    (void)why;
    v->closed++;
    v->error = error;
}

static void serve_lane(struct rig *rig, int listener, struct raw raw[LANES])
{
    struct mkv__hello ours = {.version_low = 1, .version_high = 1};
    uint8_t in[MKV_HANDSHAKE_MAX], out[MKV_HANDSHAKE_MAX], bytes[MKV_HEADER_BYTES];
    struct raw lane = {.fd = -1};
    uint8_t type = 0;
    char why[200];
    size_t unused;

    assert_int_equal(mkv__handshake_create(true, &ours, &key, 1, &lane.handshake), 0);
    for (int i = 0; i < 10000 && lane.fd < 0; i++) {
        rig_turns(rig, 1);
        lane.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    assert_true(lane.fd >= 0);
    while (!mkv__handshake_done(lane.handshake)) {
        struct mkv__header header;
        int n;

        get_bytes(rig, &lane, bytes, sizeof(bytes));
        assert_int_equal(mkv__header_decode(bytes, &header), 0);
        get_bytes(rig, &lane, in, header.body_len);
        n = mkv__handshake_take(lane.handshake, header.type, in, header.body_len, &type, out,
                                sizeof(out), &unused, why);
        assert_true(n >= 0);
        if (type) {
            put_frame(&lane, type, out, (size_t)n);
        }
    }
    assert_int_equal(mkv__handshake_seals(lane.handshake, &lane.send, &lane.receive), 0);
    raw[mkv__handshake_peer(lane.handshake)->lane] = lane;
}

struct manual { /* a real client, and a server of ours */
    struct rig rig;
    struct victim victim;
    struct mkv__conn_handlers handlers;
    struct raw raw[LANES];
};

static void manual_open(struct manual *m)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t here_len = sizeof(here);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char address[40];

    memset(m, 0, sizeof(*m));
    m->handlers.closed = victim_closed;
    rig_init(&m->rig, &subject, &key, &key);
    assert_int_equal(bind(listener, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &here_len), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(here.sin_port));
    assert_int_equal(m->rig.t->connect(m->rig.client_endpoint, address, &m->handlers, &m->victim,
                                       &m->victim.conn),
                     0);
    for (int i = 0; i < LANES; i++) {
        serve_lane(&m->rig, listener, m->raw);
    }
    close(listener);
}

static void manual_expose(struct manual *m, uint64_t len, bool writable)
{
    memory_init(&m->rig.mine, &m->rig.client, 3, len, false);
    m->rig.client.conn = m->victim.conn;
    assert_int_equal(memory_expose(&m->rig.mine, ID, writable), 0);
    m->rig.client.conn = NULL;
}

static void mad_server(struct mkv__header header, const void *body, size_t len, unsigned lane,
                       bool exposed_for_writing, int expected)
{
    struct manual m;

    manual_open(&m);
    manual_expose(&m, 1000, exposed_for_writing);
    put_sealed(&m.raw[lane], header, body, len);
    if (expected) {
        assert_true(rig_until(&m.rig, &m.victim.closed, 1));
        assert_int_equal(m.victim.error, expected);
        assert_int_equal(m.rig.mine.concealed, 1);
    } else {
        rig_turns(&m.rig, 50);
        assert_int_equal(m.victim.closed, 0);
        m.rig.t->close(m.victim.conn);
    }
    assert_true(memory_canaries(&m.rig.mine));
    raw_close(m.raw);
    rig_fini(&m.rig);
}

/* A server pulls and does not read; what is concealed meanwhile must not travel any more. */
static void concealed_behind_a_full_socket(void **state)
{
    static uint8_t stream[1u << 20];
    uint64_t range[2] = {0, htole64(16u << 20)};
    struct mkv__header pull = {.type = MKV_TYPE_PULL, .request_id = ID, .body_len = 16};
    struct manual m;
    uint64_t total = 0;
    unsigned run = 0;
    ssize_t n;

    (void)state;
    manual_open(&m);
    manual_expose(&m, 16u << 20, false);
    memory_fill(&m.rig.mine, 3);
    put_sealed(&m.raw[0], pull, range, 16);
    rig_turns(&m.rig, 50);
    m.rig.t->conceal(m.victim.conn, &m.rig.mine.exposure, false);
    memset(m.rig.mine.base, 0xee, m.rig.mine.size);
    for (int quiet = 0; quiet < 50;) {
        rig_turns(&m.rig, 1);
        n = recv(m.raw[1].fd, stream, sizeof(stream), 0);
        quiet = n > 0 ? 0 : quiet + 1;
        for (ssize_t i = 0; i < n; i++) {
            run = stream[i] == 0xee ? run + 1 : 0;
            assert_true(run < 64);
        }
        total += n > 0 ? (uint64_t)n : 0;
    }
    assert_true(total > 0 && total < 16u << 20); /* it did begin, it did stop */
    assert_int_equal(m.victim.closed, 0);
    m.rig.t->close(m.victim.conn);
    raw_close(m.raw);
    rig_fini(&m.rig);
}

static void mad_servers(void **state)
{
    static const uint8_t bytes[1001];
    uint64_t far[2] = {htole64(1ull << 63), htole64(8)};
    uint64_t huge[2] = {htole64(8), htole64(UINT64_MAX)};
    uint64_t empty[2] = {0, 0};
    uint64_t good[2] = {0, htole64(1000)};
    struct mkv__header data = {.type = MKV_TYPE_DATA, .request_id = ID, .body_len = 1001};
    struct mkv__header pull = {.type = MKV_TYPE_PULL, .request_id = ID, .body_len = 16};

    (void)state;
    mad_server(data, bytes, 1001, 1, true, -EPROTO); /* longer than the exposure */
    data.body_len = 8;
    mad_server(data, bytes, 8, 1, true, 0);        /* the control of this test */
    mad_server(data, bytes, 8, 2, true, -EPROTO);  /* another lane */
    mad_server(data, bytes, 8, 1, false, -EPROTO); /* exposed for reading */
    data.aux = 1ull << 63;
    mad_server(data, bytes, 8, 1, true, -EPROTO);
    data.aux = UINT64_MAX;
    mad_server(data, bytes, 8, 1, true, -EPROTO);
    data.request_id = ID + 1; /* unknown: discarded */
    mad_server(data, bytes, 8, 1, true, 0);
    mad_server(pull, good, 16, 0, false, 0);
    mad_server(pull, good, 16, 0, true, -EPROTO); /* exposed for writing */
    mad_server(pull, far, 16, 0, false, -EPROTO);
    mad_server(pull, huge, 16, 0, false, -EPROTO);
    mad_server(pull, empty, 16, 0, false, -EPROTO);
    pull.body_len = 15;
    mad_server(pull, good, 15, 0, false, -EPROTO);
}

/* Names, IPv6, silence ------------------------------------------------------------------------- */

static void by_name(void **state)
{
    const char *port;
    char address[40];
    struct mkv__conn_handlers handlers = nothing;
    struct victim victim = {0};
    struct rig rig;

    (void)state;
    handlers.closed = victim_closed;
    rig_init(&rig, &subject, &key, &key);
    port = strrchr(rig.t->listener_address(rig.listener), ':');
    snprintf(address, sizeof(address), "localhost%s", port);
    assert_int_equal(rig.t->connect(rig.client_endpoint, address, &handlers, &victim, &victim.conn),
                     0);
    assert_true(rig_until(&rig, &rig.sessions, 1));
    rig.t->close(victim.conn);
    assert_int_equal(victim.closed, 1);
    /* Closed while the name is being looked up, and a name that does not exist. */
    assert_int_equal(rig.t->connect(rig.client_endpoint, address, &handlers, &victim, &victim.conn),
                     0);
    rig_turns(&rig, 1);
    rig.t->close(victim.conn);
    assert_int_equal(rig.t->connect(rig.client_endpoint, "no-such-name.invalid:1", &handlers,
                                    &victim, &victim.conn),
                     0);
    assert_true(rig_until(&rig, &victim.closed, 3));
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.t->connect(rig.client_endpoint, "::1:9", &handlers, &victim, &victim.conn),
                     -EINVAL);
    assert_int_equal(
        rig.t->connect(rig.client_endpoint, "host:70000", &handlers, &victim, &victim.conn),
        -EINVAL);
    rig_fini(&rig);
}

static void over_ipv6(void **state)
{
    static const struct mkv__subject six = {.transport = &mkv__tcp, .any_address = "[::1]:0"};
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rig rig;

    (void)state;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0) {
        close(fd);
        print_message("skipped: this host has no IPv6 loopback address\n");
        skip();
    }
    close(fd);
    rig_init(&rig, &six, &key, &key);
    rig_connect(&rig);
    still_works(&rig);
    rig_fini(&rig);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers),   cmocka_unit_test(silence),
        cmocka_unit_test(mad_clients), cmocka_unit_test(late_data),
        cmocka_unit_test(mad_servers), cmocka_unit_test(concealed_behind_a_full_socket),
        cmocka_unit_test(by_name),     cmocka_unit_test(over_ipv6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
