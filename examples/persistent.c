/* Leaves a kernel running and connects to it again later, by its ID.
 *
 *     cc persistent.c -o persistent -I$WSTP -L$WSTP -lWSTP64i4
 *     ./persistent 31415@localhost 'x = Prime[1000]'            prints the kernel's ID, and 7919
 *     ./persistent 31415@localhost 'x + 1' a806-2645-9651       connects to that kernel again and prints 7920
 *     ./persistent 31415@localhost close a806-2645-9651         closes it
 *
 * Commands to the server are packets too: WSCommandPacket[command[arguments]]. They never reach the kernel, and the
 * server answers each with ReturnPacket["json"]: {"result":"..."}, {"status":"ExecutionSuccess"} or
 * {"status":"ExecutionError"}. Closing the link leaves the kernel alive (KeepAlive is the server's default); it keeps
 * its definitions, and only clients that name its ID are given it.
 *
 * The exit code says how far it came: 0 done, 1 no environment, 2 no link, 3 nobody answers, 4 no prompt,
 * 5 the link broke or the server refused, 64 wrong usage.
 */
#include <stdio.h>
#include <string.h>
#include "wstp.h"

enum { DONE, NO_ENVIRONMENT, NO_LINK, NOT_ACTIVE, NO_PROMPT, FAILED, USAGE = 64 };

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

/* Skips packets until one of this kind; its contents are next. False if the link breaks before. */
static int next_of_kind(WSLINK link, int wanted)
{
    int packet;
    while ((packet = WSNextPacket(link)) != wanted)
        if (packet == ILLEGALPKT || !WSNewPacket(link))
            return 0;
    return 1;
}

/* The string that is next, with its end marked; cut to what there is room for. */
static int get_text(WSLINK link, char *text, size_t room)
{
    const unsigned char *bytes;
    int size, characters;
    size_t kept;
    if (!WSGetUTF8String(link, &bytes, &size, &characters))
        return 0;
    kept = (size_t)size < room ? (size_t)size : room - 1;
    memcpy(text, bytes, kept);
    text[kept] = '\0';
    WSReleaseUTF8String(link, bytes, size);
    return WSNewPacket(link);
}

/* WSCommandPacket[name[]], or WSCommandPacket[name["argument"]]; the server's answer. */
static int command(WSLINK link, const char *name, const char *argument, char *answer, size_t room)
{
    return WSPutFunction(link, "WSCommandPacket", 1)
        && WSPutFunction(link, name, argument != NULL)
        && (argument == NULL
            || WSPutUTF8String(link, (const unsigned char *)argument, (int)strlen(argument)))
        && WSEndPacket(link)
        && WSFlush(link)
        && next_of_kind(link, RETURNPKT)
        && get_text(link, answer, room);
}

/* EvaluatePacket[ToString[ToExpression["code"]]]; the text of the value. */
static int evaluate(WSLINK link, const char *code, char *value, size_t room)
{
    return WSPutFunction(link, "EvaluatePacket", 1)
        && WSPutFunction(link, "ToString", 1)
        && WSPutFunction(link, "ToExpression", 1)
        && WSPutUTF8String(link, (const unsigned char *)code, (int)strlen(code))
        && WSEndPacket(link)
        && WSFlush(link)
        && next_of_kind(link, RETURNPKT)
        && get_text(link, value, room);
}

/* What is in {"result":"..."}; false for any other answer. */
static int result_in(const char *answer, char *result, size_t room)
{
    static const char begin[] = "{\"result\":\"";
    const char *from = answer + sizeof begin - 1, *end;
    if (strncmp(answer, begin, sizeof begin - 1) != 0 || (end = strchr(from, '"')) == NULL
        || (size_t)(end - from) >= room)
        return 0;
    memcpy(result, from, (size_t)(end - from));
    result[end - from] = '\0';
    return 1;
}

static int succeeded(const char *answer)
{
    return strcmp(answer, "{\"status\":\"ExecutionSuccess\"}") == 0;
}

/* Bridges the link to the kernel with this ID. The kernel that the link got automatically was not used: it may end. */
static int go_back(WSLINK link, const char *kernel)
{
    char answer[256];
    if (!WSPutFunction(link, "WSCommandPacket", 1) || !WSPutFunction(link, "SetKeepAlive", 1)
        || !WSPutSymbol(link, "False") || !WSEndPacket(link) || !WSFlush(link)
        || !next_of_kind(link, RETURNPKT) || !get_text(link, answer, sizeof answer))
        return fail(link, FAILED, "The link broke");
    if (!command(link, "ConnectKernel", kernel, answer, sizeof answer))
        return fail(link, FAILED, "The link broke");
    if (!succeeded(answer))
        return fail(NULL, FAILED, "There is no such kernel, or it is at work");
    return DONE;
}

static int run(WSLINK link, const char *code, const char *kernel)
{
    char answer[256], id[64], value[4096];
    int error;
    if (!WSActivate(link))
        return fail(link, NOT_ACTIVE, "The server does not answer");
    if (!wait_for_prompt(link))
        return fail(link, NO_PROMPT, "The server has no kernel to offer");
    if (kernel != NULL && (error = go_back(link, kernel)) != DONE)
        return error;
    if (kernel != NULL && strcmp(code, "close") == 0) {
        if (!command(link, "CloseKernel", kernel, answer, sizeof answer) || !succeeded(answer))
            return fail(link, FAILED, "The kernel cannot be closed");
        return DONE;
    }
    if (!command(link, "GetKernelID", NULL, answer, sizeof answer) || !result_in(answer, id, sizeof id))
        return fail(link, FAILED, "The server does not tell the kernel's ID");
    if (!evaluate(link, code, value, sizeof value))
        return fail(link, FAILED, "The evaluation failed");
    printf("kernel %s\n%s\n", id, value);
    return DONE;
}

int main(int argc, char **argv)
{
    char options[512];
    int code, error;
    WSLINK link;
    WSENV environment;
    if (argc != 3 && argc != 4)
        return fail(NULL, USAGE, "usage: persistent PORT@HOST CODE [KERNEL]");
    environment = WSInitialize(NULL);
    if (environment == NULL)
        return fail(NULL, NO_ENVIRONMENT, "The WSTP library does not start");
    snprintf(options, sizeof options, "-linkmode connect -linkprotocol TCPIP -linkoptions 4 -linkname %s", argv[1]);
    link = WSOpenString(environment, options, &error);
    if (link != NULL) {
        code = run(link, argv[2], argc > 3 ? argv[3] : NULL);
        WSClose(link);
    } else {
        code = fail(NULL, NO_LINK, "The link cannot be opened");
    }
    WSDeinitialize(environment);
    return code;
}
