#include "core/config/key.h"

#include "core/config/text_file.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_DIGITS    (2 * MKV_KEY_BYTES)
#define KEY_FILE_MAX  4096u
#define KEYS_FILE_MAX ((size_t)1 << 20)

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct mkv__span trim_lines(const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    return (struct mkv__span){text, len};
}

static int decode(struct mkv__span hex, uint8_t key[MKV_KEY_BYTES], char *error)
{
    if (hex.len != HEX_DIGITS) {
        snprintf(error, MKV_SPAN_ERROR, "not a key (expected %u hex digits, got %zu characters)",
                 HEX_DIGITS, hex.len);
        return -EINVAL;
    }
    uint8_t out[MKV_KEY_BYTES];
    for (size_t i = 0; i < HEX_DIGITS; i++) {
        int digit = hex_digit(hex.p[i]);
        if (digit < 0) {
            snprintf(error, MKV_SPAN_ERROR,
                     "not a key (expected %u hex digits, character %zu is none)", HEX_DIGITS,
                     i + 1);
            mkv__key_forget(out, sizeof(out));
            return -EINVAL;
        }
        out[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : out[i / 2] | digit);
    }
    memcpy(key, out, sizeof(out));
    mkv__key_forget(out, sizeof(out));
    return 0;
}

int mkv__key_parse(const char *text, uint8_t key_out[MKV_KEY_BYTES], char error_out[MKV_SPAN_ERROR])
{
    return decode(trim_lines(text), key_out, error_out);
}

const char *mkv__key_fingerprint(const uint8_t key[MKV_KEY_BYTES], char out[MKV_FINGERPRINT_TEXT])
{
    uint8_t hash[32];
    if (mkv__sha256(key, MKV_KEY_BYTES, hash) < 0) {
        snprintf(out, MKV_FINGERPRINT_TEXT, "unknown");
        return out;
    }
    snprintf(out, MKV_FINGERPRINT_TEXT, "%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
    return out;
}

void mkv__key_forget(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}

/* Puts "PATH: " or "PATH:LINE: " before what is said. */
static void prepend(char *error, const char *path, int line)
{
    char said[MKV_SPAN_ERROR];
    memcpy(said, error, sizeof(said));
    if (line > 0) {
        snprintf(error, MKV_SPAN_ERROR, "%.150s:%d: %.200s", path, line, said);
    } else {
        snprintf(error, MKV_SPAN_ERROR, "%.150s: %.200s", path, said);
    }
}

int mkv__key_read(const char *path, uint8_t key_out[MKV_KEY_BYTES], bool *exposed_out,
                  char error_out[MKV_SPAN_ERROR])
{
    struct mkv__text_file file;
    int rc = mkv__text_file_read(path, KEY_FILE_MAX, &file, error_out);
    if (rc < 0) {
        return rc;
    }
    rc = mkv__key_parse(file.text, key_out, error_out);
    if (rc < 0) {
        prepend(error_out, path, 0);
    } else {
        *exposed_out = file.exposed;
    }
    mkv__key_forget(file.text, file.len);
    mkv__text_file_free(&file);
    return rc;
}

int mkv__key_list_add(struct mkv__key_list *list, uint32_t id, const uint8_t key[MKV_KEY_BYTES],
                      const char *prefix, char error_out[MKV_SPAN_ERROR])
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->keys[i].id == id) {
            snprintf(error_out, MKV_SPAN_ERROR, "key id %" PRIu32 " is given twice", id);
            return -EINVAL;
        }
    }
    struct mkv__auth_key *keys = calloc(list->n + 1, sizeof(keys[0]));
    char *copy = prefix ? strdup(prefix) : NULL;
    if (!keys || (prefix && !copy)) {
        free(keys);
        free(copy);
        return mkv__span_no_memory(error_out);
    }
    if (list->n > 0) { /* not realloc: it might leave a copy of the keys behind */
        memcpy(keys, list->keys, list->n * sizeof(keys[0]));
        mkv__key_forget(list->keys, list->n * sizeof(keys[0]));
        free(list->keys);
    }
    keys[list->n].id = id;
    keys[list->n].namespaces = copy;
    memcpy(keys[list->n].key, key, MKV_KEY_BYTES);
    list->keys = keys;
    list->n++;
    return 0;
}

static int read_id(struct mkv__span s, uint32_t *id_out, char *error)
{
    uint64_t value = 0;
    for (size_t i = 0; i < s.len && value <= UINT32_MAX; i++) {
        value = isdigit((unsigned char)s.p[i]) ? value * 10 + (uint64_t)(s.p[i] - '0') : UINT64_MAX;
    }
    if (s.len == 0 || value > UINT32_MAX) {
        snprintf(error, MKV_SPAN_ERROR,
                 "the line does not begin with a key's id (expected ID KEY "
                 "[PREFIX])");
        return -EINVAL;
    }
    *id_out = (uint32_t)value;
    return 0;
}

static int take_line(struct mkv__key_list *list, struct mkv__span line, char *error)
{
    struct mkv__span rest, prefix;
    uint32_t id;
    uint8_t key[MKV_KEY_BYTES];
    int rc = read_id(mkv__span_cut(line, " \t", &rest), &id, error);
    if (rc < 0) {
        return rc;
    }
    rest = mkv__span_trim(rest.p ? rest.p : "", rest.len);
    rc = decode(mkv__span_cut(rest, " \t", &prefix), key, error);
    if (rc < 0) {
        return rc;
    }
    char text[MKV_KEY_PREFIX_MAX + 1] = "";
    prefix = mkv__span_trim(prefix.p ? prefix.p : "", prefix.len);
    if (prefix.len >= sizeof(text)) {
        rc = mkv__span_refuse(error, prefix, "is longer than 255 bytes");
    } else {
        memcpy(text, prefix.p, prefix.len);
        rc = mkv__key_list_add(list, id, key, prefix.len > 0 ? text : NULL, error);
    }
    mkv__key_forget(key, sizeof(key));
    return rc;
}

static int take_lines(struct mkv__key_list *list, const char *path, const char *text, char *error)
{
    struct mkv__span rest = {text, strlen(text)};
    for (int number = 1; rest.p; number++) {
        struct mkv__span line = mkv__span_cut(rest, "\n", &rest);
        if (line.len == 0 || line.p[0] == '#') {
            continue;
        }
        int rc = -EINVAL;
        if (list->n >= MKV_KEY_LINES_MAX) {
            snprintf(error, MKV_SPAN_ERROR, "more than %u keys", MKV_KEY_LINES_MAX);
        } else {
            rc = take_line(list, line, error);
        }
        if (rc < 0) {
            prepend(error, path, number);
            return rc;
        }
    }
    return 0;
}

int mkv__key_list_read(struct mkv__key_list *list, const char *path, bool *exposed_out,
                       char error_out[MKV_SPAN_ERROR])
{
    struct mkv__text_file file;
    int rc = mkv__text_file_read(path, KEYS_FILE_MAX, &file, error_out);
    if (rc < 0) {
        return rc;
    }
    rc = take_lines(list, path, file.text, error_out);
    if (rc == 0) {
        *exposed_out = file.exposed;
    }
    mkv__key_forget(file.text, file.len);
    mkv__text_file_free(&file);
    return rc;
}

void mkv__key_list_fini(struct mkv__key_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free((void *)(uintptr_t)list->keys[i].namespaces);
    }
    if (list->n > 0) {
        mkv__key_forget(list->keys, list->n * sizeof(list->keys[0]));
    }
    free(list->keys);
    *list = (struct mkv__key_list){0};
}
