#include "cli/cli.h"

#include "core/config/config.h"
#include "core/log.h"
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

extern char **environ;

static int open_config(const struct mkv__config_arg *args, size_t n, struct mkv__config **out)
{
    struct mkv__config_error error;
    int r = mkv__config_create(out);
    if (r < 0) {
        return cli_fail(EXIT_USAGE, "out of memory");
    }
    if (mkv__config_load(*out, MKV__SERVER, common.config, environ, args, n, &error) < 0) {
        mkv__config_destroy(out);
        return cli_fail(EXIT_USAGE, "%s", error.text);
    }
    for (size_t i = 0; i < mkv__config_n_warnings(*out); i++) {
        cli_warn("%s", mkv__config_warning(*out, i));
    }
    return EXIT_DONE;
}

/* Runs until SIGTERM or SIGINT; a second one ends at once. The signals are blocked already, so that
 * no worker gets them. */
static void wait_for_end(const sigset_t *signals)
{
    int number = 0;
    do {
        sigwait(signals, &number);
    } while (number == SIGHUP);
    sigset_t hasty;
    sigemptyset(&hasty);
    sigaddset(&hasty, SIGTERM);
    sigaddset(&hasty, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &hasty, NULL);
}

/* Each session takes some; what is usual (1024) is soon used up. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(const struct mkv__config *config)
{
    struct mkv__log log;
    struct mkv__server *server = NULL;
    char why[500] = "";
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    allow_descriptors();
    mkv__log_init(&log,
                  common.verbose ? MKV__LOG_DEBUG : mkv__config_choice(config, MKV_OPT_LOG_LEVEL),
                  NULL, NULL);
    int r = mkv__server_create(config, &log, &server, why, sizeof(why));
    r = r < 0 ? r : mkv__server_start(server, why, sizeof(why));
    if (r < 0) {
        mkv__server_destroy(&server);
        return cli_fail(EXIT_USAGE, "%s", why[0] != '\0' ? why : strerror(-r));
    }
    printf("listening %s\n", mkv__server_address(server));
    fflush(stdout);
    wait_for_end(&signals);
    mkv__server_stop(server);
    mkv__server_destroy(&server);
    return EXIT_DONE;
}

int cmd_serve(int argc, const char **argv)
{
    char *listen = NULL, *memory = NULL, *workers = NULL, *cpus = NULL, *lease = NULL,
         *prefault = NULL;
    struct poptOption table[] = {
        {"listen", 'l', POPT_ARG_STRING, &listen, 0,
         "address (default 127.0.0.1:9900; port 0: any free one)", "HOST:PORT"},
        {"memory", 'm', POPT_ARG_STRING, &memory, 0, "for values (default 1G)", "SIZE"},
        {"prefault", 0, POPT_ARG_STRING, &prefault, 0,
         "when to take it: no, background (the default) or wait", "WHEN"},
        {"workers", 'w', POPT_ARG_STRING, &workers, 0, "threads that serve", "N"},
        {"workers-cpus", 0, POPT_ARG_STRING, &cpus, 0, "CPUs of the workers: 0-3,8", "LIST"},
        {"lease", 0, POPT_ARG_STRING, &lease, 0, "how long EXISTS keeps what it found", "TIME"},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "", &code);
    if (context == NULL) {
        return code;
    }
    const struct mkv__config_arg all[] = {
        {"listen", listen, "--listen"},
        {"memory", memory, "--memory"},
        {"prefault", prefault, "--prefault"},
        {"workers", workers, "--workers"},
        {"workers.cpus", cpus, "--workers-cpus"},
        {"lease", lease, "--lease"},
        {"transport", common.transport, "--transport"},
        {"auth_key_file", common.auth_key_file, "--auth-key-file"},
    };
    struct mkv__config_arg args[sizeof(all) / sizeof(all[0])];
    size_t n = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].value != NULL) {
            args[n++] = all[i];
        }
    }
    struct mkv__config *config = NULL;
    if (poptPeekArg(context) != NULL) {
        code = cli_fail(EXIT_USAGE, "memkv serve takes no arguments, only options");
    } else {
        code = open_config(args, n, &config);
    }
    if (config != NULL) {
        code = serve(config);
        mkv__config_destroy(&config);
    }
    poptFreeContext(context);
    return code;
}
