/*
 * wstpcopy: one round of one channel in one call: receive, find the frames, send on those that nobody has to look at.
 *
 * A channel reads one connection. The caller says to which connection frames may be sent at once, if any, and the head
 * codes of those frames. Everything else is returned to the caller as the scanner's verdict, with its place in the buffer.
 * All descriptors are non-blocking, and no call waits, except where its comment says so.
 *
 *   - POSIX sockets; no allocation, no variable outside the state. wstpepoll.h serves many channels together.
 *   - Only whole frames whose first byte was neither sent nor handed out before are sent here, and what follows of a large
 *     frame that has begun to go to the sink.
 *   - One state must not be used by two threads at once; different states are independent.
 *
 * The part between the two "cffi" lines is also read by the build script: no preprocessor, plain integers only.
 */
#ifndef WSTPCOPY_H
#define WSTPCOPY_H

#include "wstpkeep.h"
#include "wstplend.h"
#include "wstpscan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* What a channel's calls return beside enum wstpscan_verdict, whose values mean the same here. --------------------- */

enum wstpcopy_verdict {
    /* Frames were sent, the last of them with a head of `reported`: bytes frame .. position, of which the last `unsent`
     * were not taken. Call wstpcopy_next() again. */
    WSTPCOPY_SENT = 4,
    /* The same, and nothing is left to do: everything was taken, the frame had its "]", and it was the last. */
    WSTPCOPY_ALL_SENT = 5,
    /* Nothing was received. */
    WSTPCOPY_EMPTY = 6,
    /* The connection has ended, in good order or not. */
    WSTPCOPY_CLOSED = 7,
    /* The caller has to receive: the connection has no descriptor that may be used here. */
    WSTPCOPY_UNAVAILABLE = 8
};

/* A connection, as its readers and writers see it. */
struct wstpcopy_end {
    int32_t descriptor;         /* -1: closed, or not to be used here */
    int32_t free;               /* 1: whole frames may be written to it, no writer is in the middle of one */
    struct wstpkeep *keep;      /* notes of what is written to it; NULL: none are made */
    struct wstplend *lend;      /* a stream that takes its place while it is lent; NULL: none */
    struct wstplend_totals lent; /* what has passed over such a stream, in all */
};

struct wstpcopy {
    /* Set by the caller, at any time between two calls. */

    struct wstpscan *scan;
    struct wstpcopy_end *source;    /* where to receive */
    struct wstpcopy_end *sink;  /* where frames may be sent at once while it is free; NULL: nowhere */
    int32_t permitted;          /* 0: not even there */
    int32_t one_shot;           /* 1: after a reported frame was sent, `permitted` is set to 0. The frames of such a channel
                                   are evaluations, those of its peer are the answers */
    uint64_t passing;           /* frame_start + 1 of a frame that the caller has begun to write to the sink: more of it is
                                   sent there as it is received, except its last part; 0: none */
    uint64_t direct;            /* bit n: a frame with head code n may be sent at once */
    uint64_t reported;          /* bit n: after sending one with head code n, the call returns WSTPCOPY_SENT */
    uint64_t counted;           /* bit n: wstpepoll_run() makes an event of such a frame and goes on with other channels */
    int32_t number;             /* the caller's name for this channel */
    int32_t silent;             /* 1: wstpepoll_run() makes no event of a round in which all was sent and no frame was a
                                   reported one; the peer has more to send and gets an acknowledgement at once */
    uint64_t large;             /* bit n: wstpepoll_run() may send the beginning of a frame with head code n that is not
                                   whole yet, and the rest of it */
    uint64_t held;              /* if it will have more bytes than this */
    struct wstpcopy *peer;      /* the other channel of the same bridge: wstpepoll_run() counts evaluations and answers
                                   together, and permits the next evaluation when it sees the answer; NULL: none */
    int32_t paired;             /* then, the head code of the counted evaluations (with `one_shot`), or of their answers */
    uint64_t *total;            /* the number of bytes of each receive is added to this; NULL: to nothing */
    struct wstpkeep *keep;      /* notes of what is received; NULL: none are made */
    struct wstpscan *copies;    /* two places for its scanner's state */
    const uint8_t *shared;      /* where the file of buffers is mapped; */
    uint64_t shared_size;       /* 0: nowhere */

    /* Places in the buffer, in bytes from its beginning. */

    uint64_t start;             /* what comes before was sent, or handed to the caller */
    uint64_t position;          /* what comes before was scanned */
    uint64_t end;               /* what comes before was received */
    uint64_t frame;             /* WSTPCOPY_SENT: the first byte of the frame that was sent last */
    uint64_t unsent;            /* the last bytes before `start` that were not taken; the caller sends them. A broken
                                   connection takes everything. */

    int32_t head;               /* WSTPCOPY_SENT: head code of that frame */
    int32_t drained;            /* 1: the last receive took all there was */
    int32_t open_tail;          /* 1: the last frame that was sent had no "]" */

    /* For wstpepoll. */

    int32_t waiting;            /* set by the caller: 1 while wstpepoll_run() may receive for this channel */
    int32_t watched;            /* 1: between wstpepoll_watch() and wstpepoll_unwatch(), or until something was received
                                   while the channel was not waiting */
    int32_t slot;               /* the rest is used by wstpepoll_run() only */
    int32_t begins;
    int32_t begun;
    int32_t begun_event;
};

/*
 * Receives into the buffer, behind the first `kept` of its `size` bytes, and goes on as wstpcopy_next(). The kept bytes are
 * those at the end of what was scanned before that were neither sent nor handed to the caller.
 */
int wstpcopy_receive(struct wstpcopy *channel, uint8_t *buffer, size_t size, size_t kept);

/*
 * The same for a channel that is in the middle of a `passing` frame and of a long opaque block: the block's bytes go through
 * the pipe and never into the buffer, except those that the sink does not take. Any other channel, or no pipe: as
 * wstpcopy_receive() with nothing kept. Where the system refuses splice(), the pipe is closed and both numbers become -1.
 */
int wstpcopy_pass(struct wstpcopy *channel, uint8_t *buffer, size_t size, int32_t pipe[2]);

/*
 * Scans on in the buffer up to the next verdict. WSTPSCAN_MORE: all is scanned, and the bytes from `start` on are left to
 * the caller.
 *
 * If what was received ends within a frame, or in one without its "]", the peer gets an acknowledgement at once: it has more
 * to send, and a peer with Nagle's algorithm waits for that before it sends the rest.
 */
int wstpcopy_next(struct wstpcopy *channel, const uint8_t *buffer);

/*
 * Sends a whole frame of the channel that the caller has kept, as wstpcopy_next() would have sent it. Returns how many of its
 * last bytes were not taken, or -1: nothing was sent, because no frame can be sent to the sink now.
 */
int64_t wstpcopy_send_kept(struct wstpcopy *channel, const uint8_t *frame, size_t length, int32_t head);

/* Acknowledges at once everything that was received. */
void wstpcopy_acknowledge(int32_t descriptor);

/* Sends over the stream that takes the connection's place; returns 1 if everything was sent, 0 if the connection itself has
 * to be used. For one with `lend`. */
int wstpcopy_send_lent(struct wstpcopy_end *end, const uint8_t *data, size_t length);

/* The connection stands for itself again. */
void wstpcopy_give_back(struct wstpcopy_end *end);

/* The place + 1 of a buffer in the file of buffers; 0: it is not there. */
uint64_t wstpcopy_place(const struct wstpcopy *channel, const uint8_t *buffer);

/* Notes that everything up to where the scanner stands was handed on. For a channel with `keep`. */
void wstpcopy_note(struct wstpcopy *channel);

/* Makes a pipe for wstpcopy_pass(); it is empty whenever that returns. Both numbers are -1 if there is none. */
void wstpcopy_make_pipe(int32_t pipe[2]);

/* cffi: end */

/* For wstpepoll.c. -------------------------------------------------------------------------------------------------- */

/* Whether what is received next belongs to a frame that has begun to go to the sink. */
int wstpcopy_is_passing(const struct wstpcopy *channel);

/*
 * After this verdict on what is in the buffer: receives the rest of a small frame that came in pieces, in the same round.
 * With `may_wait` it waits up to 60 microseconds for it, once. Returns the last verdict.
 */
int wstpcopy_get_rest(struct wstpcopy *channel, uint8_t *buffer, size_t size, int verdict, int may_wait);

#ifdef __cplusplus
}
#endif

#endif
