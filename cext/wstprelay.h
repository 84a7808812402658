/*
 * wstprelay: what the connector of a kernel on another machine does most of the time, in one call (keeper/connector.py).
 *
 * The connector carries the two connections of a kernel's link over one stream of frames (keeper/stream.py). Nearly always
 * a small frame comes that is passed on as a whole, or some bytes come that become one. That is done here, between two
 * looks at the descriptors; everything else is left to Python as if it had not been looked at.
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPRELAY_H
#define WSTPRELAY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* One connection. */
struct wstprelay_end {
    int32_t descriptor;      /* -1: what concerns it is left to Python */
    uint32_t may_pass;       /* bytes that may go from it to the stream */
    uint32_t credit;         /* bytes that may come for it */
    uint32_t passed;         /* bytes that went to the stream; the caller sets it to zero */
    uint32_t delivered;      /* bytes that were written to it; the caller sets it to zero */
    uint32_t enough;         /* so many bytes in `delivered` make the call return */
};

struct wstprelay_watch {
    int32_t descriptor;
    int16_t events, ready;   /* as in poll(2) */
};

struct wstprelay {
    int32_t incoming, outgoing;             /* the stream; outgoing -1: nothing is done here */
    struct wstprelay_end ends[2];           /* of the channels 1 and 2 */
    uint8_t *buffer;                        /* what is read from the stream */
    uint32_t size;
    uint32_t begin, end;                    /* what was read and not passed on; 0 when the call begins */
    uint32_t channel, left;                 /* where that begins within the bytes of a channel: which, and how many */
    uint8_t *frame;                         /* where a frame is made: a header of 6 bytes, the bytes, a line feed */
    uint32_t chunk;                         /* bytes of one frame at most */
    uint32_t rest_begin, rest_end;          /* what the stream did not take of the frame; 0 when the call begins */
    uint32_t heard;                         /* whether anything was read from the stream */
    uint32_t until;                         /* after so many small frames from ends[0] the call returns, with 0 here; */
    uint32_t pause;                         /* which is set to this when a large one passes; 0: the call does not do so */
};

/* Waits until there is something for Python to do, or for so many milliseconds, -1 without a limit, and does what is usual
 * meanwhile. Returns how many of the watched descriptors are ready, which is in their `ready`; perhaps 0, if `begin`
 * and `end` or `rest_begin` and `rest_end` differ, or an end may pass nothing more or has been given enough, or
 * `until` has come to 0. -errno if
 * the descriptors cannot be waited for. */
int32_t wstprelay_wait(struct wstprelay *relay, struct wstprelay_watch *watches, uint32_t count, int32_t milliseconds);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
