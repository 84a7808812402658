/* bench_client on the vendor's library: the same steps, the same answers. */
#include "vendor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static WSENV environment;
static WSLINK server;
static const char *problem;

static long long nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int failed(const char *why)
{
    problem = why;
    return 0;
}

static int checked(int done)
{
    return done ? 1 : failed(WSErrorMessage(server));
}

/* Everything but a ReturnPacket is another answer than the one that was asked for. */
static int begin(const char *function, int arguments)
{
    return checked(WSPutFunction(server, "EvaluatePacket", 1) && WSPutFunction(server, function, arguments));
}

static int ask(void)
{
    if (!checked(WSEndPacket(server) && WSFlush(server)))
        return 0;
    return WSNextPacket(server) == RETURNPKT ? 1 : failed("another packet than an answer");
}

static int get_integer(wsint64 expected)
{
    wsint64 value;
    if (!checked(WSGetInteger64(server, &value) && WSNewPacket(server)))
        return 0;
    return value == expected ? 1 : failed("wrong answer");
}

static int plus(int number)
{
    return begin("Plus", 2) && checked(WSPutInteger(server, 2) && WSPutInteger(server, number)) && ask()
        && get_integer(2LL + number);
}

static double *make_numbers(int count)
{
    double *numbers = malloc(sizeof *numbers * (size_t)count);
    for (int index = 0; index < count; index++)
        numbers[index] = index & 0xffff;
    return numbers;
}

static int get_numbers(int count, double first)
{
    double *values;
    int received, right;
    if (!checked(WSGetReal64List(server, &values, &received)))
        return 0;
    right = received == count && values[0] == first && (count < 2 || values[count - 1] == ((count - 1) & 0xffff))
        && (count < 2 || values[count / 2] == (count / 2 & 0xffff));
    WSReleaseReal64List(server, values, received);
    return checked(WSNewPacket(server)) && (right || failed("wrong numbers"));
}

static int down(int count)
{
    return begin("Reals", 1) && checked(WSPutInteger(server, count)) && ask() && get_numbers(count, 0);
}

/* The list is made before the clock starts. */
static int transfer(const char *word, const double *numbers, int count)
{
    int back = strcmp(word, "echo") == 0;
    return begin(back ? "Echo" : "Length", 1) && checked(WSPutReal64List(server, numbers, count)) && ask()
        && (back ? get_numbers(count, numbers[0]) : get_integer(count));
}

static void close_link(void)
{
    if (server != NULL)
        WSClose(server);
    server = NULL;
}

static int connect_link(int port)
{
    char options[120];
    int error;
    long long start = nanoseconds();
    close_link();
    snprintf(options, sizeof options, "-linkmode connect -linkprotocol TCPIP -linkname %d@127.0.0.1 -linkoptions 4", port);
    if ((server = WSOpenString(environment, options, &error)) == NULL || !WSActivate(server))
        return failed("cannot connect");
    printf(" %lld", nanoseconds() - start);
    if (WSNextPacket(server) != INPUTNAMEPKT || !checked(WSNewPacket(server)))
        return failed("no InputNamePacket");
    printf(" %lld", nanoseconds() - start);
    return 1;
}

static int repeat(const char *word, int count, int times)
{
    static int number;
    int needs_list = strcmp(word, "echo") == 0 || strcmp(word, "up") == 0, done = 1;
    double *numbers = needs_list ? make_numbers(count) : NULL;
    while (done && times-- > 0) {
        long long start;
        if (numbers != NULL)
            numbers[0] = strcmp(word, "echo") == 0 ? ++number & 0xffffff : 0;
        start = nanoseconds();
        if (strcmp(word, "time") == 0)
            done = plus(number++ & 0xffffff);
        else
            done = needs_list ? transfer(word, numbers, count) : down(count);
        printf(" %lld", nanoseconds() - start);
    }
    free(numbers);
    return done;
}

static int step(const char *line)
{
    char word[16] = "";
    int first = 0, second = 0, words = sscanf(line, "%15s %d %d", word, &first, &second);
    problem = NULL;
    if (strcmp(word, "connect") == 0)
        return connect_link(first);
    if (strcmp(word, "close") == 0) {
        close_link();
        return 1;
    }
    if (server == NULL)
        return failed("no link");
    return repeat(word, first, words == 3 ? second : first);
}

int main(void)
{
    static char line[256];
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if ((environment = WSInitialize(NULL)) == NULL)
        return 10;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (step(line))
            puts(" ok");
        else
            printf(" error: %s\n", problem);
        fflush(stdout);
    }
    close_link();
    WSDeinitialize(environment);
    return 0;
}
