/* What STAT tells of the transport. */
#ifndef SERVER_STAT_H
#define SERVER_STAT_H

#include "transport/transport.h"

#include <jansson.h>

/* {"name": "rdma", "rails": [...], ...}. Never NULL. */
json_t *mkv__stat_transport(const char *name, const struct mkv__transport_figures *figures);

#endif
