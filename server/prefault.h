/*
 * Takes memory from the kernel before values need it: a page that is touched for the first time costs
 * the worker that receives into it up to ten times the copy. One thread, from the beginning of the
 * memory on, which is what an empty arena gives out first.
 *
 * Beside each other: the thread | anybody who uses the memory; done | all. Others: one owner.
 */
#ifndef SERVER_PREFAULT_H
#define SERVER_PREFAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mkv__prefault {
    uint8_t *base;
    size_t len;
    size_t done;   /* atomic: bytes from base on that are there */
    bool stopping; /* atomic */
    bool ended;    /* atomic */
    bool runs;
    pthread_t thread;
};

/* base: page aligned; it has to stay mapped until stop. Errors: -EAGAIN (no thread). */
int mkv__prefault_start(struct mkv__prefault *prefault, void *base, size_t len);
/* Returns when all of it is there, or the kernel gives no more. */
void mkv__prefault_wait(struct mkv__prefault *prefault);
/* Ends early. Does nothing after a stop, a wait, or without a start. */
void mkv__prefault_stop(struct mkv__prefault *prefault);
/* Whether wait would return at once. */
bool mkv__prefault_ended(const struct mkv__prefault *prefault);
/* Bytes that are there. Any thread. */
size_t mkv__prefault_done(const struct mkv__prefault *prefault);

#endif
