#include "core/error.h"

#include <limits.h>
#include <stddef.h>

struct entry {
    int number;
    const char *name;
    const char *text;
};

static const struct entry list[] = {
    {0, "OK", "success"},
    {ENOENT, "ENOENT", "not found"},
    {EAGAIN, "EAGAIN", "full at the moment, try again later"},
    {ETIMEDOUT, "ETIMEDOUT", "the deadline has passed"},
    {ECONNRESET, "ECONNRESET", "there is no connection, or it broke"},
    {EPROTO, "EPROTO", "the peer broke the protocol"},
    {EMSGSIZE, "EMSGSIZE", "wrong size or too large"},
    {ENOSPC, "ENOSPC", "no room left"},
    {ECANCELED, "ECANCELED", "cancelled or closed"},
    {EINVAL, "EINVAL", "invalid argument or configuration"},
    {ENOMEM, "ENOMEM", "out of memory"},
    {EACCES, "EACCES", "refused: the key is wrong, or has no right to the namespace"},
    {EBUSY, "EBUSY", "still in use"},
    {ENOTSUP, "ENOTSUP", "not supported here"},
};

static const struct entry *find(int error)
{
    if (error == INT_MIN) {
        return NULL;
    }
    int number = error < 0 ? -error : error;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (list[i].number == number) {
            return &list[i];
        }
    }
    return NULL;
}

const char *mkv__error_text(int error)
{
    const struct entry *e = find(error);
    return e ? e->text : "unknown error";
}

const char *mkv__error_name(int error)
{
    const struct entry *e = find(error);
    return e ? e->name : NULL;
}

bool mkv__error_listed(int error)
{
    return find(error) != NULL;
}
