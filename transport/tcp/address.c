#include "transport/tcp/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
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

/*
 * getaddrinfo has no form that does not block, so a name is looked up on a thread that lives for
 * this one question. The session may be gone when the answer comes; whoever is last frees.
 */
struct mkv__tcp_resolver {
    struct mkv__task task;
    pthread_mutex_t lock;
    struct mkv__worker *worker;
    struct mkv__conn *conn; /* owner worker's; NULL: nobody waits */
    bool forgotten, posted; /* under lock */
    char host[256], port[8];
    struct sockaddr_storage addresses[MKV_TCP_ADDRESSES];
    int n;
};

static void resolver_free(struct mkv__tcp_resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void resolved(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv__tcp_resolver *r = MKV_CONTAINER_OF(task, struct mkv__tcp_resolver, task);
    struct mkv__conn *conn = r->conn;

    (void)worker;
    /* The thread may still be inside its unlock. */
    pthread_mutex_lock(&r->lock);
    pthread_mutex_unlock(&r->lock);
    if (conn) {
        conn->resolver = NULL;
        conn->n_addresses = (unsigned)r->n;
        memcpy(conn->addresses, r->addresses, sizeof(conn->addresses));
    }
    resolver_free(r);
    if (conn) {
        mkv__tcp_conn_resolved(conn, conn->n_addresses > 0 ? 0 : -ECONNRESET);
    }
}

static void *resolver_main(void *arg)
{
    struct mkv__tcp_resolver *r = arg;
    bool forgotten;

    r->n = look_up(r->host, r->port, AI_NUMERICSERV, r->addresses);
    pthread_mutex_lock(&r->lock);
    forgotten = r->forgotten;
    if (!forgotten) {
        r->posted = true;
        mkv__worker_post(r->worker, &r->task);
    }
    pthread_mutex_unlock(&r->lock);
    if (forgotten) {
        resolver_free(r);
    }
    return NULL;
}

static int start_thread(struct mkv__tcp_resolver *r)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int error;

    if (pthread_attr_init(&attr) != 0) {
        return -ENOMEM;
    }
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&thread, &attr, resolver_main, r);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return error ? -ENOMEM : 0;
}

int mkv__tcp_resolve(struct mkv__conn *conn)
{
    struct mkv__tcp_resolver *r = calloc(1, sizeof(*r));
    int error;

    if (!r) {
        return -ENOMEM;
    }
    pthread_mutex_init(&r->lock, NULL);
    r->task.run = resolved;
    r->worker = conn->endpoint->worker;
    r->conn = conn;
    memcpy(r->host, conn->host, sizeof(r->host));
    memcpy(r->port, conn->port, sizeof(r->port));
    error = start_thread(r);
    if (error) {
        resolver_free(r);
        return error;
    }
    conn->resolver = r;
    return 0;
}

void mkv__tcp_resolve_forget(struct mkv__conn *conn)
{
    struct mkv__tcp_resolver *r = conn->resolver;

    if (!r) {
        return;
    }
    conn->resolver = NULL;
    r->conn = NULL;
    pthread_mutex_lock(&r->lock);
    r->forgotten = true;
    pthread_mutex_unlock(&r->lock);
}
