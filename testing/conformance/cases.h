/* The suite's cases by what they are about, and what these files share. */
#ifndef TESTING_CONFORMANCE_CASES_H
#define TESTING_CONFORMANCE_CASES_H

#include "testing/conformance/rig.h"

#define ID(slot, generation) ((uint64_t)(slot) | (uint64_t)(generation) << 32)
#define MIB                  (1u << 20)

extern const struct mkv__subject *case_subject;
extern const struct mkv__auth_key case_key;

void case_open(struct rig *rig); /* both ends, with case_key */
void case_echo(struct end *end, const struct mkv__message *m);
void case_still_works(struct rig *rig);
/* A get or set of len bytes is on its way; the server answers it when its bulk is done. */
void case_begin(struct rig *rig, bool get, uint32_t n_mine, uint32_t n_theirs, uint64_t len);
void case_reply_when_done(struct memory *m);
void case_serve_write(struct end *end, const struct mkv__message *m);
void case_serve_write_and_reply(struct end *end, const struct mkv__message *m);
void case_serve_read(struct end *end, const struct mkv__message *m);
void case_conceal(struct rig *rig, bool answered); /* `mine`, and waits until it is */
void case_conceal_now(struct memory *m);

/* cases_sessions.c */
void opens_and_closes(void **state);
void works_without_keys(void **state);
void nobody_listens(void **state);
void wrong_keys(void **state);
void keys_change_at_every_turn(void **state);
void listens_on_any_port(void **state);
void thousand_cycles(void **state);
void echoes(void **state);
void full_then_writable(void **state);
void full_then_writable_at_the_server(void **state);
void unsent_is_told(void **state);
void slow_handshake(void **state);
/* cases_bulk.c */
void gets(void **state);
void sets(void **state);
void sets_with_sums(void **state);
void gets_with_the_reply_behind(void **state);
void nothing_to_move(void **state);
void gaps_stay(void **state);
void limits_of_pieces(void **state);
void limits_of_length(void **state);
/* cases_fences.c */
void conceal_during_get(void **state);
void conceal_during_set(void **state);
void aborts(void **state);
void fences_of_answered_gets_at_every_turn(void **state);
void fences_at_every_turn(void **state);
/* cases_ends.c */
void death_in_bulk(void **state);
void close_in_callbacks(void **state);
void endpoint_close_in_callback(void **state);
void writable_closes(void **state);

#endif
