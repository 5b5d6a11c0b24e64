#include "core/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS 9 /* more are refused; 10^9 times any unit fits 128 bits */

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"K", UINT64_C(1) << 10},
    {"KB", UINT64_C(1) << 10},
    {"KiB", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"MB", UINT64_C(1) << 20},
    {"MiB", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"GB", UINT64_C(1) << 30},
    {"GiB", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
    {"TB", UINT64_C(1) << 40},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000}, /* the micro sign */
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", UINT64_C(60) * 1000000000},
    {"min", UINT64_C(60) * 1000000000},
    {"h", UINT64_C(3600) * 1000000000},
    {"d", UINT64_C(86400) * 1000000000},
    {NULL, 0},
};

/* A decimal number: whole + fraction / 10^9. */
struct number {
    uint64_t whole;
    uint64_t fraction; /* units of 10^-9 */
    bool has_point;
};

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t') {
        p++;
    }
    return p;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits into *value_out; NULL: no digits. *overflow is only ever set. */
static const char *read_digits(const char *p, uint64_t *value_out, bool *overflow)
{
    uint64_t value = 0;
    const char *start = p;
    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            *overflow = true;
            value = 0;
        }
    }
    *value_out = value;
    return p == start ? NULL : p;
}

/* Returns what follows the number, or NULL. */
static const char *read_number(const char *p, struct number *out, bool *overflow)
{
    *out = (struct number){0};
    p = read_digits(p, &out->whole, overflow);
    if (!p || *p != '.') {
        return p;
    }
    const char *start = ++p;
    p = read_digits(start, &out->fraction, overflow);
    if (!p || p - start > FRACTION_DIGITS) {
        return NULL;
    }
    for (long n = p - start; n < FRACTION_DIGITS; n++) {
        out->fraction *= 10;
    }
    out->has_point = true;
    return p;
}

static const struct unit *find_unit(const struct unit *units, const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t')) {
        len--;
    }
    for (; units->name; units++) {
        if (strlen(units->name) == len && strncasecmp(units->name, text, len) == 0) {
            return units;
        }
    }
    return NULL;
}

static bool scale(const struct number *n, uint64_t factor, uint64_t *out)
{
    unsigned __int128 value = (unsigned __int128)n->whole * factor;
    value += (unsigned __int128)n->fraction * factor / 1000000000u;
    if (value > UINT64_MAX) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

static int fail(const char **why_out, const char *why)
{
    if (why_out) {
        *why_out = why;
    }
    return -EINVAL;
}

int mkv__parse_size(const char *text, uint64_t *bytes_out, const char **why_out)
{
    static const char expected[] = "is not a size (expected e.g. 64K, 1MiB, 1.5G)";
    struct number n;
    bool overflow = false;
    const char *rest = read_number(skip_blanks(text), &n, &overflow);
    const struct unit *unit = rest ? find_unit(size_units, skip_blanks(rest)) : NULL;
    if (!unit || (n.has_point && unit->factor == 1)) {
        return fail(why_out, expected);
    }
    if (overflow || !scale(&n, unit->factor, bytes_out)) {
        return fail(why_out, "is too large a size (expected e.g. 64K, 1MiB, 1.5G)");
    }
    return 0;
}

int mkv__parse_duration(const char *text, uint64_t *ns_out, const char **why_out)
{
    static const char expected[] = "is not a duration (expected e.g. 250ms, 2s)";
    struct number n;
    bool overflow = false;
    const char *rest = read_number(skip_blanks(text), &n, &overflow);
    if (!rest) {
        return fail(why_out, expected);
    }
    const char *name = skip_blanks(rest);
    if (*name == '\0') {
        if (overflow || n.whole != 0 || n.fraction != 0) {
            return fail(why_out, "is a duration without a unit (expected e.g. 250ms, 2s)");
        }
        *ns_out = 0;
        return 0;
    }
    const struct unit *unit = find_unit(duration_units, name);
    if (!unit || (n.has_point && unit->factor == 1)) {
        return fail(why_out, expected);
    }
    if (overflow || !scale(&n, unit->factor, ns_out)) {
        return fail(why_out, "is too long a duration (expected e.g. 250ms, 2s)");
    }
    return 0;
}

int mkv__parse_count(const char *text, uint64_t *count_out, const char **why_out)
{
    uint64_t value;
    bool overflow = false;
    const char *rest = read_digits(skip_blanks(text), &value, &overflow);
    if (!rest || *skip_blanks(rest) != '\0') {
        return fail(why_out, "is not a number (expected e.g. 4)");
    }
    if (overflow) {
        return fail(why_out, "is too large a number");
    }
    *count_out = value;
    return 0;
}

/* Prints value in the last of the units that divides it. Units ascend. */
static const char *print_exact(char out[MKV_UNIT_TEXT], uint64_t value, const struct unit *units)
{
    const struct unit *best = units;
    for (const struct unit *u = units; u->name; u++) {
        if (value != 0 && value % u->factor == 0) {
            best = u;
        }
    }
    snprintf(out, MKV_UNIT_TEXT, "%" PRIu64 "%s", value / best->factor, best->name);
    return out;
}

const char *mkv__print_size(char out[MKV_UNIT_TEXT], uint64_t bytes)
{
    static const struct unit units[] = {
        {"", 1},
        {"K", UINT64_C(1) << 10},
        {"M", UINT64_C(1) << 20},
        {"G", UINT64_C(1) << 30},
        {"T", UINT64_C(1) << 40},
        {NULL, 0},
    };
    return print_exact(out, bytes, units);
}

const char *mkv__print_duration(char out[MKV_UNIT_TEXT], uint64_t ns)
{
    static const struct unit units[] = {
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", 1000000000},
        {"m", UINT64_C(60) * 1000000000},
        {"h", UINT64_C(3600) * 1000000000},
        {NULL, 0},
    };
    if (ns == 0) {
        memcpy(out, "0s", 3);
        return out;
    }
    return print_exact(out, ns, units);
}

/* Three significant digits in the largest unit that leaves at least 1. Units ascend. */
static const char *print_people(char out[MKV_UNIT_TEXT], uint64_t value, const struct unit *units)
{
    const struct unit *best = units;
    for (const struct unit *u = units; u->name; u++) {
        /* 999.5 would be printed as 1000: take the next unit then */
        if ((double)value >= 0.9995 * (double)u->factor) {
            best = u;
        }
    }
    if (best->factor == 1) {
        snprintf(out, MKV_UNIT_TEXT, "%" PRIu64 "%s", value, best->name);
        return out;
    }
    double scaled = (double)value / (double)best->factor;
    int decimals = scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0;
    snprintf(out, MKV_UNIT_TEXT, "%.*f%s", decimals, scaled, best->name);
    return out;
}

const char *mkv__people_size(char out[MKV_UNIT_TEXT], uint64_t bytes)
{
    static const struct unit units[] = {
        {" B", 1},
        {" KiB", UINT64_C(1) << 10},
        {" MiB", UINT64_C(1) << 20},
        {" GiB", UINT64_C(1) << 30},
        {" TiB", UINT64_C(1) << 40},
        {NULL, 0},
    };
    return print_people(out, bytes, units);
}

const char *mkv__people_duration(char out[MKV_UNIT_TEXT], uint64_t ns)
{
    static const struct unit units[] = {
        {" ns", 1},
        {" us", 1000},
        {" ms", 1000000},
        {" s", 1000000000},
        {" min", UINT64_C(60) * 1000000000},
        {" h", UINT64_C(3600) * 1000000000},
        {NULL, 0},
    };
    return print_people(out, ns, units);
}

const char *mkv__people_count(char out[MKV_UNIT_TEXT], uint64_t count)
{
    static const struct unit units[] = {
        {"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {NULL, 0},
    };
    return print_people(out, count, units);
}
