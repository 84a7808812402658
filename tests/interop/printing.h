/* Prints the next expression of a link as one line of text: f[1, "x", {...}] with strings as UTF-8 and every
 * character below space, the quote and the backslash written \xx in hexadecimal.
 */
#ifndef PRINTING_H
#define PRINTING_H

#include <stdio.h>
#include "wstp.h"

static int print_expression(WSLINK link);

static void print_bytes(const unsigned char *text, int bytes)
{
    for (int index = 0; index < bytes; index++)
        if (text[index] < ' ' || text[index] == '"' || text[index] == '\\')
            printf("\\%02x", text[index]);
        else
            putchar(text[index]);
}

static int print_string(WSLINK link)
{
    const unsigned char *text;
    int bytes, characters;
    if (!WSGetUTF8String(link, &text, &bytes, &characters))
        return 0;
    putchar('"');
    print_bytes(text, bytes);
    putchar('"');
    WSReleaseUTF8String(link, text, bytes);
    return 1;
}

static int print_symbol(WSLINK link)
{
    const unsigned char *text;
    int bytes, characters;
    if (!WSGetUTF8Symbol(link, &text, &bytes, &characters))
        return 0;
    print_bytes(text, bytes);
    WSReleaseUTF8Symbol(link, text, bytes);
    return 1;
}

static int print_function(WSLINK link)
{
    int arguments;
    if (!WSGetArgCount(link, &arguments) || !print_expression(link))
        return 0;
    putchar('[');
    for (int index = 0; index < arguments; index++) {
        if (index > 0)
            printf(", ");
        if (!print_expression(link))
            return 0;
    }
    putchar(']');
    return 1;
}

static int print_expression(WSLINK link)
{
    wsint64 integer;
    double real;
    switch (WSGetNext(link)) {
    case WSTKFUNC:
        return print_function(link);
    case WSTKSYM:
        return print_symbol(link);
    case WSTKSTR:
        return print_string(link);
    case WSTKINT:
        return WSGetInteger64(link, &integer) && printf("%lld", (long long)integer) > 0;
    case WSTKREAL:
        return WSGetReal64(link, &real) && printf("%.17g", real) > 0;
    default:
        return 0;
    }
}

#endif
