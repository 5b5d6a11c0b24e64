/* Prints docs/configuration.md. */
#include "core/config/doc.h"

int main(void)
{
    mkv__config_write_doc(stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
