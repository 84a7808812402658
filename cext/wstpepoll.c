/*
 * Many channels in one epoll set. The contract is in wstpepoll.h.
 *
 * A channel stays in the epoll set from its first wait on: adding and removing it each time costs several times what the
 * round does. One that receives something while it is not waiting (its greenlet waits for a connection that takes no more)
 * leaves the set until it waits again, or the set would be ready all the time.
 */
#define _GNU_SOURCE /* syscall */
#include "wstpepoll.h"
#include "wstpsocket.h"

#include <errno.h>

#ifdef __linux__

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_EVENTS = 256,
    MOST_READY = 64,
    TURNS = 8,              /* looks at the set before the caller's other work comes, while there is nothing to report */
    MOST_SKIPPED = 4,       /* of so many turns, bulk gets one even if something small is always ready */
    QUIET = 2000000,        /* nanoseconds without anything small after which only bulk is expected */
    WAIT_TIME = 1000000,    /* nanoseconds to wait for more: an answer from another machine takes half of it */
    LONGEST_RUN = 500000,   /* nanoseconds without a look at the caller's other work, unless the call waits */
    LONGEST_CALL = 10000000 /* nanoseconds; half of it when no evaluation is under way */
};

/* What one call of wstpepoll_run() knows. */
struct call {
    struct wstpepoll *loop;
    struct wstpcopy *channels[MOST_EVENTS]; /* of the events */
    int count;                  /* events so far */
    int open;                   /* evaluations begun, less those answered */
    int alone;                  /* 1: the caller has no other work; */
    int may_wait;               /* and only one channel is ready in this turn */
    int64_t time;               /* before this turn */
    int rounds;                 /* in this turn, for channels that are not in the middle of a passing frame; */
    int portions;               /* and for those that are */
    int must_return;            /* 1: the caller has to account for something before more may be received */
};

int wstpepoll_open(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static int control(int epoll, int operation, struct wstpcopy *channel, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = channel}};

    return epoll_ctl(epoll, operation, channel->source->descriptor, &event);
}

int wstpepoll_watch(int epoll, struct wstpcopy *channel)
{
    if (channel->watched)
        return 0;
    if (control(epoll, EPOLL_CTL_ADD, channel, EPOLLIN) < 0)
        return -1;
    channel->watched = 1;
    return 0;
}

void wstpepoll_unwatch(int epoll, struct wstpcopy *channel)
{
    if (channel->watched)
        control(epoll, EPOLL_CTL_DEL, channel, 0);
    channel->watched = 0;
    wstpcopy_give_back(channel->source);
}

/* Streams that are lent. ----------------------------------------------------------------------------------------------
 *
 * What the set knows of a bell is the channel, and one bit that says so.
 */

static void *bell_of(const struct wstpcopy *channel)
{
    return (void *)((uintptr_t)channel | 1);
}

static struct wstpcopy *rung(const struct epoll_event *event)
{
    uintptr_t word = (uintptr_t)event->data.ptr;

    return word & 1 ? (struct wstpcopy *)(word & ~(uintptr_t)1) : NULL;
}

int wstpepoll_borrow(int epoll, struct wstpcopy *channel, struct wstplend *lend)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = bell_of(channel)}};

    lend->epoll = epoll;
    lend->data = channel;
    if (wstplend_begin(lend) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, lend->bell, &event) < 0)
        return -1;
    channel->source->lend = lend;
    channel->source->lent = wstplend_totals(lend->page);
    return 0;
}

void wstpepoll_return(struct wstpcopy *channel)
{
    struct wstplend *lend = channel->source->lend;

    wstplend_give_back(lend);
    epoll_ctl(lend->epoll, EPOLL_CTL_DEL, lend->bell, NULL);
    channel->source->lend = NULL;
}

/* Whether nothing is under way in either direction, and the channel may receive. */
static int is_between_frames(const struct wstpcopy *channel)
{
    return channel->waiting && channel->watched && channel->source->free && channel->source->descriptor >= 0
        && channel->scan->step == WSTPSCAN_AT_BOUNDARY && !channel->scan->error;
}

/* The connector has offered the stream, or has ended. */
static void answer(const struct wstpcopy *channel)
{
    struct wstplend *lend = channel->source->lend;
    char heard[16];
    ssize_t size = recv(lend->bell, heard, sizeof heard, MSG_DONTWAIT);

    if (size == 0 || (size < 0 && !not_now())) {
        epoll_ctl(lend->epoll, EPOLL_CTL_DEL, lend->bell, NULL);
        wstplend_give_back(lend);
    } else
        wstplend_take(lend, channel->source->descriptor, is_between_frames(channel));
}

/* Events. -------------------------------------------------------------------------------------------------------------
 *
 * The two channels of a bridge are counted together, in one event. Any other frame separates them and is reported before more
 * may be received.
 */

static struct wstpepoll_event *add_event(struct call *call, struct wstpcopy *channel, int verdict)
{
    struct wstpepoll_event *event = &call->loop->events[call->count];

    call->channels[call->count++] = channel;
    event->number = channel->number;
    event->verdict = verdict;
    event->head = channel->head;
    event->still_waiting = 1;
    event->begun = event->answered = event->large = 0;
    return event;
}

/* The event of the two channels of a bridge; `asking` is the one with `one_shot`. */
static struct wstpepoll_event *shared_event(struct call *call, struct wstpcopy *asking)
{
    if (asking->slot == 0) {
        add_event(call, asking, WSTPCOPY_ALL_SENT)->head = asking->paired;
        asking->slot = call->count;
    }
    return &call->loop->events[asking->slot - 1];
}

/* Whether a frame with this head is one that the channel and its peer are counted for. */
static int is_paired(const struct wstpcopy *channel, int32_t head)
{
    return channel->peer && head == channel->paired && (channel->one_shot || !channel->peer->permitted);
}

/* A frame that is reported by itself, between those that the channel and its peer are counted for. */
static struct wstpepoll_event *single_event(struct call *call, struct wstpcopy *channel)
{
    if (channel->peer)
        channel->peer = channel->peer->peer = NULL;
    call->must_return = 1;
    return add_event(call, channel, WSTPCOPY_ALL_SENT);
}

/* A counted frame was sent. */
static void count_frame(struct call *call, struct wstpcopy *channel)
{
    if (!is_paired(channel, channel->head))
        single_event(call, channel)->begun = channel->one_shot;
    else if (channel->one_shot) {
        shared_event(call, channel)->begun++;
        call->open++;
    } else {
        shared_event(call, channel->peer)->answered++;
        call->open--;
        channel->peer->permitted = 1;
    }
}

/* A large frame has begun to go to the sink; */
static void large_begun(struct call *call, struct wstpcopy *channel)
{
    struct wstpepoll_event *event;

    channel->head = channel->scan->head;
    if (!channel->one_shot)
        event = add_event(call, channel, WSTPCOPY_ALL_SENT);
    else if (is_paired(channel, channel->head)) {
        event = shared_event(call, channel);
        call->open++;
    } else
        event = single_event(call, channel);
    event->begun += channel->one_shot;
    event->large = 1;
    channel->begun_event = (int32_t)(event - call->loop->events);
}

/* and its end was sent in the same call. */
static void large_ended(struct call *call, struct wstpcopy *channel)
{
    struct wstpepoll_event *event = &call->loop->events[channel->begun_event];

    event->large = 0;
    if (!channel->one_shot)
        event->number = 0;
}

/* Rounds. ------------------------------------------------------------------------------------------------------------ */

/* Whether a round leaves nothing to report. */
static int nothing_to_report(const struct wstpcopy *channel, int verdict)
{
    if (verdict != WSTPSCAN_MORE || channel->start < channel->end || channel->unsent > 0 || channel->open_tail)
        return 0;
    return channel->scan->step == WSTPSCAN_AT_BOUNDARY ? channel->silent : wstpcopy_is_passing(channel);
}

/* How many bytes a round may move: a larger portion costs less, but small frames wait for that long. */
static size_t portion(const struct call *call)
{
    const struct wstpepoll *loop = call->loop;

    return (size_t)(call->time - loop->last_small < QUIET ? loop->portion : loop->size);
}

/* Receives and sends for a channel, and notes the beginning and the end of a large frame. */
static int copy(struct call *call, struct wstpcopy *channel)
{
    struct wstpepoll *loop = call->loop;
    int verdict, had_begun = channel->begun;

    channel->begins = 1;
    verdict = wstpcopy_pass(channel, loop->buffer, portion(call), loop->pipe);
    verdict = wstpcopy_get_rest(channel, loop->buffer, (size_t)loop->size, verdict, call->may_wait);
    channel->begins = 0;
    if (channel->begun && !had_begun)
        large_begun(call, channel);
    if (had_begun && !channel->begun) {
        large_ended(call, channel);
        if (channel->one_shot) /* it is counted already */
            return WSTPCOPY_EMPTY;
    }
    return verdict;
}

/* A round for one channel, which makes two events at most. Returns 1 if the caller has to process it before any other
 * channel gets a round. */
static int do_round(struct call *call, struct wstpcopy *channel)
{
    int verdict = copy(call, channel);

    if (verdict == WSTPCOPY_EMPTY)
        return 0;
    if (nothing_to_report(channel, verdict)) {
        if (channel->keep)
            wstpcopy_note(channel);
        if (channel->scan->step == WSTPSCAN_AT_BOUNDARY)
            wstpcopy_acknowledge(channel->source->descriptor);
        return 0;
    }
    if (verdict == WSTPCOPY_ALL_SENT && (channel->counted >> channel->head & 1)) {
        if (channel->keep)
            wstpkeep_handed_on(channel->keep, channel->scan->consumed, channel->keep->plain);
        count_frame(call, channel);
        return 0;
    }
    add_event(call, channel, verdict)->still_waiting = 0;
    channel->waiting = 0;
    return 1;
}

/* Rounds for all channels that are in the middle of a passing frame, or for all others. Returns 1 if the caller has to
 * process one, or there is no room for more events. */
static int do_rounds(struct call *call, const struct epoll_event *ready, int count, int passing)
{
    int i;

    for (i = 0; i < count; i++) {
        struct wstpcopy *channel = ready[i].data.ptr;
        if (!channel || !channel->waiting || wstpcopy_is_passing(channel) != passing)
            continue;
        if (call->count + 2 > call->loop->most)
            return 1;
        call->rounds += !passing;
        call->portions += passing;
        if (do_round(call, channel))
            return 1;
    }
    return 0;
}

/* The channels that are ready; waits for so many nanoseconds if none is. */
static int look(struct wstpepoll *loop, struct epoll_event *ready, int64_t nanoseconds)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t seconds, nanoseconds;
    } timeout = {0, nanoseconds};

    if (nanoseconds > 0 && !loop->coarse) {
        long count = syscall(SYS_epoll_pwait2, loop->descriptor, ready, MOST_READY, &timeout, NULL, 0);
        if (count >= 0 || errno == EINTR)
            return (int)count;
        loop->coarse = 1; /* an old kernel, or a filter of system calls */
    }
#endif
    return epoll_wait(loop->descriptor, ready, MOST_READY, nanoseconds > 0);
}

/* A look at the set, and rounds for the channels that are ready. Returns how many were, or -1 if the call is over. */
static int take_turn(struct call *call, int64_t nanoseconds)
{
    struct epoll_event ready[MOST_READY];
    struct wstpepoll *loop = call->loop;
    int i, over, count = look(loop, ready, nanoseconds);

    call->rounds = call->portions = 0;
    call->may_wait = call->alone && count == 1;
    for (i = 0; i < count; i++) {
        struct wstpcopy *channel = rung(&ready[i]);
        if (channel) {
            answer(channel);
            ready[i].data.ptr = NULL;
            continue;
        }
        channel = ready[i].data.ptr;
        if (!channel->waiting) /* and with no events asked for, a hang-up would still be reported */
            wstpepoll_unwatch(loop->descriptor, channel);
    }
    over = do_rounds(call, ready, count, 0);
    if (call->rounds > 0)
        loop->last_small = call->time;
    if (over)
        return -1;
    /* Bulk comes last, and not in every turn in which another channel had something. */
    if (call->rounds == 0 || ++loop->bulk_skipped == MOST_SKIPPED) {
        loop->bulk_skipped = 0;
        if (do_rounds(call, ready, count, 1))
            return -1;
        /* Moving bulk would keep this processor for some milliseconds, which others need for a small evaluation. */
        if (call->portions > 0)
            sched_yield();
    }
    return call->must_return ? -1 : count;
}

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Turns until everything is done that can be done without waiting, or the caller should do its other work. */
static void run_without_waiting(struct call *call)
{
    int turns = 0;

    while (take_turn(call, 0) > 0 && call->count == 0 && ++turns < TURNS)
        ;
}

/* Whether the caller has other work. This loop makes it look so, too, if it has work itself. */
static int has_other_work(const struct wstpepoll *loop)
{
    struct pollfd others = {.fd = loop->others, .events = POLLIN};

    return poll(&others, 1, 0) != 0;
}

/*
 * The same, and waits for more. It waits in the loop's own descriptor: a thread that is woken through a descriptor that
 * watches another one is put on any processor, not on that of the peer which has just gone to sleep, and that costs more
 * than the round.
 */
static void run_while_active(struct call *call)
{
    int64_t began = call->time, looked = began, wait_time = 0;
    int count, last = 0, late;

    for (;;) {
        count = take_turn(call, wait_time);
        call->time = now();
        if (count < 0 || (count == 0 && last)
            || call->time - began >= (call->open > 0 ? LONGEST_CALL : LONGEST_CALL / 2))
            return;
        wait_time = 0;
        last = count <= 1;
        late = call->time - looked >= LONGEST_RUN;
        if (!last && !late)
            continue;
        if (!has_other_work(call->loop)) {
            looked = call->time;
            if (last) {
                wait_time = WAIT_TIME;
                call->loop->waited++;
            }
        } else if (late)
            return;
    }
}

int wstpepoll_run(struct wstpepoll *loop, int alone)
{
    struct call call = {.loop = loop, .time = now()};
    int i;

    loop->waited = 0;
    if (alone && loop->others >= 0 && call.time - loop->left_at < WAIT_TIME) {
        call.alone = 1;
        run_while_active(&call);
    } else
        run_without_waiting(&call);
    for (i = 0; i < call.count; i++)
        call.channels[i]->slot = call.channels[i]->begun = 0;
    loop->left_at = now();
    return call.count;
}

#else

int wstpepoll_open(void)
{
    errno = ENOSYS;
    return -1;
}

int wstpepoll_watch(int epoll, struct wstpcopy *channel)
{
    (void)epoll;
    (void)channel;
    errno = ENOSYS;
    return -1;
}

void wstpepoll_unwatch(int epoll, struct wstpcopy *channel)
{
    (void)epoll;
    (void)channel;
}

int wstpepoll_borrow(int epoll, struct wstpcopy *channel, struct wstplend *lend)
{
    (void)epoll;
    (void)channel;
    (void)lend;
    errno = ENOSYS;
    return -1;
}

void wstpepoll_return(struct wstpcopy *channel)
{
    (void)channel;
}

int wstpepoll_run(struct wstpepoll *loop, int alone)
{
    (void)loop;
    (void)alone;
    return 0;
}

#endif
