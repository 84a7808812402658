/*
 * wstppump: one round of a pump in one call: receive, find the frames, send on those that nobody has to look at first; and
 * the same for many pumps that wait together.
 *
 * A pump reads one connection. The caller says to which connection frames may be sent at once, if any, and the head codes
 * of those frames; everything else comes back to him as the scanner's verdict, with the places in the buffer. All
 * descriptors are non-blocking, and no call ever waits.
 *
 *   - POSIX sockets; no allocation, no variable outside the state. Waiting together needs Linux (epoll).
 *   - What is sent here are whole frames whose first byte has not been sent or handed out before.
 *   - One state must not be used by two threads at once; different states are independent.
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
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
    /* The same, and nothing is left to do: everything was taken, the frame had its "]", and it was the last. */
    WSTPPUMP_ALL_SENT = 5,
    /* Nothing has come in. */
    WSTPPUMP_EMPTY = 6,
    /* The connection has ended, in good order or not. */
    WSTPPUMP_CLOSED = 7,
    /* The caller has to receive: the connection has no descriptor to be used here. */
    WSTPPUMP_UNAVAILABLE = 8
};

/* A connection, as those who read it and those who write to it see it. */
struct wstpend {
    int32_t descriptor;         /* -1: closed, or not to be used here */
    int32_t free;               /* 1: whole frames may be written to it, nobody else is in the middle of one */
};

struct wstppump {
    /* Set by the caller, at any time between two calls. */

    struct wstpscan *scan;
    struct wstpend *source;     /* where to receive */
    struct wstpend *sink;       /* where frames may be sent at once while it is free; NULL: nowhere */
    int32_t allowed;            /* 0: not even there */
    int32_t once;               /* 1: after sending a reported frame, `allowed` is set to 0 */
    uint64_t passing;           /* frame_start + 1 of a frame that the caller has begun to write to the sink: more of it
                                   goes there as it comes in, but for its last part; 0: none */
    uint64_t direct;            /* bit n: a frame with head code n may be sent at once */
    uint64_t reported;          /* bit n: after sending one with head code n, the call returns WSTPPUMP_SENT */
    uint64_t quick;             /* bit n: the same for wstprelay_run(), which goes on with the next pump then */
    int32_t number;             /* the caller's name for this pump */
    int32_t talkative;          /* 1: wstprelay_run() says nothing of a round in which all was sent and no frame was a
                                   reported one; the source has more to say and is told that this has arrived */
    uint64_t large;             /* bit n: wstprelay_run() may send the beginning of a frame with head code n that is not
                                   whole yet, and the rest of it */
    uint64_t held;              /* if it will have more bytes than this */
    struct wstppump *twin;      /* of two pumps of one bridge, the other one: wstprelay_run() counts what they ask and
                                   answer, and allows the next question when it sees the answer; NULL: no such pump */
    int32_t paired;             /* then, the head code of a question (with `once`), or of its answer */

    /* Places in the buffer, as numbers of bytes from its beginning. */

    uint64_t start;             /* what comes before has been sent, or handed to the caller */
    uint64_t position;          /* what comes before has been scanned */
    uint64_t end;               /* what comes before has been received */
    uint64_t frame;             /* WSTPPUMP_SENT: the first byte of the frame that was sent last */
    uint64_t unsent;            /* the last bytes before `start` that were not taken; the caller sends them. A broken
                                   connection takes everything. */

    int32_t head;               /* WSTPPUMP_SENT: head code of that frame */
    int32_t drained;            /* 1: the last receive took all there was */
    int32_t open_tail;          /* 1: the last frame that was sent went out without a "]" */

    /* Waiting together. */

    int32_t parked;             /* set by the caller: 1 while wstprelay_run() may receive for this pump */
    int32_t watched;            /* 1: between wstprelay_watch() and wstprelay_unwatch(), or until something came while
                                   the pump was not parked */
    int32_t slot;               /* the rest is used by wstprelay_run() */
    int32_t begins;
    int32_t begun;
    int32_t begun_event;
};

/*
 * Receives into the buffer, behind the first `kept` of its `size` bytes, and goes on as wstppump_next(). The kept bytes are
 * those at the end of what was scanned before that were neither sent nor handed to the caller.
 */
int wstppump_receive(struct wstppump *pump, uint8_t *buffer, size_t size, size_t kept);

/*
 * The same for a pump that is in the middle of a frame in `passing`, and of a long block of bytes that nobody has to look
 * at: some of them go through the pipe and never into the buffer, but for those that the sink does not take. Any other
 * pump, or no pipe: as wstppump_receive() with nothing kept.
 */
int wstppump_pass(struct wstppump *pump, uint8_t *buffer, size_t size, const int32_t pipe[2]);

/*
 * Scans on in the buffer up to the next verdict. WSTPSCAN_MORE: all is scanned, and the bytes from `start` on are what
 * is left to the caller.
 *
 * If what has come ends within a frame, or in one without its "]", the peer is told at once that it has arrived: there
 * is more where it came from, and a peer with Nagle's algorithm waits for that before it sends the rest.
 */
int wstppump_next(struct wstppump *pump, const uint8_t *buffer);

/* Tells the peer at once that everything has arrived. */
void wstppump_acknowledge(int32_t descriptor);

/* Many pumps that wait together. ----------------------------------------------------------------------------------- */

/* Makes a pipe for wstppump_pass(); it is empty whenever that returns. Both numbers are -1 if there is none. */
void wstprelay_make_pipe(int32_t pipe[2]);

/* What wstprelay_run() has to tell of one pump. */
struct wstprelay_event {
    int32_t number;             /* of the pump; 0: nothing is to be told */
    int32_t verdict;            /* WSTPPUMP_ALL_SENT with a head of `quick`; or, in the last event only, anything else */
    int32_t head;               /* head code of the frame that was sent */
    int32_t asleep;             /* 1: it is still parked; 0: the caller has to see to it */
    int32_t begun;              /* questions that it sent; 0 for a pump without `once` */
    int32_t answered;           /* and answers that its twin sent, in turn with them. There is one such event for two
                                   pumps, that of the one which asks. */
    int32_t large;              /* 1: a frame with this head has begun to go to the sink, and is not complete: `passing` is
                                   set, and the sink not free. If it is a question, `begun` counts it. */
};

/* Where wstprelay_run() works. Set by the caller, but for the last four. */
struct wstprelay {
    int32_t descriptor;         /* from wstprelay_open() */
    int32_t others;             /* a descriptor that is readable when the caller has something else to do (it may be so
                                   because of this relay); -1: none */
    int32_t pipe[2];            /* from wstprelay_make_pipe() */
    int32_t most;               /* events that `events` has room for, at most 256 */
    uint8_t *buffer;
    uint64_t size;              /* bytes of the buffer; */
    uint64_t portion;           /* so many of them for one round, unless nobody but bulk has had anything for a while */
    struct wstprelay_event *events;
    int64_t left;               /* when the last call returned, in nanoseconds of the monotonic clock */
    int64_t talked;             /* when a pump last had something that is no bulk, in the same */
    int32_t passed_over;        /* turns in which bulk did not get any round */
    int32_t waited;             /* how often the last call waited */
};

/* Opens a relay; returns its descriptor, which is readable when wstprelay_run() has something to do; -1: errno, or
 * this system has none. The caller closes it. */
int wstprelay_open(void);

/* Sees to it that the relay looks at this pump. Returns 0, or -1: errno. */
int wstprelay_watch(int relay, struct wstppump *pump);

/* The opposite; to be called before the pump's descriptor is closed. */
void wstprelay_unwatch(int relay, struct wstppump *pump);

/*
 * Does rounds for pumps that are parked and have something to receive, and returns how many events there are. The first
 * verdict that is not "sent, and quick" ends it: that pump is not parked any more, and its places are those in the buffer.
 *
 * If the caller is `alone`, with nothing else to do, and was here a moment ago, the call waits for more: a quarter of a
 * millisecond at a time, ten milliseconds in all, and not once `others` is readable because of anything else, nor while
 * there is an event of a pump without a twin. So an evaluation and its answer cost nothing but system calls.
 *
 * A small frame of which the beginning has come is looked after at once, and for some microseconds if the caller is `alone`
 * and no other pump has anything: its rest comes as soon as the peer hears that the beginning has arrived.
 */
int wstprelay_run(struct wstprelay *relay, int alone);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
