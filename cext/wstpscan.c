/*
 * The frame scanner. The contract is in wstpscan.h, the grammar in docs/wire-protocol.md, section 3.
 *
 * Two readers of the same grammar work hand in hand: scan_step() takes one step from any position and is the one that
 * knows all of the grammar and all of the errors; skip_items() only runs over plain items that lie whole in the
 * buffer, several times faster, and leaves everything else, every error included, to the first.
 */
#include "wstpscan.h"

#include <string.h>

enum { LINE_FEED = '\n' };

/* What the next item is; AT_ITEM only. */
enum { PLACE_FRAME, PLACE_HEAD, PLACE_ARGUMENT };

/* scan_step() has nothing to report and more bytes may follow. */
enum { CONTINUE = WSTPSCAN_MORE };

/* Bytes of a machine number by its token, 0 for bytes that are no such token. */
static const uint8_t number_width[256] = {
    [0xa1] = 1,
    [0xe2] = 2, [0xe4] = 4, [0xe6] = 8, [0xf4] = 4, [0xf6] = 8, [0xf8] = 16,
    [0xa2] = 2, [0xa4] = 4, [0xa6] = 8, [0xb4] = 4, [0xb6] = 8, [0xb8] = 16,
};

static int is_text(uint8_t token)
{
    return token == '"' || token == '#' || token == '+' || token == '*';
}

/* The part of the caller's buffer that is not consumed yet. */
struct input {
    const uint8_t *next, *end;
    uint64_t offset_of_end; /* in the stream */
};

static uint64_t offset_of_next(const struct input *in)
{
    return in->offset_of_end - (uint64_t)(in->end - in->next);
}

static int fail(struct wstpscan *s, struct input *in, int error)
{
    s->error = error;
    s->error_offset = offset_of_next(in);
    return WSTPSCAN_ERROR;
}

static int in_set(uint64_t set, int32_t code)
{
    return (int)(set >> code & 1);
}

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
static int end_item(struct wstpscan *s, struct input *in)
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

static void begin_size(struct wstpscan *s, uint8_t token)
{
    s->token = token;
    s->size = 0;
    s->digits = 0;
    s->step = WSTPSCAN_AT_SIZE;
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
    if (number_width[token] != 0)
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
    if (number_width[token] != 0) {
        s->token = token;
        if (s->array_missing > 0)
            s->array_missing--;
        else
            s->missing--;
        begin_opaque(s, number_width[token]);
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

/* In an array's header: whether count bytes more, from offset on, leave room for the "." at its end. */
static int fits_header(const struct wstpscan *s, uint64_t offset, uint64_t count)
{
    return offset < s->array_header_end && count < s->array_header_end - offset;
}

static void multiply_dimension(struct wstpscan *s)
{
    int overflow = s->size > 0 && s->array_product > UINT64_MAX / s->size;

    s->array_product = overflow ? UINT64_MAX : s->array_product * s->size;
    if (s->dimensions < UINT8_MAX)
        s->dimensions++;
}

/* The size or count of s->token has been read but for its last byte, which is the next one. */
static int end_size(struct wstpscan *s, struct input *in)
{
    uint64_t next_offset = offset_of_next(in) + 1;

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
        if (s->size > WSTPSCAN_MAX_ARRAY_HEADER)
            return fail(s, in, WSTPSCAN_E_ARRAY_HEADER_SIZE);
        s->array_header_end = next_offset + s->size;
        s->array_product = 1;
        s->dimensions = 0;
        s->step = WSTPSCAN_AT_DIMENSION;
        break;
    case WSTPSCAN_DIMENSION:
        multiply_dimension(s);
        s->step = WSTPSCAN_AT_DIMENSION_HEAD;
        break;
    case WSTPSCAN_DIMENSION_SYMBOL:
        if (!fits_header(s, next_offset, s->size + 1))
            return fail(s, in, WSTPSCAN_E_ARRAY_HEADER);
        s->left = s->size;
        s->step = s->size > 0 ? WSTPSCAN_AT_DIMENSION_TEXT : WSTPSCAN_AT_DIMENSION_LINE_FEED;
        break;
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
    uint8_t width = number_width[*in->next];
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

/* Takes what there is of *left bytes that need no look. */
static void take(uint64_t *left, struct input *in)
{
    size_t there = (size_t)(in->end - in->next);
    size_t count = *left < there ? (size_t)*left : there;

    *left -= count;
    in->next += count;
}

/*
 * The buffer ended inside a text, count more bytes of it were in it, and left are still to come. Its first bytes say how
 * it is encoded, its last ones whether the break is inside a character: all that is needed to fill it up.
 */
static void remember_text(struct wstpscan *s, const uint8_t *bytes, size_t count, uint64_t left)
{
    uint64_t had = s->size - left - count;
    size_t keep;

    if (had < sizeof s->text) {
        size_t room = sizeof s->text - (size_t)had;
        memcpy(s->text + had, bytes, count < room ? count : room);
    }
    if (had == 0)
        s->tail_length = 0;
    if (count > sizeof s->tail) {
        bytes += count - sizeof s->tail;
        count = sizeof s->tail;
    }
    keep = sizeof s->tail - count;
    if (keep > s->tail_length)
        keep = s->tail_length;
    memmove(s->tail, s->tail + (s->tail_length - keep), keep);
    memcpy(s->tail + keep, bytes, count);
    s->tail_length = (uint8_t)(keep + count);
}

static int at_opaque(struct wstpscan *s, struct input *in)
{
    const uint8_t *from = in->next;

    take(&s->opaque, in);
    if (s->opaque == 0)
        s->step = WSTPSCAN_AT_LINE_FEED;
    else if (is_text(s->token))
        remember_text(s, from, (size_t)(in->next - from), s->opaque);
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
    return end_item(s, in);
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
        remember_text(s, from, (size_t)(in->next - from), s->left);
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
    return end_item(s, in);
}

static int scan_step(struct wstpscan *s, struct input *in)
{
    switch (s->step) {
    case WSTPSCAN_AT_BOUNDARY:            return at_boundary(s, in);
    case WSTPSCAN_AT_ITEM:                return at_item(s, in);
    case WSTPSCAN_AT_SIZE:                return at_size(s, in);
    case WSTPSCAN_AT_NUMBER_TOKEN:        return at_number_token(s, in);
    case WSTPSCAN_AT_OPAQUE:              return at_opaque(s, in);
    case WSTPSCAN_AT_HEAD_TEXT:           return at_head_text(s, in);
    case WSTPSCAN_AT_LINE_FEED:           return at_line_feed(s, in);
    case WSTPSCAN_AT_ARRAY_MARK:          return at_array_mark(s, in);
    case WSTPSCAN_AT_DIMENSION:           return at_dimension(s, in);
    case WSTPSCAN_AT_DIMENSION_HEAD:      return at_dimension_head(s, in);
    case WSTPSCAN_AT_DIMENSION_TEXT:      return at_dimension_text(s, in);
    case WSTPSCAN_AT_DIMENSION_LINE_FEED: return at_dimension_line_feed(s, in);
    default:                              return at_header_line_feed(s, in);
    }
}

/*
 * Runs over items that lie whole in the buffer: numbers, and functions and texts with a size of one byte. Stops in front
 * of the first other thing and in front of the last item of the frame. Only where the next item is an argument or a
 * head of a frame whose own head is known, and not among the leaves of an array.
 */
static void skip_items(struct wstpscan *s, struct input *in)
{
    const uint8_t *next = in->next;
    uint64_t missing = s->missing;
    int after_function = 0;

    while (missing > 1 && in->end - next >= 2) {
        size_t room = (size_t)(in->end - next), bytes = number_width[next[0]];
        if (bytes > 0) {
            bytes += 2;
        } else if (next[0] == 'F' && next[1] >= 0x40 && next[1] <= 0x7f) {
            uint64_t count = (uint64_t)(next[1] - 0x40);
            if (count > UINT64_MAX - missing)
                break;
            missing += count;
            next += 2;
            after_function = 1;
            continue;
        } else if (is_text(next[0]) && next[1] >= 0x40 && next[1] <= 0x7f) {
            bytes = (size_t)(next[1] - 0x40) + 3;
            if (s->max_block > 0 && bytes - 3 > s->max_block)
                break;
        } else {
            break;
        }
        if (bytes > room || next[bytes - 1] != LINE_FEED)
            break;
        missing--;
        next += bytes;
        after_function = 0;
    }
    if (next != in->next)
        s->place = after_function ? PLACE_HEAD : PLACE_ARGUMENT;
    in->next = next;
    s->missing = missing;
}

static int scan(struct wstpscan *s, struct input *in)
{
    int verdict = CONTINUE;

    while (in->next < in->end && verdict == CONTINUE) {
        if (s->step == WSTPSCAN_AT_ITEM && s->head_known && s->array_missing == 0) {
            skip_items(s, in);
            if (in->next == in->end)
                break;
        }
        verdict = scan_step(s, in);
    }
    return verdict;
}

static void report_position(struct wstpscan *s)
{
    s->frame_bytes = s->consumed - s->frame_start;
    s->undecided = s->step == WSTPSCAN_AT_BOUNDARY || s->head_known ? 0 : s->frame_bytes;
}

int wstpscan_scan(struct wstpscan *s, const uint8_t *data, size_t length)
{
    struct input in;
    int verdict;

    s->used = 0;
    if (s->error)
        return WSTPSCAN_ERROR;
    if (length == 0)
        return WSTPSCAN_MORE;
    in.next = data;
    in.end = data + length;
    in.offset_of_end = s->consumed + length;
    verdict = scan(s, &in);
    s->used = (uint64_t)(in.next - data);
    s->consumed += s->used;
    report_position(s);
    return verdict;
}

uint64_t wstpscan_skip(struct wstpscan *s, uint64_t count)
{
    if (s->error || s->step != WSTPSCAN_AT_OPAQUE)
        return 0;
    if (count > s->opaque)
        count = s->opaque;
    s->opaque -= count;
    if (s->opaque == 0)
        s->step = WSTPSCAN_AT_LINE_FEED;
    s->tail_length = 0;
    s->consumed += count;
    report_position(s);
    return count;
}

const char *wstpscan_error_message(int error)
{
    static const char *const messages[] = {
        "no error",
        "no expression begins with this byte",
        "a size is neither a byte from 0x40 to 0x7f nor digits and a space",
        "a size has too many digits",
        "a text, a number or a block is not followed by a line feed",
        "a block of values of an unknown type",
        "a packed block where it cannot stand: as a whole expression or as a head",
        "a packed block has more values than arguments are missing",
        "more arguments are announced than can be counted",
        "a text or packed block is larger than allowed",
        "no D after the number of leaves of an array",
        "the header of an array is malformed",
        "the header of an array is larger than allowed",
        "the dimensions of an array do not multiply to the number of its leaves",
        "a leaf of an array is neither a machine number nor a packed block",
        "an end of packet inside an expression",
    };
    int count = (int)(sizeof messages / sizeof messages[0]);

    return error >= 0 && error < count ? messages[error] : "an unknown error";
}
