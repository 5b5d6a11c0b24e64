#include "core/queue.h"

#include "core/base.h"

void mkv__queue_init(struct mkv__queue *queue)
{
    __cds_wfcq_init(&queue->head, &queue->tail);
    __cds_wfcq_init(&queue->taken_head, &queue->taken_tail);
}

bool mkv__queue_enqueue(struct mkv__queue *queue, struct mkv__queue_node *node)
{
    cds_wfcq_node_init(&node->node);
    MKV_TSAN_RELEASE(node);
    return !cds_wfcq_enqueue(&queue->head, &queue->tail, &node->node);
}

static struct cds_wfcq_node *dequeue(struct __cds_wfcq_head *head, struct cds_wfcq_tail *tail)
{
    struct cds_wfcq_node *node = __cds_wfcq_dequeue_nonblocking(head, tail);
    return node == CDS_WFCQ_WOULDBLOCK ? NULL : node;
}

struct mkv__queue_node *mkv__queue_take(struct mkv__queue *queue)
{
    struct cds_wfcq_node *node = dequeue(&queue->taken_head, &queue->taken_tail);
    if (node == NULL) {
        if (!cds_wfcq_empty(&queue->taken_head, &queue->taken_tail)) {
            return NULL; /* a node that was taken along is still being linked */
        }
        __cds_wfcq_splice_nonblocking(&queue->taken_head, &queue->taken_tail, &queue->head,
                                      &queue->tail);
        node = dequeue(&queue->taken_head, &queue->taken_tail);
    }
    if (node == NULL) {
        return NULL;
    }
    struct mkv__queue_node *taken = MKV_CONTAINER_OF(node, struct mkv__queue_node, node);
    MKV_TSAN_ACQUIRE(taken);
    return taken;
}

bool mkv__queue_posted(struct mkv__queue *queue)
{
    return !cds_wfcq_empty(&queue->head, &queue->tail);
}

bool mkv__queue_empty(struct mkv__queue *queue)
{
    return cds_wfcq_empty(&queue->taken_head, &queue->taken_tail) &&
           cds_wfcq_empty(&queue->head, &queue->tail);
}
