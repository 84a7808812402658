/* The table of packet heads, and how the text of a symbol is compared with it. The contract is in wstpscan.h. */
#include "wstpscan.h"

#include <string.h>

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

/* Where the characters of a symbol's text begin, 0 if "<letter>~<count>" does not stand before them. */
static size_t characters_at(const uint8_t *text, size_t length)
{
    size_t at = 2;

    if (length < 3 || text[0] < 'A' || text[0] > 'F' || text[1] != '~')
        return 0;
    if (text[at] >= 0x40 && text[at] <= 0x7f)
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
    case 'F':
        width = format == 'C' ? 2 : 4;
        *character = length < width ? UINT32_MAX : big_endian(text, width);
        return length < width ? length : width;
    case 'E':
        *character = length < 2 ? UINT32_MAX : (uint32_t)(text[0] | text[1] << 8);
        return length < 2 ? length : 2;
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
