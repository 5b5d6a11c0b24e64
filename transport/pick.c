#include "transport/pick.h"

#include "core/log.h"
#include "transport/rdma/rdma_probe.h"
#include "transport/tcp/congestion.h"

#include <errno.h>
#include <stdio.h>

int mkv__transport_pick(const struct mkv__config *config, const struct mkv__transport **out,
                        struct mkv__endpoint_options *options, struct mkv__rails *rails, char *why,
                        size_t why_len)
{
    int wanted = mkv__config_choice(config, MKV_OPT_TRANSPORT);
    char missing[300] = "";
    size_t n_names;
    const char *const *names = mkv__config_list(config, MKV_OPT_RDMA_DEVICES, &n_names);
    struct mkv__tcp_congestion congestion;
    bool rdma;

    if (wanted == MKV__TRANSPORT_SHM) {
        snprintf(why, why_len, "transport (%s): shm is not built yet (expected auto, rdma or tcp)",
                 mkv__config_origin(config, MKV_OPT_TRANSPORT));
        return -EINVAL;
    }
    rdma = wanted != MKV__TRANSPORT_TCP &&
           mkv__rdma_probe(names, n_names, rails, missing, sizeof(missing));
    if (wanted == MKV__TRANSPORT_RDMA && !rdma) {
        snprintf(why, why_len, "transport (%s): rdma does not work here: %s",
                 mkv__config_origin(config, MKV_OPT_TRANSPORT), missing);
        return -EINVAL;
    }
    if (!rdma) {
        *rails = (struct mkv__rails){.n = 1, .rails = {{.numa_node = -1}}};
    }
    mkv__tcp_congestion_choose(mkv__config_string(config, MKV_OPT_CONGESTION_CONTROL), &congestion);
    snprintf(options->congestion, sizeof(options->congestion), "%s", congestion.used);
    options->one_gid = mkv__config_is_set(config, MKV_OPT_RDMA_GID);
    options->gid = options->one_gid ? (uint8_t)mkv__config_count(config, MKV_OPT_RDMA_GID) : 0;
    options->must = wanted == MKV__TRANSPORT_RDMA;
    *out = rdma ? &mkv__rdma : &mkv__tcp;
    snprintf(why, why_len, "%s", rdma ? "" : missing);
    return 0;
}

void mkv__transport_tell(const struct mkv__config *config, const char *why, struct mkv__log *log)
{
    struct mkv__tcp_congestion congestion;
    size_t n_names;

    (void)mkv__config_list(config, MKV_OPT_RDMA_DEVICES, &n_names);
    mkv__tcp_congestion_choose(mkv__config_string(config, MKV_OPT_CONGESTION_CONTROL), &congestion);
    if (congestion.why[0] != '\0') {
        MKV_WARNING(log, "%s", congestion.why);
    }
    if (why[0] != '\0') {
        MKV_LOG(log, n_names > 0 ? MKV__LOG_WARNING : MKV__LOG_DEBUG, "over tcp, not rdma: %s",
                why);
    }
}

void mkv__rail_options(const struct mkv__rails *rails, unsigned i,
                       struct mkv__endpoint_options *options)
{
    const struct mkv__rail *rail = &rails->rails[i];

    options->rail = (uint8_t)i;
    options->device = rail->device[0] != '\0' ? rail->device : NULL;
}
