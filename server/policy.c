#include "server/policy.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static struct mkv__policy_list *list_of(struct mkv__policy *policy, uint8_t segment)
{
    return segment == MKV__PROTECTED ? &policy->protected_ : &policy->probation;
}

static void push(struct mkv__policy *policy, struct mkv__object *object, uint8_t segment)
{
    struct mkv__policy_list *list = list_of(policy, segment);
    object->segment = segment;
    object->newer = NULL;
    object->older = list->newest;
    if (list->newest != NULL) {
        list->newest->newer = object;
    } else {
        list->oldest = object;
    }
    list->newest = object;
    list->bytes += object->size;
}

static void take(struct mkv__policy *policy, struct mkv__object *object)
{
    struct mkv__policy_list *list = list_of(policy, object->segment);
    if (object->newer != NULL) {
        object->newer->older = object->older;
    } else {
        list->newest = object->older;
    }
    if (object->older != NULL) {
        object->older->newer = object->newer;
    } else {
        list->oldest = object->newer;
    }
    list->bytes -= object->size;
    object->newer = object->older = NULL;
    object->segment = MKV__OUTSIDE;
}

void mkv__policy_init(struct mkv__policy *policy, uint64_t capacity)
{
    memset(policy, 0, sizeof(*policy));
    policy->protected_max = capacity / 5 * 4;
}

void mkv__policy_admitted(struct mkv__policy *policy, struct mkv__object *const *objects,
                          uint32_t n)
{
    while (n-- > 0) { /* the tail first: it is the oldest then */
        if (objects[n] != NULL) {
            push(policy, objects[n], MKV__PROBATION);
        }
    }
}

void mkv__policy_hit(struct mkv__policy *policy, struct mkv__object *const *objects, uint32_t n)
{
    while (n-- > 0) {
        if (objects[n] != NULL && objects[n]->segment != MKV__OUTSIDE) {
            take(policy, objects[n]);
            push(policy, objects[n], MKV__PROTECTED);
        }
    }
    while (policy->protected_.bytes > policy->protected_max) {
        struct mkv__object *oldest = policy->protected_.oldest;
        assert(oldest != NULL);
        take(policy, oldest);
        push(policy, oldest, MKV__PROBATION);
    }
}

struct mkv__object *mkv__policy_victim(struct mkv__policy *policy)
{
    struct mkv__object *object = policy->probation.oldest;
    return object != NULL ? object : policy->protected_.oldest;
}

void mkv__policy_spared(struct mkv__policy *policy, struct mkv__object *object)
{
    take(policy, object);
    push(policy, object, MKV__PROTECTED);
}

void mkv__policy_removed(struct mkv__policy *policy, struct mkv__object *object)
{
    if (object->segment != MKV__OUTSIDE) {
        take(policy, object);
    }
}
