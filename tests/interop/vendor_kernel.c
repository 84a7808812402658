/* A kernel on the vendor's library, started like any kernel: vendor_kernel -wstp -linkprotocol TCPIP -linkconnect
 * -linkname P@H,P2@H2 (or with -linkoptions 4). It evaluates Plus of integers, Echo[expr], Reals[n], EchoReals[list],
 * Spin[s] (prints "spinning", then works until s seconds are over or an abort comes), Print["text"], Die[] and
 * Quit[]; it returns any other expression as it came. EnterTextPacket understands sums of integers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "wstp.h"

static WSENV environment;
static WSLINK parent;
static int line = 1;
static volatile int abort_requested;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The library calls this from inside whatever call noticed the message. */
static void take_message(WSLINK link, int code, int argument)
{
    (void)link;
    (void)argument;
    if (code == WSAbortMessage)
        abort_requested = 1;
}

static int flush_packet(void)
{
    return WSEndPacket(parent) && WSFlush(parent);
}

static int put_text_packet(const char *head, const char *text)
{
    return WSPutFunction(parent, head, 1)
        && WSPutUTF8String(parent, (const unsigned char *)text, (int)strlen(text)) && flush_packet();
}

static int put_prompt(void)
{
    char text[32];
    snprintf(text, sizeof text, "In[%d]:= ", line);
    return put_text_packet("InputNamePacket", text);
}

/* Spins without a pause, as a calculation does. It says first that it begins: an abort that came before is not for
 * this evaluation. */
static int spin(int seconds)
{
    double deadline = now() + seconds;
    abort_requested = 0;
    if (!put_text_packet("TextPacket", "spinning"))
        return 0;
    while (!abort_requested && now() < deadline && WSError(parent) == WSEOK)
        WSReady(parent); /* the library looks at its connections only when it is called */
    return WSPutFunction(parent, "ReturnPacket", 1) && WSPutSymbol(parent, abort_requested ? "$Aborted" : "Null");
}

/* Through a loopback link: a link cannot be the source and the destination of one transfer. */
static int echo(void)
{
    int error, done;
    WSLINK loop = WSLoopbackOpen(environment, &error);
    if (loop == NULL)
        return 0;
    done = WSTransferExpression(loop, parent) && WSTransferExpression(parent, loop);
    WSClose(loop);
    return done;
}

static int put_sum(int terms)
{
    wsint64 sum = 0, term;
    while (terms-- > 0) {
        if (!WSGetInteger64(parent, &term))
            return 0;
        sum += term;
    }
    return WSPutInteger64(parent, sum);
}

static int put_reals(void)
{
    int count, done;
    double *values;
    if (!WSGetInteger32(parent, &count) || (values = malloc(sizeof *values * (size_t)count + 1)) == NULL)
        return 0;
    for (int index = 0; index < count; index++)
        values[index] = index;
    done = WSPutReal64List(parent, values, count);
    free(values);
    return done;
}

static int echo_reals(void)
{
    double *values;
    int count, done;
    if (!WSGetReal64List(parent, &values, &count))
        return 0;
    done = WSPutReal64List(parent, values, count);
    WSReleaseReal64List(parent, values, count);
    return done;
}

/* Prints first, outside the ReturnPacket: the text must be on the wire before the answer begins. */
static int print_text(void)
{
    const unsigned char *text;
    int bytes, characters, done;
    if (!WSGetUTF8String(parent, &text, &bytes, &characters))
        return 0;
    done = WSPutFunction(parent, "TextPacket", 1) && WSPutUTF8String(parent, text, bytes) && flush_packet();
    WSReleaseUTF8String(parent, text, bytes);
    return done && WSPutFunction(parent, "ReturnPacket", 1) && WSPutSymbol(parent, "Null");
}

/* The function with this name and number of arguments, read up to its head; -1: not known here. */
static int evaluate_function(const char *name, int arguments)
{
    int seconds;
    if (strcmp(name, "Print") == 0 && arguments == 1)
        return print_text();
    if (strcmp(name, "Die") == 0)
        _exit(3);
    if (strcmp(name, "Quit") == 0) {
        WSClose(parent);
        exit(0);
    }
    if (strcmp(name, "Spin") == 0 && arguments == 1)
        return WSGetInteger32(parent, &seconds) && spin(seconds);
    if (strcmp(name, "Plus") == 0)
        return WSPutFunction(parent, "ReturnPacket", 1) && put_sum(arguments);
    if (strcmp(name, "Echo") == 0 && arguments == 1)
        return WSPutFunction(parent, "ReturnPacket", 1) && echo();
    if (strcmp(name, "Reals") == 0 && arguments == 1)
        return WSPutFunction(parent, "ReturnPacket", 1) && put_reals();
    if (strcmp(name, "EchoReals") == 0 && arguments == 1)
        return WSPutFunction(parent, "ReturnPacket", 1) && echo_reals();
    return -1;
}

/* Answers EvaluatePacket[expression]; the expression is the next thing on the link. */
static int evaluate(void)
{
    int done = -1;
    WSMARK mark = WSCreateMark(parent);
    if (WSGetNext(parent) == WSTKFUNC) {
        const char *name;
        int arguments;
        WSSeekToMark(parent, mark, 0);
        if (WSGetFunction(parent, &name, &arguments)) { /* fails for f[1][2]: its head is no symbol */
            done = evaluate_function(name, arguments);
            WSReleaseSymbol(parent, name);
        }
    }
    if (done < 0) {
        WSSeekToMark(parent, mark, 0);
        done = WSPutFunction(parent, "ReturnPacket", 1) && echo();
    }
    WSDestroyMark(parent, mark);
    return done && flush_packet();
}

static int enter_text(void)
{
    const unsigned char *text;
    char answer[64];
    int bytes, characters;
    long long sum = 0;
    if (!WSGetUTF8String(parent, &text, &bytes, &characters))
        return 0;
    for (char *rest = strndup((const char *)text, (size_t)bytes), *term = strtok(rest, "+");
         term != NULL; term = strtok(NULL, "+"))
        sum += atoll(term);
    WSReleaseUTF8String(parent, text, bytes);
    snprintf(answer, sizeof answer, "Out[%d]= ", line++);
    if (!put_text_packet("OutputNamePacket", answer))
        return 0;
    snprintf(answer, sizeof answer, "%lld", sum);
    return put_text_packet("ReturnTextPacket", answer) && put_prompt();
}

int main(int argc, char **argv)
{
    int error, going = 1;
    if ((environment = WSInitialize(NULL)) == NULL)
        return 10;
    parent = WSOpenArgcArgv(environment, argc, argv, &error);
    if (parent == NULL || !WSSetMessageHandler(parent, take_message) || !WSActivate(parent) || !put_prompt()) {
        fprintf(stderr, "vendor_kernel: no link (error %d)\n", error);
        return 11;
    }
    while (going) {
        int packet = WSNextPacket(parent);
        if (packet == EVALUATEPKT)
            going = evaluate();
        else if (packet == ENTERTEXTPKT)
            going = enter_text();
        going = going && WSNewPacket(parent) && WSError(parent) == WSEOK;
    }
    if (WSError(parent) != WSEOK && WSError(parent) != WSECLOSED)
        fprintf(stderr, "vendor_kernel: %s\n", WSErrorMessage(parent));
    WSClose(parent);
    WSDeinitialize(environment);
    return 0;
}
