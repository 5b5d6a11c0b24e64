#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static const char doctor_codes[] =
    "RDMA does not work, and nothing else is amiss:\n"
    "  10  this machine has no RDMA device\n"
    "  11  libibverbs is not installed\n"
    "  12  there is no device of those that are named\n"
    "  13  no port is up\n"
    "  14  the device has no GID\n"
    "  15  memory cannot be registered: the limit of locked memory\n"
    "  16  long packets are lost: the MTU is not the same all the way\n"
    "  17  the server has no RDMA device, or RDMA switched off\n"
    "  18  nothing comes over the queue pairs: UDP port 4791\n"
    "  19  a device or a peer fails in another way\n";

const struct command commands[] = {
    {"serve", cmd_serve, "run a server", "",
     "Runs a server until SIGTERM or SIGINT, which lets requests in flight end; a "
     "second one ends it at once. When it is ready, the first line on standard output "
     "is \"listening HOST:PORT\". SIGHUP makes it read keys and log_level anew, from where "
     "they came.",
     MKV__SERVER, NULL},
    {"put", cmd_put, "store a value, or a directory of values", "KEY [FILE|-]\n--from DIR",
     "Stores a value, from standard input where no file is named. Says \"stored\", or "
     "\"kept (already there)\" with a warning if what is there differs.",
     MKV__CLIENT, NULL},
    {"get", cmd_get, "fetch a value, or many into a directory", "KEY [FILE|-]\n--to DIR KEY...",
     "Fetches a value, to standard output where no file is named. A file is written "
     "whole or not at all, and not on a miss.",
     MKV__CLIENT, NULL},
    {"exists", cmd_exists, "ask which keys are there", "KEY...",
     "Asks for all keys at once, and prints a line \"KEY hit|miss|unknown\" for each. "
     "Unknown: no server could tell.",
     MKV__CLIENT, NULL},
    {"stat", cmd_stat, "what each server holds and does", "",
     "Shows what each server holds and has done since it was started. With --json an "
     "object for each server, with everything that it counts.",
     MKV__CLIENT, NULL},
    {"bench", cmd_bench, "measure, beside the ceiling of this machine", "",
     "Measures batches of get, set and exists beside the ceiling: raw sockets that "
     "move the same bytes over as many connections, in turns with ours. Without --servers "
     "it starts a server of its own; servers that are named get values of its own, and "
     "may have to evict others for them. Latencies are of whole batches, GB/s of "
     "values (exists: of messages). Cores: client and, where it is its own, server.",
     MKV__CLIENT, NULL},
    {"doctor", cmd_doctor, "check configuration and servers, and say what to do", "",
     "Shows each option's value and where it came from (keys as fingerprints), and "
     "each server: whether it is reached, key, version, latency, what is amiss and what "
     "to do; and whether RDMA works, with the devices of this machine. That there is no "
     "device, or none at a server, is a fault only with --transport rdma, or where "
     "--rdma-devices names one.",
     MKV__CLIENT, doctor_codes},
    {"keygen", cmd_keygen, "make an authentication key", "[FILE]",
     "Prints a new key for --auth-key-file, or writes it to FILE, which must not "
     "exist yet and which nobody else may read then.",
     0, NULL},
    {"completion", cmd_completion, "print the completion script of a shell", "bash",
     "Prints a script for the shell:  source <(memkv completion bash)", 0, NULL},
    {NULL, NULL, NULL, NULL, NULL, 0, NULL},
};

static int run(int argc, const char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        help_all_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help_all_commands(stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("memkv %s\n", mkv_version());
        return EXIT_DONE;
    }
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(name, c->name) == 0) {
            return c->run(argc - 1, argv + 1);
        }
    }
    return cli_fail(EXIT_USAGE,
                    name[0] == '-' ? "\"%s\": the command comes first; 'memkv --help' lists them"
                                   : "there is no command \"%s\"; 'memkv --help' lists them",
                    name);
}

/* A standard stream that the caller has closed must not become one of our sockets. Each is opened
 * for what nobody does with it, so that its use fails as that of a closed one. */
static void keep_standard_streams(void)
{
    static const int unusable[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)open("/dev/null", unusable[fd]); /* the lowest that is free: this one */
        }
    }
}

int main(int argc, const char **argv)
{
    keep_standard_streams();
    cli_look_for_json(argc, argv);
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        code = cli_worse(code, cli_fail(EXIT_USAGE, "standard output: %s", strerror(errno)));
    }
    return code;
}
