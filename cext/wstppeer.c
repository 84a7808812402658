/* See wstppeer.h. */
#include "wstppeer.h"

#include <errno.h>

#ifdef __linux__

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* The states of a TCP socket are not in a header that goes with those above. */
#define STATE_LISTEN 10

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

struct question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
};

struct answer {
    struct nlmsghdr header;
    union {
        struct nlmsgerr error;
        struct inet_diag_msg socket;
        char attributes[2048];
    } body;
};

/* Puts an address into a question: its port, and its host into `host`, which is zero. */
static __be16 put(const union address *address, __be32 host[4])
{
    if (address->any.sa_family == AF_INET6) {
        memcpy(host, &address->six.sin6_addr, sizeof address->six.sin6_addr);
        return address->six.sin6_port;
    }
    memcpy(host, &address->four.sin_addr, sizeof address->four.sin_addr);
    return address->four.sin_port;
}

int32_t wstppeer_user(int32_t netlink, int32_t connected, uint32_t *user)
{
    union address here, there;
    socklen_t size = sizeof here;
    struct question question;
    struct answer answer;
    ssize_t length;

    if (getsockname(connected, &here.any, &size) < 0)
        return -errno;
    size = sizeof there;
    if (getpeername(connected, &there.any, &size) < 0)
        return -errno;
    memset(&question, 0, sizeof question);
    question.header.nlmsg_len = sizeof question;
    question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    question.header.nlmsg_seq = 1;
    question.request.sdiag_family = (__u8)there.any.sa_family;
    question.request.sdiag_protocol = IPPROTO_TCP;
    question.request.idiag_states = ~0u;
    /* as seen from the other end */
    question.request.id.idiag_sport = put(&there, question.request.id.idiag_src);
    question.request.id.idiag_dport = put(&here, question.request.id.idiag_dst);
    /* a link-local address identifies a host only together with its interface */
    if (there.any.sa_family == AF_INET6)
        question.request.id.idiag_if = there.six.sin6_scope_id;
    question.request.id.idiag_cookie[0] = question.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;

    if (send(netlink, &question, sizeof question, 0) < 0)
        return -errno;
    length = recv(netlink, &answer, sizeof answer, 0);
    if (length < 0)
        return -errno;
    if (answer.header.nlmsg_type == NLMSG_ERROR) {
        if (length < (ssize_t)(sizeof answer.header + sizeof answer.body.error))
            return -EPROTO;
        return answer.body.error.error == -ENOENT ? 0 : answer.body.error.error;
    }
    if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY
        || length < (ssize_t)(sizeof answer.header + sizeof answer.body.socket))
        return -EPROTO;
    /* a listener that would take a packet with these addresses is no connection */
    if (answer.body.socket.idiag_state == STATE_LISTEN || answer.body.socket.idiag_inode == 0)
        return 0;
    *user = answer.body.socket.idiag_uid;
    return 1;
}

#else

int32_t wstppeer_user(int32_t netlink, int32_t connected, uint32_t *user)
{
    (void)netlink, (void)connected, (void)user;
    return -ENOSYS;
}

#endif
