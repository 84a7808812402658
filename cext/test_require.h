/*
 * For C tests and the fuzz target, which end at the first thing that is not so; a fuzzer notes an abort.
 */
#ifndef TEST_REQUIRE_H
#define TEST_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

#endif
