/* What the measuring programs use of the vendor's library beyond tools/harness/wstp_min.h. */
#ifndef VENDOR_H
#define VENDOR_H

#include "wstp_min.h"

#ifdef USE_ML
#define WSNewLinkServerWithPortAndInterface MLNewLinkServerWithPortAndInterface
#define WSReadyParallel MLReadyParallel
#define WSPortFromLinkServer MLPortFromLinkServer
#define WSRegisterCallbackFunctionWithLinkServer MLRegisterCallbackFunctionWithLinkServer
#endif

typedef void *WSLinkServer;
typedef void (*WSNewLinkCallbackFunction)(WSLinkServer server, WSLINK link);

extern WSLinkServer WSNewLinkServerWithPortAndInterface(WSENV environment, unsigned short port, const char *interface,
                                                        void *context, int *error);
extern unsigned short WSPortFromLinkServer(WSLinkServer server, int *error);
extern void WSRegisterCallbackFunctionWithLinkServer(WSLinkServer server, WSNewLinkCallbackFunction function);

struct wstp_time {
    unsigned long seconds, microseconds;
};

extern int WSReadyParallel(WSENV environment, WSLINK *links, int count, struct wstp_time limit);

/* Listens on a port of the loopback interface, prints it, and calls `serve` with each new link in a thread of its own.
 * Returns when standard input ends. */
int serve_links(WSENV environment, void (*serve)(WSLINK link));

#endif
