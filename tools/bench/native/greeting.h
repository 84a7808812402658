/* The greeting as a peer of version 4 gives it, and the first bytes in UUID mode. */
#ifndef GREETING_H
#define GREETING_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define GREETING                                                                                                       \
    "Math Link 4\n-libraryid '!&*' -decoders 0\n"                                                                      \
    "-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid 'Jan 01 2026, 00:00:00' -formats 1,2,3,4,5,6,7\n"     \
    "-envid ''\n"

/* What the lower of two versions calls for when one of them is 4. */
enum { GREETING_LINES = 4, ID_LENGTH = 55, WORDS_LENGTH = 16 };

static const char WORDS[WORDS_LENGTH] = {3};

/* The line that begins a connection; `number` makes it different for each link of a process. */
static inline void write_id(char line[ID_LENGTH + 1], uint64_t process, uint64_t number, const char *channel)
{
    snprintf(line, ID_LENGTH + 1, "id=%08X-%04X-4%03X-8%03X-%012llX connection=%s", (unsigned)process,
             (unsigned)(number >> 24 & 0xffff), (unsigned)(number >> 12 & 0xfff), (unsigned)(number & 0xfff),
             (unsigned long long)(number * 0x9e3779b97f4aULL & 0xffffffffffffULL), channel);
}

/* How many bytes of `data` belong to `lines` lines; 0 if the last of them has not ended. */
static inline size_t lines_length(const char *data, size_t length, int lines)
{
    const char *at = data, *end = data + length;
    while (lines-- > 0) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at == NULL)
            return 0;
        at++;
    }
    return (size_t)(at - data);
}

#endif
