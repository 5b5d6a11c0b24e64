/*
 * What the subcommands share: exit codes, common options, errors, output.
 *
 * A subcommand is `int cmd_x(int argc, const char **argv)`; argv[0] is its name; it returns an exit
 * code. Results go to stdout, everything else to stderr.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <memkv/memkv.h>
#include <popt.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    EXIT_DONE = 0,        /* all there */
    EXIT_MISS = 1,        /* at least one key is not there */
    EXIT_USAGE = 2,       /* usage, configuration, local files */
    EXIT_UNREACHABLE = 3, /* a server could not be reached, or answered too late */
    EXIT_REFUSED = 4,     /* a server refused the key, or the operation */
};

/* Options that every subcommand has. Strings are popt's. */
struct common {
    char *servers, *config, *transport, *auth_key_file, *namespace_, *timeout;
    int json, verbose;
    int version;
};

extern struct common common;
extern struct poptOption common_options[]; /* to be included by POPT_ARG_INCLUDE_TABLE */

/*
 * Parses argv with `table` (its own and the common options). Returns the context, positioned before
 * the first argument that is not an option; NULL after a usage error or --help, with *exit_out set.
 */
poptContext cli_parse(int argc, const char **argv, const struct poptOption *table,
                      const char *arguments, int *exit_out);

/* Says what is wrong ("memkv: ..."; with --json an object) and returns `code`. */
__attribute__((format(printf, 2, 3))) int cli_fail(int code, const char *format, ...);
__attribute__((format(printf, 1, 2))) void cli_warn(const char *format, ...);

/* What is no warning, on stderr too. */
__attribute__((format(printf, 1, 2))) void cli_note(const char *format, ...);

/* reload.c: between the two a SIGHUP reads the configuration file again, if there is one, and gives
 * its list of servers to the client. */
void reload_begin(struct mkv_client *client);
void reload_end(void);

/* Opens a client from the common options; more are added before them. NULL: *exit_out is set. */
struct mkv_client *cli_open(int *exit_out);
/* Exit code for an error of a key that got no answer. */
int cli_exit_of(int error);
/* The worse of two exit codes: refused, unreachable, usage, miss, done. */
int cli_worse(int a, int b);

/* Configuration arguments of the common options; at most CLI_OPTIONS_MAX. */
#define CLI_OPTIONS_MAX 16
size_t cli_options(struct mkv_option out[CLI_OPTIONS_MAX]);

/* --size and the like. False, after saying so, if text is not a size. */
bool cli_size(const char *option, const char *text, uint64_t *out);

/* files.c */
#define VALUE_ROOM ((size_t)MKV_VALUE_MAX + 1)
/* Reads a file, "-" for standard input. -1 after saying so. */
int file_read(const char *path, uint8_t **data_out, size_t *len_out);
/* Writes a file whole or not at all. -1 after saying so. No trace is left by signals. */
int file_write(const char *path, const void *data, size_t len);
int stdout_write(const void *data, size_t len);
bool looks_binary(const uint8_t *data, size_t len);
/* A key as a file name: all but letters, digits, '_', '-' and inner '.' as %XX; and back. */
void key_to_name(const char *key, size_t len, char out[3 * MKV_KEY_MAX + 1]);
int name_to_key(const char *name, char out[MKV_KEY_MAX]); /* length, or -1 */

/* progress.c: a bar on stderr when it is a terminal. */
struct progress {
    const char *what;
    uint64_t total, done, started_ns, shown_ns;
    bool on;
};
void progress_begin(struct progress *p, const char *what, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
void progress_end(struct progress *p);

uint64_t now_ns(void);

int cmd_serve(int argc, const char **argv);
int cmd_put(int argc, const char **argv);
int cmd_get(int argc, const char **argv);
int cmd_exists(int argc, const char **argv);
int cmd_stat(int argc, const char **argv);
int cmd_bench(int argc, const char **argv);
int cmd_doctor(int argc, const char **argv);
int cmd_keygen(int argc, const char **argv);
int cmd_completion(int argc, const char **argv);

struct command {
    const char *name;
    int (*run)(int argc, const char **argv);
    const char *help;
};
extern const struct command commands[];

#endif
