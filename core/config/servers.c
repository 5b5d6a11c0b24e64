#include "core/config/servers.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_name(struct mkv__span name, struct mkv__server_entry *out, char *error)
{
    bool good = name.len > 0 && name.len < 64;
    for (size_t i = 0; good && i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];
        good = isalnum(c) || c == '.' || c == '_' || c == '-';
    }
    if (!good) {
        return mkv__span_refuse(
            error, name,
            "is not a name of a server (expected 1 to 63 letters, digits, '.', '_', '-')");
    }
    memcpy(out->name, name.p, name.len);
    out->name[name.len] = '\0';
    return 0;
}

static int parse_weight(struct mkv__span text, struct mkv__span weight,
                        struct mkv__server_entry *out, char *error)
{
    int number = mkv__span_number(weight);
    if (number < 1 || number > (int)MKV_WEIGHT_MAX) {
        return mkv__span_refuse(error, text, "has no valid weight (expected *1 to *%u)",
                                MKV_WEIGHT_MAX);
    }
    out->weight = (uint32_t)number;
    return 0;
}

static size_t count_parts(struct mkv__span s, char separator)
{
    size_t n = 1;
    for (size_t i = 0; i < s.len; i++) {
        n += s.p[i] == separator;
    }
    return n;
}

static int parse_addresses(struct mkv__span s, struct mkv__server_entry *out, char *error)
{
    size_t n = count_parts(s, '|');
    if (n > MKV_ADDRESSES_MAX) {
        return mkv__span_refuse(error, s, "has more than %u addresses", MKV_ADDRESSES_MAX);
    }
    out->addresses = calloc(n, sizeof(out->addresses[0]));
    if (!out->addresses) {
        return mkv__span_no_memory(error);
    }
    struct mkv__span rest = s;
    do {
        struct mkv__span one = mkv__span_cut(rest, "|", &rest);
        int rc = mkv__address_take(one, false, &out->addresses[out->n_addresses], error);
        if (rc < 0) {
            return rc;
        }
        out->n_addresses++;
    } while (rest.p);
    return 0;
}

/* One server; what it has allocated when it fails is the caller's to free. */
static int parse_server(struct mkv__span s, struct mkv__server_entry *out, char *error)
{
    struct mkv__span after_name, weight;
    struct mkv__span name = mkv__span_cut(s, "=", &after_name);
    struct mkv__span addresses = after_name.p ? after_name : s;
    addresses = mkv__span_cut(addresses, "*", &weight);
    out->weight = 1;
    int rc = after_name.p ? parse_name(name, out, error) : 0;
    if (rc == 0 && weight.p) {
        rc = parse_weight(s, mkv__span_trim(weight.p, weight.len), out, error);
    }
    if (rc == 0) {
        rc = parse_addresses(addresses, out, error);
    }
    if (rc == 0 && !after_name.p) {
        assert(out->n_addresses > 0 && out->addresses);
        memcpy(out->name, out->addresses[0].text, sizeof(out->name));
    }
    return rc;
}

/* A name or an address that is in the list twice. */
struct seen {
    const char *text;
    const char *server;
};

static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a;
    const struct seen *y = b;
    return strcmp(x->text, y->text);
}

static int refuse_twice(struct seen *seen, size_t n, const char *what, char *error)
{
    qsort(seen, n, sizeof(seen[0]), compare_seen);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(seen[i - 1].text, seen[i].text) == 0) {
            return mkv__span_refuse(error, (struct mkv__span){seen[i].text, strlen(seen[i].text)},
                                    "is given twice (%s)", what);
        }
    }
    return 0;
}

static int refuse_duplicates(const struct mkv__server_list *list, char *error)
{
    size_t n_addresses = 0;
    for (size_t i = 0; i < list->n; i++) {
        n_addresses += list->servers[i].n_addresses;
    }
    assert(n_addresses >= list->n && n_addresses > 0); /* every server has one */
    struct seen *seen = calloc(n_addresses, sizeof(seen[0]));
    if (!seen) {
        return mkv__span_no_memory(error);
    }
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        for (size_t j = 0; j < list->servers[i].n_addresses; j++) {
            seen[n++].text = list->servers[i].addresses[j].text;
        }
    }
    int rc = refuse_twice(seen, n, "every address belongs to one server", error);
    if (rc == 0) {
        for (n = 0; n < list->n; n++) {
            seen[n].text = list->servers[n].name;
        }
        rc = refuse_twice(seen, n, "names of servers must differ", error);
    }
    free(seen);
    return rc;
}

static int parse_list(struct mkv__span text, struct mkv__server_list *list, char *error)
{
    struct mkv__span rest = text;
    while (rest.p) {
        struct mkv__span one = mkv__span_cut(rest, ",\n", &rest);
        bool line_end = rest.p && rest.p[-1] == '\n';
        if (one.len == 0 && (line_end || mkv__span_trim(rest.p ? rest.p : "", rest.len).len == 0)) {
            continue; /* an empty line, or a comma at the end */
        }
        if (one.len == 0) {
            return mkv__span_refuse(error, text, "has nothing between two commas");
        }
        if (list->n == MKV_SERVERS_MAX) {
            snprintf(error, MKV_SPAN_ERROR, "more than %u servers", MKV_SERVERS_MAX);
            return -EINVAL;
        }
        int rc = parse_server(one, &list->servers[list->n++], error);
        if (rc < 0) {
            return rc;
        }
    }
    if (list->n == 0) {
        snprintf(error, MKV_SPAN_ERROR, "no servers (expected e.g. 10.0.0.10:9900,10.0.0.11)");
        return -EINVAL;
    }
    return refuse_duplicates(list, error);
}

int mkv__server_list_parse(const char *text, struct mkv__server_list **list_out,
                           char error_out[MKV_SPAN_ERROR])
{
    struct mkv__server_list *list = calloc(1, sizeof(*list));
    struct mkv__span all = {text, strlen(text)};
    size_t most = count_parts(all, ',') + count_parts(all, '\n');
    if (!list) {
        return mkv__span_no_memory(error_out);
    }
    list->servers = calloc(most < MKV_SERVERS_MAX ? most : MKV_SERVERS_MAX,
                           sizeof(list->servers[0]));
    int rc = list->servers ? parse_list(all, list, error_out) : mkv__span_no_memory(error_out);
    if (rc < 0) {
        mkv__server_list_destroy(&list);
        return rc;
    }
    *list_out = list;
    return 0;
}

void mkv__server_list_destroy(struct mkv__server_list **list)
{
    if (!*list) {
        return;
    }
    for (size_t i = 0; (*list)->servers && i < (*list)->n; i++) {
        free((*list)->servers[i].addresses);
    }
    free((*list)->servers);
    free(*list);
    *list = NULL;
}

/* Appends to what is printed so far. */
struct printer {
    char *out;
    size_t cap, len;
};

static void print(struct printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct printer *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool room = p->len < p->cap;
    int n = vsnprintf(room ? p->out + p->len : NULL, room ? p->cap - p->len : 0, format, args);
    va_end(args);
    assert(n >= 0);
    p->len += (size_t)n;
}

size_t mkv__server_list_print(const struct mkv__server_list *list, char *out, size_t cap)
{
    struct printer p = {out, cap, 0};
    if (cap > 0) {
        out[0] = '\0';
    }
    for (size_t i = 0; i < list->n; i++) {
        const struct mkv__server_entry *s = &list->servers[i];
        print(&p, "%s", i > 0 ? "," : "");
        if (strcmp(s->name, s->addresses[0].text) != 0) {
            print(&p, "%s=", s->name);
        }
        for (size_t j = 0; j < s->n_addresses; j++) {
            print(&p, "%s%s", j > 0 ? "|" : "", s->addresses[j].text);
        }
        if (s->weight != 1) {
            print(&p, "*%u", s->weight);
        }
    }
    return p.len;
}
