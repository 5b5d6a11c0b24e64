#include "cli/cli.h"

#include <string.h>

static void bash(void)
{
    printf("_memkv() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]}\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W \"");
    for (const struct command *c = commands; c->name != NULL; c++) {
        printf("%s ", c->name);
    }
    printf("--help --version\" -- \"$word\"))\n"
           "    elif [[ $word == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$(memkv \"${COMP_WORDS[1]}\" --help 2>/dev/null |\n"
           "            grep -o -- '--[a-z-]*')\" -- \"$word\"))\n"
           "    else\n"
           "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
           "    fi\n"
           "}\n"
           "complete -F _memkv memkv\n");
}

int cmd_completion(int argc, const char **argv)
{
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "bash", &code);
    if (context == NULL) {
        return code;
    }
    const char *shell = poptGetArg(context);
    if (shell == NULL || strcmp(shell, "bash") != 0) {
        code = cli_fail(EXIT_USAGE, "usage: memkv completion bash");
    } else {
        bash();
        code = EXIT_DONE;
    }
    poptFreeContext(context);
    return code;
}
