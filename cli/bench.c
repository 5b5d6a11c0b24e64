#include "cli/bench.h"

#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CASES_MAX 64

struct plan {
    char *ops, *sizes;
    int batch, threads;
    double seconds;
    long long seed;
};

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

/* At most this many bytes of values per batch, so that 4 MiB values do not need a huge machine. */
static uint32_t batch_for(const struct plan *plan, uint64_t size)
{
    uint64_t cap = size > 0 ? ((uint64_t)128 << 20) / size : UINT32_MAX;
    uint64_t n = (uint64_t)plan->batch < cap ? (uint64_t)plan->batch : cap;
    return n < 1 ? 1 : (uint32_t)n;
}

static int add_sizes(const struct plan *plan, enum mkv_op op, struct bench_case *cases, int n)
{
    char *sizes = strdup(plan->sizes), *save = NULL;
    for (char *s = strtok_r(sizes, ",", &save); s != NULL; s = strtok_r(NULL, ",", &save)) {
        uint64_t size = 0;
        if (!cli_size("--size", s, &size)) {
            n = -1;
        } else if (size < 1 || size > MKV_VALUE_MAX) {
            cli_fail(EXIT_USAGE, "--size: a value has 1 byte to 64 MiB here");
            n = -1;
        }
        if (n < 0 || n == CASES_MAX) {
            break;
        }
        cases[n++] = (struct bench_case){op,
                                         op == MKV_OP_EXISTS ? 0 : size,
                                         batch_for(plan, op == MKV_OP_EXISTS ? 0 : size),
                                         (unsigned)plan->threads,
                                         plan->seconds,
                                         (uint64_t)plan->seed};
        if (op == MKV_OP_EXISTS) {
            break;
        }
    }
    free(sizes);
    return n;
}

static int make_cases(const struct plan *plan, struct bench_case cases[CASES_MAX])
{
    char *ops = strdup(plan->ops), *save = NULL;
    int n = 0;
    for (char *o = strtok_r(ops, ",", &save); o != NULL && n >= 0; o = strtok_r(NULL, ",", &save)) {
        int op = op_of(o);
        if (op < 0) {
            cli_fail(EXIT_USAGE, "--op: \"%s\" is none of get, set, exists", o);
            n = -1;
        } else {
            n = add_sizes(plan, (enum mkv_op)op, cases, n);
        }
    }
    free(ops);
    return n;
}

static void print_json(const struct bench_case *c, const struct bench_row *r)
{
    json_t *o = json_pack("{sssIsisfsfsfsfsfsfsfsfsssIsI}", "op", name_of(c->op), "value_bytes",
                          (json_int_t)c->value_bytes, "batch", (int)c->batch, "bytes_per_s",
                          r->bytes_per_s, "keys_per_s", r->keys_per_s, "p50_us", r->p50_us,
                          "p99_us", r->p99_us, "p999_us", r->p999_us, "cpu_cores",
                          r->cpu_s / r->elapsed_s, "ceiling_bytes_per_s", r->ceiling_bytes_per_s,
                          "ratio", r->ratio, "transport", "tcp", "seed", (json_int_t)c->seed,
                          "failed_batches", (json_int_t)r->failed);
    if (o != NULL) {
        json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(o);
    }
}

static void size_text(uint64_t size, char out[32])
{
    if (size == 0) {
        snprintf(out, 32, "-");
    } else if (size % (1u << 20) == 0) {
        snprintf(out, 32, "%llu MiB", (unsigned long long)(size >> 20));
    } else if (size % 1024 == 0) {
        snprintf(out, 32, "%llu KiB", (unsigned long long)(size >> 10));
    } else {
        snprintf(out, 32, "%llu B", (unsigned long long)size);
    }
}

static void print_row(const struct bench_case *c, const struct bench_row *r)
{
    char size[32];
    size_text(c->value_bytes, size);
    printf("%-7s%9s%7u%11.0f%8.2f%10.0f%10.0f%10.0f%7.2f%11.2f%7.2f\n", name_of(c->op), size,
           c->batch, r->keys_per_s, r->bytes_per_s / 1e9, r->p50_us, r->p99_us, r->p999_us,
           r->cpu_s / r->elapsed_s, r->ceiling_bytes_per_s / 1e9, r->ratio);
    if (r->failed > 0) {
        printf("        %llu of %llu batches did not come whole\n", (unsigned long long)r->failed,
               (unsigned long long)r->batches);
    }
    fflush(stdout);
}

static int run_all(struct mkv_client *client, const struct bench_case *cases, int n, pid_t server)
{
    int code = EXIT_DONE;
    if (!common.json) {
        printf("%-7s%9s%7s%11s%8s%10s%10s%10s%7s%11s%7s\n", "op", "value", "batch", "keys/s",
               "GB/s", "p50 us", "p99 us", "p99.9 us", "cores", "ceil. GB/s", "ratio");
    }
    struct progress progress;
    progress_begin(&progress, "bench", (uint64_t)n);
    for (int i = 0; i < n; i++) {
        struct bench_row row;
        if (bench_run(client, &cases[i], server, &row) < 0) {
            code = cli_worse(code,
                             cli_fail(EXIT_UNREACHABLE, "the values to get could not be stored"));
            continue;
        }
        progress_end(&progress);
        (common.json ? print_json : print_row)(&cases[i], &row);
        progress_add(&progress, 1);
        code = row.failed > 0 ? cli_worse(code, EXIT_UNREACHABLE) : code;
    }
    progress_end(&progress);
    return code;
}

static int with_server(const struct bench_case *cases, int n)
{
    struct bench_server server = {0};
    if (common.servers == NULL) {
        if (bench_server_start(&server, "2G") < 0) {
            return cli_fail(EXIT_UNREACHABLE, "a server of our own could not be started");
        }
        common.servers = server.address;
    }
    int code = EXIT_USAGE;
    struct mkv_client *client = cli_open(&code);
    if (client != NULL) {
        code = run_all(client, cases, n, server.pid);
        mkv_client_close(&client);
    }
    bench_server_stop(&server);
    return code;
}

int cmd_bench(int argc, const char **argv)
{
    struct plan plan = {.batch = 128, .threads = 1, .seconds = 2, .seed = 1};
    struct poptOption table[] = {
        {"op", 0, POPT_ARG_STRING, &plan.ops, 0, "get,set,exists", "LIST"},
        {"size", 0, POPT_ARG_STRING, &plan.sizes, 0, "sizes of values: 4K,64K,1M,4M", "LIST"},
        {"batch", 'b', POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &plan.batch, 0, "keys of a batch",
         "N"},
        {"threads", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &plan.threads, 0, "callers", "N"},
        {"seconds", 0, POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT, &plan.seconds, 0,
         "for each row, and again for its ceiling", "S"},
        {"seed", 0, POPT_ARG_LONGLONG | POPT_ARGFLAG_SHOW_DEFAULT, &plan.seed, 0,
         "of keys and values", "N"},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "", &code);
    if (context == NULL) {
        return code;
    }
    plan.ops = plan.ops != NULL ? plan.ops : strdup("get,set,exists");
    plan.sizes = plan.sizes != NULL ? plan.sizes : strdup("4K,64K,1M,4M");
    struct bench_case cases[CASES_MAX];
    if (plan.batch < 1 || plan.batch > 100000 || plan.threads < 1 || plan.threads > 64 ||
        !(plan.seconds > 0 && plan.seconds <= 3600)) {
        code = cli_fail(EXIT_USAGE,
                        "--batch is 1 to 100000, --threads 1 to 64, --seconds up to 3600");
    } else {
        int n = make_cases(&plan, cases);
        code = n < 0 ? EXIT_USAGE : with_server(cases, n);
    }
    free(plan.ops);
    free(plan.sizes);
    poptFreeContext(context);
    return code;
}
