/* A program on the vendor's library that passes expressions on with WSTransferExpression, as programs do that keep them in
 * a loopback link: vendor_transfer <link options>. It prints its link name, activates the link, and sends
 *
 *     f["plain", "<U+1F600>x...", g<U+1F600>[1], {1, 2, 3}]
 *
 * from a loopback link. Then it returns every expression that comes, in turn by way of a loopback link and straight from
 * the link to itself, until the link is closed. It prints "done" at the end; a crash of the library ends it before.
 */
#include <stdio.h>
#include <string.h>
#include "wstp.h"

#ifdef USE_ML
#define WSLoopbackOpen MLLoopbackOpen
#define WSPutUTF8Symbol MLPutUTF8Symbol
#define WSPutType MLPutType
#define WSPutArgCount MLPutArgCount
#endif

extern WSLINK WSLoopbackOpen(WSENV environment, int *error);
extern int WSPutUTF8Symbol(WSLINK link, const unsigned char *text, int bytes);
extern int WSPutType(WSLINK link, int type);
extern int WSPutArgCount(WSLINK link, int count);

static const char face[] = "\xf0\x9f\x98\x80";

static int put_text(WSLINK link, const char *start, int more, const char *rest)
{
    char text[512];
    int i;

    strcpy(text, start);
    for (i = 0; i < more; i++)
        strcat(text, rest);
    return WSPutUTF8String(link, (const unsigned char *)text, (int)strlen(text));
}

static int put_example(WSLINK link)
{
    char symbol[16] = "g";

    strcat(symbol, face);
    return WSPutFunction(link, "f", 4) && put_text(link, "plain", 0, "") && put_text(link, face, 70, "x")
        && WSPutType(link, WSTKFUNC) && WSPutArgCount(link, 1)
        && WSPutUTF8Symbol(link, (const unsigned char *)symbol, (int)strlen(symbol)) && WSPutInteger32(link, 1)
        && WSPutFunction(link, "List", 3) && WSPutInteger32(link, 1) && WSPutInteger32(link, 2)
        && WSPutInteger32(link, 3) && WSFlush(link);
}

/* Says what failed; the end of the link is the end of the work. */
static int fail(WSLINK link, const char *what)
{
    if (WSError(link) == WSECLOSED) {
        printf("done\n");
        return 0;
    }
    printf("%s: error %d: %s\n", what, WSError(link), WSErrorMessage(link));
    return 1;
}

int main(int argc, char **argv)
{
    WSENV environment = WSInitialize(NULL);
    int error = 0, round;
    WSLINK link = WSOpenArgcArgv(environment, argc, argv, &error), loopback = WSLoopbackOpen(environment, &error);

    if (!link || !loopback) {
        printf("cannot open a link: error %d\n", error);
        return 1;
    }
    printf("%s\n", WSLinkName(link));
    fflush(stdout);
    if (!WSActivate(link))
        return fail(link, "activate");
    if (!put_example(loopback))
        return fail(loopback, "put");
    if (!WSTransferExpression(link, loopback) || !WSEndPacket(link) || !WSFlush(link))
        return fail(link, "transfer from the loopback link");
    for (round = 0;; round++) {
        WSNewPacket(link);
        if (round % 2 ? !WSTransferExpression(link, link) : !WSTransferExpression(loopback, link))
            return fail(link, "transfer from the link");
        if (round % 2 == 0 && !WSTransferExpression(link, loopback))
            return fail(link, "transfer by way of the loopback link");
        if (!WSEndPacket(link) || !WSFlush(link))
            return fail(link, "flush");
    }
}
