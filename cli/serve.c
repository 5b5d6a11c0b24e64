#include "cli/cli.h"

#include "core/config/config.h"
#include "core/log.h"
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct running {
    struct mkv__config *config;
    struct mkv__log log;
    struct mkv__server *server;
    bool hung_up; /* before there was anybody to be told */
};

static bool is_read_anew(int id)
{
    return id == MKV_OPT_LOG_LEVEL || id == MKV_OPT_AUTH_KEY || id == MKV_OPT_AUTH_KEY_FILE ||
           id == MKV_OPT_AUTH_KEY_ID || id == MKV_OPT_AUTH_KEYS_FILE;
}

static void tell_what_waits(struct running *run, const struct mkv__config *now)
{
    char before[512], after[512];
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        mkv__config_print(run->config, (enum mkv__option_id)id, before, sizeof(before));
        mkv__config_print(now, (enum mkv__option_id)id, after, sizeof(after));
        if (!is_read_anew(id) && strcmp(before, after) != 0) {
            MKV_WARNING(&run->log, "SIGHUP: %s (%s) has changed, and waits for the next start",
                        mkv__option_get((enum mkv__option_id)id)->name,
                        mkv__config_origin(now, (enum mkv__option_id)id));
        }
    }
}

/* Keys and log level are read anew. What is amiss leaves all as it is. */
static void hang_up(struct running *run)
{
    struct mkv__config_error error = {0};
    struct mkv__config *now = cli_config_again(MKV__SERVER, &error);
    size_t n;
    if (now == NULL || mkv__server_use_keys(run->server, now, error.text, sizeof(error.text)) < 0) {
        MKV_ERROR(&run->log, "SIGHUP: keys and log level stay as they were: %s", error.text);
        mkv__config_destroy(&now);
        return;
    }
    tell_what_waits(run, now);
    mkv__config_destroy(&run->config);
    run->config = now;
    mkv__config_keys(now, &n);
    MKV_INFO(&run->log, "SIGHUP: %zu key%s from now on", n, n == 1 ? "" : "s");
    mkv__log_set_level(&run->log, mkv__config_choice(now, MKV_OPT_LOG_LEVEL));
}

/* Large memory takes minutes (`prefault: wait`). False: a signal has ended it. */
static bool warm_up(const sigset_t *signals, struct running *run)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    while (!mkv__server_warm(run->server)) {
        int number = sigtimedwait(signals, NULL, &pause);
        if (number == SIGTERM || number == SIGINT) {
            return false;
        }
        run->hung_up = run->hung_up || number == SIGHUP;
    }
    return true;
}

/* Runs until SIGTERM or SIGINT; a second one ends at once. The signals are blocked already, so that
 * no worker gets them. */
static void wait_for_end(const sigset_t *signals, struct running *run)
{
    int number = run->hung_up ? SIGHUP : 0;
    if (number == 0) {
        sigwait(signals, &number);
    }
    while (number == SIGHUP) {
        hang_up(run);
        sigwait(signals, &number);
    }
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

static void log_line(void *arg, int level, const char *line, size_t len)
{
    cli_log(arg, (enum mkv_log_level)level, line, len);
}

static int serve(struct running *run)
{
    char why[500] = "";
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    allow_descriptors();
    mkv__log_init(&run->log, mkv__config_choice(run->config, MKV_OPT_LOG_LEVEL), log_line, NULL);
    int r = mkv__server_create(run->config, &run->log, &run->server, why, sizeof(why));
    if (r == 0 && !warm_up(&signals, run)) {
        mkv__server_destroy(&run->server);
        return EXIT_DONE;
    }
    r = r < 0 ? r : mkv__server_start(run->server, why, sizeof(why));
    if (r < 0) {
        mkv__server_destroy(&run->server);
        return cli_fail(EXIT_USAGE, "%s", why[0] != '\0' ? why : strerror(-r));
    }
    printf("listening %s\n", mkv__server_address(run->server));
    fflush(stdout);
    wait_for_end(&signals, run);
    mkv__server_stop(run->server);
    mkv__server_destroy(&run->server);
    return EXIT_DONE;
}

int cmd_serve(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    if (poptPeekArg(context) != NULL) {
        code = cli_usage("serve");
    } else {
        struct running run = {.config = cli_config(MKV__SERVER, &code)};
        if (run.config != NULL) {
            code = serve(&run);
            mkv__config_destroy(&run.config);
        }
    }
    poptFreeContext(context);
    return code;
}
