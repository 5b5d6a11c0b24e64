/*
 * A server: workers, each with an endpoint and its sessions, around one store.
 *
 *     struct mkv__server *server;
 *     mkv__server_create(config, &log, &server, why, sizeof(why));
 *     mkv__server_start(server, why, sizeof(why));     listens
 *     ...
 *     mkv__server_stop(server);                        drains: no new work, what is out ends
 *     mkv__server_destroy(&server);
 *
 * Thread: one thread calls all of these.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "core/config/config.h"
#include "core/log.h"

#include <stddef.h>

struct mkv__server;

/* config and log: borrowed until destroy. Errors: with a text in why. */
int mkv__server_create(const struct mkv__config *config, struct mkv__log *log,
                       struct mkv__server **server_out, char *why, size_t why_len);
/* Begins to take the memory, as the option `prefault` says. Whether start would not wait for it: who
 * wants to do something else meanwhile asks again. */
bool mkv__server_warm(struct mkv__server *server);
int mkv__server_start(struct mkv__server *server, char *why, size_t why_len);
const char *mkv__server_address(const struct mkv__server *server); /* after start */
/*
 * Other keys: those of `config`, which from now on is borrowed until destroy or the next call that
 * succeeds; the one before is borrowed no more. Sessions that are open go on; whoever shakes hands
 * from now on needs one of these. Nothing else of config is looked at. Errors: -EINVAL, with a text:
 * it has no key, and the server would lose what guards it.
 */
int mkv__server_use_keys(struct mkv__server *server, const struct mkv__config *config, char *why,
                         size_t why_len);
void mkv__server_stop(struct mkv__server *server);
void mkv__server_destroy(struct mkv__server **server); /* NULL leaves NULL */

#endif
