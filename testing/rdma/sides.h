/* Two sides over fake verbs, for tests of what is RDMA's own: what they say, and what they go over. */
#ifndef TESTING_RDMA_SIDES_H
#define TESTING_RDMA_SIDES_H

#include "core/log.h"
#include "testing/conformance/cases.h"
#include "testing/conformance/rig.h"

/* The lines of one side. */
struct lines {
    struct mkv__log log;
    char text[8192];
};

extern struct lines lines_of[2]; /* client, server */
extern const char *device_of[2]; /* that a side names; NULL: none */
extern bool must;                /* for both */
extern struct mkv__subject sides_subject;

int sides_setup(void **state);
/* After each: nothing is left, and no rule was broken. */
int sides_teardown(void **state);
#define SIDES_TEST(name) cmocka_unit_test_setup_teardown(name, sides_setup, sides_teardown)

unsigned count_of(const char *text, const char *what);
void goes_over(struct end *end, const char *what);
/* Some seconds at most. */
void until_on_rails(struct rig *rig);

#endif
