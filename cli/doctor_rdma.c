#include "cli/doctor.h"

#include <string.h>

#define PIECE (64u << 20) /* of memory that has to be registrable */

static const struct {
    const char *name;
    int code;
    const char *advice, *of_peer;
} reasons[] = {
    [MKV_REASON_NONE] = {"none", EXIT_DONE, "", ""},
    [MKV_REASON_NO_DEVICE] = {"no device", EXIT_NO_DEVICE,
                              "nothing, where none is wanted; else load the driver of the NIC, and "
                              "see: rdma link",
                              "the same on the server"},
    [MKV_REASON_NO_LIBRARY] = {"no library", EXIT_NO_LIBRARY,
                               "install libibverbs and the driver's part (Debian: "
                               "ibverbs-providers)",
                               "install libibverbs on the server (Debian: ibverbs-providers)"},
    [MKV_REASON_NOT_NAMED] = {"no such device", EXIT_NO_SUCH_DEVICE,
                              "correct rdma_devices; 'rdma link' and the list above tell names",
                              "correct rdma_devices of the server"},
    [MKV_REASON_PORT_DOWN] = {"port down", EXIT_PORT_DOWN,
                              "bring the link up (ip link set INTERFACE up; the cable), and see: "
                              "rdma link",
                              "bring the server's link up, and see there: rdma link"},
    [MKV_REASON_NO_GID] = {"no gid", EXIT_NO_GID,
                           "give the network interface of the device an address",
                           "give the network interface of the server's device an address"},
    [MKV_REASON_MEMORY] =
        {"memory", EXIT_MEMORY,
         "raise the limit of locked memory: ulimit -l unlimited, LimitMEMLOCK= of "
         "systemd, --ulimit memlock=-1 of docker",
         "raise the server's limit of locked memory: ulimit -l unlimited, "
         "LimitMEMLOCK= of systemd, --ulimit memlock=-1 of docker"},
    [MKV_REASON_MTU] =
        {"mtu", EXIT_MTU,
         "set the same MTU at both ends, and at least as much on each switch between "
         "(ip link set INTERFACE mtu N)",
         NULL},
    [MKV_REASON_PEER_HAS_NO] = {"server without", EXIT_PEER_HAS_NO, NULL,
                                "look at the server: memkv doctor there, its transport, and the "
                                "first lines of its log"},
    [MKV_REASON_SILENCE] = {"silence", EXIT_SILENCE,
                            "let UDP port 4791 pass, both ways, in firewalls of hosts and network; "
                            "the GIDs of both ends have to reach each other",
                            NULL},
    [MKV_REASON_FAULT] = {"fault", EXIT_FAULT, "look at dmesg, and at the logs of both ends", NULL},
};

static const char *advice_of(const struct rdma_finding *f)
{
    const char *here = reasons[f->reason].advice, *there = reasons[f->reason].of_peer;
    return (f->of_peer && there != NULL) || here == NULL ? there : here;
}

void rdma_look(const struct mkv__config *config, struct rdma_finding *out)
{
    size_t n;
    const char *const *names = mkv__config_list(config, MKV_OPT_RDMA_DEVICES, &n);
    int transport = mkv__config_choice(config, MKV_OPT_TRANSPORT);
    *out = (struct rdma_finding){.wanted = transport == MKV__TRANSPORT_AUTO ||
                                           transport == MKV__TRANSPORT_RDMA,
                                 .must = transport == MKV__TRANSPORT_RDMA,
                                 .asked = transport == MKV__TRANSPORT_RDMA || n > 0};
    if (out->wanted) {
        mkv__rdma_survey(names, n, PIECE, &out->here);
        out->reason = out->here.works ? MKV_REASON_NONE : out->here.reason;
        snprintf(out->why, sizeof(out->why), "%s", out->here.why);
    }
}

void rdma_take(struct rdma_finding *f, const struct mkv__probe *probe)
{
    if (f->wanted && f->reason == MKV_REASON_NONE && probe->error == 0 &&
        probe->reason != MKV_REASON_NONE) {
        const char *why = strstr(probe->path, "not rdma: ");
        f->reason = (enum mkv__rdma_reason)probe->reason;
        f->of_peer = probe->of_peer;
        snprintf(f->why, sizeof(f->why), "%.80s: %s", probe->name,
                 why != NULL ? why + strlen("not rdma: ") : probe->path);
    }
}

/* That a machine has no device, or a server, is no fault where nobody has asked for it. */
static bool need_not(const struct rdma_finding *f)
{
    return !f->asked && (f->reason == MKV_REASON_NO_DEVICE || f->reason == MKV_REASON_PEER_HAS_NO);
}

int rdma_exit(const struct rdma_finding *f)
{
    return need_not(f) ? EXIT_DONE : reasons[f->reason].code;
}

static void print_port(const struct mkv__rdma_port *p)
{
    printf("    %s port %u: %s, %s, mtu %u", p->device, p->port, p->state, p->link_layer, p->mtu);
    if (p->gid[0] != '\0') {
        printf(", gid %u (%s, %s)", p->gid_index, p->gid, p->gid_type);
    } else {
        printf(", no gid");
    }
    if (p->numa_node >= 0) {
        printf(", numa node %d", p->numa_node);
    }
    printf("%s\n", p->used ? "" : ", not used: rdma_devices does not name it");
}

void rdma_print(const struct rdma_finding *f)
{
    if (!f->wanted) {
        return;
    }
    if (need_not(f) && f->here.n == 0) {
        printf("\nover tcp, not rdma: %s\n", f->why);
        return;
    }
    printf("\nrdma: %s\n", f->reason == MKV_REASON_NONE ? "works here" : "does not work");
    for (unsigned i = 0; i < f->here.n; i++) {
        print_port(&f->here.ports[i]);
    }
    if (f->reason != MKV_REASON_NONE) {
        printf("    amiss: %s\n    to do: %s\n", f->why, advice_of(f));
    }
}

static json_t *json_of(const struct mkv__rdma_port *p)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", cli_json_text(p->device));
    json_object_set_new(o, "port", json_integer(p->port));
    json_object_set_new(o, "state", json_string(p->state));
    json_object_set_new(o, "gid", p->gid[0] != '\0' ? json_string(p->gid) : json_null());
    json_object_set_new(o, "gid_index", json_integer((json_int_t)p->gid_index));
    json_object_set_new(o, "gid_type", json_string(p->gid_type));
    json_object_set_new(o, "mtu", json_integer((json_int_t)p->mtu));
    json_object_set_new(o, "link_layer", json_string(p->link_layer));
    json_object_set_new(o, "numa_node", json_integer(p->numa_node));
    json_object_set_new(o, "used", json_boolean(p->used));
    return o;
}

json_t *rdma_json(const struct rdma_finding *f)
{
    json_t *o = json_object(), *devices = json_array();
    bool works = f->wanted && f->reason == MKV_REASON_NONE;
    for (unsigned i = 0; i < f->here.n; i++) {
        json_array_append_new(devices, json_of(&f->here.ports[i]));
    }
    json_object_set_new(o, "works", json_boolean(works));
    json_object_set_new(o, "reason",
                        works       ? json_null()
                        : f->wanted ? json_string(reasons[f->reason].name)
                                    : json_string("not wanted"));
    json_object_set_new(o, "why", cli_json_text(f->wanted ? f->why : "transport is not rdma"));
    json_object_set_new(o, "advice", json_string(works || !f->wanted ? "" : advice_of(f)));
    json_object_set_new(o, "code", json_integer(rdma_exit(f)));
    json_object_set_new(o, "devices", devices);
    return o;
}
