#include "wire.h"
#include <stdlib.h>

/* A number of bytes used, 0 if more data is needed, -1 for bytes that are none of the protocol. */
typedef long step;

static step read_size(const char *data, size_t length, uint64_t *size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t used = 0;
    if (length == 0)
        return 0;
    if (bytes[0] >= 0x40 && bytes[0] < 0x80) {
        *size = bytes[0] - 0x40;
        return 1;
    }
    for (*size = 0; used < length && bytes[used] >= '0' && bytes[used] <= '9' && used < 19; used++)
        *size = *size * 10 + bytes[used] - '0';
    if (used == length)
        return 0;
    return used > 0 && bytes[used] == ' ' ? (step)used + 1 : -1;
}

static int width_of(unsigned char number)
{
    switch (number & 0xbf) {
    case 0xa1: return 1;
    case 0xa2: return 2;
    case 0xa4: case 0xb4: return 4;
    case 0xa6: case 0xb6: return 8;
    case 0xb8: return 16;
    default: return 0;
    }
}

/* Contents that come in pieces. */
static step begin_contents(struct reader *reader, struct token *token, size_t used, uint64_t length)
{
    token->text = NULL;
    token->length = length;
    reader->skip = length;
    reader->line_feed = 1;
    return (step)used;
}

/* The characters of a text: its format letter, and for most formats ~ and a count, go before them. */
static void strip_format(struct token *token, const char *text, uint64_t length)
{
    uint64_t count;
    step used = 0;
    if (length > 2 && text[1] == '~')
        used = read_size(text + 2, length - 2, &count);
    used = used > 0 ? used + 2 : length > 0;
    token->text = text + used;
    token->length = length - (uint64_t)used;
}

static step read_text(struct reader *reader, struct token *token, const char *data, size_t length)
{
    uint64_t size;
    step used = read_size(data + 1, length - 1, &size);
    if (used <= 0)
        return used;
    used++;
    if (size > WHOLE_TEXT)
        return begin_contents(reader, token, (size_t)used, size);
    if (length < (size_t)used + size + 1)
        return 0;
    strip_format(token, data + used, size);
    if (token->kind == TOKEN_DIGITS) {
        token->integer = strtoll(token->text, NULL, 10);
        token->is_integer = 1;
    }
    return used + (step)size + 1;
}

static step read_number(struct token *token, const char *data, size_t length)
{
    unsigned char type = (unsigned char)data[0];
    int width = width_of(type);
    int32_t narrow;
    int16_t short_one;
    if (width == 0)
        return -1;
    if (length < (size_t)width + 2)
        return 0;
    token->kind = TOKEN_NUMBER;
    token->is_integer = 1;
    if (type == 0xa1)
        token->integer = (unsigned char)data[1];
    else if (type == 0xe2)
        memcpy(&short_one, data + 1, 2), token->integer = short_one;
    else if (type == 0xe4)
        memcpy(&narrow, data + 1, 4), token->integer = narrow;
    else if (type == 0xe6)
        memcpy(&token->integer, data + 1, 8);
    else
        token->is_integer = 0;
    token->text = data + 1;
    token->length = (uint64_t)width;
    return width + 2;
}

static step read_block(struct reader *reader, struct token *token, const char *data, size_t length)
{
    step used = read_size(data + 1, length - 1, &token->count);
    int width;
    if (used <= 0)
        return used;
    if (length < (size_t)used + 2)
        return 0;
    width = width_of((unsigned char)data[used + 1]);
    if (width == 0 || token->count > reader->missing)
        return -1;
    token->kind = TOKEN_BLOCK;
    reader->missing -= token->count;
    return begin_contents(reader, token, (size_t)used + 2, token->count * (uint64_t)width);
}

static step read_array(struct reader *reader, struct token *token, const char *data, size_t length)
{
    uint64_t size;
    step used = read_size(data + 1, length - 1, &token->count), more;
    if (used <= 0)
        return used;
    used++;
    if (length < (size_t)used + 1)
        return 0;
    more = read_size(data + used + 1, length - (size_t)used - 1, &size);
    if (data[used] != 'D' || more < 0 || size > 4096)
        return -1;
    if (more == 0 || length < (size_t)used + 1 + (size_t)more + size + 1)
        return 0;
    token->kind = TOKEN_ARRAY;
    reader->missing += token->count - 1;
    return used + 1 + more + (step)size + 1;
}

static step read_token(struct reader *reader, struct token *token, const char *data, size_t length)
{
    step used;
    switch (data[0]) {
    case 'F':
        token->kind = TOKEN_FUNCTION;
        used = read_size(data + 1, length - 1, &token->count);
        if (used > 0)
            reader->missing += token->count;
        return used > 0 ? used + 1 : used;
    case '#': case '"': case '+': case '*':
        token->kind = data[0] == '#' ? TOKEN_SYMBOL : data[0] == '"' ? TOKEN_STRING : TOKEN_DIGITS;
        used = read_text(reader, token, data, length);
        break;
    case 'P':
        return read_block(reader, token, data, length);
    case 'A':
        return read_array(reader, token, data, length);
    default:
        used = read_number(token, data, length);
    }
    if (used > 0)
        reader->missing--;
    return used;
}

/* Passes contents on; returns how many bytes of data they were. */
static size_t read_contents(struct reader *reader, const char *data, size_t length)
{
    size_t used = length < reader->skip ? length : (size_t)reader->skip;
    if (used > 0 && reader->contents != NULL)
        reader->contents(reader->owner, data, used);
    reader->skip -= used;
    if (reader->skip == 0 && used < length) {
        reader->line_feed = 0;
        used++;
    }
    if (reader->raw != NULL)
        reader->raw(reader->owner, data, used);
    return used;
}

static void end_of_frame(struct reader *reader)
{
    reader->index = 0;
    reader->end(reader->owner);
}

size_t read_frames(struct reader *reader, const char *data, size_t length)
{
    size_t position = 0;
    while (position < length && !reader->stopped && reader->error == NULL) {
        struct token token = {0};
        step used;
        if (reader->line_feed) {
            position += read_contents(reader, data + position, length - position);
            if (!reader->line_feed && reader->missing == 0)
                end_of_frame(reader);
            continue;
        }
        if (reader->missing == 0) {
            if (data[position] == ']') { /* of the frame before */
                position++;
                continue;
            }
            reader->missing = 1;
        }
        token.index = reader->index;
        used = read_token(reader, &token, data + position, length - position);
        if (used < 0)
            reader->error = "bytes that are no expression";
        if (used <= 0) {
            reader->missing = reader->index == 0 ? 0 : reader->missing;
            break;
        }
        reader->index++;
        reader->take(reader->owner, &token);
        if (reader->raw != NULL)
            reader->raw(reader->owner, data + position, (size_t)used);
        position += (size_t)used;
        if (reader->missing == 0 && !reader->line_feed)
            end_of_frame(reader);
    }
    return position;
}
