/*
 * The only header that includes liburcu. Two flavours live side by side: bp for clients, whose
 * threads are not ours and cannot be registered, and qsbr for a server's workers, which have a
 * natural quiescent state at the end of each turn.
 *
 * liburcu 0.13 tells ThreadSanitizer nothing about its barriers: the macros below add what it needs
 * to see around publish and dereference, enqueue and dequeue, and grace periods. liburcu's functions
 * are linked, not inlined (no _LGPL_SOURCE), so that its own loads and stores are not looked at.
 *
 *     publish       MKV_RCU_PUBLISH(&shared, object)
 *     read, bp      urcu_bp_read_lock(); object = MKV_RCU_DEREFERENCE(shared); ...
 *                   MKV_RCU_BP_READ_UNLOCK(&shared)
 *     read, qsbr    object = MKV_RCU_DEREFERENCE(shared); ... MKV_RCU_QSBR_QUIESCENT(&shared)
 *     take back     MKV_RCU_BP_SYNCHRONIZE(&shared) or MKV_RCU_QSBR_SYNCHRONIZE(&shared); free
 *
 * The last address given says to ThreadSanitizer which readers a grace period waits for: the same
 * one on both sides.
 */
#ifndef CORE_RCU_H
#define CORE_RCU_H

#include <urcu/rculfhash.h>
#include <urcu/urcu-bp.h>
#include <urcu/urcu-qsbr.h>
#include <urcu/wfcqueue.h>

/* liburcu 0.13 declares the flavour of the header that is included first, and only that. */
extern const struct rcu_flavor_struct urcu_qsbr_flavor;

#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define MKV_TSAN_ACQUIRE(addr) __tsan_acquire((void *)(addr))
#define MKV_TSAN_RELEASE(addr) __tsan_release((void *)(addr))
#else
#define MKV_TSAN_ACQUIRE(addr) ((void)(addr))
#define MKV_TSAN_RELEASE(addr) ((void)(addr))
#endif

#define MKV_RCU_PUBLISH(pointer, object)          \
    do {                                          \
        MKV_TSAN_RELEASE(object);                 \
        rcu_assign_pointer(*(pointer), (object)); \
    } while (0)

#define MKV_RCU_DEREFERENCE(pointer)                                \
    ({                                                              \
        __typeof__(pointer) mkv_object_ = rcu_dereference(pointer); \
        if (mkv_object_ != NULL) {                                  \
            MKV_TSAN_ACQUIRE(mkv_object_);                          \
        }                                                           \
        mkv_object_;                                                \
    })

#define MKV_RCU_BP_READ_UNLOCK(address) \
    do {                                \
        MKV_TSAN_RELEASE(address);      \
        urcu_bp_read_unlock();          \
    } while (0)

#define MKV_RCU_BP_SYNCHRONIZE(address) \
    do {                                \
        urcu_bp_synchronize_rcu();      \
        MKV_TSAN_ACQUIRE(address);      \
    } while (0)

#define MKV_RCU_QSBR_QUIESCENT(address) \
    do {                                \
        MKV_TSAN_RELEASE(address);      \
        urcu_qsbr_quiescent_state();    \
    } while (0)

#define MKV_RCU_QSBR_SYNCHRONIZE(address) \
    do {                                  \
        urcu_qsbr_synchronize_rcu();      \
        MKV_TSAN_ACQUIRE(address);        \
    } while (0)

#endif
