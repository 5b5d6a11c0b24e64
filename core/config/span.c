#include "core/config/span.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 120 /* bytes of the user's text in an error */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

struct mkv__span mkv__span_trim(const char *p, size_t len)
{
    while (len > 0 && is_blank(*p)) {
        p++;
        len--;
    }
    while (len > 0 && is_blank(p[len - 1])) {
        len--;
    }
    return (struct mkv__span){p, len};
}

struct mkv__span mkv__span_cut(struct mkv__span s, const char *separators,
                               struct mkv__span *rest_out)
{
    for (size_t i = 0; i < s.len; i++) {
        if (strchr(separators, s.p[i])) {
            *rest_out = (struct mkv__span){s.p + i + 1, s.len - i - 1};
            return mkv__span_trim(s.p, i);
        }
    }
    *rest_out = (struct mkv__span){NULL, 0};
    return mkv__span_trim(s.p, s.len);
}

int mkv__span_number(struct mkv__span s)
{
    int value = 0;
    if (s.len == 0 || s.len > 6) {
        return -1;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!isdigit((unsigned char)s.p[i])) {
            return -1;
        }
        value = value * 10 + (s.p[i] - '0');
    }
    return value;
}

int mkv__span_refuse(char error[MKV_SPAN_ERROR], struct mkv__span piece, const char *format, ...)
{
    bool cut_short = piece.len > SHOWN_MAX;
    int n = snprintf(error, MKV_SPAN_ERROR, "\"%.*s%s\" ", cut_short ? SHOWN_MAX : (int)piece.len,
                     piece.p ? piece.p : "", cut_short ? "..." : "");
    va_list args;
    va_start(args, format);
    vsnprintf(error + n, MKV_SPAN_ERROR - (size_t)n, format, args);
    va_end(args);
    return -EINVAL;
}

int mkv__span_no_memory(char error[MKV_SPAN_ERROR])
{
    snprintf(error, MKV_SPAN_ERROR, "out of memory");
    return -ENOMEM;
}
