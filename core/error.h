/*
 * The closed list of errors that functions of this project return: 0 or a positive count is
 * success, a negative errno of this list is failure. Nothing else crosses a module's border; what
 * the operating system answers beyond it (EADDRINUSE, ...) is turned into words where it happens.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <errno.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A text for an error of the list, "not found"; the sign does not matter, 0 is "success". Errors
 * outside of the list get one text that says so. Owner: static. Thread: any thread.
 */
const char *mkv__error_text(int error);

/* The symbol, "ENOENT"; NULL outside of the list. Owner: static. Thread: any thread. */
const char *mkv__error_name(int error);

/* Whether a function of this project may return `error`. Thread: any thread. */
bool mkv__error_listed(int error);

#ifdef __cplusplus
}
#endif

#endif
