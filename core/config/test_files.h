/*
 * For the tests of this folder: a file with a given text, in the directory for temporary files.
 */
#ifndef CORE_CONFIG_TEST_FILES_H
#define CORE_CONFIG_TEST_FILES_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_PATH 200

/* Makes that directory the current one, so that the paths in texts are short and known. */
static inline int test_files_enter(void)
{
    const char *dir = getenv("TEST_TMPDIR");
    char own[] = "/tmp/mkv-config-XXXXXX";
    return chdir(dir ? dir : mkdtemp(own));
}

/* Returns 0, or -1. */
static inline int test_files_write(const char *name, const char *text, size_t len, mode_t mode)
{
    unlink(name);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    int rc = write(fd, text, len) == (ssize_t)len && fchmod(fd, mode) == 0 ? 0 : -1;
    close(fd);
    return rc;
}

/* A file that has no name but /proc/self/fd/N while the descriptor returned is open; -1. */
static inline int test_files_in_memory(const void *data, size_t len, char path_out[TEST_PATH])
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len) {
        close(fd);
        return -1;
    }
    snprintf(path_out, TEST_PATH, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
