/* Asks a WSTPServer for 2 + 2 and prints the answer.
 *
 *     cc evaluate.c -o evaluate -I$WSTP -L$WSTP -lWSTP64i4
 *     ./evaluate                 the server on port 31415 of this machine
 *     ./evaluate 31416@hilbert   another one
 *
 * A link to a server differs from a link to a kernel in how it is opened: "-linkoptions 4" says that one port serves
 * for everything. Then the program waits for the first prompt, sends an EvaluatePacket, and reads packets until the
 * ReturnPacket, as with any kernel. In between it tells the server to close the kernel when the link ends: a kernel that
 * was used stays reserved otherwise, for clients that name its ID, and the server has only a few.
 *
 * The exit code says how far it came: 0 the answer is printed, 1 no environment, 2 no link, 3 nobody answers,
 * 4 no prompt, 5 the evaluation failed.
 */
#include <stdio.h>
#include "wstp.h"

enum { ANSWERED, NO_ENVIRONMENT, NO_LINK, NOT_ACTIVE, NO_PROMPT, NO_ANSWER };

/* Says what the link complains about; returns the code, so that a caller can return it in turn. */
static int fail(WSLINK link, int code, const char *what)
{
    fprintf(stderr, "%s", what);
    if (link != NULL && WSError(link) != WSEOK)
        fprintf(stderr, ": %s", WSErrorMessage(link));
    fputc('\n', stderr);
    return code;
}

/* Waits for the first prompt, which says that there is a kernel. Before it the server may say what it waits for. */
static int wait_for_prompt(WSLINK link)
{
    const unsigned char *text;
    int packet, size, characters;
    while ((packet = WSNextPacket(link)) != INPUTNAMEPKT) {
        if (packet == ILLEGALPKT)
            return 0;
        if (packet == TEXTPKT && WSGetUTF8String(link, &text, &size, &characters)) {
            fprintf(stderr, "%.*s", size, (const char *)text);
            WSReleaseUTF8String(link, text, size);
        }
        if (!WSNewPacket(link))
            return 0;
    }
    return WSNewPacket(link);
}

/* WSCommandPacket[SetKeepAlive[False]]: for the server, which answers with a ReturnPacket. */
static int send_end_of_kernel(WSLINK link)
{
    return WSPutFunction(link, "WSCommandPacket", 1)
        && WSPutFunction(link, "SetKeepAlive", 1)
        && WSPutSymbol(link, "False")
        && WSEndPacket(link)
        && WSFlush(link);
}

/* EvaluatePacket[Plus[left, right]]; nothing travels before the flush. */
static int send_sum(WSLINK link, int left, int right)
{
    return WSPutFunction(link, "EvaluatePacket", 1)
        && WSPutFunction(link, "Plus", 2)
        && WSPutInteger(link, left)
        && WSPutInteger(link, right)
        && WSEndPacket(link)
        && WSFlush(link);
}

/* Leaves out messages and printed text until the answer is next; false if the link breaks before. */
static int skip_to_answer(WSLINK link)
{
    int packet;
    while ((packet = WSNextPacket(link)) != RETURNPKT)
        if (packet == ILLEGALPKT || !WSNewPacket(link))
            return 0;
    return 1;
}

static int talk(WSLINK link)
{
    int sum;
    if (!WSActivate(link))
        return fail(link, NOT_ACTIVE, "The server does not answer");
    if (!wait_for_prompt(link))
        return fail(link, NO_PROMPT, "The server has no kernel to offer");
    if (!send_end_of_kernel(link) || !skip_to_answer(link) || !WSNewPacket(link))
        return fail(link, NO_ANSWER, "The server does not answer");
    if (!send_sum(link, 2, 2) || !skip_to_answer(link) || !WSGetInteger(link, &sum))
        return fail(link, NO_ANSWER, "The evaluation failed");
    printf("2 + 2 = %d\n", sum);
    return ANSWERED;
}

int main(int argc, char **argv)
{
    char options[512];
    int code, error;
    WSLINK link;
    WSENV environment = WSInitialize(NULL);
    if (environment == NULL)
        return fail(NULL, NO_ENVIRONMENT, "The WSTP library does not start");
    snprintf(options, sizeof options, "-linkmode connect -linkprotocol TCPIP -linkoptions 4 -linkname %s",
             argc > 1 ? argv[1] : "31415@localhost");
    link = WSOpenString(environment, options, &error);
    if (link != NULL) {
        code = talk(link);
        WSClose(link);
    } else {
        code = fail(NULL, NO_LINK, "The link cannot be opened");
    }
    WSDeinitialize(environment);
    return code;
}
