/* A relay on the vendor's library: clients connect to its link server, each gets a link of its own to the kernels, and
 * whole expressions go from one to the other by WSTransferExpression.
 *
 *     vendor_relay PORT        the port where the kernels listen
 */
#include "vendor.h"
#include <stdio.h>
#include <stdlib.h>

static WSENV environment;
static int kernel_port;

/* Passes on whatever is ready; -1 if a link has ended. */
static int pass(WSLINK from, WSLINK to)
{
    if (!WSReady(from))
        return WSError(from) == WSEOK ? 0 : -1;
    if (!WSTransferExpression(to, from) || !WSEndPacket(to) || !WSFlush(to))
        return -1;
    return 1;
}

static void serve(WSLINK client)
{
    char options[120];
    int error;
    WSLINK kernel;
    snprintf(options, sizeof options, "-linkmode connect -linkprotocol TCPIP -linkname %d@127.0.0.1 -linkoptions 4",
             kernel_port);
    kernel = WSOpenString(environment, options, &error);
    if (kernel != NULL && WSActivate(client) && WSActivate(kernel))
        for (;;) {
            WSLINK both[] = {client, kernel};
            int up = pass(client, kernel), down = pass(kernel, client);
            if (up < 0 || down < 0)
                break;
            if (up + down == 0)
                WSReadyParallel(environment, both, 2, (struct wstp_time){1, 0});
        }
    if (kernel != NULL)
        WSClose(kernel);
    WSClose(client);
}

int main(int argc, char **argv)
{
    if (argc != 2 || (environment = WSInitialize(NULL)) == NULL)
        return 64;
    kernel_port = atoi(argv[1]);
    return serve_links(environment, serve);
}
