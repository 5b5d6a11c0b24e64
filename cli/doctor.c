#include "cli/cli.h"

#include "core/config/config.h"
#include "router/probe.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS 2000000000u

static void show_options(const struct mkv__config *config, json_t *json)
{
    if (!common.json) {
        printf("%-22s%-32s%s\n", "option", "value", "origin");
    }
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        const struct mkv__option *option = mkv__option_get((enum mkv__option_id)id);
        char value[1024];
        if (!(option->components & MKV__CLIENT)) {
            continue;
        }
        mkv__config_print(config, (enum mkv__option_id)id, value, sizeof(value));
        const char *origin = mkv__config_origin(config, (enum mkv__option_id)id);
        if (common.json) {
            json_object_set_new(json, option->name,
                                json_pack("{ssss}", "value", value, "origin", origin));
        } else {
            printf("%-22s%-32s%s\n", option->name, value[0] != '\0' ? value : "-", origin);
        }
    }
}

/* What to do about an error of a server. */
static const char *advice(const struct mkv__probe *p)
{
    switch (p->error) {
    case -EACCES:
        return "give both sides the same key: --auth-key-file, or MEMKV_AUTH_KEY";
    case -EPROTO:
        return "upgrade the older side; or the port belongs to another program";
    case -ETIMEDOUT:
        return "look at the network path, a firewall, and the load of the server";
    default:
        return "start it: memkv serve --listen ADDRESS; look at address and port";
    }
}

static int show_server(struct mkv_client *client, unsigned i, json_t *list)
{
    struct mkv__probe p;
    int r = mkv__client_probe(client, i, TIMEOUT_NS, &p);
    json_t *stat = p.stat != NULL ? json_loads(p.stat, 0, NULL) : NULL;
    const char *version = stat != NULL ? json_string_value(json_object_get(stat, "version")) : NULL;
    version = version != NULL ? version : "-";
    if (common.json) {
        json_t *o = json_pack("{sssssbsssfsfsi}", "server", p.name, "address", p.address,
                              "reachable", r == 0, "version", version, "connect_us", p.connect_us,
                              "latency_us", p.latency_us, "protocol", (int)p.version);
        if (r < 0) {
            json_object_set_new(o, "error", json_string(p.why));
            json_object_set_new(o, "advice", json_string(advice(&p)));
        }
        json_array_append_new(list, o);
    } else if (r == 0) {
        printf("%-24s%-11s%-10s%10u%12.0f%12.0f\n", p.name, "ok", version, p.version, p.connect_us,
               p.latency_us);
    } else {
        printf("%-24s%s\n%-24s%s\n", p.name, p.why, "", advice(&p));
    }
    json_decref(stat);
    free(p.stat);
    return r == 0 ? EXIT_DONE : cli_exit_of(r);
}

static int examine(struct mkv_client *client)
{
    json_t *json = json_object(), *options = json_object(), *servers = json_array();
    const struct mkv__config *config = mkv__client_config(client);
    int code = EXIT_DONE;
    show_options(config, options);
    if (!common.json) {
        printf("\n%-24s%-11s%-10s%10s%12s%12s\n", "server", "state", "version", "protocol",
               "connect us", "latency us");
    }
    for (unsigned i = 0; i < mkv__client_n_servers(client); i++) {
        code = cli_worse(code, show_server(client, i, servers));
    }
    if (common.json) {
        json_object_set(json, "options", options);
        json_object_set(json, "servers", servers);
        json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        printf(code == EXIT_DONE ? "\nall servers can be used\n"
                                 : "\nnot all servers can be used; keys of the others go to the "
                                   "servers that can\n");
    }
    json_decref(json);
    json_decref(options);
    json_decref(servers);
    return code;
}

int cmd_doctor(int argc, const char **argv)
{
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "", &code);
    if (context == NULL) {
        return code;
    }
    poptFreeContext(context);
    struct mkv_client *client = cli_open(&code);
    if (client != NULL) {
        code = examine(client);
        mkv_client_close(&client);
    }
    return code;
}
