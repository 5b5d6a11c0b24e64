#include "core/hist.h"

#include "core/counter.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Let 2^b be the number of parts (b = 8 for 2 digits, 11 for 3). Values below 2^b have a part each.
 * After that, value v with its highest bit at position p >= b falls into a bucket of 2^(b-1) parts,
 * each 2^(p-b+1) wide: index = (p-b+1) * 2^(b-1) + (v >> (p-b+1)), where the shifted value lies in
 * [2^(b-1), 2^b).
 */
struct mkv__hist {
    unsigned bits; /* b */
    size_t n;      /* of parts */
    struct mkv__counter count, clamped, sum, max;
    struct mkv__counter min; /* bitwise complement, so that 0 is "none" and it only grows */
    struct mkv__counter parts[];
};

static size_t index_of(unsigned bits, uint64_t value)
{
    if (value < (UINT64_C(1) << bits)) {
        return (size_t)value;
    }
    unsigned shift = 64 - (unsigned)__builtin_clzll(value) - bits;
    return ((size_t)shift << (bits - 1)) + (size_t)(value >> shift);
}

/* The largest value that falls into a part. */
static uint64_t last_value(unsigned bits, size_t index)
{
    size_t half = (size_t)1 << (bits - 1);
    if (index < 2 * half) {
        return index;
    }
    unsigned shift = (unsigned)(index / half) - 1;
    uint64_t part = index - (size_t)shift * half;
    return ((part + 1) << shift) - 1;
}

int mkv__hist_create(int digits, struct mkv__hist **hist_out)
{
    if (digits != 2 && digits != 3) {
        return -EINVAL;
    }
    unsigned bits = digits == 2 ? 8 : 11;
    size_t n = index_of(bits, MKV_HIST_MAX_NS) + 1;
    struct mkv__hist *hist = calloc(1, sizeof(*hist) + n * sizeof(hist->parts[0]));
    if (!hist) {
        return -ENOMEM;
    }
    hist->bits = bits;
    hist->n = n;
    *hist_out = hist;
    return 0;
}

void mkv__hist_destroy(struct mkv__hist **hist)
{
    free(*hist);
    *hist = NULL;
}

void mkv__hist_record(struct mkv__hist *hist, uint64_t ns)
{
    if (ns > MKV_HIST_MAX_NS) {
        ns = MKV_HIST_MAX_NS;
        mkv__counter_inc(&hist->clamped);
    }
    mkv__counter_inc(&hist->parts[index_of(hist->bits, ns)]);
    mkv__counter_add(&hist->sum, ns);
    mkv__counter_max(&hist->max, ns);
    mkv__counter_max(&hist->min, ~ns);
    mkv__counter_inc(&hist->count);
}

int mkv__hist_merge(struct mkv__hist *into, const struct mkv__hist *from)
{
    if (into->bits != from->bits) {
        return -EINVAL;
    }
    uint64_t count = 0;
    for (size_t i = 0; i < from->n; i++) {
        uint64_t n = mkv__counter_read(&from->parts[i]);
        if (n > 0) {
            mkv__counter_add(&into->parts[i], n);
            count += n;
        }
    }
    mkv__counter_add(&into->count, count); /* of the parts: fits them also beside a writer */
    mkv__counter_add(&into->clamped, mkv__counter_read(&from->clamped));
    mkv__counter_add(&into->sum, mkv__counter_read(&from->sum));
    mkv__counter_max(&into->max, mkv__counter_read(&from->max));
    mkv__counter_max(&into->min, mkv__counter_read(&from->min));
    return 0;
}

static void clear(struct mkv__counter *counter)
{
    mkv__counter_sub(counter, mkv__counter_read(counter));
}

void mkv__hist_reset(struct mkv__hist *hist)
{
    for (size_t i = 0; i < hist->n; i++) {
        clear(&hist->parts[i]);
    }
    clear(&hist->count);
    clear(&hist->clamped);
    clear(&hist->sum);
    clear(&hist->max);
    clear(&hist->min);
}

uint64_t mkv__hist_count(const struct mkv__hist *hist)
{
    return mkv__counter_read(&hist->count);
}

uint64_t mkv__hist_clamped(const struct mkv__hist *hist)
{
    return mkv__counter_read(&hist->clamped);
}

uint64_t mkv__hist_min(const struct mkv__hist *hist)
{
    uint64_t complement = mkv__counter_read(&hist->min);
    return complement ? ~complement : 0;
}

uint64_t mkv__hist_max(const struct mkv__hist *hist)
{
    return mkv__counter_read(&hist->max);
}

double mkv__hist_mean(const struct mkv__hist *hist)
{
    uint64_t count = mkv__hist_count(hist);
    return count ? (double)mkv__counter_read(&hist->sum) / (double)count : 0;
}

uint64_t mkv__hist_percentile(const struct mkv__hist *hist, double percent)
{
    uint64_t count = mkv__hist_count(hist);
    uint64_t max = mkv__hist_max(hist);
    double exact = percent / 100 * (double)count;
    uint64_t wanted = exact <= 1 ? 1 : (uint64_t)exact;
    wanted += (double)wanted < exact; /* rounded up */
    uint64_t seen = 0;
    for (size_t i = 0; count > 0 && i < hist->n; i++) {
        seen += mkv__counter_read(&hist->parts[i]);
        if (seen >= wanted) {
            uint64_t value = last_value(hist->bits, i);
            return value < max ? value : max;
        }
    }
    return max;
}
