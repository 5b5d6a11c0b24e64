/* One key, blocking: three lines over the batch. */
#include "router/internal.h"

#include <errno.h>

static int one(struct mkv_client *client, enum mkv_op op, const void *key, size_t key_len,
               void *value, size_t len, struct mkv_batch **out)
{
    struct mkv_segment segment = {value, len};
    if (client->forks == mkv__forks() && mkv__client_rail(client) != NULL) {
        return -EBUSY; /* in a callback: it would wait for itself */
    }
    int r = mkv_batch_create(client, out);
    if (r < 0) {
        return r;
    }
    r = mkv_batch_begin(*out, op, NULL);
    r = r < 0 ? r : mkv_batch_add(*out, key, key_len, &segment, op == MKV_OP_EXISTS ? 0 : 1);
    r = r < 0 ? r : mkv_batch_run(*out);
    r = r < 0 ? r : mkv_batch_wait(*out);
    if (r < 0) {
        mkv_batch_destroy(out);
    }
    return r;
}

int64_t mkv_get(struct mkv_client *client, const void *key, size_t key_len, void *value, size_t len,
                uint64_t *length_out)
{
    struct mkv_batch *batch = NULL;
    if (length_out != NULL) {
        *length_out = 0;
    }
    int r = one(client, MKV_OP_GET, key, key_len, value, len, &batch);
    if (r < 0) {
        return r;
    }
    uint64_t length = mkv_batch_length(batch, 0);
    bool hit = mkv_batch_status(batch, 0) == MKV_HIT;
    if (length_out != NULL) {
        *length_out = length;
    }
    mkv_batch_destroy(&batch);
    return hit ? (int64_t)length : length != 0 && length != len ? -EMSGSIZE : -ENOENT;
}

int mkv_set(struct mkv_client *client, const void *key, size_t key_len, const void *value,
            size_t len)
{
    struct mkv_batch *batch = NULL;
    int r = one(client, MKV_OP_SET, key, key_len, (void *)(uintptr_t)value, len, &batch);
    if (r < 0) {
        return r;
    }
    r = mkv_batch_status(batch, 0) == MKV_STORED;
    mkv_batch_destroy(&batch);
    return r;
}

int mkv_exists(struct mkv_client *client, const void *key, size_t key_len)
{
    struct mkv_batch *batch = NULL;
    int r = one(client, MKV_OP_EXISTS, key, key_len, NULL, 0, &batch);
    if (r < 0) {
        return r;
    }
    r = mkv_batch_status(batch, 0) == MKV_HIT;
    mkv_batch_destroy(&batch);
    return r;
}
