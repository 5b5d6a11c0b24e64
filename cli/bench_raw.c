/*
 * The ceiling: what the kernel's sockets give for the same bytes in the same shape. Both ends are
 * threads that do nothing else; buffers are larger than a last-level cache share, as the values are.
 */
#include "cli/bench.h"

#include "cli/cli.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_MAX ((uint64_t)128 << 20)
#define SEGMENT    ((size_t)256 << 10)

struct side {
    int fd;
    uint64_t send_bytes, receive_bytes; /* per exchange */
    uint64_t until_ns;                  /* the client's */
    uint64_t exchanges;
    uint8_t *buffer;
    bool first; /* sends first */
};

static uint64_t room(const struct side *s)
{
    uint64_t n = s->send_bytes > s->receive_bytes ? s->send_bytes : s->receive_bytes;
    return n < BUFFER_MAX ? n : BUFFER_MAX;
}

static int send_all(struct side *s)
{
    uint64_t cap = room(s);
    for (uint64_t at = 0; at < s->send_bytes;) {
        uint64_t in = at % cap, n = s->send_bytes - at;
        n = n < cap - in ? n : cap - in;
        n = n < SEGMENT ? n : SEGMENT;
        ssize_t r = send(s->fd, s->buffer + in, n, MSG_NOSIGNAL);
        if (r <= 0) {
            return -1;
        }
        at += (uint64_t)r;
    }
    return 0;
}

static int receive_all(struct side *s)
{
    uint64_t cap = room(s);
    for (uint64_t at = 0; at < s->receive_bytes;) {
        uint64_t in = at % cap, n = s->receive_bytes - at;
        n = n < cap - in ? n : cap - in;
        n = n < SEGMENT ? n : SEGMENT;
        ssize_t r = recv(s->fd, s->buffer + in, n, 0);
        if (r <= 0) {
            return -1;
        }
        at += (uint64_t)r;
    }
    return 0;
}

static void *client_side(void *arg)
{
    struct side *s = arg;
    while (now_ns() < s->until_ns && send_all(s) == 0 && receive_all(s) == 0) {
        s->exchanges++;
    }
    shutdown(s->fd, SHUT_RDWR);
    return NULL;
}

static void *server_side(void *arg)
{
    struct side *s = arg;
    while (receive_all(s) == 0 && send_all(s) == 0) {
        s->exchanges++;
    }
    return NULL;
}

static int connect_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = -1;
    if (listener >= 0 && pair[0] >= 0 &&
        bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &len) == 0 &&
        connect(pair[0], (struct sockaddr *)&address, sizeof(address)) == 0) {
        pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        r = pair[1] < 0 ? -1 : 0;
    }
    if (r == 0) {
        setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    } else if (pair[0] >= 0) {
        close(pair[0]);
    }
    if (listener >= 0) {
        close(listener);
    }
    return r;
}

static void *buffer_of(const struct side *s)
{
    void *p = mmap(NULL, room(s), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

double bench_ceiling(uint64_t up, uint64_t down, unsigned connections, double seconds)
{
    struct side *sides = calloc(2 * (size_t)connections, sizeof(*sides));
    pthread_t *threads = calloc(2 * (size_t)connections, sizeof(*threads));
    unsigned n = 0;
    double result = 0;
    for (; sides != NULL && threads != NULL && n < connections; n++) {
        int pair[2];
        struct side *c = &sides[2 * n], *s = &sides[2 * n + 1];
        if (connect_pair(pair) < 0) {
            break;
        }
        *c = (struct side){.fd = pair[0], .send_bytes = up, .receive_bytes = down, .first = true};
        *s = (struct side){.fd = pair[1], .send_bytes = down, .receive_bytes = up};
        c->buffer = buffer_of(c);
        s->buffer = buffer_of(s);
    }
    bool ok = n == connections;
    for (unsigned i = 0; i < 2 * n; i++) {
        ok = ok && sides[i].buffer != NULL;
    }
    if (ok) {
        uint64_t start = now_ns(), exchanges = 0;
        for (unsigned i = 0; i < 2 * n; i++) {
            sides[i].until_ns = start + (uint64_t)(seconds * 1e9);
            pthread_create(&threads[i], NULL, i % 2 == 0 ? client_side : server_side, &sides[i]);
        }
        for (unsigned i = 0; i < 2 * n; i++) {
            pthread_join(threads[i], NULL);
            exchanges += i % 2 == 0 ? sides[i].exchanges : 0;
        }
        result = (double)exchanges * (double)(up + down) / ((double)(now_ns() - start) / 1e9);
    }
    for (unsigned i = 0; i < 2 * n; i++) {
        if (sides[i].buffer != NULL) {
            munmap(sides[i].buffer, room(&sides[i]));
        }
        close(sides[i].fd);
    }
    free(sides);
    free(threads);
    return result;
}
