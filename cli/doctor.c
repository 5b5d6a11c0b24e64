#include "cli/doctor.h"

#include "core/units.h"
#include "transport/tcp/congestion.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS  2000000000u
#define VALUE_WIDTH 32
#define VALUE_ROOM  4096

/* ---- options --------------------------------------------------------------------------------- */

/* How much of a value goes on a line: up to a comma if there is one. */
static int piece_of(const char *value)
{
    int len = (int)strlen(value);
    if (len <= VALUE_WIDTH) {
        return len;
    }
    for (int i = VALUE_WIDTH; i > VALUE_WIDTH / 2; i--) {
        if (value[i - 1] == ',') {
            return i;
        }
    }
    return VALUE_WIDTH;
}

static void print_option(const char *name, const char *value, const char *origin)
{
    int len = piece_of(value);
    printf("%-19s%-*.*s  %s\n", name, VALUE_WIDTH, len, value, origin);
    for (value += len; *value != '\0'; value += len) {
        len = piece_of(value);
        printf("%-19s%.*s\n", "", len, value);
    }
}

/* Those of the client, or what a server has beside. */
static void show_options(const struct mkv__config *config, bool of_server, json_t *all)
{
    if (!flags.json) {
        printf("%s", of_server ? "\n" : "");
        print_option(of_server ? "memkv serve, here" : "option", "value", "origin");
    }
    for (int i = 0; i < MKV_OPT_COUNT; i++) {
        enum mkv__option_id id = (enum mkv__option_id)i;
        const struct mkv__option *option = mkv__option_get(id);
        char value[VALUE_ROOM];
        if (((option->components & MKV__CLIENT) != 0) == of_server) {
            continue;
        }
        mkv__config_print(config, id, value, sizeof(value));
        const char *origin = mkv__config_origin(config, id);
        if (flags.json) {
            json_t *o = json_object();
            json_object_set_new(o, "value", cli_json_text(value));
            json_object_set_new(o, "origin", cli_json_text(origin));
            json_object_set_new(all, option->name, o);
        } else {
            print_option(option->name, value[0] != '\0' ? value : "-", origin);
        }
    }
}

/* ---- tcp ------------------------------------------------------------------------------------- */

/* A machine whose default is made for long paths. */
static json_t *show_tcp(const struct mkv__config *config)
{
    struct mkv__tcp_congestion c;
    mkv__tcp_congestion_choose(mkv__config_string(config, MKV_OPT_CONGESTION_CONTROL), &c);
    bool other = strcmp(c.system, c.used) != 0;
    if (!flags.json && (other || c.why[0] != '\0')) {
        printf("\ntcp: congestion control %s%s%s\n", c.used,
               other ? "; the system's, for all other sockets, is " : "", other ? c.system : "");
    }
    if (!flags.json && c.why[0] != '\0') {
        printf("    amiss: %s\n    to do: see /proc/sys/net/ipv4/tcp_allowed_congestion_control "
               "for what there is\n",
               c.why);
    }
    return json_pack("{s:s, s:s, s:o}", "congestion_control", c.used, "system", c.system, "why",
                     cli_json_text(c.why));
}

/* ---- servers --------------------------------------------------------------------------------- */

struct finding {
    struct mkv__probe probe;
    json_t *stat;
    const char *state, *key;
    char version[32];
};

/* What to do about an error of a server. */
static void advise(const struct finding *f, char out[400])
{
    const struct mkv__probe *p = &f->probe;
    if (strstr(p->why, "name not found") != NULL) {
        snprintf(out, 400, "correct the name, or make it known to DNS or /etc/hosts");
    } else if (p->error == -EACCES) {
        snprintf(out, 400, "give both sides the same key: --auth-key-file FILE, or MEMKV_AUTH_KEY");
    } else if (p->error == -EPROTO) {
        snprintf(out, 400, "upgrade the older side; or the port belongs to another program");
    } else if (p->error == -ETIMEDOUT) {
        snprintf(out, 400, "look at the network path, a firewall, and the load of the server");
    } else {
        snprintf(out, 400, "start it: memkv serve --listen %.270s; or correct the address",
                 p->address[0] != '\0' ? p->address : p->name);
    }
}

static const char *key_trouble(const struct mkv__probe *p)
{
    return strstr(p->why, "none") != NULL ? "missing" : "wrong";
}

static void examine(struct mkv_client *client, unsigned i, bool with_key, struct finding *f)
{
    int r = mkv__client_probe(client, i, TIMEOUT_NS, &f->probe);
    f->stat = f->probe.stat != NULL ? json_loads(f->probe.stat, 0, NULL) : NULL;
    const char *version = json_string_value(json_object_get(f->stat, "version"));
    snprintf(f->version, sizeof(f->version), "%s", version != NULL ? version : "-");
    f->state = r == 0 ? "ok" : r == -EACCES ? "refused" : "unreachable";
    f->key = r == -EACCES ? key_trouble(&f->probe) : r < 0 ? "-" : with_key ? "agreed" : "none";
}

static json_t *json_of(const struct finding *f)
{
    json_t *o = json_object();
    bool ok = f->probe.error == 0;
    json_object_set_new(o, "server", cli_json_text(f->probe.name));
    json_object_set_new(o, "address", cli_json_text(f->probe.address));
    json_object_set_new(o, "reachable", json_boolean(ok));
    json_object_set_new(o, "state", json_string(f->state));
    json_object_set_new(o, "key", json_string(f->key));
    if (ok) {
        json_object_set_new(o, "version", cli_json_text(f->version));
        json_object_set_new(o, "protocol", json_integer((json_int_t)f->probe.version));
        json_object_set_new(o, "connect_us", json_real(f->probe.connect_us));
        json_object_set_new(o, "latency_us", json_real(f->probe.latency_us));
        json_object_set_new(o, "over", cli_json_text(f->probe.path));
    } else {
        char advice[400];
        advise(f, advice);
        json_object_set_new(o, "error", cli_json_text(f->probe.why));
        json_object_set_new(o, "advice", cli_json_text(advice));
    }
    return o;
}

static void print_finding(const struct finding *f, int width)
{
    char connect[MKV_UNIT_TEXT], latency[MKV_UNIT_TEXT], advice[400];
    if (f->probe.error == 0) {
        printf("%-*s%-12s%-8s%-9s%8u%10s%10s\n", width, f->probe.name, f->state, f->key, f->version,
               f->probe.version,
               mkv__people_duration(connect, (uint64_t)(f->probe.connect_us * 1e3)),
               mkv__people_duration(latency, (uint64_t)(f->probe.latency_us * 1e3)));
        if (strcmp(f->probe.path, "tcp") != 0) {
            printf("    over %s\n", f->probe.path);
        }
        return;
    }
    advise(f, advice);
    printf("%-*s%-12s%-8s\n    amiss: %s\n    to do: %s\n", width, f->probe.name, f->state, f->key,
           f->probe.why, advice);
}

static int show_servers(struct mkv_client *client, bool with_key, json_t *list,
                        struct rdma_finding *rdma)
{
    unsigned n = mkv__client_n_servers(client);
    struct finding *findings = calloc(n + 1, sizeof(*findings));
    int code = EXIT_DONE, width = (int)strlen("server  ");
    if (findings == NULL) {
        return cli_fail(EXIT_USAGE, "out of memory");
    }
    for (unsigned i = 0; i < n; i++) {
        examine(client, i, with_key, &findings[i]);
        code = cli_worse(code, cli_exit_of(findings[i].probe.error));
        rdma_take(rdma, &findings[i].probe);
        int len = (int)strlen(findings[i].probe.name) + 2;
        width = len > width ? len : width;
    }
    if (!flags.json) {
        printf("\n%-*s%-12s%-8s%-9s%8s%10s%10s\n", width, "server", "state", "key", "version",
               "protocol", "connect", "latency");
    }
    for (unsigned i = 0; i < n; i++) {
        if (flags.json) {
            json_array_append_new(list, json_of(&findings[i]));
        } else {
            print_finding(&findings[i], width);
        }
        json_decref(findings[i].stat);
        free(findings[i].probe.stat);
    }
    free(findings);
    return code;
}

/* ---- the command ----------------------------------------------------------------------------- */

static const char *verdict(int code, unsigned n, const struct rdma_finding *rdma)
{
    if (code == EXIT_DONE && rdma->must && rdma->reason != MKV_REASON_NONE) {
        return "over tcp servers can be used, and transport rdma refuses that";
    }
    if (code == EXIT_DONE) {
        return n == 1 ? "the server can be used" : "all servers can be used";
    }
    return n == 1 ? "the server cannot be used: every get and exists is a miss until it can"
                  : "not all servers can be used; keys of the others go to those that can";
}

/* A session that must go over RDMA tells less about why it does not than one that need not. */
static struct mkv__config *that_need_not(struct mkv__config *config)
{
    struct mkv__config_error error;
    if (mkv__config_choice(config, MKV_OPT_TRANSPORT) != MKV__TRANSPORT_RDMA) {
        return config;
    }
    mkv__config_destroy(&config);
    cli_flag_set(MKV_OPT_TRANSPORT, "auto");
    config = cli_config_quietly(MKV__CLIENT | MKV__PARTIAL, &error);
    if (config == NULL) {
        cli_fail(EXIT_USAGE, "%s", error.text);
    }
    return config;
}

/* Takes config over. */
static int ask_servers(struct mkv__config *config, json_t *list, struct rdma_finding *rdma)
{
    size_t n_keys;
    int code = EXIT_USAGE;
    config = that_need_not(config);
    if (config == NULL) {
        return code;
    }
    mkv__config_keys(config, &n_keys);
    struct mkv_client *client = cli_open_with(config, true, &code);
    if (client != NULL) {
        code = show_servers(client, n_keys > 0, list, rdma);
        if (!flags.json) {
            rdma_print(rdma);
            printf("\n%s\n", verdict(code, mkv__client_n_servers(client), rdma));
        }
        cli_close(&client);
    }
    return code;
}

/* As a server that is started here would have them. */
static void show_server_options(json_t *options)
{
    struct mkv__config_error error;
    struct mkv__config *config = cli_config_quietly(MKV__SERVER | MKV__PARTIAL, &error);
    if (config != NULL) {
        show_options(config, true, options);
    } else {
        cli_warn("memkv serve would not start: %s", error.text);
    }
    mkv__config_destroy(&config);
}

static int doctor(void)
{
    int code = EXIT_USAGE;
    struct mkv__config *config = cli_config(MKV__CLIENT | MKV__PARTIAL, &code);
    if (config == NULL) {
        return code;
    }
    json_t *options = json_object(), *servers = json_array();
    struct rdma_finding rdma;
    rdma_look(config, &rdma);
    show_options(config, false, options);
    show_server_options(options);
    json_t *tcp = show_tcp(config);
    if (mkv__config_is_set(config, MKV_OPT_SERVERS)) {
        code = ask_servers(config, servers, &rdma);
        code = code == EXIT_DONE ? rdma_exit(&rdma) : code;
    } else {
        if (!flags.json) {
            rdma_print(&rdma);
        }
        code = cli_fail(EXIT_USAGE, "no servers: name them with --servers, MEMKV_SERVERS, or "
                                    "\"servers\" in a file (--config, MEMKV_CONFIG)");
        mkv__config_destroy(&config);
    }
    if (flags.json) {
        json_t *all = json_object();
        json_object_set(all, "options", options);
        json_object_set(all, "servers", servers);
        json_object_set(all, "tcp", tcp);
        json_object_set_new(all, "rdma", rdma_json(&rdma));
        cli_print(all);
    }
    json_decref(options);
    json_decref(servers);
    json_decref(tcp);
    return code;
}

int cmd_doctor(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    code = poptPeekArg(context) != NULL ? cli_usage("doctor") : doctor();
    poptFreeContext(context);
    return code;
}
