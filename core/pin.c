#include "core/pin.h"

#include "core/os/claim.h"

#include <errno.h>
#include <unistd.h>

/* The CPUs that were listed, as far as the host lets us use them. */
static void choose_listed(struct mkv__pin *pin, const char *cpus)
{
    struct mkv__cpu_set listed;
    if (mkv__cpu_parse(cpus, &listed) < 0) {
        pin->note = "the list of cpus is malformed";
    } else if (mkv__cpu_bind(&listed) < 0 || mkv__cpu_allowed(&pin->allowed) < 0) {
        pin->note = "none of the cpus listed may be used";
    }
}

static void choose_near(struct mkv__cpu_set *set, int numa_node)
{
    struct mkv__cpu_set near;
    if (numa_node < 0 || mkv__cpu_of_node(numa_node, &near) < 0) {
        return;
    }
    for (unsigned i = 0; i < MKV__CPUS / 64; i++) {
        near.bits[i] &= set->bits[i];
    }
    if (mkv__cpu_count(&near) > 0) {
        *set = near;
    }
}

/* Claims a free CPU of the set and goes there; false: there is none. */
static bool settle(struct mkv__pin *pin, const struct mkv__cpu_set *set)
{
    for (unsigned i = 0; i < MKV__CPUS; i++) {
        if (!mkv__cpu_has(set, i)) {
            continue;
        }
        int r = mkv__claims_take(pin->claims, i);
        if (r < 0 && r != -EAGAIN) {
            pin->note = "cpus cannot be claimed on this host";
            return false;
        }
        struct mkv__cpu_set one = {{0}};
        mkv__cpu_add(&one, i);
        if (r == 0 && mkv__cpu_bind(&one) == 0) {
            pin->cpu = (int)i;
            return true;
        }
        if (r == 0) {
            mkv__claims_drop(pin->claims, i);
        }
    }
    pin->note = "other workers hold all cpus";
    return false;
}

void mkv__pin_take(struct mkv__pin *pin, const struct mkv__pin_options *options)
{
    *pin = (struct mkv__pin){.cpu = -1, .claims = -1};
    if (mkv__cpu_allowed(&pin->allowed) < 0) {
        pin->note = "the cpus of this process are not known";
        return;
    }
    if (options->cpus != NULL) {
        choose_listed(pin, options->cpus);
    }
    struct mkv__cpu_set set = pin->allowed;
    if (options->cpus == NULL) {
        choose_near(&set, options->numa_node);
    }
    pin->claims = mkv__claims_open(options->claims_path != NULL ? options->claims_path
                                                                : MKV__PIN_CLAIMS);
    if (pin->claims < 0) {
        pin->claims = -1;
        pin->note = "cpus cannot be claimed on this host";
    }
    if (pin->claims < 0 || !settle(pin, &set)) {
        mkv__pin_drop(pin);
        mkv__cpu_bind(&set);
    }
}

void mkv__pin_drop(struct mkv__pin *pin)
{
    if (pin->claims >= 0) {
        close(pin->claims);
    }
    pin->claims = -1;
    pin->cpu = -1;
}

bool mkv__pin_may_spin(const struct mkv__pin *pin)
{
    if (pin->cpu < 0) {
        return false;
    }
    for (unsigned i = 0; i < MKV__CPUS; i++) {
        if (mkv__cpu_has(&pin->allowed, i) && (int)i != pin->cpu &&
            !mkv__claims_held(pin->claims, i)) {
            return true;
        }
    }
    return false;
}
