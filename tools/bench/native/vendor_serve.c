#include "vendor.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static void (*serve_one)(WSLINK link);

static void *run(void *link)
{
    serve_one(link);
    return NULL;
}

static void take_link(WSLinkServer server, WSLINK link)
{
    pthread_t thread;
    (void)server;
    if (pthread_create(&thread, NULL, run, link) == 0)
        pthread_detach(thread);
}

int serve_links(WSENV environment, void (*serve)(WSLINK link))
{
    int error;
    char byte;
    WSLinkServer server = WSNewLinkServerWithPortAndInterface(environment, 0, "127.0.0.1", NULL, &error);
    if (server == NULL) {
        fprintf(stderr, "no link server: error %d\n", error);
        return 11;
    }
    serve_one = serve;
    WSRegisterCallbackFunctionWithLinkServer(server, take_link);
    printf("%d\n", WSPortFromLinkServer(server, &error));
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    _exit(0); /* without waiting for the links of clients that are still there */
}
