/* Both sides of a handshake, their messages carried by hand. */
#ifndef CORE_AUTH_TEST_PAIR_H
#define CORE_AUTH_TEST_PAIR_H

#include "core/auth/auth.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct note { /* a message */
    uint8_t type, body[MKV_HANDSHAKE_MAX];
    size_t len;
};

struct pair {
    struct mkv__hello hello[2]; /* client, server */
    const struct mkv__auth_key *keys[2];
    size_t n_keys[2];
    struct mkv__handshake *side[2];
    struct note sent[3]; /* HELLO, WELCOME or REFUSE, PROVE; as they arrive */
    int error[2];
    char why[2][200];
};
enum { CLIENT, SERVER };

/* Everything that was there to be seen is the same at both ends afterwards. */
static inline struct pair pair_of(const struct mkv__auth_key *client,
                                  const struct mkv__auth_key *server, size_t n_server)
{
    struct pair p = {.keys = {client, server}, .n_keys = {client != NULL, n_server}};
    for (int i = 0; i < 2; i++) {
        p.hello[i] = (struct mkv__hello){.version_low = 1, .version_high = 1};
    }
    p.hello[CLIENT].session = 0x1234;
    p.hello[CLIENT].lane = 1;
    p.hello[CLIENT].n_lanes = 2;
    p.hello[SERVER].max_requests = 256;
    p.hello[SERVER].max_message = 512 << 10;
    return p;
}

static inline void pair_create(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        p->error[i] = mkv__handshake_create(i == SERVER, &p->hello[i], p->keys[i], p->n_keys[i],
                                            &p->side[i]);
        assert_int_equal(p->error[i], 0);
        p->why[i][0] = '\0';
    }
}

static inline void pair_fini(struct pair *p)
{
    mkv__handshake_destroy(&p->side[CLIENT]);
    mkv__handshake_destroy(&p->side[SERVER]);
}

/* HELLO, for the server. */
static inline void pair_start(struct pair *p)
{
    struct note *hello = &p->sent[0];
    int len = mkv__handshake_start(p->side[CLIENT], &hello->type, hello->body, sizeof(hello->body));
    assert_in_range(len, 1, sizeof(hello->body));
    hello->len = (size_t)len;
}

/* `to` takes a message, and answers. Returns its error or 0. */
static inline int pair_take(struct pair *p, int to, const struct note *in, struct note *answer)
{
    /* In blocks of their own size, for the sanitizer. */
    uint8_t *body = malloc(in->len > 0 ? in->len : 1);
    memcpy(body, in->body, in->len);
    int r = mkv__handshake_take(p->side[to], in->type, body, in->len, &answer->type, answer->body,
                                sizeof(answer->body), &answer->len, p->why[to]);
    free(body);
    p->error[to] = r < 0 ? r : 0;
    assert_true(r < 0 || (size_t)r == answer->len);
    assert_int_equal(r < 0, p->why[to][0] != '\0');
    return p->error[to];
}

/* Goes on from HELLO until somebody is content, or refuses. True: both are content. */
static inline bool pair_go_on(struct pair *p)
{
    struct note nothing;
    if (pair_take(p, SERVER, &p->sent[0], &p->sent[1]) < 0 && p->sent[1].type == 0) {
        return false;
    }
    if (pair_take(p, CLIENT, &p->sent[1], &p->sent[2]) < 0 || p->error[SERVER] < 0) {
        return false;
    }
    (void)pair_take(p, SERVER, &p->sent[2], &nothing);
    return mkv__handshake_done(p->side[CLIENT]) && mkv__handshake_done(p->side[SERVER]);
}

static inline bool pair_shake(struct pair *p)
{
    pair_create(p);
    pair_start(p);
    return pair_go_on(p);
}

#endif
