/* Placement: the published vectors, how evenly keys lie, and how many move. */
#include "router/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 40000u
#define MOST 16u

static const char *vectors = "router/placement_vectors.txt";

struct place {
    uint64_t hash;
    uint32_t weight;
};

static uint64_t key_of(unsigned i)
{
    char text[32];
    return mkv__place_key("default", 7, text, (uint32_t)snprintf(text, sizeof(text), "page-%u", i));
}

static void add(struct place *p, const char *name, uint32_t weight)
{
    *p = (struct place){mkv__place_server(name), weight};
}

static uint32_t first(uint64_t key, const struct place *p, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (mkv__place_before(mkv__place_draw(key, p[i].hash), p[i].weight,
                              mkv__place_draw(key, p[best].hash), p[best].weight)) {
            best = i;
        }
    }
    return best;
}

static void numbered(struct place *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "10.0.0.%u:9900", i);
        add(&p[i], name, 1);
    }
}

/* Lines: draw KEY SERVER u, in hex; order KEY NAME*WEIGHT... : names in rank. */
static void check_draw(char *rest)
{
    char key[80], server[64];
    uint64_t want;
    assert_int_equal(sscanf(rest, "%79s %63s %" SCNx64, key, server, &want), 3);
    uint64_t hash = mkv__place_key("default", 7, key, (uint32_t)strlen(key));
    assert_int_equal(mkv__place_draw(hash, mkv__place_server(server)), want);
}

static void check_order(char *rest)
{
    struct place p[MOST];
    char *names[MOST], *save = NULL;
    uint32_t n = 0;
    char *key = strtok_r(rest, " \n", &save);
    uint64_t hash = mkv__place_key("default", 7, key, (uint32_t)strlen(key));
    char *word;
    while ((word = strtok_r(NULL, " \n", &save)) != NULL && strcmp(word, ":") != 0) {
        char *star = strchr(word, '*');
        uint32_t weight = 1;
        if (star != NULL) {
            *star = '\0';
            weight = (uint32_t)atoi(star + 1);
        }
        names[n] = word;
        add(&p[n++], word, weight);
    }
    while (n > 0) {
        uint32_t i = first(hash, p, n);
        assert_string_equal(strtok_r(NULL, " \n", &save), names[i]);
        n--;
        names[i] = names[n];
        p[i] = p[n];
    }
}

static void published_vectors(void **state)
{
    (void)state;
    char line[512];
    unsigned n = 0;
    FILE *f = fopen(vectors, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "draw ", 5) == 0) {
            check_draw(line + 5);
            n++;
        } else if (strncmp(line, "order ", 6) == 0) {
            check_order(line + 6);
            n++;
        }
    }
    fclose(f);
    assert_int_equal(n, 24);
}

static void one_more_takes_its_share_and_moves_nothing_else(void **state)
{
    (void)state;
    struct place p[MOST];
    numbered(p, MOST);
    for (uint32_t n = 1; n < MOST; n++) {
        unsigned moved = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            uint32_t before = first(key_of(i), p, n), after = first(key_of(i), p, n + 1);
            if (before != after) {
                assert_int_equal(after, n);
                moved++;
            }
        }
        double share = (double)moved / KEYS * (n + 1);
        assert_true(share > 0.93 && share < 1.07);
    }
}

static void weights_hold(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 2, 3, 10, 1};
    struct place p[5];
    unsigned got[5] = {0};
    numbered(p, 5);
    for (uint32_t i = 0; i < 5; i++) {
        p[i].weight = weights[i];
    }
    for (unsigned i = 0; i < KEYS; i++) {
        got[first(key_of(i), p, 5)]++;
    }
    for (uint32_t i = 0; i < 5; i++) {
        double share = (double)got[i] / KEYS * 17 / weights[i];
        assert_true(share > 0.93 && share < 1.07);
    }
}

/* The keys of one that falls out go to all others, not to one neighbour. */
static void those_of_one_are_shared_by_all(void **state)
{
    (void)state;
    struct place p[4];
    unsigned mine = 0, got[3] = {0};
    numbered(p, 4);
    for (unsigned i = 0; i < KEYS; i++) {
        if (first(key_of(i), p, 4) == 3) {
            mine++;
            got[first(key_of(i), p, 3)]++;
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(got[i] * 3 > mine * 0.9 && got[i] * 3 < mine * 1.1);
    }
}

static void equal_weights_of_any_size_are_the_same(void **state)
{
    (void)state;
    struct place a[6], b[6];
    numbered(a, 6);
    numbered(b, 6);
    b[0].weight = 2; /* so that the long way is taken for the others as well */
    for (unsigned i = 0; i < KEYS; i++) {
        uint32_t x = first(key_of(i), a + 1, 5);
        for (uint32_t j = 0; j < 6; j++) {
            a[j].weight = 1000;
        }
        assert_int_equal(first(key_of(i), a + 1, 5), x);
        assert_int_equal(first(key_of(i), b + 1, 5), x);
    }
}

static void namespaces_place_apart(void **state)
{
    (void)state;
    assert_int_not_equal(mkv__place_key("a", 1, "k", 1), mkv__place_key("b", 1, "k", 1));
    assert_int_not_equal(mkv__place_key("a", 1, "bk", 2), mkv__place_key("ab", 2, "k", 1));
    assert_int_not_equal(mkv__place_key("", 0, "k", 1), mkv__place_key("k", 1, "", 0));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(one_more_takes_its_share_and_moves_nothing_else),
        cmocka_unit_test(weights_hold),
        cmocka_unit_test(those_of_one_are_shared_by_all),
        cmocka_unit_test(equal_weights_of_any_size_are_the_same),
        cmocka_unit_test(namespaces_place_apart),
    };
    vectors = argc > 1 ? argv[1] : vectors;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
