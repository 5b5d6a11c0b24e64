#include "core/os/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

int mkv__claims_open(const char *path)
{
    /* O_CREAT only when there is none: in a sticky directory the kernel refuses it (EACCES, see
     * fs.protected_regular) for another user's file, although everybody may write that. */
    for (int tries = 0; tries < 3; tries++) {
        int fd = open(path, FLAGS);
        if (fd >= 0 || errno != ENOENT) {
            return fd >= 0 ? fd : -errno;
        }
        fd = open(path, FLAGS | O_CREAT | O_EXCL, 0666);
        if (fd >= 0) {
            fchmod(fd, 0666); /* whatever the umask is */
            return fd;
        }
        if (errno != EEXIST) {
            return -errno;
        }
    }
    return -EAGAIN;
}

static struct flock byte(short type, unsigned number)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = number, .l_len = 1};
}

int mkv__claims_take(int claims, unsigned number)
{
    struct flock lock = byte(F_WRLCK, number);
    if (fcntl(claims, F_OFD_SETLK, &lock) == 0) {
        return 0;
    }
    return errno == EACCES ? -EAGAIN : -errno;
}

void mkv__claims_drop(int claims, unsigned number)
{
    struct flock lock = byte(F_UNLCK, number);
    fcntl(claims, F_OFD_SETLK, &lock);
}

bool mkv__claims_held(int claims, unsigned number)
{
    struct flock lock = byte(F_WRLCK, number);
    return fcntl(claims, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
