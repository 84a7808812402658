/*
 * wstppeer: which user of this computer has the other end of a TCP connection, in one call.
 *
 * A server that admits only some users asks for each connection, and the same from Python takes ten times as long. Linux
 * only. The answer is that of sock_diag(7), which looks one socket up by its addresses.
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

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
