/*
 * Pieces of a text for the small grammars of this folder (servers, addresses, CPU lists): nothing
 * is copied, nothing needs a zero at its end.
 */
#ifndef CORE_CONFIG_SPAN_H
#define CORE_CONFIG_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#define MKV_SPAN_ERROR 400u /* room for what a parser has to say */

struct mkv__span {
    const char *p; /* NULL: there is no such piece */
    size_t len;    /* bytes */
};

/* Without blanks at both ends. */
struct mkv__span mkv__span_trim(const char *p, size_t len);

/* The piece up to the first of `separators`, trimmed; what follows it goes to *rest_out. */
struct mkv__span mkv__span_cut(struct mkv__span s, const char *separators,
                               struct mkv__span *rest_out);

/* A decimal number of at most 6 digits that is all of the piece; -1 otherwise. */
int mkv__span_number(struct mkv__span s);

/* Writes `"PIECE" WHAT` (a long piece is cut short); returns -EINVAL. */
int mkv__span_refuse(char error[MKV_SPAN_ERROR], struct mkv__span piece, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes that memory ran out; returns -ENOMEM. */
int mkv__span_no_memory(char error[MKV_SPAN_ERROR]);

#endif
