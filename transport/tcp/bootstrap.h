/* What a transport that begins on a tcp session needs of it beside the table. */
#ifndef TRANSPORT_TCP_BOOTSTRAP_H
#define TRANSPORT_TCP_BOOTSTRAP_H

#include "transport/transport.h"

#include <sys/socket.h>

/* The address of our end of the control lane. Errors: -ECONNRESET, and getsockname's. */
int mkv__tcp_local_address(const struct mkv__conn *conn, struct sockaddr_storage *out);

#endif
