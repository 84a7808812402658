/*
 * wstpjoin: the connections of two links, joined: what comes on one goes out on the other, unread and unchanged
 * (gateways/kernel.py).
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPJOIN_H
#define WSTPJOIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* One direction of one connection. */
struct wstpjoin_way {
    int32_t source, sink;    /* descriptors that do not block; sink -1: what comes goes nowhere */
    uint8_t *buffer;
    uint32_t size;
    uint32_t begin, end;     /* what was received and not sent on; the caller may put something there first */
    int32_t skip;            /* a byte that is dropped at the beginning, however often it comes; -1 for none */
    uint32_t ended;          /* 1: the source has ended, and everything has been sent on */
};

/* Passes bytes on until one way more has ended, or until nothing has moved for so many milliseconds, -1 without a limit.
 * The end of a source is passed on, too: nothing more can be sent into its sink then. A sink whose peer is gone gets nothing
 * more, and its source is read to the end, because unread bytes would make the end of the source's connection a reset.
 * Returns the index of the way that has ended, the first one if there are several, or `count` when nothing moves; -errno,
 * such as -EINTR. */
int32_t wstpjoin(struct wstpjoin_way *ways, uint32_t count, int32_t milliseconds);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
