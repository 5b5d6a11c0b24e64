/*
 * SIGHUP: the list of servers is read anew from the configuration file. Only where a file is named
 * and the list comes from it; otherwise the signal ends the command, as ever.
 */
#include "cli/cli.h"

#include "router/probe.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LIST_ROOM (64u << 10)

static pthread_t thread;
static bool running;
static atomic_bool ending;

static void reload(struct mkv_client *client)
{
    struct mkv_error error = {0};
    int code;
    struct mkv__config *config = cli_config(MKV__CLIENT, &code);
    char *list = malloc(LIST_ROOM);
    if (config != NULL && list != NULL) {
        mkv__config_print(config, MKV_OPT_SERVERS, list, LIST_ROOM);
        if (mkv_client_set_servers(client, list, &error) < 0) {
            cli_warn("SIGHUP: %s; the old list of servers stays", error.text);
        } else {
            cli_warn("SIGHUP: the servers are %s", list);
        }
    } else {
        cli_warn("SIGHUP: the old list of servers stays");
    }
    mkv__config_destroy(&config);
    free(list);
}

static void *wait_for_signals(void *arg)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    while (sigwait(&set, &number) == 0 && !atomic_load(&ending)) {
        reload(arg);
    }
    return NULL;
}

void reload_start(struct mkv_client *client)
{
    const struct mkv__config *config = mkv__client_config(client);
    sigset_t set;
    if (mkv__config_origin_kind(config, MKV_OPT_SERVERS) != MKV__ORIGIN_FILE) {
        return;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    atomic_store(&ending, false);
    running = pthread_create(&thread, NULL, wait_for_signals, client) == 0;
}

void reload_stop(void)
{
    if (running) {
        atomic_store(&ending, true);
        pthread_kill(thread, SIGHUP); /* what it waits for */
        pthread_join(thread, NULL);
        running = false;
    }
}
