#include "cli/cli.h"

#include "core/config/config.h"
#include "core/log.h"
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

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

static void log_line(void *arg, int level, const char *line, size_t len)
{
    cli_log(arg, (enum mkv_log_level)level, line, len);
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
    mkv__log_init(&log, mkv__config_choice(config, MKV_OPT_LOG_LEVEL), log_line, NULL);
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
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    if (poptPeekArg(context) != NULL) {
        code = cli_usage("serve");
    } else {
        struct mkv__config *config = cli_config(MKV__SERVER, &code);
        if (config != NULL) {
            code = serve(config);
            mkv__config_destroy(&config);
        }
    }
    poptFreeContext(context);
    return code;
}
