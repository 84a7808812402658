/*
 * What the files of the scanner share and nobody else uses. A "step" function reads on from one position (enum
 * wstpscan_step): the next byte exists, and it returns CONTINUE, an event, or WSTPSCAN_ERROR with nothing consumed.
 */
#ifndef WSTPSCAN_INTERNAL_H
#define WSTPSCAN_INTERNAL_H

#include "wstpscan.h"

enum { LINE_FEED = '\n' };

/* What the next item is; AT_ITEM only. */
enum { PLACE_FRAME, PLACE_HEAD, PLACE_ARGUMENT };

/* Nothing to report, and more bytes may follow. */
enum { CONTINUE = WSTPSCAN_MORE };

/* The part of the caller's buffer that is not consumed yet. */
struct input {
    const uint8_t *next, *end;
    uint64_t offset_of_end; /* in the stream */
};

/* Bytes of a machine number by its token, 0 for bytes that are no such token. */
extern const uint8_t wstpscan_number_width[256];

/* wstpscan_step.c: one step from any position; the end of an item, which may be the last one of its frame. */
int wstpscan_one_step(struct wstpscan *s, struct input *in);
int wstpscan_end_item(struct wstpscan *s, struct input *in);

/* wstpscan_array.c: one step in the header of an array; the end of a size in it, which is the next byte. */
int wstpscan_array_step(struct wstpscan *s, struct input *in);
int wstpscan_array_end_size(struct wstpscan *s, struct input *in);

/* wstpscan_text.c: keeps what completing a text needs, if the buffer ended in it. */
void wstpscan_remember_text(struct wstpscan *s, const uint8_t *bytes, size_t count, uint64_t left);

static inline int is_text(uint8_t token)
{
    return token == '"' || token == '#' || token == '+' || token == '*';
}

static inline uint64_t offset_of_next(const struct input *in)
{
    return in->offset_of_end - (uint64_t)(in->end - in->next);
}

static inline int fail(struct wstpscan *s, struct input *in, int error)
{
    s->error = error;
    s->error_offset = offset_of_next(in);
    return WSTPSCAN_ERROR;
}

static inline int in_set(uint64_t set, int32_t code)
{
    return (int)(set >> code & 1);
}

/* Takes what there is of *left bytes that need no look. */
static inline void take(uint64_t *left, struct input *in)
{
    size_t there = (size_t)(in->end - in->next);
    size_t count = *left < there ? (size_t)*left : there;

    *left -= count;
    in->next += count;
}

static inline void begin_size(struct wstpscan *s, uint8_t token)
{
    s->token = token;
    s->size = 0;
    s->digits = 0;
    s->step = WSTPSCAN_AT_SIZE;
}

/* In an array's header: whether count bytes more, from offset on, leave room for the "." at its end. */
static inline int fits_header(const struct wstpscan *s, uint64_t offset, uint64_t count)
{
    return offset < s->array_header_end && count < s->array_header_end - offset;
}

#endif
