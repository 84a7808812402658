/*
 * Many pumps that wait together. The contract is in wstppump.h.
 *
 * A pump stays in the epoll set from its first wait on: who has to be woken otherwise every time costs several times what
 * the round does. One that gets something while it is not parked (it waits for somebody to take what it has) leaves the
 * set until it is parked again, or the set would be ready all the time.
 */
#define _GNU_SOURCE /* syscall */
#include "wstppump_internal.h"

#include <errno.h>

#ifdef __linux__

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_READY = 64,
    TURNS = 8,              /* looks at who is ready before the caller's other business comes, while all goes by */
    PASSED_OVER = 4,        /* of so many turns, bulk gets one even if somebody else always has something */
    QUIET = 2000000,        /* nanoseconds after which nobody but bulk is expected to have anything */
    PATIENCE = 250000,      /* nanoseconds to wait for more */
    LONGEST_RUN = 500000,   /* nanoseconds without a look at what else the caller has to do */
    LONGEST_CALL = 10000000 /* nanoseconds; half of it when nothing is under way */
};

int wstprelay_open(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static int control(int relay, int operation, struct wstppump *pump, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = pump}};

    return epoll_ctl(relay, operation, pump->source->descriptor, &event);
}

int wstprelay_watch(int relay, struct wstppump *pump)
{
    if (pump->watched)
        return 0;
    if (control(relay, EPOLL_CTL_ADD, pump, EPOLLIN) < 0)
        return -1;
    pump->watched = 1;
    return 0;
}

void wstprelay_unwatch(int relay, struct wstppump *pump)
{
    if (pump->watched)
        control(relay, EPOLL_CTL_DEL, pump, 0);
    pump->watched = 0;
}

/* Whether nothing is left to do after a round. */
static int all_went_by(const struct wstppump *pump, int verdict)
{
    if (verdict != WSTPSCAN_MORE || pump->start < pump->end || pump->unsent > 0 || pump->open_tail)
        return 0;
    return pump->scan->step == WSTPSCAN_AT_BOUNDARY ? pump->talkative : wstppump_is_passing(pump);
}

/* How many bytes a round may move: more of them at a time cost less, but somebody else may be waiting for that long. */
static size_t portion(const struct wstprelay_call *call)
{
    const struct wstprelay *relay = call->relay;

    return (size_t)(call->time - relay->talked < QUIET ? relay->portion : relay->size);
}

/* Receives and sends for a pump, and notes the beginning and the end of a large frame. */
static int pass(struct wstprelay_call *call, struct wstppump *pump)
{
    struct wstprelay *relay = call->relay;
    int verdict, had_begun = pump->begun;

    pump->begins = 1;
    verdict = wstppump_pass(pump, relay->buffer, portion(call), relay->pipe);
    verdict = wstppump_get_rest(pump, relay->buffer, (size_t)relay->size, verdict, call->patient);
    pump->begins = 0;
    if (pump->begun && !had_begun)
        wstprelay_note_large(call, pump);
    if (had_begun && !pump->begun) {
        wstprelay_forget_large(call, pump);
        if (pump->once) /* it is counted already */
            return WSTPPUMP_EMPTY;
    }
    return verdict;
}

/* A round for one pump, which makes two events at most. Returns 1 if the caller has to see to it before anybody else gets
 * one. */
static int do_round(struct wstprelay_call *call, struct wstppump *pump)
{
    int verdict = pass(call, pump);

    if (verdict == WSTPPUMP_EMPTY)
        return 0;
    if (all_went_by(pump, verdict)) {
        if (pump->scan->step == WSTPSCAN_AT_BOUNDARY)
            wstppump_acknowledge(pump->source->descriptor);
        return 0;
    }
    if (verdict == WSTPPUMP_ALL_SENT && (pump->quick >> pump->head & 1)) {
        wstprelay_note(call, pump);
        return 0;
    }
    wstprelay_add_event(call, pump, verdict)->asleep = 0;
    pump->parked = 0;
    return 1;
}

/* Rounds for all that are in the middle of a frame that passes, or for all others. Returns 1 if the caller has to see to
 * one, or there is no room for more events. */
static int do_rounds(struct wstprelay_call *call, const struct epoll_event *ready, int came, int passing)
{
    int i;

    for (i = 0; i < came; i++) {
        struct wstppump *pump = ready[i].data.ptr;
        if (!pump->parked || wstppump_is_passing(pump) != passing)
            continue;
        if (call->count + 2 > call->relay->most)
            return 1;
        call->rounds += !passing;
        call->portions += passing;
        if (do_round(call, pump))
            return 1;
    }
    return 0;
}

/* Who is ready; waits for so many nanoseconds if nobody is. */
static int look(const struct wstprelay *relay, struct epoll_event *ready, int64_t nanoseconds)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t seconds, nanoseconds;
    } timeout = {0, nanoseconds};

    if (nanoseconds > 0) {
        long came = syscall(SYS_epoll_pwait2, relay->descriptor, ready, MOST_READY, &timeout, NULL, 0);
        if (came >= 0 || errno != ENOSYS)
            return (int)came;
    }
#endif
    return epoll_wait(relay->descriptor, ready, MOST_READY, nanoseconds > 0);
}

/* A look at who is ready, and rounds for them. Returns how many were, or -1 if the call is over. */
static int take_turn(struct wstprelay_call *call, int64_t nanoseconds)
{
    struct epoll_event ready[MOST_READY];
    struct wstprelay *relay = call->relay;
    int i, over, came = look(relay, ready, nanoseconds);

    call->rounds = call->portions = 0;
    call->patient = call->alone && came == 1;
    for (i = 0; i < came; i++) {
        struct wstppump *pump = ready[i].data.ptr;
        if (!pump->parked) /* and with no events asked for, a hang-up would still be reported */
            wstprelay_unwatch(relay->descriptor, pump);
    }
    over = do_rounds(call, ready, came, 0);
    if (call->rounds > 0)
        relay->talked = call->time;
    if (over)
        return -1;
    /* Bulk comes last, and not in every turn in which somebody else had something. */
    if (call->rounds == 0 || ++relay->passed_over == PASSED_OVER) {
        relay->passed_over = 0;
        if (do_rounds(call, ready, came, 1))
            return -1;
        /* Who moves bulk would keep its processor for some milliseconds, which others need for a small evaluation. */
        if (call->portions > 0)
            sched_yield();
    }
    return call->hurry ? -1 : came;
}

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Turns until everything is done that can be done without waiting, or somebody else should have his. */
static void be_quick(struct wstprelay_call *call)
{
    int turns = 0;

    while (take_turn(call, 0) > 0 && call->count == 0 && ++turns < TURNS)
        ;
}

/* Whether the caller has something else to do. This relay makes it look so, too, if it has. */
static int is_wanted(const struct wstprelay *relay)
{
    struct pollfd others = {.fd = relay->others, .events = POLLIN};

    return poll(&others, 1, 0) != 0;
}

/*
 * The same, and waits for more. It waits in the relay's own descriptor: who is woken through one that watches another
 * one is put on any processor, not on that of the peer which has just gone to sleep, and that costs more than the round.
 */
static void linger(struct wstprelay_call *call)
{
    int64_t began = call->time, looked = began, patience = 0;
    int came, last = 0;

    for (;;) {
        came = take_turn(call, patience);
        call->time = now();
        if (came < 0 || (came == 0 && last) || call->time - looked >= LONGEST_RUN
            || call->time - began >= (call->open > 0 ? LONGEST_CALL : LONGEST_CALL / 2))
            return;
        patience = 0;
        last = came <= 1;
        if (last && !is_wanted(call->relay)) {
            looked = call->time;
            patience = PATIENCE;
            call->relay->waited++;
        }
    }
}

int wstprelay_run(struct wstprelay *relay, int alone)
{
    struct wstprelay_call call = {.relay = relay, .time = now()};
    int i;

    relay->waited = 0;
    if (alone && relay->others >= 0 && call.time - relay->left < PATIENCE) {
        call.alone = 1;
        linger(&call);
    } else
        be_quick(&call);
    for (i = 0; i < call.count; i++)
        call.pumps[i]->slot = call.pumps[i]->begun = 0;
    relay->left = now();
    return call.count;
}

#else

int wstprelay_open(void)
{
    errno = ENOSYS;
    return -1;
}

int wstprelay_watch(int relay, struct wstppump *pump)
{
    (void)relay;
    (void)pump;
    errno = ENOSYS;
    return -1;
}

void wstprelay_unwatch(int relay, struct wstppump *pump)
{
    (void)relay;
    (void)pump;
}

int wstprelay_run(struct wstprelay *relay, int alone)
{
    (void)relay;
    (void)alone;
    return 0;
}

#endif
