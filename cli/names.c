#include "cli/names.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool stays(unsigned char c, bool first)
{
    return c < 128 && (isalnum(c) || c == '_' || c == '-' || (c == '.' && !first));
}

void key_to_name(const char *key, size_t key_len, char out[NAME_ROOM])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t in_chunk = 0;
    for (size_t i = 0; i < key_len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (in_chunk >= NAME_CHUNK - 3) {
            *out++ = '%';
            *out++ = '/';
            in_chunk = 0;
        }
        if (stays(c, in_chunk == 0)) {
            *out++ = (char)c;
            in_chunk++;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
            in_chunk += 3;
        }
    }
    *out = '\0';
}

int name_to_key(const char *name, char out[MKV_KEY_MAX])
{
    size_t n = 0;
    while (*name != '\0') {
        if (name[0] == '%' && name[1] == '/') {
            name += 2;
            continue;
        }
        if (n == MKV_KEY_MAX) {
            return -1;
        }
        if (*name == '%' && isxdigit((unsigned char)name[1]) && isxdigit((unsigned char)name[2])) {
            char hex[3] = {name[1], name[2], '\0'};
            out[n++] = (char)strtol(hex, NULL, 16);
            name += 3;
        } else {
            out[n++] = *name++;
        }
    }
    return n == 0 ? -1 : (int)n;
}
