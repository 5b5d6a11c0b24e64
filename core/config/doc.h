/*
 * The option table for people: the page docs/configuration.md, and lines for --help.
 */
#ifndef CORE_CONFIG_DOC_H
#define CORE_CONFIG_DOC_H

#include "core/config/options.h"

#include <stdio.h>

/* Writes the whole page, in Markdown. */
void mkv__config_write_doc(FILE *out);

/*
 * Writes the options of `components` (a mask of MKV__CLIENT, MKV__SERVER), each as
 *
 *       --get-timeout DURATION     For a batch of get.
 *                                  default 2s; 1ms to 8s
 *
 * wrapped to `columns` (at least 60). `flags`: names as flags of a command; else as options of a
 * constructor ("get_timeout"). For a text in memory, use open_memstream.
 */
void mkv__config_write_help(FILE *out, unsigned components, bool flags, unsigned columns);

/* What stands for the value behind a flag, "DURATION". Owner: static. */
const char *mkv__option_placeholder(enum mkv__option_id id);

/* Writes the flag of an option, "--get-timeout". Returns `out`. */
const char *mkv__option_flag(enum mkv__option_id id, char out[MKV_VARIABLE_TEXT]);

#endif
