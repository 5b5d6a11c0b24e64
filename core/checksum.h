/*
 * The checksum of a value: CRC64 (ECMA, reflected; ISA-L), combinable in any order, xored with a
 * seed made of what the value is: namespace, key, length. So swapped, stale or shifted objects fail.
 *
 *   sum(value) = seed ^ XOR over slices of shift(crc0(slice), bytes of the value after the slice)
 *
 * crc0 is the CRC register without its initial and final inversion, which makes it linear over
 * GF(2): shift(c, n) multiplies by x^(8n) modulo the polynomial.
 */
#ifndef CORE_CHECKSUM_H
#define CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t mkv__sum_seed(const void *namespace_, size_t namespace_len, const void *key,
                       size_t key_len, uint64_t total_len);
/* The term of `len` bytes that lie `after` bytes before the value's end; xor it into the sum. */
uint64_t mkv__sum_slice(const void *data, size_t len, uint64_t after);
/*
 * The plain CRC64 of bytes that come piece by piece: the register after `data`, from MKV_CRC_BEGIN on; the
 * CRC is its complement. The register of a run is that before it, shifted over the run's length, xored with
 * mkv__crc(0, run): which, shifted over the bytes after it, is its term in a value's sum, too.
 */
#define MKV_CRC_BEGIN UINT64_MAX
uint64_t mkv__crc(uint64_t state, const void *data, size_t len);
uint64_t mkv__crc_shift(uint64_t state, uint64_t bytes);
/* Hash of a key for tables and chains (not the checksum): 64 bits, well mixed. */
uint64_t mkv__hash(const void *data, size_t len, uint64_t seed);

#endif
