/* What is kept of a text that the end of a buffer cuts, for wstpserver/wire/completion_text.py. */
#include "wstpscan_internal.h"

#include <string.h>

/* Appends to the last bytes of the text, and forgets those at the front that are too many. */
static void append_to_tail(struct wstpscan *s, const uint8_t *bytes, size_t count)
{
    size_t keep = s->tail_length;

    if (count > sizeof s->tail) {
        bytes += count - sizeof s->tail;
        count = sizeof s->tail;
    }
    if (keep > sizeof s->tail - count)
        keep = sizeof s->tail - count;
    memmove(s->tail, s->tail + (s->tail_length - keep), keep);
    memcpy(s->tail + keep, bytes, count);
    s->tail_length = (uint8_t)(keep + count);
}

/*
 * count bytes of the text were at the end of the buffer, and left are still to come. Its first bytes say how it is
 * encoded, its last ones whether the break is inside a character: all that is needed to fill it up.
 */
void wstpscan_remember_text(struct wstpscan *s, const uint8_t *bytes, size_t count, uint64_t left)
{
    uint64_t had = s->size - left - count;

    if (had < sizeof s->text) {
        size_t room = sizeof s->text - (size_t)had;
        memcpy(s->text + had, bytes, count < room ? count : room);
    }
    if (had == 0)
        s->tail_length = 0;
    append_to_tail(s, bytes, count);
}
