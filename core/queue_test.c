#include "core/queue.h"

#include "core/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRODUCERS 4
#define EACH      5000

struct item {
    struct mkv__queue_node node;
    int producer, number;
};

static struct item *take(struct mkv__queue *queue)
{
    struct mkv__queue_node *node = mkv__queue_take(queue);
    return node == NULL ? NULL : MKV_CONTAINER_OF(node, struct item, node);
}

static void test_order_and_emptiness(void **state)
{
    (void)state;
    struct mkv__queue queue;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    mkv__queue_init(&queue);
    assert_true(mkv__queue_empty(&queue));
    assert_null(mkv__queue_take(&queue));
    assert_true(mkv__queue_enqueue(&queue, &items[0].node));
    assert_false(mkv__queue_enqueue(&queue, &items[1].node));
    assert_false(mkv__queue_empty(&queue));
    assert_int_equal(take(&queue)->number, 0);
    assert_false(mkv__queue_empty(&queue)); /* of the nodes that were taken along, one is left */
    assert_true(mkv__queue_enqueue(&queue, &items[2].node));
    assert_int_equal(take(&queue)->number, 1);
    assert_int_equal(take(&queue)->number, 2);
    assert_null(take(&queue));
    assert_true(mkv__queue_empty(&queue));
    assert_true(mkv__queue_enqueue(&queue, &items[0].node)); /* a node may be used again */
    assert_ptr_equal(take(&queue), &items[0]);
}

struct producer {
    pthread_t thread;
    struct mkv__queue *queue;
    int number;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (int i = 0; i < EACH; i++) {
        struct item *item = malloc(sizeof(*item));
        *item = (struct item){.producer = p->number, .number = i};
        mkv__queue_enqueue(p->queue, &item->node);
    }
    return NULL;
}

static void test_stress(void **state)
{
    (void)state;
    struct mkv__queue queue;
    struct producer producers[PRODUCERS];
    int next[PRODUCERS] = {0};
    mkv__queue_init(&queue);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.queue = &queue, .number = i};
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    for (int n = 0; n < PRODUCERS * EACH;) {
        struct item *item = take(&queue);
        if (item != NULL) {
            assert_int_equal(item->number, next[item->producer]++);
            free(item);
            n++;
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i].thread, NULL);
    }
    assert_null(take(&queue));
    assert_true(mkv__queue_empty(&queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_emptiness),
        cmocka_unit_test(test_stress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
