/*
 * wstpepoll: rounds (wstpcopy.h) for many channels that wait in one epoll set.
 *
 *   - Linux only; elsewhere wstpepoll_open() fails and each channel waits by itself.
 *   - One loop and its channels must not be used by two threads at once.
 *
 * The part between the two "cffi" lines is also read by the build script: no preprocessor, plain integers only.
 */
#ifndef WSTPEPOLL_H
#define WSTPEPOLL_H

#include "wstpcopy.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* What wstpepoll_run() reports of one channel. */
struct wstpepoll_event {
    int32_t number;             /* of the channel; 0: nothing to report */
    int32_t verdict;            /* WSTPCOPY_ALL_SENT with a head of `counted`; or, in the last event only, anything else */
    int32_t head;               /* head code of the frame that was sent */
    int32_t still_waiting;      /* 0: the caller has to process the verdict, and the channel does not wait any more */
    int32_t begun;              /* evaluations that it sent; 0 for a channel without `one_shot` */
    int32_t answered;           /* and answers that its peer sent, in turn with them. There is one such event for two
                                   channels, that of the one with `one_shot`. */
    int32_t large;              /* 1: a frame with this head has begun to go to the sink, and is not complete: `passing` is
                                   set, and the sink not free. If it is an evaluation, `begun` counts it. */
};

/* A loop. Set by the caller, except the last fields. */
struct wstpepoll {
    int32_t descriptor;         /* from wstpepoll_open() */
    int32_t others;             /* a descriptor that is readable when the caller has other work (it may be so because of
                                   this loop); -1: none */
    int32_t pipe[2];            /* from wstpcopy_make_pipe() */
    int32_t most;               /* events that `events` has room for, at most 256 */
    uint8_t *buffer;
    uint64_t size;              /* bytes of the buffer; */
    uint64_t portion;           /* this many of them for one round, unless only bulk has had anything for 2 ms */
    struct wstpepoll_event *events;
    int64_t left_at;            /* when the last call returned, in nanoseconds of the monotonic clock */
    int64_t last_small;         /* when a channel last had something that is not bulk, in the same */
    int32_t bulk_skipped;       /* turns in which bulk got no round */
    int32_t waited;             /* how often the last call waited */
    int32_t coarse;             /* 1: this system has no epoll_pwait2, or refuses it */
};

/* Opens a loop; returns its descriptor, which is readable when wstpepoll_run() has something to do; -1: errno, or this
 * system has no epoll. The caller closes it. */
int wstpepoll_open(void);

/* Adds a channel to the loop. Returns 0, or -1: errno. */
int wstpepoll_watch(int epoll, struct wstpcopy *channel);

/* Removes it; to be called before the channel's descriptor is closed. A stream that takes the connection's place is given
 * back. */
void wstpepoll_unwatch(int epoll, struct wstpcopy *channel);

/* Takes the stream from now on that is offered in place of the channel's connection, whenever the channel waits between two
 * frames. Returns 0, or -1: errno. The caller sets `page`, `incoming`, `outgoing` and `bell` before. */
int wstpepoll_borrow(int epoll, struct wstpcopy *channel, struct wstplend *lend);

/* The opposite, for a channel of which that was called; before the descriptors are closed. */
void wstpepoll_return(struct wstpcopy *channel);

/*
 * Does rounds for channels that wait and have something to receive, and returns how many events there are. The first verdict
 * that is not "sent, and counted" ends it: that channel does not wait any more, and its places are those in the buffer.
 *
 * If the caller is `alone`, with no other work, and was here less than a millisecond ago, the call waits for more: a
 * millisecond at a time, ten milliseconds in all, until `others` is readable because of anything else or there is an event of
 * a channel without a peer. So an evaluation and its answer cost nothing but system calls.
 *
 * The rest of a small frame whose beginning was received is looked for at once, and for some microseconds if the caller is
 * `alone` and no other channel has anything: the rest is sent as soon as the acknowledgement of the beginning arrives.
 */
int wstpepoll_run(struct wstpepoll *loop, int alone);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
