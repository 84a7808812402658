/* Durations counted in buckets that are at most 0.8 % wide, so that a run of any length needs the same memory.
 * Bucket b < 256 holds b nanoseconds; others b = 128 * shift + m hold from m << shift on, with m from 128 to 255. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { HISTOGRAM_BUCKETS = 58 * 128 };

struct histogram {
    uint32_t counts[HISTOGRAM_BUCKETS];
    int first, last;        /* the used range, empty if last < first */
    uint64_t longest;
};

static inline void histogram_clear(struct histogram *histogram)
{
    if (histogram->first <= histogram->last)
        memset(histogram->counts + histogram->first, 0,
               (size_t)(histogram->last - histogram->first + 1) * sizeof *histogram->counts);
    histogram->first = HISTOGRAM_BUCKETS;
    histogram->last = -1;
    histogram->longest = 0;
}

static inline void histogram_add(struct histogram *histogram, uint64_t nanoseconds)
{
    int shift = nanoseconds < 256 ? 0 : 56 - __builtin_clzll(nanoseconds);
    int bucket = shift * 128 + (int)(nanoseconds >> shift);
    if (bucket >= HISTOGRAM_BUCKETS)
        bucket = HISTOGRAM_BUCKETS - 1;
    histogram->counts[bucket]++;
    if (bucket < histogram->first)
        histogram->first = bucket;
    if (bucket > histogram->last)
        histogram->last = bucket;
    if (nanoseconds > histogram->longest)
        histogram->longest = nanoseconds;
}

/* {"counts": {bucket: count}, "longest": nanoseconds} */
static inline void histogram_print(const struct histogram *histogram)
{
    const char *comma = "";
    printf("{\"counts\": {");
    for (int bucket = histogram->first; bucket <= histogram->last; bucket++)
        if (histogram->counts[bucket] > 0) {
            printf("%s\"%d\": %u", comma, bucket, histogram->counts[bucket]);
            comma = ", ";
        }
    printf("}, \"longest\": %llu}", (unsigned long long)histogram->longest);
}

#endif
