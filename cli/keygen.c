#include "cli/cli.h"

#include "core/auth/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_key(const char *path, const char *hex)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    }
    bool bad = dprintf(fd, "%s\n", hex) != (int)strlen(hex) + 1;
    bad = close(fd) < 0 || bad;
    if (bad) {
        unlink(path);
        return cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    }
    return EXIT_DONE;
}

static int print_key(const char *hex)
{
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0) {
        cli_warn("others may read the file that this goes to: chmod 600 it, or let "
                 "'memkv keygen FILE' make it");
    }
    printf(flags.json ? "{\"auth_key\":\"%s\"}\n" : "%s\n", hex);
    return EXIT_DONE;
}

int cmd_keygen(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    const char *path = poptGetArg(context);
    uint8_t key[MKV_KEY_BYTES];
    if (poptPeekArg(context) != NULL) {
        code = cli_usage("keygen");
    } else if (mkv__random(key, sizeof(key)) < 0) {
        code = cli_fail(EXIT_USAGE, "no randomness could be had from the system");
    } else {
        char hex[2 * MKV_KEY_BYTES + 1];
        for (size_t i = 0; i < sizeof(key); i++) {
            snprintf(hex + 2 * i, 3, "%02x", key[i]);
        }
        code = path != NULL ? write_key(path, hex) : print_key(hex);
    }
    poptFreeContext(context);
    return code;
}
