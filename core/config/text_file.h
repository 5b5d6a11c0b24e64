/*
 * A small text file as a whole, in memory.
 */
#ifndef CORE_CONFIG_TEXT_FILE_H
#define CORE_CONFIG_TEXT_FILE_H

#include "core/config/span.h"

struct mkv__text_file {
    char *text;   /* with a final zero, and none before it */
    size_t len;   /* bytes, without that zero */
    bool exposed; /* users other than owner and group may read it */
};

/* Errors: -EINVAL (cannot be read, is no regular file, larger than `most`, holds a zero byte),
 * -ENOMEM; then error_out has a text that begins with the path. The result wants free. */
int mkv__text_file_read(const char *path, size_t most, struct mkv__text_file *file_out,
                        char error_out[MKV_SPAN_ERROR]);
void mkv__text_file_free(struct mkv__text_file *file);

#endif
