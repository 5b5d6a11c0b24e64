/*
 * What the subcommands share: exit codes, common options, errors, output.
 *
 * A subcommand is `int cmd_x(int argc, const char **argv)`; argv[0] is its name; it returns an exit
 * code. Results go to stdout, everything else to stderr.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/config/config.h"

#include <memkv/memkv.h>
#include <popt.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    EXIT_DONE = 0,        /* all there */
    EXIT_MISS = 1,        /* at least one key is not there */
    EXIT_USAGE = 2,       /* usage, configuration, local files */
    EXIT_UNREACHABLE = 3, /* a server could not be reached, answered too late, or is full */
    EXIT_REFUSED = 4,     /* a server refused the key, or the operation */
    /* doctor, where nothing else is amiss: what keeps RDMA from working */
    EXIT_NO_DEVICE = 10,      /* this machine has none */
    EXIT_NO_LIBRARY = 11,     /* libibverbs is missing */
    EXIT_NO_SUCH_DEVICE = 12, /* none of those that are named is there */
    EXIT_PORT_DOWN = 13,
    EXIT_NO_GID = 14,
    EXIT_MEMORY = 15,      /* it cannot be registered: limit of locked memory */
    EXIT_MTU = 16,         /* long packets are lost on the way */
    EXIT_PEER_HAS_NO = 17, /* the server has no device, or RDMA switched off */
    EXIT_SILENCE = 18,     /* nothing comes over the queue pairs: UDP port 4791 */
    EXIT_FAULT = 19,       /* another: a device that fails */
};

struct command {
    const char *name;
    int (*run)(int argc, const char **argv);
    const char *brief;   /* a line of `memkv --help` */
    const char *usage;   /* its forms, a line each: "KEY [FILE|-]\n--from DIR" */
    const char *text;    /* what `--help` says above the options */
    unsigned components; /* whose options it takes: enum mkv__component; 0: none */
    const char *codes;   /* lines of more exit codes; or NULL */
};
extern const struct command commands[]; /* ends with a name NULL */

/* ---- flags.c: options ------------------------------------------------------------------------ */

struct flags {
    char *config, *timeout;
    int json, verbose, version, help, help_all;
};
extern struct flags flags;

/* Says whether --json is among the arguments, for errors before they are parsed. */
void cli_look_for_json(int argc, const char **argv);
/*
 * Parses argv with `own` (the command's own options, POPT_TABLEEND at the end), the common ones, and
 * a flag for each option of core/config. Returns the context, positioned before the first argument
 * that is not an option; NULL after a usage error, --help or --version, with *exit_out set.
 */
poptContext cli_parse(int argc, const char **argv, const struct poptOption *own, int *exit_out);
/* Runs the chain of sources. `components` as for mkv__config_load. NULL: *exit_out is set. */
struct mkv__config *cli_config(unsigned components, int *exit_out);
/* The same while the command runs: NULL has a text, which is the caller's to tell. */
struct mkv__config *cli_config_again(unsigned components, struct mkv__config_error *error_out);
/* The same without its warnings. */
struct mkv__config *cli_config_quietly(unsigned components, struct mkv__config_error *error_out);
/* The value of a flag, or NULL; and another one instead. */
const char *cli_flag(enum mkv__option_id id);
void cli_flag_set(enum mkv__option_id id, const char *value);

/* ---- help.c ---------------------------------------------------------------------------------- */

/* An option as it is told in --help. */
struct help_line {
    char letter; /* 0: none */
    const char *name, *argument, *text;
};
void help_all_commands(FILE *to);
void help_heading(const char *heading);
void help_option(const struct help_line *line);
void help_begin(const struct command *command);
void help_end(const struct command *command, bool all);

/* ---- common.c: errors, results, clients ------------------------------------------------------ */

/* Says what is wrong ("memkv: ..."; with --json an object) and returns `code`. */
__attribute__((format(printf, 2, 3))) int cli_fail(int code, const char *format, ...);
__attribute__((format(printf, 1, 2))) void cli_warn(const char *format, ...);
int cli_usage(const char *command); /* says how it is used */
/* Lines of log of client and server: a mkv_log_fn. */
void cli_log(void *arg, enum mkv_log_level level, const char *line, size_t len);

/* A key as a line of text can show it: control characters as \x0a. */
#define KEY_TEXT (4 * MKV_KEY_MAX + 1)
const char *cli_key(const char *key, size_t len, char out[KEY_TEXT]);
bool cli_key_ok(const char *key); /* after saying so, if it is too short or too long */

/* {"key": ...}, or {"key_hex": ...} where its bytes are no UTF-8. Never NULL. */
json_t *cli_json_key(const char *key, size_t len);
/* A string; bytes that are no UTF-8 as "?". Never NULL. */
json_t *cli_json_text(const char *text);
/* A line on stdout; takes `object` over. */
void cli_print(json_t *object);

/* Opens a client from options, file and environment. `quiet`: no log lines but with -v. NULL:
 * *exit_out is set. */
struct mkv_client *cli_open(bool quiet, int *exit_out);
/* The same for a configuration that is loaded already; takes it over. */
struct mkv_client *cli_open_with(struct mkv__config *config, bool quiet, int *exit_out);
void cli_close(struct mkv_client **client);
/* Exit code for an error of a key that got no answer. */
int cli_exit_of(int error);
/* The worse of two exit codes: refused, unreachable, usage, miss, done. */
int cli_worse(int a, int b);
/* --size and the like. False, after saying so, if text is not a size. */
bool cli_size(const char *option, const char *text, uint64_t *out);
uint64_t now_ns(void);

/* ---- reload.c: SIGHUP reads the list of servers anew ------------------------------------------- */

void reload_start(struct mkv_client *client);
void reload_stop(void);

/* ---- files.c --------------------------------------------------------------------------------- */

#define PATH_ROOM 4096u
/* Reads a file, "-" for standard input. -1 after saying so. */
int file_read(const char *path, uint8_t **data_out, size_t *len_out);
/* Writes a file whole or not at all, "-" for standard output. -1 after saying so. No trace is left
 * by signals. */
int file_write(const char *path, const void *data, size_t len);
bool looks_binary(const uint8_t *data, size_t len);

/* ---- progress.c: a bar on stderr when it is a terminal --------------------------------------- */

struct progress {
    const char *what;
    uint64_t total, done, started_ns, shown_ns;
    int width; /* of the bar, columns */
    bool on, visible;
};
void progress_begin(struct progress *p, const char *what, uint64_t total);
void progress_word(struct progress *p, const char *word); /* work that has no measure yet */
void progress_add(struct progress *p, uint64_t n);
void progress_clear(struct progress *p); /* before other lines */
void progress_end(struct progress *p);

int cmd_serve(int argc, const char **argv);
int cmd_put(int argc, const char **argv);
int cmd_get(int argc, const char **argv);
int cmd_exists(int argc, const char **argv);
int cmd_stat(int argc, const char **argv);
int cmd_bench(int argc, const char **argv);
int cmd_doctor(int argc, const char **argv);
int cmd_keygen(int argc, const char **argv);
int cmd_completion(int argc, const char **argv);

#endif
