/*
 * Runs a fuzzer over files and over mutations of them.
 *
 *     replay [--mutations N] [--seed S] FILE...
 *
 * The fuzzer runs in a child, so that an input on which it crashes or hangs can still be told and
 * kept. One seed gives one sequence of inputs, on every machine.
 */
#include "testing/fuzz/fuzz.h"

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)128 << 10)
#define FILES_MAX 512
#define HANG_S    10 /* one input */

struct input {
    size_t len;
    uint8_t data[INPUT_MAX];
};

/* Shared with the child. */
struct progress {
    char what[300];
    struct input input;
};

struct run {
    struct input *files[FILES_MAX];
    char *names[FILES_MAX];
    size_t n;
    uint64_t mutations, seed;
    struct progress *progress;
};

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t n)
{
    return n > 0 ? (size_t)(next_random(state) % n) : 0;
}

/* Replaces [at, at + cut) by bytes, as far as they fit. */
static void splice(struct input *in, size_t at, size_t cut, const uint8_t *bytes, size_t n)
{
    if (in->len - cut + n > INPUT_MAX) {
        n = INPUT_MAX - (in->len - cut);
    }
    memmove(in->data + at + n, in->data + at + cut, in->len - at - cut);
    if (n > 0) {
        memcpy(in->data + at, bytes, n);
    }
    in->len = in->len - cut + n;
}

static void insert_token(struct input *in, uint64_t *random)
{
    static const char *const tokens[] = {
        "18446744073709551616",
        "9223372036854775807",
        "-1",
        "0",
        ",",
        ",,",
        ":",
        "=",
        "*",
        "|",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "\n",
        "\n\n",
        " ",
        "\t",
        "~",
        "&a ",
        "*a",
        "!!x ",
        "- ",
        "---\n",
        "\xff",
        "\xff\xff\xff\xff\xff\xff\xff\xff",
        "\x7f",
        "%",
        "/",
        ".",
        "e9",
        "1e309",
    };
    const char *token = tokens[below(random, sizeof(tokens) / sizeof(tokens[0]))];
    splice(in, below(random, in->len + 1), 0, (const uint8_t *)token, strlen(token));
}

static void mutate_once(struct input *in, const struct input *other, uint64_t *random)
{
    uint8_t byte = (uint8_t)next_random(random);
    size_t at = below(random, in->len);
    size_t span = below(random, in->len - at < 64 ? in->len - at + 1 : 64);
    size_t from = below(random, other->len);
    switch (below(random, 7)) {
    case 0:
        if (in->len > 0) {
            in->data[at] ^= (uint8_t)(1u << (byte % 8));
        }
        break;
    case 1:
        if (in->len > 0) {
            in->data[at] = byte;
        }
        break;
    case 2:
        splice(in, at, 0, &byte, 1);
        break;
    case 3:
        splice(in, at, span, NULL, 0);
        break;
    case 4: {
        uint8_t copy[64];
        memcpy(copy, in->data + at, span);
        splice(in, at, 0, copy, span);
        break;
    }
    case 5:
        splice(in, at, span, other->data + from, below(random, other->len - from + 1));
        break;
    default:
        insert_token(in, random);
        break;
    }
}

static void mutate(const struct run *run, uint64_t number, struct input *out)
{
    uint64_t random = run->seed * UINT64_C(0x100000001b3) + number;
    const struct input *base = run->files[below(&random, run->n)];
    memcpy(out->data, base->data, base->len);
    out->len = base->len;
    for (size_t n = 1 + below(&random, 8); n > 0; n--) {
        mutate_once(out, run->files[below(&random, run->n)], &random);
    }
}

/* The data in a block of its own size, so that a sanitizer sees one byte too many being read. */
static void feed(const struct input *in)
{
    uint8_t *copy = malloc(in->len > 0 ? in->len : 1);
    FUZZ_REQUIRE(copy);
    memcpy(copy, in->data, in->len);
    alarm(HANG_S);
    LLVMFuzzerTestOneInput(copy, in->len);
    free(copy);
}

static void run_all(const struct run *run)
{
    struct progress *p = run->progress;
    for (size_t i = 0; i < run->n; i++) {
        snprintf(p->what, sizeof(p->what), "%.250s", run->names[i]);
        memcpy(p->input.data, run->files[i]->data, run->files[i]->len);
        p->input.len = run->files[i]->len;
        feed(&p->input);
    }
    for (uint64_t i = 0; i < run->mutations; i++) {
        snprintf(p->what, sizeof(p->what), "mutation %" PRIu64 " of seed %" PRIu64, i, run->seed);
        mutate(run, i, &p->input);
        feed(&p->input);
    }
}

static void keep(const struct input *in)
{
    const char *dir = getenv("TEST_UNDECLARED_OUTPUTS_DIR");
    char path[300];
    snprintf(path, sizeof(path), "%.280s/failing-input", dir ? dir : ".");
    FILE *out = fopen(path, "wb");
    if (out) {
        fwrite(in->data, 1, in->len, out);
        fclose(out);
        fprintf(stderr, "kept in %s\n", path);
    }
}

static int tell(const struct progress *p, int status)
{
    if (WIFEXITED(status)) {
        fprintf(stderr, "%s: the fuzzer ended with %d\n", p->what, WEXITSTATUS(status));
    } else {
        fprintf(stderr, "%s: the fuzzer died of signal %d%s\n", p->what, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    }
    fprintf(stderr, "input of %zu bytes: ", p->input.len);
    for (size_t i = 0; i < p->input.len && i < 400; i++) {
        int c = p->input.data[i];
        fprintf(stderr, c >= 0x20 && c < 0x7f && c != '\\' ? "%c" : "\\x%02x", c);
    }
    fprintf(stderr, "\n");
    keep(&p->input);
    return 1;
}

static bool read_file(struct run *run, char *name)
{
    struct input *in = malloc(sizeof(*in));
    FILE *file = fopen(name, "rb");
    bool good = in && file && run->n < FILES_MAX;
    if (good) {
        in->len = fread(in->data, 1, INPUT_MAX, file);
        run->names[run->n] = name;
        run->files[run->n++] = in;
    } else {
        fprintf(stderr, "%s: cannot be read, or one file too many\n", name);
        free(in);
    }
    if (file) {
        fclose(file);
    }
    return good;
}

static int run_child(const struct run *run)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        run_all(run);
        exit(0); /* not _exit: a leak is told at exit */
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("fork");
        return 1;
    }
    if (status != 0) {
        return tell(run->progress, status);
    }
    printf("%zu files and %" PRIu64 " mutations of seed %" PRIu64 "\n", run->n, run->mutations,
           run->seed);
    return 0;
}

int main(int argc, char **argv)
{
    static struct run run = {.seed = 1};
    bool good = true;
    for (int i = 1; i < argc && good; i++) {
        if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
            run.mutations = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            run.seed = strtoull(argv[++i], NULL, 10);
        } else {
            good = read_file(&run, argv[i]);
        }
    }
    if (good && run.n == 0) {
        fprintf(stderr, "no input files\n");
        good = false;
    }
    run.progress = mmap(NULL, sizeof(*run.progress), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    good = good && run.progress != MAP_FAILED;
    int rc = good ? run_child(&run) : 2;
    for (size_t i = 0; i < run.n; i++) {
        free(run.files[i]);
    }
    return rc;
}
