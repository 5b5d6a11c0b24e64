/* What a transport that begins on a tcp session needs of it beside the table. */
#ifndef TRANSPORT_TCP_BOOTSTRAP_H
#define TRANSPORT_TCP_BOOTSTRAP_H

#include "transport/transport.h"

#include <sys/socket.h>

/* The address of our end of the control lane. Errors: -ECONNRESET, and getsockname's. */
int mkv__tcp_local_address(const struct mkv__conn *conn, struct sockaddr_storage *out);

/* What HELLO of this endpoint's sessions says beside: extra, borrowed while the endpoint is open. */
void mkv__tcp_introduce(struct mkv__endpoint *endpoint, const uint8_t *extra, size_t len);
/* Who of the listener's endpoints takes a session, by its HELLO, which nobody has proved yet; the same
 * for all lanes of a session. Called on the first endpoint's worker. */
void mkv__tcp_listener_choose(struct mkv__listener *listener,
                              size_t (*choose)(void *arg, const struct mkv__hello *peer),
                              void *arg);

#endif
