#include "core/errand.h"
#include "transport/tcp/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mkv__tcp_address_split(const char *address, char host[256], char port[8])
{
    const char *colon = strrchr(address, ':');
    size_t len;
    char *end;

    if (!colon || colon[1] == '\0' || strlen(colon + 1) > 5) {
        return -EINVAL;
    }
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, &end, 10) > 65535) {
        return -EINVAL;
    }
    len = (size_t)(colon - address);
    if (len >= 2 && address[0] == '[' && colon[-1] == ']') {
        address++;
        len -= 2;
    } else if (memchr(address, ':', len)) {
        return -EINVAL; /* an IPv6 address needs brackets */
    }
    if (len == 0 || len > 255) {
        return -EINVAL;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

static int look_up(const char *host, const char *port, int flags,
                   struct sockaddr_storage out[MKV_TCP_ADDRESSES])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list = NULL;
    int n = 0;

    if (getaddrinfo(host, port, &hints, &list) != 0) {
        return 0;
    }
    for (const struct addrinfo *a = list; a && n < (int)MKV_TCP_ADDRESSES; a = a->ai_next) {
        if (a->ai_addrlen <= sizeof(out[n])) {
            memset(&out[n], 0, sizeof(out[n]));
            memcpy(&out[n++], a->ai_addr, a->ai_addrlen);
        }
    }
    freeaddrinfo(list);
    return n;
}

int mkv__tcp_address_numeric(const char *host, const char *port,
                             struct sockaddr_storage out[MKV_TCP_ADDRESSES], bool passive)
{
    return look_up(host, port, AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0), out);
}

socklen_t mkv__tcp_address_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

void mkv__tcp_address_text(const struct sockaddr_storage *address, char *out, size_t cap)
{
    char host[INET6_ADDRSTRLEN + 32] = "?";
    char port[8] = "0";

    (void)getnameinfo((const struct sockaddr *)address, mkv__tcp_address_len(address), host,
                      sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, cap, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* getaddrinfo has no form that does not block. The session may be gone when the answer comes. */
struct mkv__tcp_resolver {
    struct mkv__errand errand;
    struct mkv__conn *conn;
    char host[256], port[8];
    struct sockaddr_storage addresses[MKV_TCP_ADDRESSES];
    int n;
};

static struct mkv__tcp_resolver *resolver_of(struct mkv__errand *errand)
{
    return MKV_CONTAINER_OF(errand, struct mkv__tcp_resolver, errand);
}

static void resolver_run(struct mkv__errand *errand)
{
    struct mkv__tcp_resolver *r = resolver_of(errand);

    r->n = look_up(r->host, r->port, AI_NUMERICSERV, r->addresses);
}

static void resolver_done(struct mkv__worker *worker, struct mkv__errand *errand)
{
    struct mkv__tcp_resolver *r = resolver_of(errand);
    struct mkv__conn *conn = r->conn;

    (void)worker;
    conn->resolver = NULL;
    conn->n_addresses = (unsigned)r->n;
    memcpy(conn->addresses, r->addresses, sizeof(conn->addresses));
    free(r);
    mkv__tcp_conn_resolved(conn, conn->n_addresses > 0 ? 0 : -ECONNRESET);
}

static void resolver_dropped(struct mkv__errand *errand)
{
    free(resolver_of(errand));
}

int mkv__tcp_resolve(struct mkv__conn *conn)
{
    struct mkv__tcp_resolver *r = calloc(1, sizeof(*r));
    int error;

    if (!r) {
        return -ENOMEM;
    }
    r->errand.run = resolver_run;
    r->errand.done = resolver_done;
    r->errand.dropped = resolver_dropped;
    r->conn = conn;
    memcpy(r->host, conn->host, sizeof(r->host));
    memcpy(r->port, conn->port, sizeof(r->port));
    error = mkv__errand_start(&r->errand, conn->endpoint->worker, false);
    if (error) {
        free(r);
        return error;
    }
    conn->resolver = r;
    return 0;
}

void mkv__tcp_resolve_forget(struct mkv__conn *conn)
{
    if (conn->resolver) {
        mkv__errand_forget(&conn->resolver->errand);
        conn->resolver = NULL;
    }
}
