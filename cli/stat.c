#include "cli/cli.h"

#include "router/probe.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS 2000000000u

static void human(json_int_t bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

static json_int_t number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static void print_row(const struct mkv__probe *p, const json_t *o)
{
    char used[32], total[32];
    human(number(o, "bytes_used"), used);
    human(number(o, "bytes_total"), total);
    printf("%-24s%12s%12s%11lld%12lld%12lld%12lld%13lld\n", p->name, used, total,
           (long long)number(o, "objects"), (long long)number(o, "hits"),
           (long long)number(o, "misses"), (long long)number(o, "evictions"),
           (long long)number(o, "connections"));
}

static int show(struct mkv_client *client, unsigned i)
{
    struct mkv__probe p;
    int r = mkv__client_probe(client, i, TIMEOUT_NS, &p);
    json_t *o = r == 0 ? json_loads(p.stat, 0, NULL) : NULL;
    free(p.stat);
    if (o == NULL) {
        return cli_fail(r == 0 ? EXIT_UNREACHABLE : cli_exit_of(r), "%s: %s", p.name,
                        r == 0 ? "its statistics are no JSON" : p.why);
    }
    if (common.json) {
        json_object_set_new(o, "server", json_string(p.name));
        json_object_set_new(o, "address", json_string(p.address));
        json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        print_row(&p, o);
    }
    json_decref(o);
    return EXIT_DONE;
}

int cmd_stat(int argc, const char **argv)
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
    if (client == NULL) {
        return code;
    }
    if (!common.json) {
        printf("%-24s%12s%12s%11s%12s%12s%12s%13s\n", "server", "used", "of", "objects", "hits",
               "misses", "evictions", "connections");
    }
    code = EXIT_DONE;
    for (unsigned i = 0; i < mkv__client_n_servers(client); i++) {
        code = cli_worse(code, show(client, i));
    }
    mkv_client_close(&client);
    return code;
}
