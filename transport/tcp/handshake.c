#include "transport/tcp/tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* The refused side is told why before the socket closes: at once, since it is small. */
static void refuse(struct mkv__tcp_lane *lane, const uint8_t *body, size_t len)
{
    uint8_t frame[MKV_HEADER_BYTES + MKV_HANDSHAKE_MAX];
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_REFUSE, .body_len = (uint32_t)len};

    mkv__header_encode(&header, frame);
    memcpy(frame + MKV_HEADER_BYTES, body, len);
    (void)send(lane->source.fd, frame, MKV_HEADER_BYTES + len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(lane->source.fd, SHUT_WR);
}

static int answer(struct mkv__tcp_lane *lane, uint8_t type, const uint8_t *body, size_t len)
{
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = type, .body_len = (uint32_t)len};

    return type ? mkv__tcp_put_message(lane, &header, body) : 0;
}

static void done(struct mkv__tcp_lane *lane)
{
    int error = mkv__handshake_seals(lane->handshake, &lane->send_seal, &lane->receive_seal);

    if (error) {
        mkv__tcp_lane_fail(lane, error, "no keys for the session");
        return;
    }
    lane->state = MKV_TCP_READY;
    if (!lane->conn) {
        error = mkv__tcp_join(lane);
        if (error) {
            mkv__tcp_lane_fail(lane, -EPROTO, "lane does not fit its session");
            return;
        }
    }
    mkv__tcp_lane_is_ready(lane);
}

void mkv__tcp_shake(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                    const uint8_t *body)
{
    uint8_t out[MKV_HANDSHAKE_MAX];
    char why[200] = "malformed handshake";
    size_t len = 0;
    uint8_t type = 0;
    int got;

    if (header->type < MKV_TYPE_HELLO || header->type > MKV_TYPE_REFUSE) {
        mkv__tcp_lane_fail(lane, -EPROTO, "message before the handshake");
        return;
    }
    got = mkv__handshake_take(lane->handshake, header->type, body, header->body_len, &type, out,
                              sizeof(out), &len, why);
    if (got < 0) {
        if (type == MKV_TYPE_REFUSE) {
            refuse(lane, out, len);
        }
        mkv__tcp_lane_fail(lane, got, why);
        return;
    }
    if (answer(lane, type, out, (size_t)got) < 0) {
        mkv__tcp_lane_fail(lane, -ENOMEM, "out of memory");
        return;
    }
    if (mkv__handshake_done(lane->handshake)) {
        done(lane);
    } else if (!lane->conn && header->type == MKV_TYPE_HELLO) {
        mkv__tcp_listener_route(lane);
    } else {
        mkv__tcp_flush(lane);
    }
}
