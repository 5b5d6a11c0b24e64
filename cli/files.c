#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* The temporary file that a signal has to remove. */
static char temporary[4096];

static void on_signal(int number)
{
    if (temporary[0] != '\0') {
        unlink(temporary);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void remove_on_signals(void)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        signal(numbers[i], on_signal);
    }
}

/* The directory cannot be written, or the path is a device: write it in place. */
static int write_in_place(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int r = fd < 0 ? -errno : write_all(fd, data, len);
    if (fd >= 0 && close(fd) < 0 && r == 0) {
        r = -errno;
    }
    return r;
}

static int write_and_rename(const char *path, const void *data, size_t len)
{
    remove_on_signals();
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    snprintf(temporary, sizeof(temporary), "%s.memkv-XXXXXX", path);
    int fd = mkstemp(temporary);
    int r = fd < 0 ? -errno : 0;
    if (fd < 0) {
        temporary[0] = '\0';
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (r < 0) {
        return r;
    }
    mode_t mask = umask(0);
    umask(mask);
    r = write_all(fd, data, len);
    if (fchmod(fd, 0666 & ~mask) < 0 && r == 0) {
        r = -errno;
    }
    if (close(fd) < 0 && r == 0) {
        r = -errno;
    }
    if (r == 0 && rename(temporary, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlink(temporary);
    }
    temporary[0] = '\0';
    return r;
}

int file_write(const char *path, const void *data, size_t len)
{
    int r = strlen(path) + 16 > sizeof(temporary) ? -ENAMETOOLONG : 0;
    if (r == 0) {
        bool special = access(path, F_OK) == 0 && strncmp(path, "/dev/", 5) == 0;
        r = special ? write_in_place(path, data, len) : write_and_rename(path, data, len);
    }
    if (r < 0) {
        cli_fail(EXIT_USAGE, "%s: %s", path, strerror(-r));
        return -1;
    }
    return 0;
}

int stdout_write(const void *data, size_t len)
{
    int r = write_all(STDOUT_FILENO, data, len);
    if (r < 0) {
        cli_fail(EXIT_USAGE, "standard output: %s", strerror(-r));
    }
    return r;
}

bool looks_binary(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((data[i] < 32 && !isspace(data[i])) || data[i] == 127) {
            return true;
        }
    }
    return false;
}

void key_to_name(const char *key, size_t len, char out[3 * MKV_KEY_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (isalnum(c) || c == '_' || c == '-' || (c == '.' && i > 0)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    *out = '\0';
}

int name_to_key(const char *name, char out[MKV_KEY_MAX])
{
    size_t n = 0;
    for (; *name != '\0'; n++) {
        if (n == MKV_KEY_MAX) {
            return -1;
        }
        if (*name == '%' && isxdigit((unsigned char)name[1]) && isxdigit((unsigned char)name[2])) {
            char hex[3] = {name[1], name[2], '\0'};
            out[n] = (char)strtol(hex, NULL, 16);
            name += 3;
        } else {
            out[n] = *name++;
        }
    }
    return n == 0 ? -1 : (int)n;
}
