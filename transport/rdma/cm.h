/* librdmacm, found at run time: it knows which device, port and GID an address belongs to. */
#ifndef TRANSPORT_RDMA_CM_H
#define TRANSPORT_RDMA_CM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct mkv__cm_place {
    char device[64];
    uint8_t port;
    uint8_t gid[16];
};

/* Where an address of this machine is. False: it is on no RDMA device, or librdmacm is not there. Asks
 * the kernel; does not wait for anybody. Any thread. */
bool mkv__cm_find(const struct sockaddr_storage *address, struct mkv__cm_place *out);

#endif
