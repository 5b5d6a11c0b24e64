#include "core/checksum.h"

#include <isa-l/crc64.h>
#include <string.h>

/* ECMA-182, bit-reflected: bit 63 is x^0. */
#define POLYNOMIAL 0xC96C5795D7870F42u
#define ONE        ((uint64_t)1 << 63)

static uint64_t crc0(uint64_t state, const void *data, size_t len)
{
    /* ISA-L inverts on the way in and out; this undoes both, so that crc0 is linear. */
    return ~crc64_ecma_refl(~state, data, len);
}

/* a * b modulo the polynomial. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (uint64_t bit = ONE; a != 0; bit >>= 1) {
        if (a & bit) {
            product ^= b;
            a &= ~bit;
        }
        b = (b >> 1) ^ (b & 1 ? POLYNOMIAL : 0);
    }
    return product;
}

/* x^(8 * 2^k), computed once by whoever comes first; a race writes the same values. */
static uint64_t powers[40];
static int powers_known;

static const uint64_t *powers_table(void)
{
    if (!__atomic_load_n(&powers_known, __ATOMIC_ACQUIRE)) {
        uint64_t p = ONE >> 8;
        for (size_t k = 0; k < sizeof(powers) / sizeof(powers[0]); k++) {
            __atomic_store_n(&powers[k], p, __ATOMIC_RELAXED);
            p = multiply(p, p);
        }
        __atomic_store_n(&powers_known, 1, __ATOMIC_RELEASE);
    }
    return powers;
}

static uint64_t shift(uint64_t crc, uint64_t bytes)
{
    const uint64_t *table = powers_table();
    for (int k = 0; bytes != 0; k++, bytes >>= 1) {
        if (bytes & 1) {
            crc = multiply(crc, table[k]);
        }
    }
    return crc;
}

uint64_t mkv__sum_slice(const void *data, size_t len, uint64_t after)
{
    return shift(crc0(0, data, len), after);
}

uint64_t mkv__sum_seed(const void *namespace_, size_t namespace_len, const void *key,
                       size_t key_len, uint64_t total_len)
{
    uint8_t lengths[8 + 2];
    for (int i = 0; i < 8; i++) {
        lengths[i] = (uint8_t)(total_len >> (8 * i));
    }
    lengths[8] = (uint8_t)namespace_len;
    lengths[9] = (uint8_t)key_len;
    uint64_t crc = crc0(~(uint64_t)0, lengths, sizeof(lengths));
    crc = crc0(crc, namespace_, namespace_len);
    return crc0(crc, key, key_len);
}

uint64_t mkv__hash(const void *data, size_t len, uint64_t seed)
{
    uint64_t h = crc0(seed ^ 0x9e3779b97f4a7c15u ^ len, data, len);
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u; /* the finaliser of splitmix64 */
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}
