/* A server process as others see it: through /proc, its figures, its log and raw connections. */
#ifndef TESTING_FAULTS_OUTSIDE_H
#define TESTING_FAULTS_OUTSIDE_H

#include "testing/e2e/fleet.h"

#include <stddef.h>
#include <sys/types.h>

/* One server; its stderr goes to a file, which outside_log_lines counts. */
void outside_start(struct fleet *fleet, const char *memory);
int outside_log_lines(void);

int outside_descriptors(pid_t pid);
long outside_figure(const struct fleet *fleet, const char *name); /* of `memkv stat --json` */
/* Waits until the figure has this value; fails after half a minute. */
void outside_until(const struct fleet *fleet, const char *name, long value);
/* Waits until no more than so many are open: the last to leave may be on its way. */
void outside_until_descriptors(const struct fleet *fleet, int most);
int outside_connect(const struct fleet *fleet); /* a blocking socket; -1: errno */

#endif
