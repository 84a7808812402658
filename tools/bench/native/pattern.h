/* The numbers in bulk data: element i is the double i mod 65536. So any piece of it can be sent from one small block
 * that stays in the processor's cache, and a receiver can check any piece of it. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PATTERN_NUMBERS = 65536, PATTERN_BYTES = PATTERN_NUMBERS * 8 };

extern double pattern[PATTERN_NUMBERS];

/* To be called once, before anything else here. */
void make_pattern(void);

/* The longest piece of the data from byte `offset` on that is there in one. */
static inline const char *pattern_at(uint64_t offset, uint64_t wanted, size_t *length)
{
    size_t begin = (size_t)(offset % PATTERN_BYTES);
    *length = PATTERN_BYTES - begin;
    if (wanted < *length)
        *length = (size_t)wanted;
    return (const char *)pattern + begin;
}

/* Whether bytes that came from `offset` on are right. Of a long piece the beginning and the end are compared: that
 * finds lost, doubled and exchanged bytes without costing what the transfer costs. */
static inline int pattern_matches(uint64_t offset, const char *data, size_t length)
{
    enum { COMPARED = 64 };
    size_t piece, compared = length < COMPARED ? length : COMPARED;
    const char *expected = pattern_at(offset, compared, &piece);
    if (memcmp(expected, data, piece) != 0)
        return 0;
    offset += length - compared;
    expected = pattern_at(offset, compared, &piece);
    return memcmp(expected, data + length - compared, piece) == 0;
}

#endif
