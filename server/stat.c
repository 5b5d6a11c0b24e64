#include "server/stat.h"

#define NUMBER(x) ((json_int_t)(x))

static json_t *rail(const struct mkv__rail_figures *r)
{
    return json_pack("{sssIsssIsssIsssIsIsIsIsIsI}", "device", r->device, "port", NUMBER(r->port),
                     "gid", r->gid, "gid_index", NUMBER(r->gid_index), "gid_type", r->gid_type,
                     "mtu", NUMBER(r->mtu), "exposes", r->windows ? "windows" : "registrations",
                     "sessions", NUMBER(r->sessions), "queue_pairs", NUMBER(r->queue_pairs),
                     "doorbells", NUMBER(r->doorbells), "signaled", NUMBER(r->signaled),
                     "moved_bytes", NUMBER(r->moved), "copied_bytes", NUMBER(r->copied));
}

json_t *mkv__stat_transport(const char *name, const struct mkv__transport_figures *f)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(name));
    if (f->n > 0) {
        json_t *rails = json_array();
        for (unsigned i = 0; i < f->n; i++) {
            json_array_append_new(rails, rail(&f->rails[i]));
        }
        json_object_set_new(o, "rails", rails);
        json_object_set_new(o, "over_rdma", json_integer(NUMBER(f->over_rdma)));
        json_object_set_new(o, "over_tcp", json_integer(NUMBER(f->over_tcp)));
        json_object_set_new(o, "to_rdma", json_integer(NUMBER(f->to_rdma)));
        json_object_set_new(o, "to_tcp", json_integer(NUMBER(f->to_tcp)));
        json_object_set_new(o, "flight_cap", json_integer(NUMBER(f->flight_cap)));
        json_object_set_new(o, "worker_flight_cap", json_integer(NUMBER(f->worker_flight_cap)));
    }
    return o;
}
