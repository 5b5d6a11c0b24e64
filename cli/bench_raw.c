/*
 * The ceiling: what the kernel's sockets give for the same bytes in the same shape, over as many
 * connections. Both ends are threads that do nothing else; what they send and receive goes through
 * more memory than a last-level cache holds, as values do.
 */
#include "cli/bench.h"

#include "cli/cli.h"
#include "transport/tcp/congestion.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEGMENT         ((uint64_t)256 << 10)
#define WORKING_SET_MIN ((uint64_t)128 << 20)
#define WORKING_SET_MAX ((uint64_t)512 << 20)

struct side {
    int fd;
    uint64_t send_bytes, receive_bytes; /* per exchange */
    uint64_t until_ns;                  /* the client's */
    uint64_t exchanges;
    uint64_t at; /* in the buffer; goes round */
    uint64_t room;
    uint8_t *buffer;
    pthread_t thread;
    bool started, broken;
};

struct bench_raw {
    unsigned n;
    struct side *clients, *servers;
};

uint64_t bench_working_set(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t wanted = cache > 0 ? 4 * (uint64_t)cache : 0;
    return wanted < WORKING_SET_MIN   ? WORKING_SET_MIN
           : wanted > WORKING_SET_MAX ? WORKING_SET_MAX
                                      : wanted;
}

void *bench_map(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    madvise(p, bytes, MADV_POPULATE_WRITE);
    return p;
}

void bench_unmap(void *memory, uint64_t bytes)
{
    if (memory != NULL) {
        munmap(memory, bytes);
    }
}

/* ---- an exchange ----------------------------------------------------------------------------- */

/* Returns what to move next, at most `left`, and moves on in the buffer. */
static uint64_t next_piece(struct side *s, uint64_t left, uint8_t **out)
{
    uint64_t n = left < SEGMENT ? left : SEGMENT;
    if (s->at + n > s->room) {
        s->at = 0;
    }
    *out = s->buffer + s->at;
    return n;
}

static bool send_all(struct side *s)
{
    for (uint64_t left = s->send_bytes; left > 0;) {
        uint8_t *from;
        uint64_t n = next_piece(s, left, &from);
        ssize_t r = send(s->fd, from, n, MSG_NOSIGNAL);
        if (r <= 0) {
            return false;
        }
        s->at += (uint64_t)r;
        left -= (uint64_t)r;
    }
    return true;
}

static bool receive_all(struct side *s)
{
    for (uint64_t left = s->receive_bytes; left > 0;) {
        uint8_t *to;
        uint64_t n = next_piece(s, left, &to);
        ssize_t r = recv(s->fd, to, n, 0);
        if (r <= 0) {
            return false;
        }
        s->at += (uint64_t)r;
        left -= (uint64_t)r;
    }
    return true;
}

static void *client_side(void *arg)
{
    struct side *s = arg;
    while (!s->broken && now_ns() < s->until_ns) {
        s->broken = !send_all(s) || !receive_all(s);
        s->exchanges += !s->broken;
    }
    return NULL;
}

static void *server_side(void *arg)
{
    struct side *s = arg;
    while (receive_all(s) && send_all(s)) {
    }
    return NULL;
}

/* ---- connections ----------------------------------------------------------------------------- */

static int connect_pair(int pair[2], const char *congestion)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[1] = -1;
    if (listener >= 0 && pair[0] >= 0 &&
        bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &len) == 0 &&
        connect(pair[0], (struct sockaddr *)&address, sizeof(address)) == 0) {
        pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    for (int i = 0; i < 2 && pair[1] >= 0; i++) {
        setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        mkv__tcp_congestion_set(pair[i], congestion);
    }
    if (listener >= 0) {
        close(listener);
    }
    return pair[1] >= 0 ? 0 : -1;
}

static bool open_pair(struct side *client, struct side *server, uint64_t up, uint64_t down,
                      uint64_t room, const char *congestion)
{
    int pair[2];
    int r = connect_pair(pair, congestion);
    *client = (struct side){.fd = pair[0], .send_bytes = up, .receive_bytes = down, .room = room};
    *server = (struct side){.fd = pair[1], .send_bytes = down, .receive_bytes = up, .room = room};
    client->buffer = r == 0 ? bench_map(room) : NULL;
    server->buffer = r == 0 ? bench_map(room) : NULL;
    if (client->buffer == NULL || server->buffer == NULL) {
        return false;
    }
    server->started = pthread_create(&server->thread, NULL, server_side, server) == 0;
    return server->started;
}

struct bench_raw *bench_raw_open(uint64_t up, uint64_t down, unsigned connections, uint64_t room,
                                 const char *congestion)
{
    struct bench_raw *raw = calloc(1, sizeof(*raw));
    struct side *sides = calloc(2 * (size_t)connections, sizeof(*sides));
    if (raw == NULL || sides == NULL) {
        free(raw);
        free(sides);
        return NULL;
    }
    room = room / connections > SEGMENT ? room / connections : SEGMENT;
    raw->clients = sides;
    raw->servers = sides + connections;
    for (unsigned i = 0; i < connections; i++) {
        raw->n++;
        if (!open_pair(&raw->clients[i], &raw->servers[i], up, down, room, congestion)) {
            bench_raw_close(raw);
            return NULL;
        }
    }
    return raw;
}

static void close_side(struct side *s)
{
    if (s->fd >= 0) {
        close(s->fd);
    }
    bench_unmap(s->buffer, s->room);
}

void bench_raw_close(struct bench_raw *raw)
{
    if (raw == NULL) {
        return;
    }
    for (unsigned i = 0; i < raw->n; i++) {
        if (raw->servers[i].started) {
            shutdown(raw->clients[i].fd, SHUT_RDWR);
            pthread_join(raw->servers[i].thread, NULL);
        }
        close_side(&raw->clients[i]);
        close_side(&raw->servers[i]);
    }
    free(raw->clients);
    free(raw);
}

void bench_raw_run(struct bench_raw *raw, double seconds, uint64_t *exchanges, double *elapsed_s)
{
    uint64_t start = now_ns();
    for (unsigned i = 0; i < raw->n; i++) {
        struct side *s = &raw->clients[i];
        s->until_ns = start + (uint64_t)(seconds * 1e9);
        s->exchanges = 0;
        s->started = pthread_create(&s->thread, NULL, client_side, s) == 0;
    }
    for (unsigned i = 0; i < raw->n; i++) {
        struct side *s = &raw->clients[i];
        if (s->started) {
            pthread_join(s->thread, NULL);
            *exchanges += s->exchanges;
        }
    }
    *elapsed_s += (double)(now_ns() - start) / 1e9;
}
