/* What load_client is to do. */
#include "load.h"
#include <stdlib.h>

void read_argument(const char *argument)
{
    static const struct { const char *name; int *value; } numbers[] = {
        {"port", &load.port}, {"clients", &load.clients}, {"evaluations", &load.evaluations}, {"depth", &load.depth},
        {"opening", &load.opening}, {"together", &load.together}, {"hold", &load.hold},
    };
    const char *value = strchr(argument, '=');
    size_t length = value == NULL ? 0 : (size_t)(value++ - argument);
    for (size_t index = 0; index < sizeof numbers / sizeof *numbers; index++)
        if (length == strlen(numbers[index].name) && strncmp(argument, numbers[index].name, length) == 0) {
            *numbers[index].value = atoi(value);
            return;
        }
    if (strncmp(argument, "host=", 5) == 0)
        load.host = value;
    else if (strncmp(argument, "size=", 5) == 0)
        load.size = strtoull(value, NULL, 10);
    else if (strncmp(argument, "rate=", 5) == 0)
        load.rate = atof(value);
    else if (strncmp(argument, "duration=", 9) == 0)
        load.duration = (int64_t)(atof(value) * 1e9);
    else if (strncmp(argument, "timeout=", 8) == 0)
        load.timeout = (int64_t)(atof(value) * 1e9);
    else if (strncmp(argument, "limit=", 6) == 0)
        load.limit = (int64_t)(atof(value) * 1e9);
    else {
        fprintf(stderr, "load_client: unknown argument %s\n", argument);
        exit(64);
    }
}
