/*
 * The grammar of server lists, usable alone (a list replaced at run time).
 *
 *     list    = server ("," server)* [","]              newlines separate as well
 *     server  = [name "="] address ("|" address)* ["*" weight]
 *     address = core/config/address.h
 *     name    = 1 to 63 of A-Z a-z 0-9 . _ -
 *     weight  = 1 to 1000
 *
 * Blanks are allowed around every part. Refused: two servers of one name, an address given twice,
 * more than MKV_SERVERS_MAX servers or MKV_ADDRESSES_MAX addresses of one server.
 */
#ifndef CORE_CONFIG_SERVERS_H
#define CORE_CONFIG_SERVERS_H

#include "core/config/address.h"

#include <stddef.h>
#include <stdint.h>

#define MKV_SERVERS_MAX   1024u
#define MKV_ADDRESSES_MAX 16u
#define MKV_WEIGHT_MAX    1000u

struct mkv__server_entry {
    char name[MKV_ADDRESS_TEXT]; /* placement goes by it; default: text of the first address */
    uint32_t weight;             /* 1 to MKV_WEIGHT_MAX */
    uint32_t n_addresses;        /* at least 1 */
    struct mkv__address *addresses;
};

struct mkv__server_list {
    size_t n;
    struct mkv__server_entry *servers; /* in the order given */
};

/*
 * Parses; *list_out is set only on success. Errors: -EINVAL, -ENOMEM; then error_out has a text, as
 * `"10.0.0.300" is not an IPv4 address`. Thread: any thread. The list is destroyed by the caller.
 */
int mkv__server_list_parse(const char *text, struct mkv__server_list **list_out,
                           char error_out[MKV_SPAN_ERROR]);

void mkv__server_list_destroy(struct mkv__server_list **list);

/* Prints a list as it would be written, names and weights only where they are not the default.
 * Like snprintf: returns the length that is needed. */
size_t mkv__server_list_print(const struct mkv__server_list *list, char *out, size_t cap);

#endif
