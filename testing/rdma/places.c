/*
 * What librdmacm says of the addresses of the guest's devices.
 *
 *     places
 */
#include "transport/rdma/cm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(bool ok, const char *what, const char *address)
{
    if (!ok) {
        fprintf(stderr, "places: %s: %s\n", address, what);
        exit(1);
    }
}

static bool find(const char *text, struct mkv__cm_place *place)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};

    need(inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr) == 1, "text", text);
    return mkv__cm_find(&address, place);
}

static void is(const char *text, const char *device)
{
    struct mkv__cm_place place;
    uint8_t gid[16] = {[10] = 0xff, [11] = 0xff};

    need(find(text, &place), "not found", text);
    need(strcmp(place.device, device) == 0 && place.port == 1, "another device", text);
    need(inet_pton(AF_INET, text, gid + 12) == 1 && memcmp(gid, place.gid, 16) == 0, "another GID",
         text);
}

int main(void)
{
    struct mkv__cm_place place;

    is("10.0.0.1", "rxe0");
    is("10.0.1.1", "rxe1");
    is("10.0.0.2", "rxe2");
    is("10.0.1.2", "rxe3");
    need(!find("192.0.2.1", &place), "found, and it is nobody's", "192.0.2.1");
    return 0;
}
