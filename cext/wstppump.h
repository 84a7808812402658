/*
 * wstppump: one round of a pump in one call: receive, find the frames, send on those that nobody has to look at first.
 *
 * A pump reads one connection. The caller says which descriptor frames may be sent to at once, if any, and the head codes
 * of those frames; everything else comes back to him as the scanner's verdict, with the places in the buffer. Both
 * descriptors are non-blocking, and no call ever waits.
 *
 *   - POSIX sockets; no allocation, no variable outside the state.
 *   - What is sent here are whole frames whose first byte has not been sent or handed out before.
 *   - One state must not be used by two threads at once; different states are independent.
 *
 * The part between the two "cffi" lines is read by build_wstpscan.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPPUMP_H
#define WSTPPUMP_H

#include "wstpscan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* What a pump's calls return beside enum wstpscan_verdict, whose values mean the same here. ------------------------ */

enum wstppump_verdict {
    /* Frames were sent, the last of them with a head of `reported`: bytes frame .. position, of which the last `unsent`
     * were not taken. Call wstppump_next() again. */
    WSTPPUMP_SENT = 4,
    /* The same, and nothing is left to do: the sink took everything, the frame had its "]", and it was the last. */
    WSTPPUMP_ALL_SENT = 5,
    /* Nothing has come in. */
    WSTPPUMP_EMPTY = 6,
    /* The connection has ended, in good order or not. */
    WSTPPUMP_CLOSED = 7
};

struct wstppump {
    /* Set by the caller, at any time between two calls. */

    struct wstpscan *scan;
    int32_t source;             /* descriptor to receive from; -1: the caller does it and sets the places himself */
    int32_t sink;               /* descriptor that frames may be sent to at once; -1: none may */
    uint64_t direct;            /* bit n: a frame with head code n may be sent at once */
    uint64_t reported;          /* bit n: after sending one with head code n, the call returns WSTPPUMP_SENT */

    /* Places in the buffer, as numbers of bytes from its beginning. */

    uint64_t start;             /* what comes before has been sent, or handed to the caller */
    uint64_t position;          /* what comes before has been scanned */
    uint64_t end;               /* what comes before has been received */
    uint64_t frame;             /* WSTPPUMP_SENT: the first byte of the frame that was sent last */
    uint64_t unsent;            /* the last bytes before `start` that the sink did not take; the caller sends them. A
                                   sink that is broken takes everything. */

    int32_t head;               /* WSTPPUMP_SENT: head code of that frame */
    int32_t drained;            /* 1: the last receive took all there was */
    int32_t open_tail;          /* 1: the last frame that was sent went out without a "]" */
};

/*
 * Receives into the buffer, behind the first `kept` of its `size` bytes, and goes on as wstppump_next(). The kept bytes are
 * those at the end of what was scanned before that were neither sent nor handed to the caller.
 */
int wstppump_receive(struct wstppump *pump, uint8_t *buffer, size_t size, size_t kept);

/*
 * Scans on in the buffer up to the next verdict. WSTPSCAN_MORE: all is scanned, and the bytes from `start` on are what
 * is left to the caller.
 *
 * If what has come ends within a frame, or in one without its "]", the source is told at once that it has arrived: there
 * is more where it came from, and a peer with Nagle's algorithm waits for that before it sends the rest.
 */
int wstppump_next(struct wstppump *pump, const uint8_t *buffer);

/* Tells the peer at once that everything has arrived. */
void wstppump_acknowledge(int32_t source);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
