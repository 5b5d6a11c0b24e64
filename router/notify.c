/* Done batches, for callers with a loop of their own: a list under a mutex and a descriptor. */
#include "router/internal.h"

#include "core/os/event.h"

#include <errno.h>

int mkv_client_fd(struct mkv_client *client)
{
    return client->forks == mkv__forks() ? client->event : -ECANCELED;
}

void mkv__notify(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    mkv_done_fn fn = b->done_fn;
    void *arg = b->done_arg;
    if (fn != NULL) {
        fn(arg, b);
    }
    /* Under the mutex, so that whoever reaps finds the batch done, and whoever waits and destroys
     * one has seen it leave the list or is seen by mkv_client_reap. */
    pthread_mutex_lock(&client->mutex);
    b->next_done = NULL;
    *client->done_end = b;
    client->done_end = &b->next_done;
    mkv__completion_done(&b->completion);
    mkv__event_signal(client->event);
    pthread_mutex_unlock(&client->mutex);
}

int mkv_client_reap(struct mkv_client *client, struct mkv_batch **out, int max)
{
    int n = 0;
    if (client->forks != mkv__forks()) {
        return -ECANCELED;
    }
    pthread_mutex_lock(&client->mutex);
    while (n < max && client->done != NULL) {
        out[n++] = client->done;
        client->done = client->done->next_done;
    }
    if (client->done == NULL) {
        client->done_end = &client->done;
        mkv__event_clear(client->event);
    }
    pthread_mutex_unlock(&client->mutex);
    for (int i = 0; i < n; i++) {
        mkv_batch_test(out[i]);
    }
    return n;
}
