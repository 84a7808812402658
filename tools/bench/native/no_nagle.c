/*
 * Switches Nagle's algorithm off for the connections of a program that does not: to be preloaded. It shows what is left of
 * a round trip when nobody waits for an acknowledgement.
 */
#define _GNU_SOURCE /* RTLD_NEXT, accept4 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int without_nagle(int connection)
{
    int on = 1;

    if (connection >= 0) /* what is no TCP connection refuses, which does no harm */
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connection;
}

int accept(int listener, struct sockaddr *address, socklen_t *length)
{
    int (*next)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "accept");

    return without_nagle(next(listener, address, length));
}

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    int (*next)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");

    return without_nagle(next(listener, address, length, flags));
}

int connect(int connection, const struct sockaddr *address, socklen_t length)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");

    return next(without_nagle(connection), address, length);
}
