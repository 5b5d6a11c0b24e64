/*
 * A server of one worker on the fake transport, and clients that send it what a test says: time is
 * the test's own. Every call asserts that it worked.
 */
#ifndef TESTING_SERVER_WORLD_H
#define TESTING_SERVER_WORLD_H

#include "core/base.h"
#include "core/checksum.h"
#include "core/codec/header.h"
#include "core/config/options.h"
#include "core/log.h"
#include "server/service.h"
#include "transport/fake/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB      (UINT64_C(1) << 20)
#define MS       UINT64_C(1000000)
#define SECOND   (1000 * MS)
#define KEYS_MAX 64
#define ID(n)    ((uint64_t)(n) % 256 | (uint64_t)(n) << 32)

extern const struct mkv__auth_key all, team;

extern struct world {
    uint64_t now_ns;
    struct mkv__store *store;
    struct mkv__worker *worker, *clients;
    struct mkv__endpoint *endpoint;
    struct mkv__listener *listener;
    struct mkv__service *service;
    struct mkv__log log;
    int idle, told; /* told: conflicts */
} world;

struct setting {
    uint64_t memory, seed, delay_ns;
    uint32_t chunk;
    int admin;
    bool keys, unverified;
    const struct mkv__transport *transport; /* the service's; NULL: the fake */
};

struct client {
    struct mkv__endpoint *endpoint;
    struct mkv__conn *conn;
    bool opened, replied, goaway;
    uint32_t generation, body_len;
    uint8_t type;
    struct mkv__answer answers[KEYS_MAX];
    struct mkv__exposure exposure;
    struct mkv__piece pieces[KEYS_MAX];
    bool silent; /* sends no sums with its bytes */
};

struct batch {
    struct mkv__request request;
    struct mkv__wire_key keys[KEYS_MAX];
    char text[KEYS_MAX][16];
};

void open_world(struct setting s);
void close_world(void);
void turn(uint64_t ns);
void turn_for(uint64_t ns, uint64_t step);
uint64_t in_flight(void);
struct mkv__store_stat stat_now(void);
void dial(struct client *c, const struct mkv__auth_key *key);
void until(const bool *flag);
void connect_to(struct client *c, const struct mkv__auth_key *key);
void disconnect(struct client *c);
/* value: what its checksum is of; NULL: none. */
void add(struct batch *b, const char *name, uint64_t length, const void *value);
/* memory[i]: of key i; NULL: nothing is exposed at all. */
void send_batch(struct client *c, struct batch *b, uint8_t type, void *const *memory,
                uint32_t deadline_ms);
/* The status of the first key; all are in c->answers. */
uint8_t ask(struct client *c, struct batch *b, uint8_t type, void *const *memory);
uint8_t ask_one(struct client *c, uint8_t type, const char *ns, const char *key, uint32_t flags);

#endif
