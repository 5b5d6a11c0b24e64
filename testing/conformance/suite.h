#ifndef TESTING_CONFORMANCE_SUITE_H
#define TESTING_CONFORMANCE_SUITE_H

#include "testing/conformance/rig.h"

/* What every transport has to pass, unchanged. Returns the amount of failures. */
int mkv__conformance(const struct mkv__subject *subject);

#endif
