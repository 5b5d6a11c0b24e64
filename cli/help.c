/* What --help prints, for terminals of 80 columns. */
#include "cli/cli.h"

#include <string.h>

#define COLUMNS 79
#define INDENT  30

static const char exit_codes[] = "Exit codes:\n"
                                 "  0  done, all there\n"
                                 "  1  a miss\n"
                                 "  2  usage, configuration or a local file\n"
                                 "  3  a server not reachable, too late, or full\n"
                                 "  4  refused: the key, or the right to do it\n";
static const char of_several[] = "Of several the highest counts.\n";

void help_all_commands(FILE *to)
{
    fprintf(to, "Usage: memkv COMMAND [OPTION...] [ARGUMENT...]\n\n"
                "MemKV keeps the KV pages of LLM inference in the memory of its servers.\n\n"
                "Commands:\n");
    for (const struct command *c = commands; c->name != NULL; c++) {
        fprintf(to, "  %-12s%s\n", c->name, c->brief);
    }
    fprintf(to, "\n'memkv COMMAND --help' tells the options of a command.\n\n%s%s", exit_codes,
            of_several);
}

/* Broken at blanks, each line after the first indented. */
static void wrapped(const char *text, int indent)
{
    int column = indent;
    while (*text != '\0') {
        int len = (int)strcspn(text, " ");
        if (column > indent && column + 1 + len > COLUMNS) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", len, text);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void help_begin(const struct command *command)
{
    const char *line = command->usage, *before = "Usage:";
    do {
        int len = (int)strcspn(line, "\n");
        printf("%s memkv %s [OPTION...]%s%.*s\n", before, command->name, len > 0 ? " " : "", len,
               line);
        before = "      ";
        line += len;
    } while (*line++ == '\n');
    putchar('\n');
    wrapped(command->text, 0);
}

void help_heading(const char *heading)
{
    printf("\n%s:\n", heading);
}

void help_option(const struct help_line *line)
{
    char letter[] = {'-', line->letter, ',', '\0'};
    int n = printf("  %-4s--%s%s%s", line->letter != 0 ? letter : "", line->name,
                   line->argument != NULL ? " " : "", line->argument != NULL ? line->argument : "");
    if (n > INDENT - 2) { /* no room beside it: the text begins below */
        putchar('\n');
        n = 0;
    }
    printf("%*s", INDENT - n, "");
    wrapped(line->text, INDENT);
}

void help_end(const struct command *command, bool all)
{
    if (!all && command->components != 0) {
        printf("\nEach option of the configuration is a flag too: 'memkv %s --help-all'.\n",
               command->name);
    }
    printf("\n%s%s%s", exit_codes, command->codes != NULL ? command->codes : "", of_several);
}
