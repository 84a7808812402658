/* What the parts that receive and send share. */
#ifndef WSTPSOCKET_H
#define WSTPSOCKET_H

#include <errno.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the interpreter ignores SIGPIPE */
#endif

/* Whether the call that has failed is to be made again, when the descriptor is ready or at once. */
static inline int not_now(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

#endif
