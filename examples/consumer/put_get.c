/* Puts a value into the servers that MEMKV_SERVERS names, and gets it back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <memkv/memkv.h>

static int put_get(struct mkv_client *client)
{
    const char key[] = "example-c";
    const char value[] = "forty-two tokens' worth of keys and values";
    char back[sizeof(value)];
    uint64_t stored_len = 0;

    int put = mkv_set(client, key, strlen(key), value, sizeof(value));
    if (put < 0) {
        fprintf(stderr, "put: %s\n", mkv_error_text(put));
        return 1;
    }
    int64_t got = mkv_get(client, key, strlen(key), back, sizeof(back), &stored_len);
    if (got < 0) {
        fprintf(stderr, "get: %s (%" PRIu64 " bytes are stored)\n", mkv_error_text((int)got),
                stored_len);
        return 1;
    }
    printf("%s %s, got %" PRId64 " bytes: %s\n", key, put ? "stored" : "kept", got, back);
    return memcmp(back, value, sizeof(value)) != 0;
}

int main(void)
{
    struct mkv_client_options options = {.size = sizeof(options)};
    struct mkv_client *client = NULL;
    struct mkv_error error;

    if (mkv_client_open(&options, &client, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    int status = put_get(client);
    mkv_client_close(&client);
    return status;
}
