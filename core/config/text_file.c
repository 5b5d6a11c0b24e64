#include "core/config/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(char *error, const char *path, const char *what)
{
    snprintf(error, MKV_SPAN_ERROR, "%.200s: %s", path, what);
    return -EINVAL;
}

/* Returns the number of bytes read, at most `cap`, or -errno. */
static ssize_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t n = read(fd, out + len, cap - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Reads one byte more than there should be, so that a file that grows is noticed. */
static int read_open_file(int fd, const char *path, size_t size, struct mkv__text_file *out,
                          char *error)
{
    char *text = malloc(size + 1);
    if (!text) {
        return mkv__span_no_memory(error);
    }
    ssize_t n = read_all(fd, text, size + 1);
    int rc = 0;
    if (n < 0) {
        rc = refuse(error, path, strerror((int)-n));
    } else if ((size_t)n > size) {
        rc = refuse(error, path, "changes while it is being read");
    } else if (memchr(text, '\0', (size_t)n)) {
        rc = refuse(error, path, "is not a text (it holds a zero byte)");
    }
    if (rc < 0) {
        free(text);
        return rc;
    }
    text[n] = '\0';
    out->text = text;
    out->len = (size_t)n;
    return 0;
}

int mkv__text_file_read(const char *path, size_t most, struct mkv__text_file *file_out,
                        char error_out[MKV_SPAN_ERROR])
{
    struct stat st;
    /* O_NONBLOCK: a FIFO must not keep us waiting */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return refuse(error_out, path, strerror(errno));
    }
    int rc;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = refuse(error_out, path, "is not a regular file");
    } else if ((uint64_t)st.st_size > most) {
        rc = refuse(error_out, path, "is too large");
    } else {
        rc = read_open_file(fd, path, (size_t)st.st_size, file_out, error_out);
        if (rc == 0) {
            file_out->exposed = (st.st_mode & S_IROTH) != 0;
        }
    }
    close(fd);
    return rc;
}

void mkv__text_file_free(struct mkv__text_file *file)
{
    free(file->text);
    *file = (struct mkv__text_file){0};
}
