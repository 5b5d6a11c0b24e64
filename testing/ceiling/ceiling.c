/*
 * What the kernel's sockets give: two processes move the bytes of a batch there and back over loopback,
 * and do nothing else. What memkv is measured against (./dev bench tcp).
 *
 *     ceiling UP DOWN CONNECTIONS SECONDS CONGESTION [CLIENT_CPU SERVER_CPU]
 *
 * UP and DOWN: bytes of a request and of its reply, in all connections together. A connection's client
 * sends its share of a request, its server receives that and sends its share of the reply; as many requests
 * are out as there are connections. What is sent comes from, and what is received goes to, more memory than
 * the last-level cache holds. CONGESTION: as the kernel names it, "-": the system's. Prints one line:
 *
 *     BYTES_PER_S P50_US
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 16
#define SEGMENT     ((size_t)256 << 10) /* of a call, as values of memkv go in */
#define MEMORY      ((size_t)128 << 20) /* of a side of a connection, at least */
#define SAMPLES     (1u << 20)

struct side {
    int fd;
    size_t send, receive;
    uint8_t *memory;
    size_t room, at; /* goes round */
    uint64_t until_ns, exchanges;
    uint32_t *took_ns;
    pthread_t thread;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "ceiling: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t cache_times_four(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);

    return cache > 0 && (size_t)cache * 4 > MEMORY ? (size_t)cache * 4 : MEMORY;
}

/* ---- an exchange ----------------------------------------------------------------------------- */

static bool move(struct side *s, size_t len, bool out)
{
    while (len > 0) {
        size_t n = len < SEGMENT ? len : SEGMENT;
        ssize_t r;

        if (s->at + n > s->room) {
            s->at = 0;
        }
        r = out ? send(s->fd, s->memory + s->at, n, MSG_NOSIGNAL)
                : recv(s->fd, s->memory + s->at, n, 0);
        if (r <= 0) {
            return false;
        }
        s->at += (size_t)r;
        len -= (size_t)r;
    }
    return true;
}

static void *serve(void *arg)
{
    struct side *s = arg;

    while (move(s, s->receive, false) && move(s, s->send, true)) {
    }
    return NULL;
}

static void *ask(void *arg)
{
    struct side *s = arg;
    uint64_t before = now_ns(), after;

    for (; before < s->until_ns; before = after) {
        must(move(s, s->send, true) && move(s, s->receive, false), "exchange");
        after = now_ns();
        s->took_ns[s->exchanges++ % SAMPLES] = (uint32_t)(after - before);
    }
    return NULL;
}

/* ---- sides ----------------------------------------------------------------------------------- */

static void prepare(struct side *s, int fd, size_t send, size_t receive, unsigned n)
{
    *s = (struct side){.fd = fd, .send = send / n, .receive = receive / n};
    s->room = cache_times_four() / n;
    s->room = s->room < SEGMENT ? SEGMENT : s->room;
    s->memory = mmap(NULL, s->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(s->memory != MAP_FAILED, "mmap");
    madvise(s->memory, s->room, MADV_HUGEPAGE);
    memset(s->memory, 1, s->room);
    s->took_ns = calloc(SAMPLES, sizeof(*s->took_ns));
    must(s->took_ns != NULL, "calloc");
}

static void tune(int fd, const char *congestion)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (strcmp(congestion, "-") != 0) {
        must(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
                        (socklen_t)strlen(congestion)) == 0,
             congestion);
    }
}

static void connect_pair(int pair[2], const char *congestion)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(to);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    must(listener >= 0 && pair[0] >= 0, "socket");
    must(bind(listener, (struct sockaddr *)&to, len) == 0 && listen(listener, 1) == 0 &&
             getsockname(listener, (struct sockaddr *)&to, &len) == 0,
         "listen");
    tune(listener, congestion);
    tune(pair[0], congestion);
    must(connect(pair[0], (struct sockaddr *)&to, len) == 0, "connect");
    pair[1] = accept(listener, NULL, NULL);
    must(pair[1] >= 0, "accept");
    tune(pair[1], congestion);
    close(listener);
}

static void pin(const char *cpu)
{
    cpu_set_t set;

    if (cpu) {
        CPU_ZERO(&set);
        CPU_SET((size_t)atoi(cpu), &set);
        must(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
    }
}

static void run(struct side *sides, unsigned n, void *(*work)(void *))
{
    for (unsigned i = 1; i < n; i++) {
        must(pthread_create(&sides[i].thread, NULL, work, &sides[i]) == 0, "pthread_create");
    }
    work(&sides[0]);
    for (unsigned i = 1; i < n; i++) {
        pthread_join(sides[i].thread, NULL);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void report(struct side *sides, unsigned n, size_t bytes, uint64_t ns)
{
    uint64_t exchanges = 0;
    size_t kept = sides[0].exchanges < SAMPLES ? sides[0].exchanges : SAMPLES, middle = kept / 2;

    for (unsigned i = 0; i < n; i++) {
        exchanges += sides[i].exchanges;
    }
    qsort(sides[0].took_ns, kept, sizeof(uint32_t), by_size);
    printf("%.0f %.2f\n", (double)exchanges * ((double)bytes / n) / ((double)ns / 1e9),
           kept > 0 ? sides[0].took_ns[middle] / 1e3 : 0.0);
}

int main(int argc, char **argv)
{
    static struct side sides[CONNECTIONS];
    int pairs[CONNECTIONS][2];
    size_t up, down;
    unsigned n;
    uint64_t start;
    pid_t child;

    if (argc != 6 && argc != 8) {
        fprintf(stderr, "usage: ceiling UP DOWN CONNECTIONS SECONDS CONGESTION [CPU CPU]\n");
        return 2;
    }
    up = strtoull(argv[1], NULL, 10);
    down = strtoull(argv[2], NULL, 10);
    n = (unsigned)atoi(argv[3]);
    must(n >= 1 && n <= CONNECTIONS && up >= n && down >= n, "sizes");
    for (unsigned i = 0; i < n; i++) {
        connect_pair(pairs[i], argv[5]);
    }
    child = fork();
    must(child >= 0, "fork");
    pin(argc == 8 ? argv[child > 0 ? 6 : 7] : NULL);
    for (unsigned i = 0; i < n; i++) {
        close(pairs[i][child > 0 ? 1 : 0]);
        prepare(&sides[i], pairs[i][child > 0 ? 0 : 1], child > 0 ? up : down,
                child > 0 ? down : up, n);
    }
    if (child == 0) {
        run(sides, n, serve);
        _exit(0);
    }
    for (unsigned i = 0; i < n; i++) { /* both sides are ready, and the connections warm */
        must(move(&sides[i], sides[i].send, true) && move(&sides[i], sides[i].receive, false),
             "exchange");
    }
    start = now_ns();
    for (unsigned i = 0; i < n; i++) {
        sides[i].until_ns = start + (uint64_t)(strtod(argv[4], NULL) * 1e9);
    }
    run(sides, n, ask);
    report(sides, n, up > down ? up : down, now_ns() - start);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
