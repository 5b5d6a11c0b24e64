/* What memkv doctor says about RDMA. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/cli.h"
#include "router/probe.h"
#include "transport/rdma/rdma_probe.h"

struct rdma_finding {
    bool wanted;                  /* not with transport tcp */
    bool must;                    /* transport rdma */
    bool asked;                   /* that, or devices are named */
    struct mkv__rdma_survey here; /* this machine's */
    enum mkv__rdma_reason reason; /* here, or else the first server's that does not go over it */
    bool of_peer;
    char why[300];
};

/* Looks at this machine. */
void rdma_look(const struct mkv__config *config, struct rdma_finding *out);
/* What a session with a server says. */
void rdma_take(struct rdma_finding *f, const struct mkv__probe *probe);
/* Exit code: 0 where it works, is not wanted, or need not work. */
int rdma_exit(const struct rdma_finding *f);
void rdma_print(const struct rdma_finding *f);
json_t *rdma_json(const struct rdma_finding *f);

#endif
