#include "server/server.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/os/clock.h"
#include "server/prefault.h"
#include "server/service.h"
#include "server/stat.h"
#include "transport/pick.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 64u
#define DRAIN_NS    UINT64_C(5000000000)
/* As long as the most patient client: who is busy is not hostile, and the silent ones are capped. */
#define HANDSHAKE_NS UINT64_C(8000000000)
#define VERSION      "0.1.0"

struct member {
    struct mkv__server *server;
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct mkv__service *service;
    bool started;
    struct mkv__task task;
    struct mkv__timer timer;
    struct mkv__completion done;
    bool drained;
};

struct mkv__server {
    const struct mkv__config *config;
    struct mkv__log *log;
    const struct mkv__transport *transport;
    struct mkv__endpoint_options endpoint_options; /* what the transport wants to know */
    struct mkv__rails rails;
    struct mkv__store *store;
    struct mkv__prefault prefault;
    bool prefaulting; /* has been begun */
    bool stopping;    /* atomic: from now on endpoints are closed */
    struct mkv__listener *listener;
    unsigned n;
    struct member members[WORKERS_MAX];
    uint64_t started_ns;
    struct mkv__log_limit bad_frames;
    char address[300];
};

static int say(char *why, size_t len, int error, const char *text)
{
    snprintf(why, len, "%s", text);
    return error;
}

/* STAT ------------------------------------------------------------------------------------------ */

static struct mkv__service_figures figures(const struct mkv__server *s)
{
    struct mkv__service_figures sums = {0};
    for (unsigned i = 0; i < s->n; i++) {
        mkv__counter_sum((struct mkv__counter *)&sums,
                         (const struct mkv__counter *)mkv__service_figures(s->members[i].service),
                         sizeof(sums) / sizeof(struct mkv__counter));
    }
    return sums;
}

static json_t *transport_stat(const struct mkv__server *s)
{
    struct mkv__transport_figures f = {0};
    for (unsigned i = 0; i < s->n && !__atomic_load_n(&s->stopping, __ATOMIC_RELAXED); i++) {
        s->transport->figures(s->members[i].endpoint, &f);
    }
    return mkv__stat_transport(s->transport->name, &f);
}

static char *stat_text(void *arg)
{
    const struct mkv__server *s = arg;
    const struct mkv__service_figures f = figures(s);
    struct mkv__store_stat t;
    mkv__store_stat(s->store, &t);
    t.bytes_ready = mkv__prefault_done(&s->prefault);
#define OF(name)  #name, (json_int_t)t.name
#define SUM(name) #name, (json_int_t)mkv__counter_read(&f.name)
    json_t *o = json_pack(
        "{sssfsiso sIsIsIsIsI sIsIsIsIsIsIsIsIsIsIsIsI sIsIsIsIsIsIsIsIsI}", "version", VERSION,
        "uptime_s", (double)(mkv__clock_ns() - s->started_ns) / 1e9, "workers", (int)s->n,
        "huge_pages", json_boolean(t.huge_pages), OF(bytes_used), OF(bytes_total), OF(bytes_ready),
        OF(objects), OF(leased_bytes), OF(hits), OF(misses), OF(sets), OF(kept), OF(kept_differing),
        OF(conflicts), OF(full), OF(damaged), OF(evictions), OF(deleted), OF(poisoned), OF(expired),
        SUM(connections), SUM(in_flight), SUM(in_flight_bytes), SUM(bytes_out), SUM(bytes_in),
        SUM(late), SUM(cancelled), SUM(denied), SUM(malformed));
    json_t *requests = json_pack("{sIsIsIsIsIsI}", SUM(get), SUM(set), SUM(exists), "delete",
                                 (json_int_t)mkv__counter_read(&f.del), SUM(report), SUM(stat));
#undef SUM
#undef OF
    char *text = NULL;
    if (json_object_set_new(o, "requests", requests) == 0 &&
        json_object_set_new(o, "transport", transport_stat(s)) == 0) {
        text = json_dumps(o, JSON_COMPACT);
    }
    json_decref(o);
    return text;
}

/* Making ---------------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

static int check_address(const struct mkv__config *config, char *why, size_t len)
{
    size_t n_keys;
    const struct mkv__address *listen = mkv__config_address(config, MKV_OPT_LISTEN);
    mkv__config_keys(config, &n_keys);
    if (n_keys == 0 && !is_loopback(listen->host)) {
        snprintf(why, len,
                 "listen: %s can be reached by others, and there is no key: make one by 'memkv "
                 "keygen memkv.key' and give it to servers and clients by --auth-key-file "
                 "memkv.key (or MEMKV_AUTH_KEY)",
                 listen->text);
        return -EINVAL;
    }
    return 0;
}

/* Worker k serves rail k mod n: near its NIC, or the one that has the address. */
static int node_of(const struct mkv__server *s, unsigned rail)
{
    int node = s->rails.rails[rail].numa_node;
    return node >= 0
               ? node
               : s->transport->numa_node(mkv__config_address(s->config, MKV_OPT_LISTEN)->text);
}

static int make_member(struct mkv__server *s, struct member *m)
{
    char name[16];
    unsigned rail = (unsigned)(m - s->members) % s->rails.n;
    snprintf(name, sizeof(name), "memkv-%u", s->n);
    struct mkv__worker_options w = {
        .name = name,
        .cpus = mkv__config_string(s->config, MKV_OPT_WORKERS_CPUS),
        .numa_node = node_of(s, rail),
        .spin = (enum mkv__spin)mkv__config_choice(s->config, MKV_OPT_SPIN),
        .log = s->log,
        .quiescent = mkv__store_quiescent,
        .offline = mkv__store_offline,
        .online = mkv__store_online,
        .thread_begin = mkv__store_thread_begin,
        .thread_end = mkv__store_thread_end,
        .hook_arg = s->store,
    };
    int r = mkv__worker_create(&w, &m->worker);
    if (r < 0) {
        return r;
    }
    struct mkv__endpoint_options e = s->endpoint_options;
    mkv__rail_options(&s->rails, rail, &e);
    e.lanes = (uint8_t)mkv__config_count(s->config, MKV_OPT_LANES);
    e.connect_timeout_ns = HANDSHAKE_NS;
    e.idle_ping_ns = 30000000000u;
    e.log = s->log;
    e.keys = mkv__config_keys(s->config, &e.n_keys);
    void *memory;
    uint64_t memory_len;
    mkv__store_memory(s->store, &memory, &memory_len);
    r = s->transport->endpoint_open(m->worker, &e, &m->endpoint);
    r = r < 0 ? r : s->transport->region_add(m->endpoint, memory, memory_len);
    if (r < 0) {
        return r;
    }
    struct mkv__service_options o = {.store = s->store,
                                     .transport = s->transport,
                                     .worker = m->worker,
                                     .log = s->log,
                                     .admin = mkv__config_choice(s->config, MKV_OPT_ADMIN),
                                     .bad_frames = &s->bad_frames,
                                     .verify = mkv__config_bool(s->config, MKV_OPT_CHECKSUM),
                                     .stat_text = stat_text,
                                     .arg = s};
    m->server = s;
    return mkv__service_create(&o, &m->service);
}

/* One for each rail at least. */
static unsigned workers_wanted(const struct mkv__server *s)
{
    uint64_t n = mkv__config_count(s->config, MKV_OPT_WORKERS);
    return (unsigned)MKV_MIN(MKV_MAX(n, s->rails.n), WORKERS_MAX);
}

int mkv__server_create(const struct mkv__config *config, struct mkv__log *log,
                       struct mkv__server **out, char *why, size_t why_len)
{
    struct mkv__endpoint_options e = {0};
    struct mkv__rails rails = {0};
    const struct mkv__transport *transport = NULL;
    int r = check_address(config, why, why_len);
    r = r < 0 ? r : mkv__transport_pick(config, &transport, &e, &rails, why, why_len);
    if (r < 0) {
        return r;
    }
    mkv__transport_tell(config, why, log);
    why[0] = '\0';
    struct mkv__server *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return say(why, why_len, -ENOMEM, "out of memory");
    }
    s->config = config;
    s->log = log;
    s->transport = transport;
    s->endpoint_options = e;
    s->rails = rails;
    struct mkv__store_options o = {.memory = mkv__config_size(config, MKV_OPT_MEMORY),
                                   .max_value = mkv__config_size(config, MKV_OPT_MAX_VALUE),
                                   .lease_ns = mkv__config_duration(config, MKV_OPT_LEASE),
                                   .janitor = true};
    r = mkv__store_create(&o, &s->store);
    if (r < 0) {
        free(s);
        char size[32];
        mkv__config_print(config, MKV_OPT_MEMORY, size, sizeof(size));
        snprintf(why, why_len, "memory: %s cannot be had on this machine (%s)", size, strerror(-r));
        return r;
    }
    while (r == 0 && s->n < workers_wanted(s)) {
        r = make_member(s, &s->members[s->n++]);
    }
    if (r < 0) {
        mkv__server_destroy(&s);
        return say(why, why_len, r, "a worker could not be made");
    }
    *out = s;
    return 0;
}

/* Starting -------------------------------------------------------------------------------------- */

static int on_accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                       const struct mkv__hello *peer, const struct mkv__auth_key *key,
                       const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    struct mkv__server *s = arg;
    (void)peer;
    for (unsigned i = 0; i < s->n; i++) {
        if (s->members[i].worker == worker) {
            return mkv__service_accept(s->members[i].service, conn, key, handlers_out,
                                       conn_arg_out);
        }
    }
    return -EINVAL;
}

/* Memory that is not there cannot be taken ahead: the kernel would kill somebody for it. */
static bool available(uint64_t bytes)
{
    unsigned long long kib = UINT64_MAX >> 10;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return bytes >> 10 <= kib;
}

static void prefault(struct mkv__server *s)
{
    void *base;
    uint64_t len;
    int when = mkv__config_choice(s->config, MKV_OPT_PREFAULT);
    mkv__store_memory(s->store, &base, &len);
    if (when == MKV__PREFAULT_NO) {
        return;
    }
    if (!available(len)) {
        MKV_WARNING(s->log,
                    "memory: less than the %llu MiB asked for is available; it is taken "
                    "as values come, and the kernel may end this process when it runs out",
                    (unsigned long long)(len >> 20));
        return;
    }
    (void)mkv__prefault_start(&s->prefault, base, len);
}

bool mkv__server_warm(struct mkv__server *s)
{
    if (!s->prefaulting) {
        s->prefaulting = true;
        prefault(s);
    }
    return mkv__config_choice(s->config, MKV_OPT_PREFAULT) != MKV__PREFAULT_WAIT ||
           mkv__prefault_ended(&s->prefault);
}

int mkv__server_start(struct mkv__server *s, char *why, size_t why_len)
{
    struct mkv__endpoint *endpoints[WORKERS_MAX];
    const struct mkv__address *listen = mkv__config_address(s->config, MKV_OPT_LISTEN);
    const struct mkv__listen_handlers handlers = {.accepted = on_accepted, .arg = s};
    for (unsigned i = 0; i < s->n; i++) {
        endpoints[i] = s->members[i].endpoint;
    }
    s->started_ns = mkv__clock_ns();
    if (!mkv__server_warm(s)) {
        mkv__prefault_wait(&s->prefault);
    }
    int r = s->transport->listen(endpoints, s->n, listen->text, &handlers, &s->listener);
    if (r < 0) {
        snprintf(why, why_len, "listen: %s: %s", listen->text,
                 r == -EINVAL ? "not an address (expected one of this host, not its name)"
                              : strerror(-r));
        return r;
    }
    snprintf(s->address, sizeof(s->address), "%s", s->transport->listener_address(s->listener));
    for (unsigned i = 0; i < s->n && r == 0; i++) {
        r = mkv__worker_start(s->members[i].worker);
        s->members[i].started = r == 0;
    }
    return r < 0 ? say(why, why_len, r, "a worker could not be started") : 0;
}

const char *mkv__server_address(const struct mkv__server *s)
{
    return s->address;
}

/* Other keys ------------------------------------------------------------------------------------ */

static void post(struct member *m, void (*run)(struct mkv__worker *, struct mkv__task *))
{
    mkv__completion_init(&m->done, 1);
    m->task.run = run;
    mkv__worker_post(m->worker, &m->task);
}

static void use_keys(struct mkv__worker *worker, struct mkv__task *task)
{
    struct member *m = MKV_CONTAINER_OF(task, struct member, task);
    size_t n;
    const struct mkv__auth_key *keys = mkv__config_keys(m->server->config, &n);
    (void)worker;
    m->server->transport->use_keys(m->endpoint, keys, n);
    mkv__completion_done(&m->done);
}

/* Each endpoint looks at its keys on its worker alone; when all have answered, nobody has the old
 * ones any more. */
int mkv__server_use_keys(struct mkv__server *s, const struct mkv__config *config, char *why,
                         size_t why_len)
{
    size_t n_old, n_new;
    mkv__config_keys(s->config, &n_old);
    mkv__config_keys(config, &n_new);
    if (n_old > 0 && n_new == 0) {
        return say(why, why_len, -EINVAL,
                   "no key is left, and a server that runs does not give up asking for one");
    }
    s->config = config;
    for (unsigned i = 0; i < s->n; i++) {
        post(&s->members[i], use_keys);
    }
    for (unsigned i = 0; i < s->n; i++) {
        mkv__completion_wait(&s->members[i].done, false);
    }
    return 0;
}

/* Stopping -------------------------------------------------------------------------------------- */

static void drained(void *arg)
{
    struct member *m = arg;
    if (!m->drained) {
        m->drained = true;
        mkv__completion_done(&m->done);
    }
}

static void drain_expired(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct member *m = MKV_CONTAINER_OF(timer, struct member, timer);
    (void)worker;
    MKV_WARNING(m->server->log, "requests in flight after the time to finish them; closing");
    drained(m);
}

static void start_drain(struct mkv__worker *worker, struct mkv__task *task)
{
    struct member *m = MKV_CONTAINER_OF(task, struct member, task);
    struct mkv__server *s = m->server;
    if (m == &s->members[0] && s->listener != NULL) {
        s->transport->listener_close(&s->listener);
    }
    mkv__timer_init(&m->timer, drain_expired);
    mkv__timer_set(worker, &m->timer, mkv__worker_now(worker) + DRAIN_NS);
    mkv__service_drain(m->service, drained, m);
}

static void close_all(struct mkv__worker *worker, struct mkv__task *task)
{
    struct member *m = MKV_CONTAINER_OF(task, struct member, task);
    if (mkv__timer_armed(&m->timer)) {
        mkv__timer_stop(worker, &m->timer);
    }
    m->drained = true; /* the end of the last requests is no news any more */
    m->server->transport->endpoint_close(&m->endpoint);
    mkv__completion_done(&m->done);
}

void mkv__server_stop(struct mkv__server *s)
{
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < s->n; i++) {
        if (s->members[i].started) {
            post(&s->members[i], start_drain);
        }
    }
    for (unsigned i = 0; i < s->n; i++) {
        if (s->members[i].started) {
            mkv__completion_wait(&s->members[i].done, false);
        }
    }
    /* The listener's worker goes last, since it hands new sessions to the others. */
    for (unsigned i = s->n; i-- > 0;) {
        struct member *m = &s->members[i];
        if (m->started) {
            post(m, close_all);
            mkv__completion_wait(&m->done, false);
            mkv__worker_stop(m->worker);
            m->started = false;
        }
    }
}

void mkv__server_destroy(struct mkv__server **server)
{
    struct mkv__server *s = *server;
    if (s == NULL) {
        return;
    }
    mkv__server_stop(s);
    if (s->listener != NULL) {
        s->transport->listener_close(&s->listener);
    }
    for (unsigned i = 0; i < s->n; i++) {
        struct member *m = &s->members[i];
        if (m->endpoint != NULL) {
            s->transport->endpoint_close(&m->endpoint);
        }
        mkv__service_destroy(&m->service);
        mkv__worker_destroy(&m->worker);
    }
    mkv__prefault_stop(&s->prefault);
    mkv__store_thread_begin(s->store);
    mkv__store_destroy(&s->store);
    mkv__store_thread_end(NULL);
    free(s);
    *server = NULL;
}
