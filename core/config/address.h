/*
 * Addresses of hosts and ports.
 *
 *     address = host [":" port]                         default port 9900
 *     host    = IPv4 | name of a host | "[" IPv6 "]"
 *
 * Blanks are allowed around every part.
 */
#ifndef CORE_CONFIG_ADDRESS_H
#define CORE_CONFIG_ADDRESS_H

#include "core/config/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MKV_DEFAULT_PORT 9900u
#define MKV_HOST_TEXT    254u /* a host and its final zero */
#define MKV_ADDRESS_TEXT 264u /* "[host]:port" and its final zero */

struct mkv__address {
    char host[MKV_HOST_TEXT];    /* lower case, without brackets */
    char text[MKV_ADDRESS_TEXT]; /* canonical: "10.0.0.10:9900", "[::1]:9900" */
    uint16_t port;
};

/*
 * Parse; *out is set only on success. Errors: -EINVAL; then error_out has a text, as
 * `"10.0.0.300" is not an IPv4 address`. Thread: any thread.
 */
int mkv__address_parse(const char *text, bool allow_port_0, struct mkv__address *address_out,
                       char error_out[MKV_SPAN_ERROR]);
int mkv__address_take(struct mkv__span s, bool allow_port_0, struct mkv__address *out,
                      char error[MKV_SPAN_ERROR]);

#endif
