#include "core/checksum.h"

#include "core/checksum_table.h"

#include <isa-l/crc64.h>

uint64_t mkv__crc(uint64_t state, const void *data, size_t len)
{
    /* ISA-L inverts on the way in and out; this undoes both, so that it is linear. */
    return ~crc64_ecma_refl(~state, data, len);
}

/* a * b modulo the polynomial: Horner's rule over the digits of a, the highest power first. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t times[16] = {[8] = b}, product = 0;
    for (unsigned bit = 4; bit > 0; bit >>= 1) {
        uint64_t before = times[2 * bit];
        times[bit] = (before >> 1) ^ (before & 1 ? mkv__crc_reduce[8] : 0);
    }
    for (unsigned digit = 3; digit < 16; digit++) {
        unsigned lowest = digit & -digit;
        times[digit] = times[lowest] ^ times[digit ^ lowest];
    }
    for (int i = 0; i < 16; i++, a >>= 4) {
        product = (product >> 4) ^ mkv__crc_reduce[product & 15] ^ times[a & 15];
    }
    return product;
}

/* One multiplication for each hexadecimal digit of `bytes` that is not 0. */
uint64_t mkv__crc_shift(uint64_t crc, uint64_t bytes)
{
    for (int k = 0; bytes != 0; k++, bytes >>= 4) {
        if (bytes & 15) {
            crc = multiply(crc, mkv__crc_power[k][bytes & 15]);
        }
    }
    return crc;
}

uint64_t mkv__sum_slice(const void *data, size_t len, uint64_t after)
{
    return mkv__crc_shift(mkv__crc(0, data, len), after);
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
    uint64_t crc = mkv__crc(~(uint64_t)0, lengths, sizeof(lengths));
    crc = mkv__crc(crc, namespace_, namespace_len);
    return mkv__crc(crc, key, key_len);
}

uint64_t mkv__hash(const void *data, size_t len, uint64_t seed)
{
    uint64_t h = mkv__crc(seed ^ 0x9e3779b97f4a7c15u ^ len, data, len);
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u; /* the finaliser of splitmix64 */
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}
