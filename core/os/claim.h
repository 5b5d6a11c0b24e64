/*
 * Numbered claims between all processes of a host: each number is held by at most one open file
 * (Linux: open-file-description locks on single bytes of an empty file). A claim ends when the
 * descriptor is closed, so also with the process, however that ends. A child that was forked, and
 * has not called exec, keeps its parent's claims while it lives.
 */
#ifndef CORE_OS_CLAIM_H
#define CORE_OS_CLAIM_H

#include <stdbool.h>

/* Opens the file, or makes it, for all users to share. Close it with close(). -errno. */
int mkv__claims_open(const char *path);

/* 0, or -EAGAIN: another holds it; another -errno: claims do not work there. */
int mkv__claims_take(int claims, unsigned number);
void mkv__claims_drop(int claims, unsigned number);

/* Whether another holds it. */
bool mkv__claims_held(int claims, unsigned number);

#endif
