/* The header of a rectangular array (docs/wire-protocol.md, section 3.5), from the "D" to the line feed after it. */
#include "wstpscan_internal.h"

static void multiply_dimension(struct wstpscan *s)
{
    int overflow = s->size > 0 && s->array_product > UINT64_MAX / s->size;

    s->array_product = overflow ? UINT64_MAX : s->array_product * s->size;
    if (s->dimensions < UINT8_MAX)
        s->dimensions++;
}

/* "F" dimension "#" size text: one of these sizes, or that of the whole header. */
int wstpscan_array_end_size(struct wstpscan *s, struct input *in)
{
    uint64_t next_offset = offset_of_next(in) + 1;

    if (s->token == WSTPSCAN_DIMENSION) {
        multiply_dimension(s);
        s->step = WSTPSCAN_AT_DIMENSION_HEAD;
    } else if (s->token == WSTPSCAN_DIMENSION_SYMBOL) {
        if (!fits_header(s, next_offset, s->size + 1))
            return fail(s, in, WSTPSCAN_E_ARRAY_HEADER);
        s->left = s->size;
        s->step = s->size > 0 ? WSTPSCAN_AT_DIMENSION_TEXT : WSTPSCAN_AT_DIMENSION_LINE_FEED;
    } else {
        if (s->size > WSTPSCAN_MAX_ARRAY_HEADER)
            return fail(s, in, WSTPSCAN_E_ARRAY_HEADER_SIZE);
        s->array_header_end = next_offset + s->size;
        s->array_product = 1;
        s->dimensions = 0;
        s->step = WSTPSCAN_AT_DIMENSION;
    }
    in->next++;
    return CONTINUE;
}

static int at_array_mark(struct wstpscan *s, struct input *in)
{
    if (*in->next != 'D')
        return fail(s, in, WSTPSCAN_E_ARRAY_MARK);
    in->next++;
    begin_size(s, 'D');
    return CONTINUE;
}

/* "F" of one more dimension, or the "." that ends the header at exactly the announced place. */
static int at_dimension(struct wstpscan *s, struct input *in)
{
    uint64_t offset = offset_of_next(in);
    int last = offset + 1 == s->array_header_end;

    if (*in->next == '.' && last && s->dimensions > 0)
        s->step = WSTPSCAN_AT_HEADER_LINE_FEED;
    else if (*in->next == 'F' && fits_header(s, offset, 1))
        begin_size(s, WSTPSCAN_DIMENSION);
    else
        return fail(s, in, WSTPSCAN_E_ARRAY_HEADER);
    in->next++;
    return CONTINUE;
}

static int at_dimension_head(struct wstpscan *s, struct input *in)
{
    if (*in->next != '#' || !fits_header(s, offset_of_next(in), 1))
        return fail(s, in, WSTPSCAN_E_ARRAY_HEADER);
    in->next++;
    begin_size(s, WSTPSCAN_DIMENSION_SYMBOL);
    return CONTINUE;
}

static int at_dimension_text(struct wstpscan *s, struct input *in)
{
    const uint8_t *from = in->next;

    take(&s->left, in);
    if (s->left == 0)
        s->step = WSTPSCAN_AT_DIMENSION_LINE_FEED;
    else
        wstpscan_remember_text(s, from, (size_t)(in->next - from), s->left);
    return CONTINUE;
}

static int at_dimension_line_feed(struct wstpscan *s, struct input *in)
{
    if (*in->next != LINE_FEED)
        return fail(s, in, WSTPSCAN_E_LINE_FEED);
    in->next++;
    s->step = WSTPSCAN_AT_DIMENSION;
    return CONTINUE;
}

static int at_header_line_feed(struct wstpscan *s, struct input *in)
{
    if (*in->next != LINE_FEED)
        return fail(s, in, WSTPSCAN_E_LINE_FEED);
    if (s->array_product != s->array_total)
        return fail(s, in, WSTPSCAN_E_ARRAY_TOTAL);
    in->next++;
    s->array_missing = s->array_total;
    s->number_token = 0;
    return wstpscan_end_item(s, in);
}

int wstpscan_array_step(struct wstpscan *s, struct input *in)
{
    switch (s->step) {
    case WSTPSCAN_AT_ARRAY_MARK:          return at_array_mark(s, in);
    case WSTPSCAN_AT_DIMENSION:           return at_dimension(s, in);
    case WSTPSCAN_AT_DIMENSION_HEAD:      return at_dimension_head(s, in);
    case WSTPSCAN_AT_DIMENSION_TEXT:      return at_dimension_text(s, in);
    case WSTPSCAN_AT_DIMENSION_LINE_FEED: return at_dimension_line_feed(s, in);
    default:                              return at_header_line_feed(s, in);
    }
}
