#include "cli/cli.h"

#include "core/units.h"
#include "router/probe.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS 2000000000u

struct row {
    struct mkv__probe probe;
    json_t *stat; /* NULL: no answer */
};

static uint64_t number(const json_t *o, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(o, name));
}

static void print_count(const json_t *o, const char *name, int width)
{
    char text[MKV_UNIT_TEXT];
    printf("%*s", width, mkv__people_count(text, number(o, name)));
}

static const char *text(const json_t *o, const char *name)
{
    const char *value = json_string_value(json_object_get(o, name));
    return value != NULL ? value : "-";
}

static void print_rail(const json_t *r)
{
    printf("    %s port %d: gid %d (%s, %s), mtu %d, %s; sessions %d on %d queue pairs; ",
           text(r, "device"), (int)number(r, "port"), (int)number(r, "gid_index"), text(r, "gid"),
           text(r, "gid_type"), (int)number(r, "mtu"), text(r, "exposes"),
           (int)number(r, "sessions"), (int)number(r, "queue_pairs"));
    printf("doorbells ");
    print_count(r, "doorbells", 0);
    printf(", completions ");
    print_count(r, "signaled", 0);
    putchar('\n');
}

/* What there is to say of rdma; of tcp nothing. */
static void print_transport(const json_t *t)
{
    const json_t *rails = json_object_get(t, "rails");
    char cap[MKV_UNIT_TEXT], worker[MKV_UNIT_TEXT];
    if (json_array_size(rails) == 0) {
        return;
    }
    printf("    %s: sessions ", text(t, "name"));
    print_count(t, "over_rdma", 0);
    printf(" over rdma, ");
    print_count(t, "over_tcp", 0);
    printf(" over tcp; changes to rdma ");
    print_count(t, "to_rdma", 0);
    printf(", to tcp ");
    print_count(t, "to_tcp", 0);
    printf("; in flight at most %s per queue pair, %s per worker\n",
           mkv__people_size(cap, number(t, "flight_cap")),
           mkv__people_size(worker, number(t, "worker_flight_cap")));
    for (size_t i = 0; i < json_array_size(rails); i++) {
        print_rail(json_array_get(rails, i));
    }
}

static void print_row(const struct row *row, int width)
{
    char used[MKV_UNIT_TEXT], total[MKV_UNIT_TEXT];
    if (row->stat == NULL) {
        printf("%-*s  %s\n", width, row->probe.name, row->probe.why);
        return;
    }
    printf("%-*s%10s%10s", width, row->probe.name,
           mkv__people_size(used, number(row->stat, "bytes_used")),
           mkv__people_size(total, number(row->stat, "bytes_total")));
    print_count(row->stat, "objects", 9);
    print_count(row->stat, "hits", 8);
    print_count(row->stat, "misses", 8);
    print_count(row->stat, "evictions", 9);
    print_count(row->stat, "connections", 6);
    putchar('\n');
    print_transport(json_object_get(row->stat, "transport"));
}

static void print_json(const struct row *row)
{
    json_t *o = row->stat != NULL ? json_deep_copy(row->stat) : json_object();
    json_object_set_new(o, "server", cli_json_text(row->probe.name));
    json_object_set_new(o, "address", cli_json_text(row->probe.address));
    if (row->stat == NULL) {
        json_object_set_new(o, "error", cli_json_text(row->probe.why));
    }
    cli_print(o);
}

static int ask(struct mkv_client *client, unsigned i, struct row *row)
{
    int r = mkv__client_probe(client, i, TIMEOUT_NS, &row->probe);
    row->stat = r == 0 ? json_loads(row->probe.stat, 0, NULL) : NULL;
    if (r == 0 && row->stat == NULL) {
        snprintf(row->probe.why, sizeof(row->probe.why), "its statistics are no JSON");
    }
    free(row->probe.stat);
    int code = row->stat != NULL ? EXIT_DONE : r == 0 ? EXIT_UNREACHABLE : cli_exit_of(r);
    if (row->stat == NULL && flags.json) {
        cli_fail(code, "%s: %s", row->probe.name, row->probe.why);
    }
    return code;
}

static int show(struct mkv_client *client)
{
    unsigned n = mkv__client_n_servers(client);
    struct row *rows = calloc(n + 1, sizeof(*rows));
    int code = EXIT_DONE, width = (int)strlen("server");
    if (rows == NULL) {
        return cli_fail(EXIT_USAGE, "out of memory");
    }
    for (unsigned i = 0; i < n; i++) {
        code = cli_worse(code, ask(client, i, &rows[i]));
        int len = (int)strlen(rows[i].probe.name);
        width = len > width ? len : width;
    }
    if (!flags.json) {
        printf("%-*s%10s%10s%9s%8s%8s%9s%6s\n", width, "server", "used", "of", "objects", "hits",
               "misses", "evicted", "conns");
    }
    for (unsigned i = 0; i < n; i++) {
        if (flags.json) {
            print_json(&rows[i]);
        } else {
            print_row(&rows[i], width);
        }
        json_decref(rows[i].stat);
    }
    free(rows);
    return code;
}

int cmd_stat(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    if (poptPeekArg(context) != NULL) {
        code = cli_usage("stat");
    } else {
        struct mkv_client *client = cli_open(true, &code);
        if (client != NULL) {
            code = show(client);
            cli_close(&client);
        }
    }
    poptFreeContext(context);
    return code;
}
