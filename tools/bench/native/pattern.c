#include "pattern.h"

double pattern[PATTERN_NUMBERS];

void make_pattern(void)
{
    for (int index = 0; index < PATTERN_NUMBERS; index++)
        pattern[index] = index;
}
