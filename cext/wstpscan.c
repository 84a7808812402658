/*
 * The frame scanner. The contract is in wstpscan.h, the grammar in docs/wire-protocol.md, section 3.
 *
 * Two readers of the same grammar work together: one_step() reads on from any position and is the one that knows all of
 * the grammar and all of the errors; skip_items() only runs over plain items that lie whole in the buffer, several times
 * faster, and leaves everything else, every error included, to the first.
 *
 * A "step" function reads on from one position (enum wstpscan_step): the next byte exists, and the function returns
 * CONTINUE, an event, or WSTPSCAN_ERROR with nothing consumed.
 */
#include "wstpscan.h"

#include <string.h>

enum { LINE_FEED = '\n', LAST_CHARACTER = 0x10ffff };

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
static const uint8_t number_width[256] = {
    [0xa1] = 1,
    [0xe2] = 2, [0xe4] = 4, [0xe6] = 8, [0xf4] = 4, [0xf6] = 8, [0xf8] = 16,
    [0xa2] = 2, [0xa4] = 4, [0xa6] = 8, [0xb4] = 4, [0xb6] = 8, [0xb8] = 16,
};

static int is_text(uint8_t token)
{
    return token == '"' || token == '#' || token == '+' || token == '*';
}

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

/* Takes what there is of *left bytes that need no look. */
static void take(uint64_t *left, struct input *in)
{
    size_t there = (size_t)(in->end - in->next);
    size_t count = *left < there ? (size_t)*left : there;

    *left -= count;
    in->next += count;
}

static void begin_size(struct wstpscan *s, uint8_t token)
{
    s->token = token;
    s->size = 0;
    s->digits = 0;
    s->step = WSTPSCAN_AT_SIZE;
}

/* In an array's header: whether count bytes more, from offset on, leave room for the "." at its end. */
static int fits_header(const struct wstpscan *s, uint64_t offset, uint64_t count)
{
    return offset < s->array_header_end && count < s->array_header_end - offset;
}

/* The table of packet heads, and how the text of a symbol is compared with it. ------------------------------------- */

/* In the order of wstpserver/wire/packets.py; tests/wire/test_packet_heads.py compares the two. */
static const char *const names[] = {
    "",                     "WSCommandPacket",   "EvaluatePacket",         "EnterTextPacket",
    "EnterExpressionPacket", "ReturnPacket",     "ReturnTextPacket",       "ReturnExpressionPacket",
    "InputNamePacket",      "OutputNamePacket",  "TextPacket",             "MessagePacket",
    "SyntaxPacket",         "MenuPacket",        "InputPacket",            "InputStringPacket",
    "DisplayPacket",        "DisplayEndPacket",  "SuspendPacket",          "ResumePacket",
    "BeginDialogPacket",    "EndDialogPacket",   "CallPacket",             "ExpressionPacket",
};

static const char system_context[] = "System`";

int wstpscan_head_count(void)
{
    return (int)(sizeof names / sizeof names[0]);
}

const char *wstpscan_head_table(int code)
{
    return code > 0 && code < wstpscan_head_count() ? names[code] : "";
}

/*
 * Where the characters of a symbol's text begin, 0 if "<letter>~<count>" does not stand before them. In B, C and F, whose
 * characters have a fixed width, a space takes the place of a count of 64 or more.
 */
static size_t characters_at(const uint8_t *text, size_t length)
{
    size_t at = 2;

    if (length < 3 || text[0] < 'A' || text[0] > 'F' || text[1] != '~')
        return 0;
    if (text[at] >= 0x40 && text[at] <= 0x7f)
        return at + 1;
    if (text[at] == ' ' && (text[0] == 'B' || text[0] == 'C' || text[0] == 'F'))
        return at + 1;
    while (at < length && text[at] >= '0' && text[at] <= '9')
        at++;
    return at > 2 && at < length && text[at] == ' ' ? at + 1 : 0;
}

static uint32_t big_endian(const uint8_t *bytes, size_t width)
{
    uint32_t value = 0;

    while (width-- > 0)
        value = value << 8 | *bytes++;
    return value;
}

static uint32_t little_endian(const uint8_t *bytes, size_t width)
{
    uint32_t value = 0;

    while (width-- > 0)
        value = value << 8 | bytes[width];
    return value;
}

static uint32_t digits_in_base(const uint8_t *digits, size_t count, uint32_t base)
{
    uint32_t value = 0;

    while (count-- > 0) {
        uint8_t c = *digits++;
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                       : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                       : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10) : base;
        if (digit >= base)
            return UINT32_MAX;
        value = value * base + digit;
    }
    return value;
}

/* One escape of format A at text[0] == '\\'; returns its length in bytes. What is no escape is a lone backslash. */
static size_t escape(const uint8_t *text, size_t length, uint32_t *character)
{
    static const struct { const char *mark; size_t digits; uint32_t base; } forms[] = {
        { "\\:", 4, 16 }, { "\\|", 6, 16 }, { "\\", 3, 8 },
    };
    size_t i;

    for (i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t mark = strlen(forms[i].mark);
        if (length < mark + forms[i].digits || memcmp(text, forms[i].mark, mark) != 0)
            continue;
        *character = digits_in_base(text + mark, forms[i].digits, forms[i].base);
        if (*character != UINT32_MAX)
            return mark + forms[i].digits;
    }
    *character = '\\';
    return length > 1 && text[1] == '\\' ? 2 : 1;
}

/* The next character of a text in one of the formats; returns its length in bytes, at least 1 and at most length. */
static size_t next_character(uint8_t format, const uint8_t *text, size_t length, uint32_t *character)
{
    size_t width = 1;

    *character = text[0];
    switch (format) {
    case 'A':
        return text[0] == '\\' ? escape(text, length, character) : 1;
    case 'D': /* the bytes that continue a character have the form 10xxxxxx */
        if (text[0] >= 0x80)
            while (width < length && (text[width] & 0xc0) == 0x80)
                width++;
        return width;
    case 'C':
    case 'E':
    case 'F':
        width = format == 'F' ? 4 : 2;
        *character = UINT32_MAX;
        if (length < width)
            return length;
        *character = format == 'C' ? big_endian(text, width) : little_endian(text, width);
        /* Some programs make the library write UTF-32 in the other order. */
        if (*character > LAST_CHARACTER)
            *character = big_endian(text, width);
        return width;
    default:
        return 1;
    }
}

static int lookup(const char *name, size_t length)
{
    size_t context = sizeof system_context - 1;
    int code;

    if (length > context && memcmp(name, system_context, context) == 0) {
        name += context;
        length -= context;
    }
    for (code = 1; code < wstpscan_head_count(); code++)
        if (strlen(names[code]) == length && memcmp(names[code], name, length) == 0)
            return code;
    return WSTPSCAN_HEAD_OTHER;
}

int wstpscan_head_code(const uint8_t *text, size_t length, char name[WSTPSCAN_HEAD_NAME_SIZE],
                       uint8_t *name_length)
{
    size_t at = characters_at(text, length), count = 0;
    int complete;

    while (at != 0 && at < length && count < WSTPSCAN_HEAD_NAME_SIZE - 1) {
        uint32_t character;
        at += next_character(text[0], text + at, length - at, &character);
        name[count++] = character > 0 && character < 0x80 ? (char)character : '?';
    }
    complete = at == length;
    name[count] = '\0';
    *name_length = (uint8_t)count;
    return complete ? lookup(name, count) : WSTPSCAN_HEAD_OTHER;
}

/* What is kept of a text that the end of a buffer cuts, for wstpserver/wire/completion.py. ------------------------- */

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
static void remember_text(struct wstpscan *s, const uint8_t *bytes, size_t count, uint64_t left)
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

/* The beginning and the end of a frame and of its items. ----------------------------------------------------------- */

/* The head of the current frame is known now; the byte that decided it has been consumed. */
static void decide_head(struct wstpscan *s, int32_t code)
{
    s->head = code;
    s->head_known = 1;
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

/* The header of a rectangular array (section 3.5), from the "D" to the line feed after it. ------------------------- */

static void multiply_dimension(struct wstpscan *s)
{
    int overflow = s->size > 0 && s->array_product > UINT64_MAX / s->size;

    s->array_product = overflow ? UINT64_MAX : s->array_product * s->size;
    if (s->dimensions < UINT8_MAX)
        s->dimensions++;
}

/* "F" dimension "#" size text: one of these sizes, or that of the whole header. */
static int array_end_size(struct wstpscan *s, struct input *in)
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

static int array_step(struct wstpscan *s, struct input *in)
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

/* The steps outside array headers (sections 3.1 to 3.6). ----------------------------------------------------------- */

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

    s->item_start = offset_of_next(in);
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
    if (!s->head_known && !undecidable)
        decide_head(s, WSTPSCAN_HEAD_OTHER);
    return CONTINUE;
}

static int text_size_known(struct wstpscan *s)
{
    if (!s->head_known && s->size > 0 && s->size <= WSTPSCAN_MAX_HEAD_TEXT) {
        s->left = s->size;
        s->step = WSTPSCAN_AT_HEAD_TEXT;
        return CONTINUE;
    }
    begin_opaque(s, s->size);
    if (!s->head_known)
        decide_head(s, WSTPSCAN_HEAD_OTHER);
    return CONTINUE;
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
        return array_end_size(s, in);
    default:
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
    decide_head(s, wstpscan_head_code(s->text, (size_t)s->size, s->head_name, &s->head_name_length));
    return CONTINUE;
}

static int at_line_feed(struct wstpscan *s, struct input *in)
{
    if (*in->next != LINE_FEED)
        return fail(s, in, WSTPSCAN_E_LINE_FEED);
    in->next++;
    return end_item(s, in);
}

static int one_step(struct wstpscan *s, struct input *in)
{
    switch (s->step) {
    case WSTPSCAN_AT_BOUNDARY:     return at_boundary(s, in);
    case WSTPSCAN_AT_ITEM:         return at_item(s, in);
    case WSTPSCAN_AT_SIZE:         return at_size(s, in);
    case WSTPSCAN_AT_NUMBER_TOKEN: return at_number_token(s, in);
    case WSTPSCAN_AT_OPAQUE:       return at_opaque(s, in);
    case WSTPSCAN_AT_HEAD_TEXT:    return at_head_text(s, in);
    case WSTPSCAN_AT_LINE_FEED:    return at_line_feed(s, in);
    default:                       return array_step(s, in);
    }
}

/* Whole buffers. --------------------------------------------------------------------------------------------------- */

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
        verdict = one_step(s, in);
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
