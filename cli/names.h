/* Keys as names of files, and back: put --from, get --to. */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include <memkv/memkv.h>

#include <stddef.h>

/*
 * Letters, digits, '_', '-' and inner '.' stay, any other byte becomes %XX. What is longer than a
 * name may be goes into directories, whose names end with '%' (no whole name does): so any two keys
 * differ in their paths, and no path leaves the directory that it is put into.
 */
#define NAME_CHUNK 200u
#define NAME_ROOM  (3 * MKV_KEY_MAX + 2 * (3 * MKV_KEY_MAX / NAME_CHUNK) + 1)

/* key_len: 1 to MKV_KEY_MAX. */
void key_to_name(const char *key, size_t key_len, char out[NAME_ROOM]);
/* The key's length, or -1 if it is none of 1 to MKV_KEY_MAX bytes. Names that key_to_name does not
 * make are keys too, as they stand. */
int name_to_key(const char *name, char out[MKV_KEY_MAX]);

#endif
