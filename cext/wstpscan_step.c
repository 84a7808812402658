/* The steps of the grammar outside array headers (docs/wire-protocol.md, sections 3.1 to 3.6). */
#include "wstpscan_internal.h"

#include <string.h>

const uint8_t wstpscan_number_width[256] = {
    [0xa1] = 1,
    [0xe2] = 2, [0xe4] = 4, [0xe6] = 8, [0xf4] = 4, [0xf6] = 8, [0xf8] = 16,
    [0xa2] = 2, [0xa4] = 4, [0xa6] = 8, [0xb4] = 4, [0xb6] = 8, [0xb8] = 16,
};

/* The head of the current frame is known now; the byte that decided it has been consumed. */
static int decide_head(struct wstpscan *s, int32_t code)
{
    s->head = code;
    s->head_known = 1;
    return in_set(s->stop_at_head, code) ? WSTPSCAN_HEAD : CONTINUE;
}

static void begin_frame(struct wstpscan *s, uint64_t offset)
{
    s->frame_start = offset;
    s->head = WSTPSCAN_HEAD_OTHER;
    s->head_known = 0;
    s->head_name_length = 0;
    s->head_name[0] = '\0';
    s->missing = 1;
    s->place = PLACE_FRAME;
    s->step = WSTPSCAN_AT_ITEM;
}

/* An item is complete; it may have been the last one of its frame. */
int wstpscan_end_item(struct wstpscan *s, struct input *in)
{
    if (s->missing > 0 || s->array_missing > 0) {
        s->step = WSTPSCAN_AT_ITEM;
        s->place = PLACE_ARGUMENT;
        return CONTINUE;
    }
    s->step = WSTPSCAN_AT_BOUNDARY;
    if (in->next < in->end && *in->next == ']')
        in->next++;
    return in_set(s->stop_at_end, s->head) ? WSTPSCAN_END : CONTINUE;
}

/* Goes on to count opaque bytes and the line feed after them. */
static void begin_opaque(struct wstpscan *s, uint64_t count)
{
    s->opaque = count;
    s->step = count > 0 ? WSTPSCAN_AT_OPAQUE : WSTPSCAN_AT_LINE_FEED;
}

static int at_boundary(struct wstpscan *s, struct input *in)
{
    if (*in->next != ']') {
        begin_frame(s, offset_of_next(in));
        return CONTINUE;
    }
    in->next++;
    /* Before the first frame head_known is 0: nobody was told of an END, and nobody asked for silence either. */
    return !s->head_known || in_set(s->stop_at_end, s->head) ? WSTPSCAN_TAIL : CONTINUE;
}

/* Whether an expression can begin with this byte here; WSTPSCAN_OK or the error. */
static int check_item(const struct wstpscan *s, uint8_t token)
{
    if (wstpscan_number_width[token] != 0)
        return WSTPSCAN_OK;
    if (s->array_missing > 0)
        return token == 'P' ? WSTPSCAN_OK : WSTPSCAN_E_ARRAY_LEAF;
    switch (token) {
    case 'F': case '#': case '"': case '+': case '*': case 'A': case 'O':
        return WSTPSCAN_OK;
    case 'P':
        return s->place == PLACE_ARGUMENT ? WSTPSCAN_OK : WSTPSCAN_E_PACKED_PLACE;
    case ']':
        return WSTPSCAN_E_MISPLACED_END;
    default:
        return WSTPSCAN_E_TOKEN;
    }
}

static int at_item(struct wstpscan *s, struct input *in)
{
    uint8_t token = *in->next;
    int error = check_item(s, token);
    /* A frame may be a packet as long as it reads "F", a count, "#". */
    int undecidable = token == (s->place == PLACE_FRAME ? 'F' : '#');

    if (error)
        return fail(s, in, error);
    in->next++;
    if (wstpscan_number_width[token] != 0) {
        s->token = token;
        if (s->array_missing > 0)
            s->array_missing--;
        else
            s->missing--;
        begin_opaque(s, wstpscan_number_width[token]);
    } else {
        /* F has its place until its arguments are known, P takes as many as it has values. */
        if (token != 'F' && token != 'P')
            s->missing--;
        begin_size(s, token);
    }
    return s->head_known || undecidable ? CONTINUE : decide_head(s, WSTPSCAN_HEAD_OTHER);
}

static int text_size_known(struct wstpscan *s)
{
    if (!s->head_known && s->size > 0 && s->size <= WSTPSCAN_MAX_HEAD_TEXT) {
        s->left = s->size;
        s->step = WSTPSCAN_AT_HEAD_TEXT;
        return CONTINUE;
    }
    begin_opaque(s, s->size);
    return s->head_known ? CONTINUE : decide_head(s, WSTPSCAN_HEAD_OTHER);
}

/* The size or count of s->token has been read but for its last byte, which is the next one. */
static int end_size(struct wstpscan *s, struct input *in)
{
    switch (s->token) {
    case 'F':
        if (s->size > UINT64_MAX - s->missing)
            return fail(s, in, WSTPSCAN_E_ARGUMENTS);
        s->missing += s->size; /* itself gone, its head added */
        s->place = PLACE_HEAD;
        s->step = WSTPSCAN_AT_ITEM;
        break;
    case 'P':
        if (s->size > (s->array_missing > 0 ? s->array_missing : s->missing))
            return fail(s, in, WSTPSCAN_E_PACKED_COUNT);
        s->step = WSTPSCAN_AT_NUMBER_TOKEN;
        break;
    case 'O':
        s->step = WSTPSCAN_AT_NUMBER_TOKEN;
        break;
    case 'A':
        s->array_total = s->size;
        s->step = WSTPSCAN_AT_ARRAY_MARK;
        break;
    case 'D':
    case WSTPSCAN_DIMENSION:
    case WSTPSCAN_DIMENSION_SYMBOL:
        return wstpscan_array_end_size(s, in);
    default:
        if (s->max_block > 0 && s->size > s->max_block)
            return fail(s, in, WSTPSCAN_E_BLOCK_SIZE);
        in->next++;
        return text_size_known(s);
    }
    in->next++;
    return CONTINUE;
}

static int at_size(struct wstpscan *s, struct input *in)
{
    uint8_t c = *in->next;
    int within_header = s->token == WSTPSCAN_DIMENSION || s->token == WSTPSCAN_DIMENSION_SYMBOL;

    if (within_header && !fits_header(s, offset_of_next(in), 1))
        return fail(s, in, WSTPSCAN_E_ARRAY_HEADER);
    if (c >= '0' && c <= '9') {
        if (s->digits == WSTPSCAN_MAX_SIZE_DIGITS)
            return fail(s, in, WSTPSCAN_E_SIZE_DIGITS);
        s->size = s->size * 10 + (uint64_t)(c - '0');
        s->digits++;
        in->next++;
        return CONTINUE;
    }
    if (s->digits == 0 && c >= 0x40 && c <= 0x7f)
        s->size = (uint64_t)(c - 0x40);
    else if (s->digits == 0 || c != ' ')
        return fail(s, in, WSTPSCAN_E_SIZE);
    return end_size(s, in);
}

static int at_number_token(struct wstpscan *s, struct input *in)
{
    uint8_t width = wstpscan_number_width[*in->next];
    uint64_t bytes = s->size * width;

    if (width == 0)
        return fail(s, in, WSTPSCAN_E_NUMBER_TOKEN);
    if (s->max_block > 0 && bytes > s->max_block)
        return fail(s, in, WSTPSCAN_E_BLOCK_SIZE);
    if (s->token == 'P') {
        s->number_token = *in->next;
        if (s->array_missing > 0)
            s->array_missing -= s->size;
        else
            s->missing -= s->size;
    }
    in->next++;
    begin_opaque(s, bytes);
    return CONTINUE;
}

static int at_opaque(struct wstpscan *s, struct input *in)
{
    const uint8_t *from = in->next;

    take(&s->opaque, in);
    if (s->opaque == 0)
        s->step = WSTPSCAN_AT_LINE_FEED;
    else if (is_text(s->token))
        wstpscan_remember_text(s, from, (size_t)(in->next - from), s->opaque);
    return CONTINUE;
}

static int at_head_text(struct wstpscan *s, struct input *in)
{
    uint8_t *to = s->text + (s->size - s->left);
    const uint8_t *from = in->next;

    take(&s->left, in);
    memcpy(to, from, (size_t)(in->next - from));
    if (s->left > 0)
        return CONTINUE;
    s->step = WSTPSCAN_AT_LINE_FEED;
    return decide_head(s, wstpscan_head_code(s->text, (size_t)s->size, s->head_name, &s->head_name_length));
}

static int at_line_feed(struct wstpscan *s, struct input *in)
{
    if (*in->next != LINE_FEED)
        return fail(s, in, WSTPSCAN_E_LINE_FEED);
    in->next++;
    return wstpscan_end_item(s, in);
}

int wstpscan_one_step(struct wstpscan *s, struct input *in)
{
    switch (s->step) {
    case WSTPSCAN_AT_BOUNDARY:     return at_boundary(s, in);
    case WSTPSCAN_AT_ITEM:         return at_item(s, in);
    case WSTPSCAN_AT_SIZE:         return at_size(s, in);
    case WSTPSCAN_AT_NUMBER_TOKEN: return at_number_token(s, in);
    case WSTPSCAN_AT_OPAQUE:       return at_opaque(s, in);
    case WSTPSCAN_AT_HEAD_TEXT:    return at_head_text(s, in);
    case WSTPSCAN_AT_LINE_FEED:    return at_line_feed(s, in);
    default:                       return wstpscan_array_step(s, in);
    }
}
