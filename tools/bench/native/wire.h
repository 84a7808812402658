/* What the measuring programs need of the protocol: writing a few tokens, reading any expression token by token.
 * docs/wire-protocol.md describes the bytes. Written apart from the server's scanner, which is among what they test. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* -- writing: each returns the end of what it wrote -------------------------------------------------------------- */

static inline char *put_size(char *to, uint64_t size)
{
    if (size < 64) {
        *to = (char)(0x40 + size);
        return to + 1;
    }
    return to + sprintf(to, "%llu ", (unsigned long long)size);
}

/* The size and format of a text (a symbol with '#', a string with '"') whose `length` ASCII characters and line feed
 * follow. */
static inline char *put_text_header(char *to, char token, uint64_t length)
{
    char inner[32] = "D~";
    size_t header = (size_t)(put_size(inner + 2, length) - inner);
    *to++ = token;
    to = put_size(to, header + length);
    memcpy(to, inner, header);
    return to + header;
}

static inline char *put_text(char *to, char token, const char *text)
{
    size_t length = strlen(text);
    to = put_text_header(to, token, length);
    memcpy(to, text, length);
    to[length] = '\n';
    return to + length + 1;
}

static inline char *put_function(char *to, const char *head, uint64_t arguments)
{
    *to++ = 'F';
    return put_text(put_size(to, arguments), '#', head);
}

static inline char *put_int64(char *to, int64_t value)
{
    *to++ = (char)0xe6;
    memcpy(to, &value, sizeof value);
    to[8] = '\n';
    return to + 9;
}

/* A list of `count` Real64 whose bytes and line feed follow. */
static inline char *put_reals_header(char *to, uint64_t count)
{
    to = put_function(to, "List", count);
    *to++ = 'P';
    to = put_size(to, count);
    *to++ = (char)0xf6;
    return to;
}

/* -- reading ----------------------------------------------------------------------------------------------------- */

enum token_kind { TOKEN_FUNCTION, TOKEN_SYMBOL, TOKEN_STRING, TOKEN_DIGITS, TOKEN_NUMBER, TOKEN_BLOCK, TOKEN_ARRAY };

struct token {
    enum token_kind kind;
    int index;              /* 0 for the first token of the frame */
    uint64_t count;         /* arguments of a function, numbers in a block, leaves of an array */
    const char *text;       /* a symbol or a string without its format; digits; NULL if the contents come in pieces */
    uint64_t length;        /* bytes of the contents */
    int64_t integer;        /* value of a number or of digits, if it is an integer */
    int is_integer;
};

/* Reads frames from pieces of any length. `take` gets each token, `contents` (may be NULL) the bytes of long texts and
 * of blocks as they come, `raw` (may be NULL) every byte of the frame after the calls for it, `end` the end of each
 * frame; any of them may stop the reader by setting `stopped`. */
struct reader {
    void (*take)(void *owner, const struct token *token);
    void (*contents)(void *owner, const char *data, size_t length);
    void (*raw)(void *owner, const char *data, size_t length);
    void (*end)(void *owner);
    void *owner;
    uint64_t missing;       /* expressions that the frame still needs; 0 between frames */
    uint64_t skip;          /* bytes of contents still to come, the line feed not counted */
    int index;
    int line_feed;          /* one is due behind the contents */
    int stopped;
    const char *error;
};

/* Texts up to this length are handed over whole. */
enum { WHOLE_TEXT = 256 };

/* Takes what it can of the data; returns how much. What is left over must come again with more behind it. */
size_t read_frames(struct reader *reader, const char *data, size_t length);

#endif
