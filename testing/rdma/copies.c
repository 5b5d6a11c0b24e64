/*
 * Preloaded into a program: counts the bytes that it copies, and writes their sum into the file that
 * MEMKV_COPIES names when the program ends.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *mempcpy(void *restrict to, const void *restrict from, size_t n);
void *__memcpy_chk(void *to, const void *from, size_t n, size_t room);

static unsigned long long copied; /* atomic */

/* Not memcpy: that would be this one. */
static void move(void *to, const void *from, size_t n)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    __atomic_add_fetch(&copied, n, __ATOMIC_RELAXED);
    if (t <= f || t >= f + n) {
        __asm__ volatile("rep movsb" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
        return;
    }
    t += n - 1;
    f += n - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
}

__attribute__((visibility("default"))) void *memcpy(void *restrict to, const void *restrict from,
                                                    size_t n)
{
    move(to, from, n);
    return to;
}

__attribute__((visibility("default"))) void *memmove(void *to, const void *from, size_t n)
{
    move(to, from, n);
    return to;
}

__attribute__((visibility("default"))) void *mempcpy(void *restrict to, const void *restrict from,
                                                     size_t n)
{
    move(to, from, n);
    return (unsigned char *)to + n;
}

__attribute__((visibility("default"))) void *__memcpy_chk(void *to, const void *from, size_t n,
                                                          size_t room)
{
    if (n > room) {
        abort();
    }
    move(to, from, n);
    return to;
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("MEMKV_COPIES");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    char text[32];
    int len = snprintf(text, sizeof(text), "%llu\n", copied);

    if (fd >= 0) {
        (void)!write(fd, text, (size_t)len);
        close(fd);
    }
}
