/*
 * A fake provider of verbs, for tests on any machine: devices, queue pairs and a wire between them in
 * this process, without libibverbs. Keys, rights, states, PSNs, MTUs, receives that are missing and
 * queues that are full are looked at as hardware does; what an application must not do (destroy what
 * is in use, leave events unacknowledged) is a misuse, counted and told on stderr.
 *
 * Work requests of a queue pair end in their order. They move by memcpy, at once or, as the knobs say,
 * later: a work request that is late waits for so many polls of any completion queue, or until one is
 * armed. Any thread may call; whoever does moves what can move.
 */
#ifndef TESTING_RDMA_FAKE_VERBS_H
#define TESTING_RDMA_FAKE_VERBS_H

#include <infiniband/verbs.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_DEVICES 8u
#define FAKE_GIDS    8u

struct fake_gid {
    const char *address; /* "127.0.0.1" (mapped into IPv6), "fe80::1" */
    enum ibv_gid_type type;
};

/* May be changed at any time, by the thread that tests; what is open keeps what it has asked for. */
struct fake_device {
    char name[64];
    bool gone;                 /* it is not in the list */
    enum ibv_port_state state; /* of its only port; not active: nothing moves */
    enum ibv_mtu mtu;
    uint8_t link_layer;
    int max_sge, reads;
    uint32_t max_inline;
    uint64_t max_mr_size;
    uint64_t memlock; /* bytes that may be registered in all; 0: any */
    bool windows;     /* memory windows of type 2, and invalidation */
    bool srqs;
    bool stuck;      /* nothing that is posted on it ends */
    bool deaf;       /* nothing arrives at it */
    uint32_t narrow; /* packets of more bytes do not arrive at it; 0: all do */
    bool fatal;      /* DEVICE_FATAL has come */
    uint32_t far_ms; /* connecting a queue pair takes so long, see fake_verbs_far */
    int far_error;   /* and ends so; errno */
    int failing_mrs; /* so many registrations fail with ENOMEM; -1: all */
    int lost_cqes;   /* a completion queue has so many entries less than it says */
    struct fake_gid gids[FAKE_GIDS];
    unsigned n_gids;
};

struct fake_counts {
    /* that exist */
    uint64_t lists, contexts, pds, mrs, mws, channels, cqs, srqs, qps;
    uint64_t connecting; /* calls that connect a queue pair */
    uint64_t registered; /* bytes */
    /* that there have been */
    uint64_t made; /* objects of all kinds */
    uint64_t doorbells, work_requests, signaled, receives, notifies, inlined;
    uint64_t writes, reads, sends, binds, invalidated;
    uint64_t events;   /* of channels */
    uint64_t rnrs;     /* SENDs that found no receive */
    uint64_t overruns; /* completions that found no room */
    uint64_t misuses;
};

/* From now on there are n devices, "fake0" with the GID of 127.0.0.1 and so on, and nothing else. */
void fake_verbs_begin(unsigned n);
/* The library's verbs again. */
void fake_verbs_end(void);
struct fake_device *fake_verbs_device(unsigned i);
void fake_verbs_counts(struct fake_counts *out);
/* Objects that exist. */
uint64_t fake_verbs_left(void);
/* Whether nothing is left, and no rule of verbs was broken; else says so in a line. */
bool fake_verbs_clean(const char *when);

/* WRITEs and READs are late by up to so many polls, drawn from seed; 0: none. SENDs never are. */
void fake_verbs_late(uint32_t polls, uint64_t seed);
/* SENDs are late, too: queue pairs overtake each other. */
void fake_verbs_late_sends(bool late);
/* A WRITE's bytes lie in place as much later again, though its sender has the completion, as PCIe may
 * do with relaxed ordering; but before anything that comes behind on the same queue pair. */
void fake_verbs_relaxed(bool relaxed);
/* Packets of more bytes than that are lost, and what they are of does not end. 0: none. */
void fake_verbs_wire_mtu(uint32_t bytes);
/* The nth work request (from 1) of this opcode, -1: of any, that would move from now on ends so. */
void fake_verbs_fail(int opcode, uint32_t nth, enum ibv_wc_status status, uint32_t vendor_error);
/* Connecting a queue pair of this device blocks its caller for so long, and ends with this errno, 0: none;
 * those that are blocked have waited long enough when it is less. From now on all devices are connected as those that block, on threads. */
void fake_verbs_far(unsigned device, uint32_t ms, int error);
/* From now on a SEND with invalidate closes another window of its receiver, if there is one. */
void fake_verbs_wrong_window(bool wrong);
/* Tells all who have the device open, and does what it says: a port goes down or up, queue pairs fail
 * (QP_FATAL: all of the device), the device is dead. */
void fake_verbs_event(unsigned device, enum ibv_event_type type);

#endif
