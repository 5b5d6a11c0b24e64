#include "core/config/value.h"

#include "core/config/cpus.h"
#include "core/config/key.h"
#include "core/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIST_MAX 64 /* items */

static struct mkv__span all_of(const char *text)
{
    return mkv__span_trim(text, strlen(text));
}

static int check_range(enum mkv__option_id id, const char *text, uint64_t number, char *error)
{
    const struct mkv__option *o = mkv__option_get(id);
    char range[MKV_RANGE_TEXT];
    if (o->max == 0 || (number >= o->min && number <= o->max)) {
        return 0;
    }
    const char *what = o->type == MKV__TYPE_DURATION ? (number < o->min ? "short" : "long")
                                                     : (number < o->min ? "small" : "large");
    return mkv__span_refuse(error, all_of(text), "is too %s (expected %s)", what,
                            mkv__option_range(id, range));
}

static int parse_number(enum mkv__option_id id, const char *text, struct mkv__value *out,
                        char *error)
{
    const char *why = "";
    int rc;
    switch (mkv__option_get(id)->type) {
    case MKV__TYPE_SIZE:
        rc = mkv__parse_size(text, &out->number, &why);
        break;
    case MKV__TYPE_DURATION:
        rc = mkv__parse_duration(text, &out->number, &why);
        break;
    default:
        rc = mkv__parse_count(text, &out->number, &why);
        break;
    }
    if (rc < 0) {
        return mkv__span_refuse(error, all_of(text), "%s", why);
    }
    return check_range(id, text, out->number, error);
}

static bool is_word(struct mkv__span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

static int parse_bool(const char *text, struct mkv__value *out, char *error)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    struct mkv__span s = all_of(text);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (is_word(s, words[i])) {
            out->number = i % 2;
            return 0;
        }
    }
    return mkv__span_refuse(error, s, "is neither true nor false");
}

static int parse_choice(enum mkv__option_id id, const char *text, struct mkv__value *out,
                        char *error)
{
    const char *const *choice = mkv__option_get(id)->choice;
    struct mkv__span s = all_of(text);
    char range[MKV_RANGE_TEXT];
    for (size_t i = 0; choice[i]; i++) {
        if (is_word(s, choice[i])) {
            out->number = i;
            return 0;
        }
    }
    return mkv__span_refuse(error, s, "is none of %s", mkv__option_range(id, range));
}

static int parse_string(enum mkv__option_id id, const char *text, struct mkv__value *out,
                        char *error)
{
    const struct mkv__option *o = mkv__option_get(id);
    size_t len = strlen(text);
    if (o->max > 0 && (len < o->min || len > o->max)) {
        return mkv__span_refuse(error, (struct mkv__span){text, len},
                                "has a wrong length (expected %" PRIu64 " to %" PRIu64 " bytes)",
                                o->min, o->max);
    }
    out->text = strdup(text);
    return out->text ? 0 : mkv__span_no_memory(error);
}

/* cap: of out->text, which has room for all items joined. */
static int add_item(struct mkv__value *out, size_t cap, struct mkv__span item, size_t longest,
                    char *error)
{
    if (item.len == 0 || item.len > longest) {
        return mkv__span_refuse(error, item, "has a wrong length (expected 1 to %zu bytes)",
                                longest);
    }
    if (out->n == LIST_MAX) {
        return mkv__span_refuse(error, item, "is one too many (expected at most %d)", LIST_MAX);
    }
    out->items[out->n] = strndup(item.p, item.len);
    if (!out->items[out->n]) {
        return mkv__span_no_memory(error);
    }
    size_t len = strlen(out->text);
    snprintf(out->text + len, cap - len, "%s%s", len > 0 ? "," : "", out->items[out->n++]);
    return 0;
}

static int parse_list(enum mkv__option_id id, const char *text, struct mkv__value *out, char *error)
{
    out->items = calloc(LIST_MAX, sizeof(out->items[0]));
    size_t cap = strlen(text) + 1; /* what is joined again is never longer */
    out->text = calloc(1, cap);
    if (!out->items || !out->text) {
        return mkv__span_no_memory(error);
    }
    struct mkv__span rest = {text, strlen(text)};
    while (rest.p) {
        struct mkv__span item = mkv__span_cut(rest, ",", &rest);
        int rc = add_item(out, cap, item, mkv__option_get(id)->max, error);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int parse_cpus(const char *text, struct mkv__value *out, char *error)
{
    int rc = mkv__cpus_parse(text, &out->cpus, &out->n, error);
    if (rc < 0) {
        return rc;
    }
    out->text = mkv__cpus_text(out->cpus, out->n);
    return out->text ? 0 : mkv__span_no_memory(error);
}

static int parse_address(const char *text, struct mkv__value *out, char *error)
{
    out->address = malloc(sizeof(*out->address));
    if (!out->address) {
        return mkv__span_no_memory(error);
    }
    return mkv__address_parse(text, true, out->address, error);
}

static int parse_secret(const char *text, struct mkv__value *out, char *error)
{
    out->secret = malloc(MKV_KEY_BYTES);
    if (!out->secret) {
        return mkv__span_no_memory(error);
    }
    return mkv__key_parse(text, out->secret, error);
}

static int parse(enum mkv__option_id id, const char *text, struct mkv__value *out, char *error)
{
    switch (mkv__option_get(id)->type) {
    case MKV__TYPE_SIZE:
    case MKV__TYPE_DURATION:
    case MKV__TYPE_COUNT:
        return parse_number(id, text, out, error);
    case MKV__TYPE_BOOL:
        return parse_bool(text, out, error);
    case MKV__TYPE_CHOICE:
        return parse_choice(id, text, out, error);
    case MKV__TYPE_STRING:
        return parse_string(id, text, out, error);
    case MKV__TYPE_LIST:
        return parse_list(id, text, out, error);
    case MKV__TYPE_CPUS:
        return parse_cpus(text, out, error);
    case MKV__TYPE_SECRET:
        return parse_secret(text, out, error);
    case MKV__TYPE_ADDRESS:
        return parse_address(text, out, error);
    case MKV__TYPE_SERVERS:
        return mkv__server_list_parse(text, &out->servers, error);
    }
    return -EINVAL;
}

int mkv__value_parse(enum mkv__option_id id, const char *text, struct mkv__value *value_out,
                     char error_out[MKV_SPAN_ERROR])
{
    struct mkv__value value = {.set = true};
    int rc = parse(id, text, &value, error_out);
    if (rc < 0) {
        mkv__value_fini(&value);
        return rc;
    }
    *value_out = value;
    return 0;
}

void mkv__value_fini(struct mkv__value *value)
{
    for (size_t i = 0; value->items && i < value->n; i++) {
        free(value->items[i]);
    }
    if (value->secret) {
        mkv__key_forget(value->secret, MKV_KEY_BYTES);
    }
    free(value->items);
    free(value->text);
    free(value->cpus);
    free(value->address);
    free(value->secret);
    mkv__server_list_destroy(&value->servers);
    *value = (struct mkv__value){0};
}

static size_t print_text(char *out, size_t cap, const char *text)
{
    return (size_t)snprintf(out, cap, "%s", text);
}

size_t mkv__value_print(enum mkv__option_id id, const struct mkv__value *value, char *out,
                        size_t cap)
{
    const struct mkv__option *o = mkv__option_get(id);
    char unit[MKV_UNIT_TEXT];
    char fingerprint[MKV_FINGERPRINT_TEXT];
    if (!value->set) {
        return print_text(out, cap, "");
    }
    switch (o->type) {
    case MKV__TYPE_SIZE:
        return print_text(out, cap, mkv__print_size(unit, value->number));
    case MKV__TYPE_DURATION:
        return print_text(out, cap, mkv__print_duration(unit, value->number));
    case MKV__TYPE_COUNT:
        return (size_t)snprintf(out, cap, "%" PRIu64, value->number);
    case MKV__TYPE_BOOL:
        return print_text(out, cap, value->number ? "true" : "false");
    case MKV__TYPE_CHOICE:
        return print_text(out, cap, o->choice[value->number]);
    case MKV__TYPE_SECRET:
        return (size_t)snprintf(out, cap, "fingerprint %s",
                                mkv__key_fingerprint(value->secret, fingerprint));
    case MKV__TYPE_ADDRESS:
        return print_text(out, cap, value->address->text);
    case MKV__TYPE_SERVERS:
        return mkv__server_list_print(value->servers, out, cap);
    case MKV__TYPE_STRING:
    case MKV__TYPE_LIST:
    case MKV__TYPE_CPUS:
        break;
    }
    return print_text(out, cap, value->text);
}
