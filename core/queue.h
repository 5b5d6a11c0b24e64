/*
 * An inbox: any thread enqueues, wait-free; the owner takes all there is at once and iterates.
 * (liburcu's wfcqueue; only its non-blocking calls, since the blocking ones may sleep for 10 ms.)
 *
 * Beside each other: enqueue | enqueue, enqueue | take. take | take: not, there is one owner.
 */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "core/rcu.h"

#include <stdbool.h>

struct mkv__queue_node {
    struct cds_wfcq_node node;
};

struct mkv__queue {
    struct __cds_wfcq_head head;
    struct cds_wfcq_tail tail;
    struct __cds_wfcq_head taken_head; /* the owner's */
    struct cds_wfcq_tail taken_tail;
};

void mkv__queue_init(struct mkv__queue *queue);
/* Any thread. The node is the queue's until it is taken. Returns true if the queue was empty. */
bool mkv__queue_enqueue(struct mkv__queue *queue, struct mkv__queue_node *node);
/* Owner. The oldest node, or NULL: empty, or the next one is just being linked (look again). */
struct mkv__queue_node *mkv__queue_take(struct mkv__queue *queue);
/* Owner. True if there is certainly nothing to take. */
bool mkv__queue_empty(struct mkv__queue *queue);
/* Any thread. True if something was enqueued that no owner has taken along. */
bool mkv__queue_posted(struct mkv__queue *queue);

#endif
