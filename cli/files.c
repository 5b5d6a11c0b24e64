#include "cli/cli.h"

#include "core/base.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUE_ROOM ((size_t)MKV_VALUE_MAX + 1)

/* ---- reading --------------------------------------------------------------------------------- */

static int read_all(int fd, const char *path, uint8_t **data_out, size_t *len_out)
{
    size_t cap = 64 << 10, len = 0;
    uint8_t *data = malloc(cap);
    while (data != NULL) {
        if (len == cap) {
            cap = 2 * cap > VALUE_ROOM ? VALUE_ROOM : 2 * cap;
            uint8_t *more = realloc(data, cap);
            if (more == NULL) {
                break;
            }
            data = more;
        }
        ssize_t n = read(fd, data + len, cap - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
            free(data);
            return -1;
        }
        len += (size_t)n;
        if (len == VALUE_ROOM) {
            cli_fail(EXIT_USAGE, "%s: a value has at most 64 MiB", path);
            free(data);
            return -1;
        }
        if (n == 0) {
            *data_out = data;
            *len_out = len;
            return 0;
        }
    }
    free(data);
    cli_fail(EXIT_USAGE, "%s: out of memory", path);
    return -1;
}

int file_read(const char *path, uint8_t **data_out, size_t *len_out)
{
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, "standard input", data_out, len_out);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
        return -1;
    }
    int r = read_all(fd, path, data_out, len_out);
    close(fd);
    return r;
}

/* ---- a temporary file that no signal leaves behind -------------------------------------------- */

static char temporary[PATH_ROOM];

static void on_signal(int number)
{
    if (temporary[0] != '\0') {
        unlink(temporary);
    }
    signal(number, SIG_DFL);
    raise(number);
}

/* What was ignored when the command began (nohup) stays ignored. */
static void remove_on_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGXFSZ};
    for (size_t i = 0; i < MKV_ARRAY_LEN(numbers); i++) {
        if (signal(numbers[i], on_signal) == SIG_IGN) {
            signal(numbers[i], SIG_IGN);
        }
    }
}

/* Workers block all signals, so that this thread alone runs on_signal. */
static void block_signals(sigset_t *old_out)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old_out);
}

static int make_temporary(const char *target)
{
    char copy[PATH_ROOM];
    sigset_t old;
    snprintf(copy, sizeof(copy), "%s", target);
    remove_on_signals();
    block_signals(&old);
    int n = snprintf(temporary, sizeof(temporary), "%s/.memkv-XXXXXX", dirname(copy));
    int fd = n < (int)sizeof(temporary) ? mkostemp(temporary, O_CLOEXEC) : -1;
    int r = fd >= 0 ? fd : n < (int)sizeof(temporary) ? -errno : -ENAMETOOLONG;
    if (fd < 0) {
        temporary[0] = '\0';
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

/* Gives it its place, or removes it if r < 0. */
static int end_temporary(const char *target, int r)
{
    sigset_t old;
    block_signals(&old);
    if (r == 0 && rename(temporary, target) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlink(temporary);
    }
    temporary[0] = '\0';
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* A pipe or a device. */
static int write_in_place(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    int r = fd < 0 ? -errno : write_all(fd, data, len);
    if (fd >= 0 && close(fd) < 0 && r == 0) {
        r = -errno;
    }
    return r;
}

static mode_t mode_of_new_files(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

/* before: what is there, or NULL. Mode and owner of a file that is replaced are kept. */
static int write_and_rename(const char *target, const struct stat *before, const void *data,
                            size_t len)
{
    int fd = make_temporary(target);
    if (fd < 0) {
        return fd;
    }
    int r = write_all(fd, data, len);
    if (before != NULL && fchown(fd, before->st_uid, before->st_gid) < 0) {
        errno = 0; /* only the owner of files may: it is ours then */
    }
    if (fchmod(fd, before != NULL ? before->st_mode & 07777 : mode_of_new_files()) < 0 && r == 0) {
        r = -errno;
    }
    if (close(fd) < 0 && r == 0) {
        r = -errno;
    }
    return end_temporary(target, r);
}

static int write_to(const char *path, const void *data, size_t len)
{
    struct stat st;
    char real[PATH_MAX];
    if (strlen(path) >= PATH_ROOM) {
        return -ENAMETOOLONG;
    }
    if (stat(path, &st) < 0) {
        return errno == ENOENT ? write_and_rename(path, NULL, data, len) : -errno;
    }
    if (S_ISDIR(st.st_mode)) {
        return -EISDIR;
    }
    if (!S_ISREG(st.st_mode)) {
        return write_in_place(path, data, len);
    }
    /* Where a symbolic link leads is replaced, not the link. */
    return realpath(path, real) == NULL ? -errno : write_and_rename(real, &st, data, len);
}

int file_write(const char *path, const void *data, size_t len)
{
    bool out = strcmp(path, "-") == 0;
    int r = out ? write_all(STDOUT_FILENO, data, len) : write_to(path, data, len);
    if (r < 0) {
        cli_fail(EXIT_USAGE, "%s: %s", out ? "standard output" : path, strerror(-r));
        return -1;
    }
    return 0;
}

/* ---- text or not ----------------------------------------------------------------------------- */

bool looks_binary(const uint8_t *data, size_t len)
{
    json_t *text = json_stringn(len > 0 ? (const char *)data : "", len); /* NULL: no UTF-8 */
    json_decref(text);
    for (size_t i = 0; i < len && text != NULL; i++) {
        bool c1 = data[i] == 0xc2 && data[i + 1] < 0xa0; /* control characters of Latin-1 */
        if (c1 || data[i] == 127 || (data[i] < 32 && strchr("\t\n\r", data[i]) == NULL) ||
            data[i] == 0) {
            return true;
        }
    }
    return text == NULL;
}
