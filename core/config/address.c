#include "core/config/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void copy_lower(char *out, struct mkv__span s)
{
    for (size_t i = 0; i < s.len; i++) {
        out[i] = (char)tolower((unsigned char)s.p[i]);
    }
    out[s.len] = '\0';
}

/* Digits and points alone can only be meant as IPv4: "10.0.0.300" is a slip, not a host name. */
static bool looks_like_ipv4(struct mkv__span host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!isdigit((unsigned char)host.p[i]) && host.p[i] != '.') {
            return false;
        }
    }
    return true;
}

static bool is_host_name(struct mkv__span host)
{
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.p[i];
        if (!isalnum(c) && c != '.' && c != '-' && c != '_') {
            return false;
        }
    }
    return host.len > 0 && host.p[0] != '.' && host.p[0] != '-';
}

static int parse_ipv6(struct mkv__span host, struct mkv__address *out, char *error)
{
    if (host.len >= MKV_HOST_TEXT) {
        return mkv__span_refuse(error, host, "is not an IPv6 address");
    }
    copy_lower(out->host, host);
    char plain[MKV_HOST_TEXT]; /* without a zone, "fe80::1%eth0", whose name keeps its case */
    copy_lower(plain, host);
    char *zone = strchr(plain, '%');
    if (zone) {
        memcpy(out->host + (zone - plain), host.p + (zone - plain),
               host.len - (size_t)(zone - plain));
        if (!is_host_name((struct mkv__span){zone + 1, strlen(zone + 1)})) {
            return mkv__span_refuse(error, host, "is not an IPv6 address");
        }
        *zone = '\0';
    }
    struct in6_addr binary;
    char canonical[INET6_ADDRSTRLEN];
    if (inet_pton(AF_INET6, plain, &binary) != 1) {
        return mkv__span_refuse(error, host, "is not an IPv6 address");
    }
    if (!zone) { /* "::0001" and "::1" are one address: print it in its one form */
        snprintf(out->host, sizeof(out->host), "%s",
                 inet_ntop(AF_INET6, &binary, canonical, sizeof(canonical)));
    }
    return 0;
}

static int parse_host(struct mkv__span host, struct mkv__address *out, char *error)
{
    if (host.len == 0) {
        return mkv__span_refuse(error, host,
                                "is not a host (expected e.g. 10.0.0.10, 10.0.0.10:9900, "
                                "[::1]:9900)");
    }
    if (host.len >= MKV_HOST_TEXT || !is_host_name(host)) {
        return mkv__span_refuse(error, host, "is not the name of a host");
    }
    copy_lower(out->host, host);
    struct in_addr binary;
    if (looks_like_ipv4(host) && inet_pton(AF_INET, out->host, &binary) != 1) {
        return mkv__span_refuse(error, host, "is not an IPv4 address");
    }
    return 0;
}

static int parse_port(struct mkv__span text, struct mkv__span port, bool allow_0,
                      struct mkv__address *out, char *error)
{
    int number = mkv__span_number(port);
    if (number < (allow_0 ? 0 : 1) || number > UINT16_MAX) {
        return mkv__span_refuse(error, text, "has no valid port (expected %d to 65535)",
                                allow_0 ? 0 : 1);
    }
    out->port = (uint16_t)number;
    return 0;
}

/* Splits "[::1]:9900" and "host:9900"; port.p NULL: none given. */
static int split_address(struct mkv__span s, struct mkv__span *host, struct mkv__span *port,
                         bool *ipv6, char *error)
{
    struct mkv__span rest;
    *ipv6 = s.len > 0 && s.p[0] == '[';
    *port = (struct mkv__span){NULL, 0};
    if (!*ipv6) {
        *host = mkv__span_cut(s, ":", port);
        if (port->p && memchr(port->p, ':', port->len)) {
            return mkv__span_refuse(error, s,
                                    "looks like an IPv6 address without brackets (expected e.g. "
                                    "[::1]:9900)");
        }
        return 0;
    }
    *host = mkv__span_cut((struct mkv__span){s.p + 1, s.len - 1}, "]", &rest);
    if (!rest.p) {
        return mkv__span_refuse(error, s, "has no closing bracket (expected e.g. [::1]:9900)");
    }
    rest = mkv__span_trim(rest.p, rest.len);
    if (rest.len > 0 && rest.p[0] != ':') {
        return mkv__span_refuse(error, s,
                                "has something else than a port after the bracket (expected e.g. "
                                "[::1]:9900)");
    }
    if (rest.len > 0) {
        *port = (struct mkv__span){rest.p + 1, rest.len - 1};
    }
    return 0;
}

int mkv__address_take(struct mkv__span s, bool allow_port_0, struct mkv__address *out,
                      char error[MKV_SPAN_ERROR])
{
    struct mkv__span host, port;
    bool ipv6;
    int rc = split_address(s, &host, &port, &ipv6, error);
    if (rc < 0) {
        return rc;
    }
    rc = ipv6 ? parse_ipv6(host, out, error) : parse_host(host, out, error);
    if (rc < 0) {
        return rc;
    }
    out->port = MKV_DEFAULT_PORT;
    if (port.p) {
        rc = parse_port(s, mkv__span_trim(port.p, port.len), allow_port_0, out, error);
        if (rc < 0) {
            return rc;
        }
    }
    snprintf(out->text, sizeof(out->text), ipv6 ? "[%s]:%u" : "%s:%u", out->host,
             (unsigned)out->port);
    return 0;
}

int mkv__address_parse(const char *text, bool allow_port_0, struct mkv__address *address_out,
                       char error_out[MKV_SPAN_ERROR])
{
    struct mkv__address address;
    int rc = mkv__address_take(mkv__span_trim(text, strlen(text)), allow_port_0, &address,
                               error_out);
    if (rc == 0) {
        *address_out = address;
    }
    return rc;
}
