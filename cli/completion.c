#include "cli/cli.h"

#include <string.h>

static void bash(void)
{
    printf("_memkv() {\n"
           "    local word=$2 words=\n"
           "    if [[ $COMP_CWORD -eq 1 ]]; then\n"
           "        words='");
    for (const struct command *c = commands; c->name != NULL; c++) {
        printf("%s ", c->name);
    }
    printf("--help --version'\n"
           "    elif [[ $word == -* ]]; then\n"
           "        words=$(\"$1\" \"${COMP_WORDS[1]}\" --help-all 2>/dev/null |\n"
           "            sed -n 's/^  \\(-.,\\)\\{0,1\\} *\\(--[a-z-]*\\).*/\\2/p')\n"
           "    elif [[ ${COMP_WORDS[1]} == completion ]]; then\n"
           "        words=bash\n"
           "    fi\n"
           "    if [[ -n $words ]]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\" | sort -u)\n"
           "    fi\n"
           "}\n"
           "complete -o default -F _memkv memkv\n");
}

int cmd_completion(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    const char *shell = poptGetArg(context);
    if (shell == NULL || strcmp(shell, "bash") != 0 || poptPeekArg(context) != NULL) {
        code = cli_usage("completion");
    } else {
        bash();
        code = EXIT_DONE;
    }
    poptFreeContext(context);
    return code;
}
