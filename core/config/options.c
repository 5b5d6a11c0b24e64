#include "core/config/options.h"

#include "core/units.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define US           UINT64_C(1000)
#define MS           (1000 * US)
#define SECOND       (1000 * MS)
#define HOUR         (3600 * SECOND)
#define KIB          (UINT64_C(1) << 10)
#define MIB          (UINT64_C(1) << 20)
#define TIB          (UINT64_C(1) << 40)
#define BOTH         (MKV__CLIENT | MKV__SERVER)
#define NAME_MAX_LEN 48

static const char placement[] = "Servers and placement";
static const char timeouts[] = "Timeouts";
static const char breaker[] = "Breaker";
static const char transport[] = "Transport";
static const char authentication[] = "Authentication";
static const char threads[] = "Threads and log";
static const char server[] = "Server";

static const char *const transports[] = {"auto", "rdma", "shm", "tcp", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const spins[] = {"auto", "always", "never", NULL};
static const char *const prefaults[] = {"no", "background", "wait", NULL};
static const char *const admins[] = {"none", "loopback", "all", NULL};

static const struct mkv__option table[MKV_OPT_COUNT] = {
    [MKV_OPT_SERVERS] =
        {
            .name = "servers",
            .group = placement,
            .type = MKV__TYPE_SERVERS,
            .components = MKV__CLIENT,
            .example = "10.0.0.10, b=10.0.0.11:9900|10.0.1.11:9900*2",
            .help = "The servers that keep the pages; a client must be given at least one. "
                    "[NAME=]HOST[:PORT][|HOST[:PORT]...][*WEIGHT], separated by commas. Port 9900 "
                    "when left out, IPv6 addresses in brackets. Keys are placed by NAME (the first "
                    "address when left out), so that a server whose address changes keeps its keys "
                    "when it has a name.",
        },
    [MKV_OPT_NAMESPACE] =
        {
            .name = "namespace",
            .group = placement,
            .type = MKV__TYPE_STRING,
            .components = MKV__CLIENT,
            .value = "default",
            .example = "team-a",
            .max = 255,
            .help = "Part of every key: clients of different namespaces never see each other's "
                    "values. 0 to 255 bytes.",
        },
    [MKV_OPT_FAIL_OPEN] =
        {
            .name = "fail_open",
            .group = placement,
            .type = MKV__TYPE_BOOL,
            .components = MKV__CLIENT,
            .value = "true",
            .help = "Start when servers are away or refuse the key, answer misses, and heal by "
                    "itself. false: opening a client fails instead.",
        },
    [MKV_OPT_PLACEMENT_GRACE] =
        {
            .name = "placement_grace",
            .group = placement,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "1h",
            .max = 168 * HOUR,
            .help = "For this long after a server came, went or fell out, keys that miss at their "
                    "server are also asked for at the next in rank. 0: never.",
        },
    [MKV_OPT_CONNECT_TIMEOUT] =
        {
            .name = "connect_timeout",
            .group = timeouts,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "500ms",
            .min = MS,
            .max = 8 * SECOND,
            .help = "Until a connection is made and both ends have proved their key.",
        },
    [MKV_OPT_EXISTS_TIMEOUT] =
        {
            .name = "exists_timeout",
            .group = timeouts,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "200ms",
            .min = MS,
            .max = 8 * SECOND,
            .help = "For a batch of exists. A key without an answer by then counts as a miss.",
        },
    [MKV_OPT_GET_TIMEOUT] =
        {
            .name = "get_timeout",
            .group = timeouts,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "2s",
            .min = MS,
            .max = 8 * SECOND,
            .help = "For a batch of get.",
        },
    [MKV_OPT_SET_TIMEOUT] =
        {
            .name = "set_timeout",
            .group = timeouts,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "2s",
            .min = MS,
            .max = 8 * SECOND,
            .help = "For a batch of set or delete.",
        },
    [MKV_OPT_BREAKER_FAILURES] =
        {
            .name = "breaker.failures",
            .group = breaker,
            .type = MKV__TYPE_COUNT,
            .components = MKV__CLIENT,
            .value = "3",
            .min = 1,
            .max = 1000,
            .help = "Failures in a row after which a server is left alone; its keys then go to the "
                    "next in rank.",
        },
    [MKV_OPT_BREAKER_PROBE] =
        {
            .name = "breaker.probe",
            .group = breaker,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "500ms",
            .min = 10 * MS,
            .max = HOUR,
            .help = "Pause before a server that is left alone is probed, in the background. It "
                    "doubles with each probe that fails, with some jitter.",
        },
    [MKV_OPT_BREAKER_PROBE_MAX] =
        {
            .name = "breaker.probe_max",
            .group = breaker,
            .type = MKV__TYPE_DURATION,
            .components = MKV__CLIENT,
            .value = "10s",
            .min = 10 * MS,
            .max = HOUR,
            .help = "The longest pause between two probes.",
        },
    [MKV_OPT_TRANSPORT] =
        {
            .name = "transport",
            .group = transport,
            .type = MKV__TYPE_CHOICE,
            .components = BOTH,
            .value = "auto",
            .choice = transports,
            .help = "How bytes travel. auto takes the best that works on both sides: rdma, else "
                    "tcp; with rdma a session without it is refused; shm is not built yet.",
        },
    [MKV_OPT_RDMA_DEVICES] =
        {
            .name = "rdma_devices",
            .group = transport,
            .type = MKV__TYPE_LIST,
            .components = BOTH,
            .example = "mlx5_0,mlx5_1",
            .max = 64,
            .help = "RDMA devices to use; all that work when not set. Not used by tcp.",
        },
    [MKV_OPT_RDMA_GID] =
        {
            .name = "rdma_gid",
            .group = transport,
            .type = MKV__TYPE_COUNT,
            .components = BOTH,
            .example = "3",
            .min = 0,
            .max = 255,
            .help =
                "Index of the GID to use on each RDMA device. When not set: the one that is the "
                "address of this side's end of the session, else of RoCE v2 over IPv4, in the "
                "client's network if there is one.",
        },
    [MKV_OPT_LANES] =
        {
            .name = "lanes",
            .group = transport,
            .type = MKV__TYPE_COUNT,
            .components = BOTH,
            .value = "2",
            .min = 1,
            .max = 16,
            .help = "Connections for values between a client's worker and a server, beside the one "
                    "for control messages. The client decides: a server takes as many as come, 16 "
                    "at most.",
        },
    [MKV_OPT_CONGESTION_CONTROL] =
        {
            .name = "congestion_control",
            .group = transport,
            .type = MKV__TYPE_STRING,
            .components = BOTH,
            .value = "auto",
            .min = 1,
            .max = 15,
            .example = "dctcp",
            .help =
                "Of tcp sockets, as the kernel names them. auto: the system's, but where that is "
                "bbr, whose pacing costs large values on short paths, cubic (or reno, where "
                "cubic is not allowed). system: the system's, whatever it is.",
        },
    [MKV_OPT_CHECKSUM] =
        {
            .name = "checksum",
            .group = transport,
            .type = MKV__TYPE_BOOL,
            .components = BOTH,
            .value = "true",
            .help = "Verify every value where it arrives. Switching it off gives up the promise "
                    "that a wrong page is never returned.",
        },
    [MKV_OPT_AUTH_KEY] =
        {
            .name = "auth_key",
            .group = authentication,
            .type = MKV__TYPE_SECRET,
            .components = BOTH,
            .example = "(64 hex digits)",
            .help =
                "The key that client and server share, as `memkv keygen` prints it. Better in a "
                "file or a variable than in arguments, which other users can see.",
        },
    [MKV_OPT_AUTH_KEY_FILE] =
        {
            .name = "auth_key_file",
            .group = authentication,
            .type = MKV__TYPE_STRING,
            .components = BOTH,
            .example = "/etc/memkv/key",
            .min = 1,
            .max = 4095,
            .help = "A file with the key that client and server share. Given together with "
                    "auth_key, the source that ranks higher decides; both from one source are "
                    "refused.",
        },
    [MKV_OPT_AUTH_KEY_ID] =
        {
            .name = "auth_key_id",
            .group = authentication,
            .type = MKV__TYPE_COUNT,
            .components = BOTH,
            .value = "0",
            .max = UINT32_MAX,
            .help = "The number under which a server knows the key, where it has several.",
        },
    [MKV_OPT_WORKERS] =
        {
            .name = "workers",
            .group = threads,
            .type = MKV__TYPE_COUNT,
            .components = MKV__SERVER,
            .value = "1",
            .min = 1,
            .max = 64,
            .help =
                "Threads that serve; over RDMA at least one for each network card, which it runs "
                "near. A client has one for each card of its own. One keeps a card of some "
                "100 Gbit/s busy.",
        },
    [MKV_OPT_WORKERS_CPUS] =
        {
            .name = "workers.cpus",
            .group = threads,
            .type = MKV__TYPE_CPUS,
            .components = BOTH,
            .example = "2,4-7",
            .help = "CPUs for the workers. When not set, each takes one that is allowed to the "
                    "process and that no other worker of this host holds.",
        },
    [MKV_OPT_SPIN] =
        {
            .name = "spin",
            .group = threads,
            .type = MKV__TYPE_CHOICE,
            .components = BOTH,
            .value = "auto",
            .choice = spins,
            .help = "Look for news for a while before sleeping: auto where there are more allowed "
                    "CPUs than workers on this host, always where every worker has a CPU to "
                    "itself and latency is all that counts.",
        },
    [MKV_OPT_LOG_LEVEL] =
        {
            .name = "log_level",
            .group = threads,
            .type = MKV__TYPE_CHOICE,
            .components = BOTH,
            .value = "info",
            .choice = levels,
            .help = "The least important lines that are still shown.",
        },
    [MKV_OPT_LISTEN] =
        {
            .name = "listen",
            .group = server,
            .type = MKV__TYPE_ADDRESS,
            .components = MKV__SERVER,
            .value = "127.0.0.1:9900",
            .example = "0.0.0.0:9900",
            .help = "Where to listen. Port 0 takes any free one. Other addresses than those of "
                    "this host itself need a key.",
        },
    [MKV_OPT_MEMORY] =
        {
            .name = "memory",
            .group = server,
            .type = MKV__TYPE_SIZE,
            .components = MKV__SERVER,
            .value = "1G",
            .example = "64G",
            .min = MIB,
            .max = 16 * TIB, /* what an arena can number */
            .help = "Memory for values, their keys and records.",
        },
    [MKV_OPT_PREFAULT] =
        {
            .name = "prefault",
            .group = server,
            .type = MKV__TYPE_CHOICE,
            .components = MKV__SERVER,
            .value = "background",
            .choice = prefaults,
            .help = "When the memory is taken from the kernel: while the server works already, "
                    "before it listens (wait), or page by page when values come (no), which makes "
                    "the first values slow. Not done where less memory than that is available.",
        },
    [MKV_OPT_MAX_VALUE] =
        {
            .name = "max_value",
            .group = server,
            .type = MKV__TYPE_SIZE,
            .components = MKV__SERVER,
            .value = "64M",
            .min = 4 * KIB,
            .max = 64 * MIB,
            .help = "The largest value that is stored.",
        },
    [MKV_OPT_LEASE] =
        {
            .name = "lease",
            .group = server,
            .type = MKV__TYPE_DURATION,
            .components = MKV__SERVER,
            .value = "10s",
            .max = HOUR,
            .help = "For this long what exists has announced is not evicted, so that the get that "
                    "follows finds it. 0: no leases.",
        },
    [MKV_OPT_ADMIN] =
        {
            .name = "admin",
            .group = server,
            .type = MKV__TYPE_CHOICE,
            .components = MKV__SERVER,
            .value = "loopback",
            .choice = admins,
            .help = "Who may delete and replace values: nobody, clients on the server's own host, "
                    "or all clients.",
        },
    [MKV_OPT_AUTH_KEYS_FILE] =
        {
            .name = "auth_keys_file",
            .group = authentication,
            .type = MKV__TYPE_STRING,
            .components = MKV__SERVER,
            .example = "/etc/memkv/keys",
            .min = 1,
            .max = 4095,
            .help = "More keys that clients may use, for rotation and for tenants; a line each: "
                    "ID KEY [PREFIX]. With a PREFIX the key is good only for namespaces that begin "
                    "with it. Lines that begin with # are comments. SIGHUP makes `memkv serve` "
                    "read keys and log_level anew; sessions that are open go on.",
        },
};

const struct mkv__option *mkv__option_get(enum mkv__option_id id)
{
    assert((unsigned)id < MKV_OPT_COUNT);
    return &table[id];
}

/* One spelling of a name: what mkv__option_find takes for the same becomes the same. */
static char fold(char c)
{
    return c == '-' || c == '.' ? '_' : (char)tolower((unsigned char)c);
}

int mkv__option_find(const char *name)
{
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        const char *a = name;
        const char *b = table[id].name;
        while (*a != '\0' && fold(*a) == fold(*b)) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0') {
            return id;
        }
    }
    return -1;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* How many letters must be changed, added or left out to make one name of the other. Both are
 * shorter than NAME_MAX_LEN. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LEN + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        unsigned diagonal = row[0]++;
        for (size_t j = 1; j <= n; j++) {
            unsigned changed = diagonal + (fold(a[i]) != fold(b[j - 1]));
            diagonal = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, changed);
        }
    }
    return row[n];
}

const char *mkv__option_suggest(const char *name, unsigned components)
{
    size_t len = strlen(name);
    if (len == 0 || len >= NAME_MAX_LEN) {
        return NULL;
    }
    unsigned best = len < 4 ? 1 : len < 9 ? 2 : 3; /* more slips than this are another word */
    const char *found = NULL;
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        unsigned slips = distance(name, table[id].name);
        if ((table[id].components & components) && slips <= best && (!found || slips < best)) {
            best = slips;
            found = table[id].name;
        }
    }
    return found;
}

const char *mkv__option_type_name(enum mkv__option_type type)
{
    static const char *const names[] = {
        [MKV__TYPE_SIZE] = "size",       [MKV__TYPE_DURATION] = "duration",
        [MKV__TYPE_COUNT] = "number",    [MKV__TYPE_BOOL] = "true or false",
        [MKV__TYPE_CHOICE] = "choice",   [MKV__TYPE_STRING] = "text",
        [MKV__TYPE_LIST] = "list",       [MKV__TYPE_CPUS] = "CPU list",
        [MKV__TYPE_SECRET] = "secret",   [MKV__TYPE_ADDRESS] = "address",
        [MKV__TYPE_SERVERS] = "servers",
    };
    return names[type];
}

const char *mkv__component_text(unsigned components)
{
    switch (components & BOTH) {
    case BOTH:
        return "client, server";
    case MKV__SERVER:
        return "server";
    default:
        return "client";
    }
}

const char *mkv__option_variable(enum mkv__option_id id, char out[MKV_VARIABLE_TEXT])
{
    snprintf(out, MKV_VARIABLE_TEXT, "MEMKV_%s", mkv__option_get(id)->name);
    for (char *p = out; *p != '\0'; p++) {
        *p = (char)toupper((unsigned char)fold(*p));
    }
    return out;
}

static void print_choices(char out[MKV_RANGE_TEXT], const char *const *choice)
{
    size_t len = 0;
    for (; *choice; choice++) {
        int n = snprintf(out + len, MKV_RANGE_TEXT - len, "%s%s", len > 0 ? "|" : "", *choice);
        len += (size_t)n;
        assert(len < MKV_RANGE_TEXT);
    }
}

const char *mkv__option_range(enum mkv__option_id id, char out[MKV_RANGE_TEXT])
{
    const struct mkv__option *o = mkv__option_get(id);
    char low[MKV_UNIT_TEXT], high[MKV_UNIT_TEXT];
    out[0] = '\0';
    if (o->type == MKV__TYPE_CHOICE) {
        print_choices(out, o->choice);
    } else if (o->max == 0) {
        return out;
    } else if (o->type == MKV__TYPE_SIZE) {
        snprintf(out, MKV_RANGE_TEXT, "%s to %s", mkv__print_size(low, o->min),
                 mkv__print_size(high, o->max));
    } else if (o->type == MKV__TYPE_DURATION) {
        snprintf(out, MKV_RANGE_TEXT, "%s to %s", mkv__print_duration(low, o->min),
                 mkv__print_duration(high, o->max));
    } else if (o->type == MKV__TYPE_COUNT) {
        snprintf(out, MKV_RANGE_TEXT, "%" PRIu64 " to %" PRIu64, o->min, o->max);
    }
    return out;
}
