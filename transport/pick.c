#include "transport/pick.h"

#include "transport/rdma/rdma_probe.h"

#include <errno.h>
#include <stdio.h>

int mkv__transport_pick(const struct mkv__config *config, const struct mkv__transport **out,
                        struct mkv__endpoint_options *options, char *why, size_t why_len)
{
    int wanted = mkv__config_choice(config, MKV_OPT_TRANSPORT);
    char missing[300] = "";
    bool rdma;

    if (wanted == MKV__TRANSPORT_SHM) {
        snprintf(why, why_len, "transport (%s): shm is not built yet (expected auto, rdma or tcp)",
                 mkv__config_origin(config, MKV_OPT_TRANSPORT));
        return -EINVAL;
    }
    options->devices = mkv__config_list(config, MKV_OPT_RDMA_DEVICES, &options->n_devices);
    rdma = wanted != MKV__TRANSPORT_TCP && mkv__rdma_probe(options, missing, sizeof(missing));
    if (wanted == MKV__TRANSPORT_RDMA && !rdma) {
        snprintf(why, why_len, "transport (%s): rdma does not work here: %s",
                 mkv__config_origin(config, MKV_OPT_TRANSPORT), missing);
        return -EINVAL;
    }
    options->must = wanted == MKV__TRANSPORT_RDMA;
    *out = rdma ? &mkv__rdma : &mkv__tcp;
    snprintf(why, why_len, "%s", rdma ? "" : missing);
    return 0;
}
