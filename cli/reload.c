/*
 * SIGHUP, for what runs long: the configuration is read again, and its list of servers replaces the
 * client's. The chain is the same as at the start, so a list that was given by --servers or by a
 * variable stays. A file that has become wrong changes nothing, and is told.
 */
#include "cli/cli.h"

#include "core/config/config.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define LIST_MAX 65536u

extern char **environ;

static struct {
    struct mkv_client *client;
    pthread_t thread;
    sigset_t old;
    bool running;
    bool ending; /* atomic */
} reload;

static sigset_t hangup(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    return set;
}

static void take(const struct mkv__config *config)
{
    struct mkv_error error = {0};
    const struct mkv__server_list *list = mkv__config_servers(config);
    char *text = malloc(LIST_MAX);
    if (list == NULL || text == NULL || mkv__server_list_print(list, text, LIST_MAX) >= LIST_MAX) {
        cli_warn("SIGHUP: the list of servers could not be read; the old one stays");
    } else if (mkv_client_set_servers(reload.client, text, &error) < 0) {
        cli_warn("SIGHUP: %s; the old list of servers stays", error.text);
    } else {
        cli_note("SIGHUP: the servers are %s", text);
    }
    free(text);
}

static void read_again(void)
{
    struct mkv_option options[CLI_OPTIONS_MAX];
    struct mkv__config_arg args[CLI_OPTIONS_MAX];
    struct mkv__config_error error = {0};
    struct mkv__config *config = NULL;
    size_t n = cli_options(options);
    for (size_t i = 0; i < n; i++) {
        args[i] = (struct mkv__config_arg){options[i].name, options[i].value, NULL};
    }
    if (mkv__config_create(&config) < 0) {
        return;
    }
    if (mkv__config_load(config, MKV__CLIENT, common.config, environ, args, n, &error) < 0) {
        cli_warn("SIGHUP: %s; the old list of servers stays", error.text);
    } else {
        take(config);
    }
    mkv__config_destroy(&config);
}

static void *wait_for_hangups(void *arg)
{
    sigset_t set = hangup();
    int number;
    (void)arg;
    while (sigwait(&set, &number) == 0 && !__atomic_load_n(&reload.ending, __ATOMIC_ACQUIRE)) {
        read_again();
    }
    return NULL;
}

void reload_begin(struct mkv_client *client)
{
    sigset_t set = hangup();
    const char *file = common.config != NULL ? common.config : getenv("MEMKV_CONFIG");
    if (file == NULL || file[0] == '\0') {
        return; /* nothing to read: SIGHUP ends the command, as ever */
    }
    reload.client = client;
    reload.ending = false;
    pthread_sigmask(SIG_BLOCK, &set, &reload.old);
    reload.running = pthread_create(&reload.thread, NULL, wait_for_hangups, NULL) == 0;
    if (!reload.running) {
        pthread_sigmask(SIG_SETMASK, &reload.old, NULL);
    }
}

void reload_end(void)
{
    sigset_t set = hangup();
    const struct timespec now = {0};
    if (!reload.running) {
        return;
    }
    __atomic_store_n(&reload.ending, true, __ATOMIC_RELEASE);
    pthread_kill(reload.thread, SIGHUP);
    pthread_join(reload.thread, NULL);
    while (sigtimedwait(&set, NULL, &now) == SIGHUP) {
        /* one that came too late is not to end what has been done */
    }
    pthread_sigmask(SIG_SETMASK, &reload.old, NULL);
    reload.running = false;
}
