/*
 * Shared keys as texts and files. No text that these functions write contains a key.
 */
#ifndef CORE_CONFIG_KEY_H
#define CORE_CONFIG_KEY_H

#include "core/auth/auth.h"
#include "core/config/span.h"

#include <stddef.h>
#include <stdint.h>

#define MKV_FINGERPRINT_TEXT 9u
#define MKV_KEY_LINES_MAX    1024u /* keys of one file */

/* 64 hex digits, blanks and line ends around them allowed. Errors: -EINVAL with a text. */
int mkv__key_parse(const char *text, uint8_t key_out[MKV_KEY_BYTES],
                   char error_out[MKV_SPAN_ERROR]);

/* The first 8 hex digits of the SHA-256 of a key, to compare keys without showing them. Returns
 * `out`. */
const char *mkv__key_fingerprint(const uint8_t key[MKV_KEY_BYTES], char out[MKV_FINGERPRINT_TEXT]);

/* Overwrites secrets in a way that no compiler removes. */
void mkv__key_forget(void *secret, size_t len);

/*
 * Reads a file with one key. *exposed_out: other users of this host may read the file.
 * Errors: -EINVAL (also: cannot be read), with a text that begins with the path.
 */
int mkv__key_read(const char *path, uint8_t key_out[MKV_KEY_BYTES], bool *exposed_out,
                  char error_out[MKV_SPAN_ERROR]);

/* A list of keys that grows; zeroed to begin with. */
struct mkv__key_list {
    struct mkv__auth_key *keys;
    size_t n;
};

/* Appends; prefix (copied) NULL: good for all namespaces. Errors: -ENOMEM, -EINVAL an id twice. */
int mkv__key_list_add(struct mkv__key_list *list, uint32_t id, const uint8_t key[MKV_KEY_BYTES],
                      const char *prefix, char error_out[MKV_SPAN_ERROR]);

/* Appends the keys of a file: lines "ID KEY [PREFIX]". Errors as mkv__key_read. */
int mkv__key_list_read(struct mkv__key_list *list, const char *path, bool *exposed_out,
                       char error_out[MKV_SPAN_ERROR]);

void mkv__key_list_fini(struct mkv__key_list *list);

#endif
