/* A client on the vendor's library that takes one step for each line on stdin and answers each with one line:
 *
 *   open <options>        open with WSOpenString; prints the link's name
 *   activate              complete the connection
 *   plus A B              send EvaluatePacket[Plus[A, B]]
 *   call F ["string"]     send EvaluatePacket[F["string"]], or F[] ; an unquoted argument is an integer
 *   text "string"         send EnterTextPacket["string"]
 *   command C ["string"]  send WSCommandPacket[C["string"]] or C[]
 *   read                  print the next expression
 *   reals N               EvaluatePacket[EchoReals[{0., 1., ...}]]; compare what comes back
 *   time N                N evaluations of Plus, one after the other; prints the nanoseconds of each
 *   abort | interrupt     send the message
 *   half                  send half of a packet
 *   close | die           WSClose, or leave without it
 *
 * Strings are in quotes, UTF-8, \xx is a byte in hexadecimal. A step that fails prints "error N: message".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "wstp.h"
#include "printing.h"

static WSENV environment;
static WSLINK server;

static int done_or_error(int done)
{
    if (done)
        puts("ok");
    else
        printf("error %d: %s\n", server ? WSError(server) : -1, server ? WSErrorMessage(server) : "no link");
    return done;
}

static long long nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* One argument as it stands in the step: "string" (decoded in place) or an integer. */
static int put_argument(char *argument)
{
    unsigned char *to = (unsigned char *)argument;
    if (*argument != '"')
        return WSPutInteger32(server, atoi(argument));
    for (char *from = argument + 1; *from != '\0' && *from != '"'; from++) {
        unsigned int byte = (unsigned char)*from;
        if (*from == '\\' && sscanf(from + 1, "%2x", &byte) == 1)
            from += 2;
        *to++ = (unsigned char)byte;
    }
    return WSPutUTF8String(server, (unsigned char *)argument, (int)(to - (unsigned char *)argument));
}

static int send_call(const char *packet, char *rest)
{
    char *argument = strchr(rest, ' ');
    if (argument != NULL)
        *argument++ = '\0';
    return WSPutFunction(server, packet, 1) && WSPutFunction(server, rest, argument != NULL)
        && (argument == NULL || put_argument(argument)) && WSEndPacket(server) && WSFlush(server);
}

static int send_plus(int left, int right)
{
    return WSPutFunction(server, "EvaluatePacket", 1) && WSPutFunction(server, "Plus", 2)
        && WSPutInteger(server, left) && WSPutInteger(server, right) && WSEndPacket(server) && WSFlush(server);
}

/* Skips packets until a ReturnPacket; its contents are next. */
static int next_return(void)
{
    int packet;
    while ((packet = WSNextPacket(server)) != RETURNPKT)
        if (packet == ILLEGALPKT || !WSNewPacket(server))
            return 0;
    return 1;
}

static int time_evaluations(int count)
{
    for (int index = 0; index < count; index++) {
        long long begin = nanoseconds();
        wsint64 sum = 0;
        if (!send_plus(2, index) || !next_return() || !WSGetInteger64(server, &sum) || !WSNewPacket(server))
            return 0;
        if (sum != 2 + index) {
            printf("wrong answer %lld to 2 + %d ", (long long)sum, index);
            return 0;
        }
        printf("%lld ", nanoseconds() - begin);
    }
    return 1;
}

static int compare_reals(int count)
{
    double *values = malloc(sizeof *values * (size_t)count + 1), *back;
    int received, same;
    for (int index = 0; index < count; index++)
        values[index] = index * 0.5;
    if (!WSPutFunction(server, "EvaluatePacket", 1) || !WSPutFunction(server, "EchoReals", 1)
        || !WSPutReal64List(server, values, count) || !WSEndPacket(server) || !WSFlush(server)
        || !next_return() || !WSGetReal64List(server, &back, &received) || !WSNewPacket(server))
        return 0;
    same = received == count && memcmp(values, back, sizeof *values * (size_t)count) == 0;
    printf("%d %s ", received, same ? "equal" : "different");
    WSReleaseReal64List(server, back, received);
    free(values);
    return 1;
}

static int open_link(const char *options)
{
    int error;
    server = WSOpenString(environment, options, &error);
    if (server != NULL)
        printf("%s ", WSLinkName(server));
    return server != NULL;
}

static int read_expression(void)
{
    int done = print_expression(server) && WSNewPacket(server);
    if (done)
        putchar(' ');
    return done;
}

static int close_link(void)
{
    WSClose(server);
    server = NULL;
    return 1;
}

/* Takes one step; `rest` is what follows the word. */
static int step(const char *word, char *rest)
{
    int left, right;
    if (strcmp(word, "open") == 0)
        return open_link(rest);
    if (server == NULL)
        return 0;
    if (strcmp(word, "activate") == 0)
        return WSActivate(server);
    if (strcmp(word, "plus") == 0)
        return sscanf(rest, "%d %d", &left, &right) == 2 && send_plus(left, right);
    if (strcmp(word, "call") == 0)
        return send_call("EvaluatePacket", rest);
    if (strcmp(word, "text") == 0)
        return WSPutFunction(server, "EnterTextPacket", 1) && put_argument(rest) && WSEndPacket(server)
            && WSFlush(server);
    if (strcmp(word, "command") == 0)
        return send_call("WSCommandPacket", rest);
    if (strcmp(word, "read") == 0)
        return read_expression();
    if (strcmp(word, "reals") == 0)
        return compare_reals(atoi(rest));
    if (strcmp(word, "time") == 0)
        return time_evaluations(atoi(rest));
    if (strcmp(word, "abort") == 0)
        return WSPutMessage(server, WSAbortMessage);
    if (strcmp(word, "interrupt") == 0)
        return WSPutMessage(server, WSInterruptMessage);
    if (strcmp(word, "half") == 0)
        return WSPutFunction(server, "EvaluatePacket", 1) && WSPutFunction(server, "Plus", 2)
            && WSPutInteger(server, 1) && WSFlush(server);
    if (strcmp(word, "close") == 0)
        return close_link();
    if (strcmp(word, "die") == 0)
        _exit(0);
    return 0;
}

int main(void)
{
    static char line[1 << 20];
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if ((environment = WSInitialize(NULL)) == NULL)
        return 10;
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = line + strcspn(line, " \n");
        line[strcspn(line, "\n")] = '\0';
        if (*rest == ' ')
            *rest++ = '\0';
        done_or_error(step(line, rest));
        fflush(stdout);
    }
    if (server != NULL)
        WSClose(server);
    WSDeinitialize(environment);
    return 0;
}
