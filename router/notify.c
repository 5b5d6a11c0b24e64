/* Done batches, for callers with a loop of their own: a list under a mutex and a descriptor. */
#include "router/internal.h"

#include "core/os/event.h"

#include <errno.h>

int mkv_client_fd(struct mkv_client *client)
{
    return client->forks == mkv__forks() ? client->event : -ECANCELED;
}

bool mkv__notify(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    /* Under the mutex, so that whoever reaps finds the batch done, and whoever waits and destroys
     * one takes it out of the list first. */
    pthread_mutex_lock(&client->mutex);
    bool kept = mkv__completion_done(&b->completion);
    if (kept) {
        b->next_done = NULL;
        b->listed = true;
        *client->done_end = b;
        client->done_end = &b->next_done;
        mkv__event_signal(client->event);
    }
    pthread_mutex_unlock(&client->mutex);
    return kept;
}

void mkv__unnotify(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    if (!(b->flags & MKV_NOTIFY)) {
        return;
    }
    pthread_mutex_lock(&client->mutex);
    for (struct mkv_batch **at = &client->done; b->listed && *at != NULL; at = &(*at)->next_done) {
        if (*at == b) {
            *at = b->next_done;
            client->done_end = client->done_end == &b->next_done ? at : client->done_end;
            b->listed = false;
            break;
        }
    }
    if (client->done == NULL) {
        mkv__event_clear(client->event);
    }
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
        client->done->listed = false;
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
