/* A kernel on the vendor's library that evaluates what the measurements ask for: Plus of integers, Echo[reals],
 * Length[reals], Reals[n]; everything else is Null.
 *
 *     vendor_kernel -wstp -linkprotocol TCPIP -linkconnect -linkname P@H,P2@H2      launched, like any kernel
 *     vendor_kernel --listen                                                      for any number of clients
 */
#include "vendor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static WSENV environment;

static int put_sum(WSLINK link, int terms)
{
    wsint64 sum = 0, term;
    while (terms-- > 0) {
        if (!WSGetInteger64(link, &term))
            return 0;
        sum += term;
    }
    return WSPutFunction(link, "ReturnPacket", 1) && WSPutInteger64(link, sum);
}

static int put_reals(WSLINK link)
{
    int count, done;
    double *values;
    if (!WSGetInteger32(link, &count) || (values = malloc(sizeof *values * (size_t)count)) == NULL)
        return 0;
    for (int index = 0; index < count; index++)
        values[index] = index & 0xffff;
    done = WSPutFunction(link, "ReturnPacket", 1) && WSPutReal64List(link, values, count);
    free(values);
    return done;
}

static int take_reals(WSLINK link, int give_back)
{
    double *values;
    int count, done;
    if (!WSGetReal64List(link, &values, &count))
        return 0;
    done = WSPutFunction(link, "ReturnPacket", 1)
        && (give_back ? WSPutReal64List(link, values, count) : WSPutInteger(link, count));
    WSReleaseReal64List(link, values, count);
    return done;
}

static int evaluate(WSLINK link)
{
    const unsigned char *name;
    char head[32] = "";
    int arguments = 0, bytes, characters, done;
    if (WSGetNext(link) == WSTKFUNC && WSGetArgCount(link, &arguments) && WSGetNext(link) == WSTKSYM
        && WSGetUTF8Symbol(link, &name, &bytes, &characters)) {
        snprintf(head, sizeof head, "%.*s", bytes, (const char *)name);
        WSReleaseUTF8Symbol(link, name, bytes);
    }
    if (strcmp(head, "Plus") == 0)
        done = put_sum(link, arguments);
    else if (strcmp(head, "Reals") == 0)
        done = put_reals(link);
    else if (strcmp(head, "Echo") == 0 || strcmp(head, "Length") == 0)
        done = take_reals(link, head[0] == 'E');
    else
        done = WSPutFunction(link, "ReturnPacket", 1) && WSPutSymbol(link, "Null");
    return done && WSEndPacket(link) && WSFlush(link);
}

static void serve(WSLINK link)
{
    int going = WSActivate(link) && WSPutFunction(link, "InputNamePacket", 1)
        && WSPutUTF8String(link, (const unsigned char *)"In[1]:= ", 8) && WSEndPacket(link) && WSFlush(link);
    while (going) {
        int packet = WSNextPacket(link);
        going = packet != ILLEGALPKT && (packet != EVALUATEPKT || evaluate(link)) && WSNewPacket(link);
    }
    if (WSError(link) != WSEOK && WSError(link) != WSECLOSED)
        fprintf(stderr, "vendor_kernel: %s\n", WSErrorMessage(link));
    WSClose(link);
}

int main(int argc, char **argv)
{
    int error;
    WSLINK link;
    if ((environment = WSInitialize(NULL)) == NULL)
        return 10;
    if (argc > 1 && strcmp(argv[1], "--listen") == 0)
        return serve_links(environment, serve);
    if ((link = WSOpenArgcArgv(environment, argc, argv, &error)) == NULL) {
        fprintf(stderr, "vendor_kernel: no link (error %d)\n", error);
        return 11;
    }
    serve(link);
    WSDeinitialize(environment);
    return 0;
}
