#include "cli/bench.h"

#include "cli/cli.h"

#include "core/units.h"
#include "router/probe.h"
#include "transport/tcp/congestion.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CASES_MAX   64
#define BATCH_BYTES ((uint64_t)128 << 20)

struct plan {
    char *ops, *sizes, *batch_text, *threads_text, *seconds_text, *seed_text; /* as given */
    char *ceiling;
    uint64_t batch, threads, seed;
    double seconds;
    bool no_ceiling;
    const char *servers; /* as named; NULL: one of its own */
    uint64_t nonce;
    struct bench_case cases[CASES_MAX];
    int n;
};

/* ---- what to run ----------------------------------------------------------------------------- */

static int op_of(const char *name)
{
    return strcmp(name, "get") == 0      ? MKV_OP_GET
           : strcmp(name, "set") == 0    ? MKV_OP_SET
           : strcmp(name, "exists") == 0 ? MKV_OP_EXISTS
                                         : -1;
}

static const char *name_of(enum mkv_op op)
{
    return op == MKV_OP_GET ? "get" : op == MKV_OP_SET ? "set" : "exists";
}

/* At most BATCH_BYTES of values, so that 4 MiB values do not need a huge machine. */
static uint32_t batch_for(const struct plan *plan, uint64_t size)
{
    uint64_t cap = size > 0 ? BATCH_BYTES / size : UINT32_MAX;
    uint64_t n = plan->batch < cap ? plan->batch : cap;
    return n < 1 ? 1 : (uint32_t)n;
}

static int add_case(struct plan *plan, enum mkv_op op, uint64_t size)
{
    if (plan->n == CASES_MAX) {
        return cli_fail(EXIT_USAGE, "--op, --size: more than %d rows", CASES_MAX);
    }
    plan->cases[plan->n++] = (struct bench_case){.op = op,
                                                 .value_bytes = size,
                                                 .batch = batch_for(plan, size),
                                                 .threads = (unsigned)plan->threads,
                                                 .seconds = plan->seconds,
                                                 .no_ceiling = plan->no_ceiling,
                                                 .seed = plan->seed,
                                                 .nonce = plan->nonce};
    return EXIT_DONE;
}

static int nothing_to_do(void)
{
    return cli_fail(EXIT_USAGE, "--op, --size: nothing to do");
}

/* An operation with each of the sizes; exists moves no values. */
static int add_cases(struct plan *plan, enum mkv_op op)
{
    char *sizes = strdup(plan->sizes), *save = NULL;
    int code = EXIT_DONE, before = plan->n;
    for (char *s = strtok_r(sizes, ",", &save); s != NULL && code == EXIT_DONE;
         s = strtok_r(NULL, ",", &save)) {
        uint64_t size = 0;
        if (!cli_size("--size", s, &size)) {
            code = EXIT_USAGE;
        } else if (size < 1 || size > MKV_VALUE_MAX) {
            code = cli_fail(EXIT_USAGE, "--size: \"%s\": a value has 1 byte to 64 MiB here", s);
        } else if (op != MKV_OP_EXISTS) {
            code = add_case(plan, op, size);
        }
    }
    free(sizes);
    if (code == EXIT_DONE && op == MKV_OP_EXISTS) {
        code = add_case(plan, op, 0);
    }
    return code == EXIT_DONE && plan->n == before ? nothing_to_do() : code;
}

static bool count_of(const char *option, const char *text, uint64_t max, uint64_t *out)
{
    const char *why = NULL;
    if (text == NULL) {
        return true;
    }
    if (mkv__parse_count(text, out, &why) < 0) {
        cli_fail(EXIT_USAGE, "%s: \"%s\" %s", option, text, why);
        return false;
    }
    if (*out < 1 || *out > max) {
        cli_fail(EXIT_USAGE, "%s: \"%s\" (expected 1 to %llu)", option, text,
                 (unsigned long long)max);
        return false;
    }
    return true;
}

static bool seconds_of(const char *text, double *out)
{
    char *end = NULL;
    if (text == NULL) {
        return true;
    }
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out > 0 && *out <= 3600)) {
        cli_fail(EXIT_USAGE, "--seconds: \"%s\" (expected more than 0, up to 3600)", text);
        return false;
    }
    return true;
}

static bool ceiling_of(const char *text, bool *none_out)
{
    *none_out = text != NULL && strcmp(text, "none") == 0;
    if (text != NULL && !*none_out && strcmp(text, "sockets") != 0) {
        cli_fail(EXIT_USAGE, "--ceiling: \"%s\" is neither sockets nor none", text);
        return false;
    }
    return true;
}

static int read_numbers(struct plan *plan)
{
    return ceiling_of(plan->ceiling, &plan->no_ceiling) &&
                   count_of("--batch", plan->batch_text, 100000, &plan->batch) &&
                   count_of("--threads", plan->threads_text, 64, &plan->threads) &&
                   count_of("--seed", plan->seed_text, INT64_MAX, &plan->seed) &&
                   seconds_of(plan->seconds_text, &plan->seconds)
               ? EXIT_DONE
               : EXIT_USAGE;
}

static int make_cases(struct plan *plan)
{
    char *ops = strdup(plan->ops), *save = NULL;
    int code = read_numbers(plan);
    for (char *o = strtok_r(ops, ",", &save); o != NULL && code == EXIT_DONE;
         o = strtok_r(NULL, ",", &save)) {
        int op = op_of(o);
        code = op < 0 ? cli_fail(EXIT_USAGE, "--op: \"%s\" is none of get, set, exists", o)
                      : add_cases(plan, (enum mkv_op)op);
    }
    free(ops);
    if (code == EXIT_DONE && plan->n == 0) {
        code = nothing_to_do();
    }
    return code;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void print_json(const struct bench_case *c, const struct bench_row *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "op", json_string(name_of(c->op)));
    json_object_set_new(o, "value_bytes", json_integer((json_int_t)c->value_bytes));
    json_object_set_new(o, "batch", json_integer((json_int_t)c->batch));
    json_object_set_new(o, "bytes_per_s", json_real(r->bytes_per_s));
    json_object_set_new(o, "keys_per_s", json_real(r->keys_per_s));
    json_object_set_new(o, "p50_us", json_real(r->p50_us));
    json_object_set_new(o, "p99_us", json_real(r->p99_us));
    json_object_set_new(o, "p999_us", json_real(r->p999_us));
    json_object_set_new(o, "max_us", json_real(r->max_us));
    json_object_set_new(o, "cpu_cores", json_real(r->cpu_cores));
    json_object_set_new(o, "ceiling_bytes_per_s",
                        c->no_ceiling ? json_null() : json_real(r->ceiling_bytes_per_s));
    json_object_set_new(o, "ratio", c->no_ceiling ? json_null() : json_real(r->ratio));
    json_object_set_new(o, "transport", json_string(c->transport));
    json_object_set_new(o, "servers", c->servers == NULL ? json_null() : cli_json_text(c->servers));
    json_object_set_new(o, "seed", json_integer((json_int_t)c->seed));
    cli_print(o);
}

static void print_row(const struct bench_case *c, const struct bench_row *r)
{
    char size[MKV_UNIT_TEXT], keys[MKV_UNIT_TEXT];
    char p50[MKV_UNIT_TEXT], p99[MKV_UNIT_TEXT], p999[MKV_UNIT_TEXT];
    char ceiling[MKV_UNIT_TEXT] = "-", ratio[MKV_UNIT_TEXT] = "-";
    if (!c->no_ceiling) {
        snprintf(ceiling, sizeof(ceiling), "%.3f", r->ceiling_bytes_per_s / 1e9);
        snprintf(ratio, sizeof(ratio), "%.2f", r->ratio);
    }
    mkv__print_size(size, c->value_bytes);
    printf("%-6s%6s%6u%7s%8.3f%8s%8s%8s%6.2f%9s%7s\n", name_of(c->op),
           c->value_bytes > 0 ? size : "-", c->batch,
           mkv__people_count(keys, (uint64_t)r->keys_per_s), r->bytes_per_s / 1e9,
           mkv__people_duration(p50, (uint64_t)(r->p50_us * 1e3)),
           mkv__people_duration(p99, (uint64_t)(r->p99_us * 1e3)),
           mkv__people_duration(p999, (uint64_t)(r->p999_us * 1e3)), r->cpu_cores, ceiling, ratio);
}

static void add_slice(void *arg)
{
    progress_add(arg, 1);
}

static int run_case(struct mkv_client *client, const struct bench_case *c, pid_t server,
                    struct progress *progress)
{
    struct bench_row row;
    progress_word(progress, "storing values");
    int r = bench_run(client, c, server, add_slice, progress, &row);
    progress_clear(progress);
    if (r < 0) {
        if (r == -2) {
            return cli_fail(EXIT_USAGE, "the ceiling could not be measured: no sockets");
        }
        return cli_fail(EXIT_UNREACHABLE, "%s: %s", name_of(c->op),
                        r == -1 ? "the values could not be stored first" : "no batch came whole");
    }
    (flags.json ? print_json : print_row)(c, &row);
    fflush(stdout);
    if (row.failed > 0) {
        return cli_fail(EXIT_UNREACHABLE, "%s: %llu of %llu batches did not come whole",
                        name_of(c->op), (unsigned long long)row.failed,
                        (unsigned long long)row.batches);
    }
    return EXIT_DONE;
}

/* What is measured, and how long that takes. */
static void print_heading(const struct plan *plan, const char *transport)
{
    double seconds = plan->n * plan->seconds * (plan->no_ceiling ? 1 : 2);
    printf("%s%s, over %s: %d row%s, %s%.0f s\n\n",
           plan->servers == NULL ? "a server of its own on this machine" : "servers ",
           plan->servers == NULL ? "" : plan->servers, transport, plan->n, plan->n == 1 ? "" : "s",
           seconds < 1 ? "less than " : "about ", seconds < 1 ? 1 : seconds);
}

/* It fills servers with values of its own, so it takes none that was not named for it. */
static void say_what_is_not_measured(void)
{
    struct mkv__config_error error;
    struct mkv__config *config = cli_config_quietly(MKV__CLIENT | MKV__PARTIAL, &error);
    if (config != NULL && mkv__config_is_set(config, MKV_OPT_SERVERS)) {
        cli_warn("the servers of %s are not measured, but one of its own: name those that are to "
                 "be with --servers",
                 mkv__config_origin(config, MKV_OPT_SERVERS));
    }
    mkv__config_destroy(&config);
}

static int run_all(struct mkv_client *client, struct plan *plan, pid_t server,
                   struct progress *progress)
{
    const struct mkv__config *config = mkv__client_config(client);
    struct mkv__tcp_congestion congestion;
    int code = EXIT_DONE;
    mkv__tcp_congestion_choose(mkv__config_string(config, MKV_OPT_CONGESTION_CONTROL), &congestion);
    progress_clear(progress);
    if (!flags.json) {
        print_heading(plan, mkv_client_transport(client));
        printf("%-6s%6s%6s%7s%8s%8s%8s%8s%6s%9s%7s\n", "op", "value", "batch", "keys/s", "GB/s",
               "p50", "p99", "p99.9", "cores", "ceiling", "ratio");
        fflush(stdout);
    }
    for (int i = 0; i < plan->n; i++) {
        plan->cases[i].transport = mkv_client_transport(client);
        plan->cases[i].servers = plan->servers;
        plan->cases[i].congestion = congestion.used;
        plan->cases[i].lanes = (unsigned)mkv__config_count(config, MKV_OPT_LANES);
        code = cli_worse(code, run_case(client, &plan->cases[i], server, progress));
    }
    progress_end(progress);
    return code;
}

static int with_server(struct plan *plan)
{
    struct bench_server server = {0};
    struct progress progress;
    progress_begin(&progress, "bench", (uint64_t)plan->n * bench_slices(plan->no_ceiling));
    plan->servers = cli_flag(MKV_OPT_SERVERS);
    if (plan->servers == NULL) {
        say_what_is_not_measured();
        progress_word(&progress, "starting a server");
        int r = bench_server_start(&server);
        progress_clear(&progress);
        if (r < 0) {
            return cli_fail(EXIT_UNREACHABLE, "a server of our own could not be started");
        }
        cli_flag_set(MKV_OPT_SERVERS, server.address);
    }
    int code = EXIT_USAGE;
    struct mkv_client *client = cli_open(false, &code);
    if (client != NULL) {
        code = run_all(client, plan, server.pid, &progress);
        cli_close(&client);
    }
    bench_server_stop(&server);
    return code;
}

int cmd_bench(int argc, const char **argv)
{
    struct plan plan = {.batch = 128, .threads = 1, .seconds = 2, .seed = 1};
    const struct poptOption own[] = {
        {"op", 0, POPT_ARG_STRING, &plan.ops, 0, "Operations (default get,set,exists).", "LIST"},
        {"size", 0, POPT_ARG_STRING, &plan.sizes, 0, "Sizes of values (default 4K,64K,1M,4M).",
         "LIST"},
        {"batch", 'b', POPT_ARG_STRING, &plan.batch_text, 0,
         "Keys of a batch; fewer where its values would pass 128 MiB (default 128).", "N"},
        {"threads", 0, POPT_ARG_STRING, &plan.threads_text, 0,
         "Callers beside each other (default 1).", "N"},
        {"seconds", 0, POPT_ARG_STRING, &plan.seconds_text, 0,
         "For each row, and again for its ceilings (default 2).", "S"},
        {"seed", 0, POPT_ARG_STRING, &plan.seed_text, 0, "Of keys and values (default 1).", "N"},
        {"ceiling", 0, POPT_ARG_STRING, &plan.ceiling, 0,
         "What is measured beside: sockets, or none (default sockets).", "WORD"},
        POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    plan.ops = plan.ops != NULL ? plan.ops : strdup("get,set,exists");
    plan.sizes = plan.sizes != NULL ? plan.sizes : strdup("4K,64K,1M,4M");
    plan.nonce = now_ns() ^ (uint64_t)getpid() << 48;
    code = poptPeekArg(context) != NULL ? cli_usage("bench") : make_cases(&plan);
    if (code == EXIT_DONE) {
        code = with_server(&plan);
    }
    char *const given[] = {plan.ops,          plan.sizes,     plan.batch_text, plan.threads_text,
                           plan.seconds_text, plan.seed_text, plan.ceiling};
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        free(given[i]);
    }
    poptFreeContext(context);
    return code;
}
