/*
 * The grammar of server lists and of addresses, usable alone (a list replaced at run time).
 *
 *     list    = server ("," server)* [","]              newlines separate as well
 *     server  = [name "="] address ("|" address)* ["*" weight]
 *     address = host [":" port]                         default port 9900
 *     host    = IPv4 | name of a host | "[" IPv6 "]"
 *     name    = 1 to 63 of A-Z a-z 0-9 . _ -
 *     weight  = 1 to 1000
 *
 * Blanks are allowed around every part. Refused: two servers of one name, an address given twice,
 * more than MKV_SERVERS_MAX servers or MKV_ADDRESSES_MAX addresses of one server.
 */
#ifndef CORE_CONFIG_SERVERS_H
#define CORE_CONFIG_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MKV_DEFAULT_PORT  9900u
#define MKV_SERVERS_MAX   1024u
#define MKV_ADDRESSES_MAX 16u
#define MKV_WEIGHT_MAX    1000u
#define MKV_HOST_TEXT     254u /* a host and its final zero */
#define MKV_ADDRESS_TEXT  264u /* "[host]:port" and its final zero */
#define MKV_SERVER_ERROR  400u /* room for what a parser has to say */

struct mkv__address {
    char host[MKV_HOST_TEXT];    /* lower case, without brackets */
    char text[MKV_ADDRESS_TEXT]; /* canonical: "10.0.0.10:9900", "[::1]:9900" */
    uint16_t port;
};

struct mkv__server {
    char name[MKV_ADDRESS_TEXT]; /* placement goes by it; default: text of the first address */
    uint32_t weight;             /* 1 to MKV_WEIGHT_MAX */
    uint32_t n_addresses;        /* at least 1 */
    struct mkv__address *addresses;
};

struct mkv__server_list {
    size_t n;
    struct mkv__server *servers; /* in the order given */
};

/*
 * Parse; outputs are set only on success. Errors: -EINVAL, -ENOMEM; then error_out has a text, as
 * `"10.0.0.300": not an IPv4 address`. Thread: any thread. The list is destroyed by the caller.
 */
int mkv__server_list_parse(const char *text, struct mkv__server_list **list_out,
                           char error_out[MKV_SERVER_ERROR]);
int mkv__address_parse(const char *text, bool allow_port_0, struct mkv__address *address_out,
                       char error_out[MKV_SERVER_ERROR]);

void mkv__server_list_destroy(struct mkv__server_list **list);

/* Prints a list as it would be written, names and weights only where they are not the default.
 * Like snprintf: returns the length that is needed. */
size_t mkv__server_list_print(const struct mkv__server_list *list, char *out, size_t cap);

#endif
