#include "cli/cli.h"

#include <string.h>

const struct command commands[] = {
    {"serve", cmd_serve, "run a server"},
    {"put", cmd_put, "store a value, or a directory of values"},
    {"get", cmd_get, "fetch a value, or many into a directory"},
    {"exists", cmd_exists, "ask which keys are there"},
    {"stat", cmd_stat, "what each server holds and does"},
    {"bench", cmd_bench, "measure, beside the ceiling of this machine"},
    {"doctor", cmd_doctor, "check configuration and servers, and say what to do"},
    {"keygen", cmd_keygen, "make an authentication key"},
    {"completion", cmd_completion, "print the completion script of a shell"},
    {NULL, NULL, NULL},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: memkv COMMAND [OPTION...] [ARGUMENT...]\n\n"
                "MemKV keeps KV pages of LLM inference in servers' memory.\n\nCommands:\n");
    for (const struct command *c = commands; c->name != NULL; c++) {
        fprintf(to, "  %-12s%s\n", c->name, c->help);
    }
    fprintf(to, "\n'memkv COMMAND --help' tells the options of a command.\n\n"
                "Exit codes:\n"
                "  0  done, all there\n"
                "  1  a miss\n"
                "  2  usage, configuration or a local file\n"
                "  3  a server not reachable, or too late\n"
                "  4  refused: the key, or the right to do it\n");
}

int main(int argc, const char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("memkv %s\n", mkv_version());
        return EXIT_DONE;
    }
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(argv[1], c->name) == 0) {
            return c->run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "memkv: there is no command \"%s\"; 'memkv --help' lists them\n", argv[1]);
    return EXIT_USAGE;
}
