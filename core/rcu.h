/*
 * The only header that includes liburcu. Two flavours live side by side: bp for clients, whose
 * threads are not ours and cannot be registered, and qsbr for a server's workers, which have a
 * natural quiescent state at the end of each turn.
 *
 * liburcu 0.13 tells ThreadSanitizer nothing about its barriers: the macros below add what it needs
 * to see around publish and dereference, enqueue and dequeue.
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

#endif
