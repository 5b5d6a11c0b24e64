#include "router/placement.h"

#include "core/checksum.h"

#include <string.h>

uint64_t mkv__place_key(const void *namespace_, uint32_t namespace_len, const void *key,
                        uint32_t key_len)
{
    uint64_t seed = namespace_len > 0 ? mkv__hash(namespace_, namespace_len, 1) : 1;
    return mkv__hash(key, key_len, seed);
}

uint64_t mkv__place_server(const char *name)
{
    return mkv__hash(name, strlen(name), 2);
}

uint64_t mkv__place_draw(uint64_t key, uint64_t server)
{
    uint64_t x = key ^ (server * 0x9e3779b97f4a7c15u); /* splitmix64 */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* -log2(u / 2^64) with 20 bits of fraction: the integer part by counting zeros, each bit of the
 * fraction by squaring. */
static uint64_t minus_log2(uint64_t u)
{
    u |= 1;
    unsigned zeros = (unsigned)__builtin_clzll(u);
    uint64_t m = (u << zeros) >> 32, fraction = 0; /* m / 2^31 in [1, 2) */
    for (int i = 0; i < 20; i++) {
        m = (m * m) >> 31;
        fraction <<= 1;
        if (m >> 32) {
            fraction |= 1;
            m >>= 1;
        }
    }
    return ((uint64_t)(zeros + 1) << 20) - fraction;
}

bool mkv__place_before(uint64_t a, uint32_t wa, uint64_t b, uint32_t wb)
{
    if (wa == wb) {
        return a > b; /* -ln is monotonic */
    }
    uint64_t la = minus_log2(a) * wb, lb = minus_log2(b) * wa;
    return la != lb ? la < lb : a > b;
}
