/* Windows of type 2. They are kept for use again: making one is a system call. */
#include "transport/rdma/rdma.h"

#include <stdlib.h>

struct mkv__rdma_window *mkv__rdma_window_get(struct mkv__rdma_device *device)
{
    struct mkv__rdma_window *window = device->spare;

    if (window) {
        device->spare = window->next;
        window->next = NULL;
        return window;
    }
    window = calloc(1, sizeof(*window));
    if (window) {
        window->mw = ibv_alloc_mw(device->pd, IBV_MW_TYPE_2);
    }
    if (window && !window->mw) {
        free(window);
        window = NULL;
    }
    return window;
}

void mkv__rdma_windows_put(struct mkv__rdma_device *device, struct mkv__rdma_window *windows)
{
    while (windows) {
        struct mkv__rdma_window *next = windows->next;

        windows->next = device->spare;
        device->spare = windows;
        windows = next;
    }
}

void mkv__rdma_windows_destroy(struct mkv__rdma_window **list)
{
    while (*list) {
        struct mkv__rdma_window *window = *list;

        *list = window->next;
        (void)ibv_dealloc_mw(window->mw);
        free(window);
    }
}
