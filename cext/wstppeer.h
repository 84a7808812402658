/*
 * wstppeer: which connections a server accepts, and which user of this computer has the other end of one.
 *
 * A server that admits only some asks for each connection, and whoever is not admitted can try ten thousand times a
 * second: in Python a refused connection takes five times as long, at the expense of the clients that are served. Users
 * are known on Linux only. The answer is that of sock_diag(7), which looks one socket up by its addresses.
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPPEER_H
#define WSTPPEER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* Asks for the owner of the socket at the other end of `connected`, over `netlink`, a non-blocking socket of the family
 * AF_NETLINK and the protocol NETLINK_SOCK_DIAG. 1: `user` is set. 0: the other end is not on this computer, nobody has
 * it open any more, or the system does not look for TCP. -errno: nothing was found out; another socket is needed for the
 * next question. */
int32_t wstppeer_user(int32_t netlink, int32_t connected, uint32_t *user);

/* Addresses of one family (AF_INET or AF_INET6) whose first `bits` bits are those of `address`. */
struct wstppeer_network {
    int32_t family, bits;
    uint8_t address[16];
};

/* Which connections are admitted. */
struct wstppeer_rules {
    const struct wstppeer_network *networks; /* from where */
    const uint32_t *users;                   /* and of which users of this computer */
    int32_t network_count, user_count;       /* -1: from everywhere, of any user */
    int32_t netlink;                         /* as for wstppeer_user(); -1: there is none */
};

/* The far end of a connection, as accept() and getnameinfo() give it. */
struct wstppeer_end {
    uint32_t flow, scope;
    uint16_t port;
    char host[78];
};

/* Connections from one host that were refused for one reason. `end` is that of the first. */
struct wstppeer_refused {
    struct wstppeer_end end;
    struct wstppeer_network from;
    uint32_t user;     /* whose they were */
    int32_t by_user;   /* whether that is the reason; otherwise the address */
    int32_t count;
};

/* What one call has found; one for each listener, zero at the beginning. */
struct wstppeer_accepted {
    int32_t is_near_known;   /* what wstppeer_accept() keeps: 1 if `near_end` is where the listener listens, */
    uint8_t near_end[28];    /* -1 if that are several addresses */
    struct wstppeer_end end; /* of the connection that is returned */
    int32_t user;            /* 1: its user is admitted; 0: it is not known whose it is; -1: the netlink socket failed */
    int32_t is_usual;        /* 1: a connection is admitted, and there is nothing else to be done */
    int32_t refused_count;   /* how many of `refused` are set */
    struct wstppeer_refused refused[8];
};

/* Accepts one connection that the rules admit and returns its descriptor, which is non-blocking. What comes before it and
 * is not admitted is reset, 8 at most in one call. -EAGAIN: there is none now, or others are to have their turn first.
 * -errno: no connection can be accepted. Where it is not known whose a connection is, the caller has to decide. */
int32_t wstppeer_accept(int32_t listener, const struct wstppeer_rules *rules, struct wstppeer_accepted *accepted);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
