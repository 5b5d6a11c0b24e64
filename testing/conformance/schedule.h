/*
 * Random schedules of gets and sets, checked against a model: what a get returns is whole, was set,
 * and is not older than a set acknowledged before the get began; memory does not change after its
 * concealment; everything ends exactly once. Requests are withdrawn, bulk is aborted and sessions are
 * closed at any moment, from inside of callbacks too.
 *
 *   xxx_schedule_test [--seed N] [--seeds COUNT]
 */
#ifndef TESTING_CONFORMANCE_SCHEDULE_H
#define TESTING_CONFORMANCE_SCHEDULE_H

#include "testing/conformance/rig.h"

/* `seeds` schedules from 1 on, unless the arguments say otherwise. Returns the amount of failures. */
int mkv__schedules(const struct mkv__subject *subject, uint64_t seeds, int argc, char **argv);
/* Of the schedule that runs; for the subject's reset. */
uint64_t mkv__schedule_seed(void);

#endif
