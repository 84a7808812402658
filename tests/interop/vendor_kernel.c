/* A kernel on the vendor's library, started like any kernel: vendor_kernel -wstp -linkprotocol TCPIP -linkconnect
 * -linkname P@H,P2@H2 (or with -linkoptions 4). It evaluates Plus of integers, Echo[expr], Reals[n], EchoReals[list],
 * Spin[s] (prints "spinning", then works until s seconds are over or an abort comes), Print["text"], Die[] and
 * Quit[]; ToExpression["text"] and EnterTextPacket["text"] of sums of integers. ToExpression of anything else is Null,
 * so that the server's own definitions do no harm; other expressions are $Failed.
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

/* The library's own copy of an expression. In 13.2 it crashes on text in format A if the link was greeted with a
 * version below 6; every current library writes format D there. */
static int echo(void)
{
    return WSTransferExpression(parent, parent);
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

/* The sum that a text spells, such as 1+2; false if it is no sum of integers. */
static int read_sum(long long *sum)
{
    const unsigned char *text;
    char *copy, *rest;
    int bytes, characters, readable = 0;
    if (!WSGetUTF8String(parent, &text, &bytes, &characters))
        return 0;
    copy = strndup((const char *)text, (size_t)bytes);
    WSReleaseUTF8String(parent, text, bytes);
    *sum = 0;
    for (rest = copy; rest != NULL; rest = *rest == '+' ? rest + 1 : NULL) {
        char *term = rest;
        *sum += strtoll(term, &rest, 10);
        readable = rest > term && *rest == '\0';
        if (rest == term)
            break;
    }
    free(copy);
    return readable;
}

static int to_expression(void)
{
    long long sum;
    return read_sum(&sum) ? WSPutInteger64(parent, sum) : WSPutSymbol(parent, "Null");
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

/* Evaluates the function with this name and number of arguments, which was read up to its head. */
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
    if (strcmp(name, "ToExpression") == 0 && arguments == 1)
        return WSPutFunction(parent, "ReturnPacket", 1) && to_expression();
    return WSPutFunction(parent, "ReturnPacket", 1) && WSPutSymbol(parent, "$Failed");
}

/* Answers EvaluatePacket[expression]; the expression is the next thing on the link. */
static int evaluate(void)
{
    const unsigned char *name;
    char head[64] = "";
    int arguments = 0, bytes, characters;
    if (WSGetNext(parent) == WSTKFUNC && WSGetArgCount(parent, &arguments) && WSGetNext(parent) == WSTKSYM
        && WSGetUTF8Symbol(parent, &name, &bytes, &characters)) {
        snprintf(head, sizeof head, "%.*s", bytes, (const char *)name);
        WSReleaseUTF8Symbol(parent, name, bytes);
    }
    return evaluate_function(head, arguments) && flush_packet();
}

static int enter_text(void)
{
    char text[64];
    long long sum;
    int readable = read_sum(&sum);
    snprintf(text, sizeof text, "Out[%d]= ", line++);
    if (!put_text_packet("OutputNamePacket", text))
        return 0;
    snprintf(text, sizeof text, readable ? "%lld" : "$Failed", sum);
    return put_text_packet("ReturnTextPacket", text) && put_prompt();
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
