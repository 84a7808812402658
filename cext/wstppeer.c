/* See wstppeer.h. */
#define _GNU_SOURCE
#include "wstppeer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

#ifdef __linux__

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

/* The states of a TCP socket are not in a header that goes with those above. */
#define STATE_LISTEN 10

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

/* As wstppeer_user(), for a connection from `there` to `here`. */
static int32_t ask(int32_t netlink, const union address *here, const union address *there, uint32_t *user)
{
    struct question question;
    struct answer answer;
    ssize_t length;

    memset(&question, 0, sizeof question);
    question.header.nlmsg_len = sizeof question;
    question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    question.header.nlmsg_seq = 1;
    question.request.sdiag_family = (__u8)there->any.sa_family;
    question.request.sdiag_protocol = IPPROTO_TCP;
    question.request.idiag_states = ~0u;
    /* as seen from the other end */
    question.request.id.idiag_sport = put(there, question.request.id.idiag_src);
    question.request.id.idiag_dport = put(here, question.request.id.idiag_dst);
    /* a link-local address identifies a host only together with its interface */
    if (there->any.sa_family == AF_INET6)
        question.request.id.idiag_if = there->six.sin6_scope_id;
    question.request.id.idiag_cookie[0] = question.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;

    if (send(netlink, &question, sizeof question, MSG_NOSIGNAL) < 0)
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

static int32_t ask(int32_t netlink, const union address *here, const union address *there, uint32_t *user)
{
    (void)netlink, (void)here, (void)there, (void)user;
    return -ENOSYS;
}

#endif

int32_t wstppeer_user(int32_t netlink, int32_t connected, uint32_t *user)
{
    union address here, there;
    socklen_t size = sizeof here;

    if (getsockname(connected, &here.any, &size) < 0)
        return -errno;
    size = sizeof there;
    if (getpeername(connected, &there.any, &size) < 0)
        return -errno;
    return ask(netlink, &here, &there, user);
}

/* -- accepting ---------------------------------------------------------------------------------------------------- */

/* Connections that are refused before others have their turn, and what is kept of them. */
enum { REFUSED_AT_ONCE = sizeof((struct wstppeer_accepted *)0)->refused / sizeof(struct wstppeer_refused) };

/* A connection, non-blocking and not inherited; -1 with errno. */
static int32_t accept_one(int32_t listener, union address *there)
{
    socklen_t size = sizeof *there;
#ifdef __linux__
    return accept4(listener, &there->any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int32_t descriptor = accept(listener, &there->any, &size);

    if (descriptor >= 0) {
        fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        fcntl(descriptor, F_SETFL, O_NONBLOCK);
    }
    return descriptor;
#endif
}

static void describe_end(const union address *there, struct wstppeer_end *end)
{
    end->host[0] = '\0';
    end->flow = end->scope = 0;
    if (there->any.sa_family != AF_INET6) {
        end->port = ntohs(there->four.sin_port);
        inet_ntop(AF_INET, &there->four.sin_addr, end->host, sizeof end->host);
        return;
    }
    end->port = ntohs(there->six.sin6_port);
    end->flow = ntohl(there->six.sin6_flowinfo);
    end->scope = there->six.sin6_scope_id;
    if (end->scope == 0)
        inet_ntop(AF_INET6, &there->six.sin6_addr, end->host, sizeof end->host);
    else /* with the name of the interface */
        getnameinfo(&there->any, sizeof there->six, end->host, sizeof end->host, NULL, 0, NI_NUMERICHOST);
}

/* The host as a network with nothing but it. */
static struct wstppeer_network host_of(const union address *there)
{
    struct wstppeer_network host = {there->any.sa_family, 32, {0}};

    if (host.family == AF_INET6) {
        host.bits = 128;
        memcpy(host.address, &there->six.sin6_addr, 16);
    } else
        memcpy(host.address, &there->four.sin_addr, 4);
    return host;
}

static int holds(const struct wstppeer_network *network, const struct wstppeer_network *host)
{
    size_t whole = (size_t)network->bits / 8;
    int rest = network->bits % 8;

    return network->family == host->family && memcmp(network->address, host->address, whole) == 0
        && (rest == 0 || (network->address[whole] ^ host->address[whole]) >> (8 - rest) == 0);
}

static int is_address_admitted(const struct wstppeer_rules *rules, const struct wstppeer_network *host)
{
    int32_t index = 0;

    while (index < rules->network_count && !holds(&rules->networks[index], host))
        index++;
    return index < rules->network_count || rules->network_count < 0;
}

static int is_user_admitted(const struct wstppeer_rules *rules, uint32_t user)
{
    int32_t index = 0;

    while (index < rules->user_count && rules->users[index] != user)
        index++;
    return index < rules->user_count;
}

/* Resets a connection: nothing of it stays in the system, and the peer hears of it at once. */
static void reset(int32_t connected)
{
    struct linger at_once = {1, 0};

    setsockopt(connected, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(connected);
}

static void note(struct wstppeer_accepted *accepted, const union address *there, const struct wstppeer_network *from,
                 int by_user, uint32_t user)
{
    struct wstppeer_refused *refused = accepted->refused + accepted->refused_count - 1;

    if (accepted->refused_count > 0 && refused->by_user == by_user && refused->user == user
        && refused->from.family == from->family && memcmp(refused->from.address, from->address, 16) == 0) {
        refused->count++;
        return;
    }
    refused = accepted->refused + accepted->refused_count++;
    describe_end(there, &refused->end);
    refused->from = *from;
    refused->by_user = by_user;
    refused->user = user;
    refused->count = 1;
}

/* The near end of what `listener` accepts: its own address, which is looked up once, or that of the connection where it
 * listens on several. 0: the connection is gone. */
static int near_end(int32_t listener, int32_t connected, struct wstppeer_accepted *accepted, union address *here)
{
    static const uint8_t any[16];
    socklen_t size = sizeof *here;
    struct wstppeer_network host;

    if (accepted->is_near_known == 0) {
        if (getsockname(listener, &here->any, &size) < 0 || size > sizeof accepted->near_end)
            return 0;
        host = host_of(here);
        accepted->is_near_known = memcmp(host.address, any, 16) == 0 ? -1 : 1;
        memcpy(accepted->near_end, here, sizeof *here);
    }
    if (accepted->is_near_known > 0) {
        memcpy(here, accepted->near_end, sizeof *here);
        return 1;
    }
    size = sizeof *here;
    return getsockname(connected, &here->any, &size) == 0;
}

int32_t wstppeer_accept(int32_t listener, const struct wstppeer_rules *rules, struct wstppeer_accepted *accepted)
{
    int attempt;

    accepted->is_usual = 0;
    accepted->refused_count = 0;
    for (attempt = 0; attempt < REFUSED_AT_ONCE; attempt++) {
        union address there;
        struct wstppeer_network from;
        uint32_t user = 0;
        int32_t descriptor = accept_one(listener, &there);

        if (descriptor < 0) {
            if (errno == ECONNABORTED || errno == ECONNRESET || errno == EPROTO) /* it was gone before */
                continue;
            return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
        }
        from = host_of(&there);
        if (!is_address_admitted(rules, &from)) {
            reset(descriptor);
            note(accepted, &there, &from, 0, 0);
            continue;
        }
        accepted->user = 1;
        if (rules->user_count >= 0) {
            union address here;
            int32_t found = 0;
            if (rules->netlink >= 0 && near_end(listener, descriptor, accepted, &here))
                found = ask(rules->netlink, &here, &there, &user);
            accepted->user = found < 0 ? -1 : found;
            if (found == 1 && !is_user_admitted(rules, user)) {
                reset(descriptor);
                note(accepted, &there, &from, 1, user);
                continue;
            }
        }
        describe_end(&there, &accepted->end);
        accepted->is_usual = accepted->user == 1 && accepted->refused_count == 0;
        return descriptor;
    }
    return -EAGAIN;
}
