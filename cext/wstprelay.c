/*
 * Many pumps that wait together. The contract is in wstppump.h.
 *
 * A pump stays in the epoll set from its first wait on: who has to be woken otherwise every time costs several times what
 * the round does. One that gets something while it is not parked (it waits for somebody to take what it has) leaves the
 * set until it is parked again, or the set would be ready all the time.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "wstppump_internal.h"

#include <errno.h>

#ifdef __linux__

#include <sys/epoll.h>

enum {
    MOST = 64,
    TURNS = 8 /* looks at who is ready before the caller's other business comes, while all goes by */
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

/* A round for one pump. Returns 1 if the caller has to see to it before anybody else gets one. */
static int do_round(const struct wstprelay *relay, struct wstppump *pump, int *count)
{
    int verdict = wstppump_pass(pump, relay->buffer, (size_t)relay->size, relay->pipe);
    struct wstprelay_event *event = &relay->events[*count];

    if (verdict == WSTPPUMP_EMPTY)
        return 0;
    if (all_went_by(pump, verdict)) {
        if (pump->scan->step == WSTPSCAN_AT_BOUNDARY)
            wstppump_acknowledge(pump->source->descriptor);
        return 0;
    }
    event->number = pump->number;
    event->verdict = verdict;
    event->head = pump->head;
    ++*count;
    event->asleep = verdict == WSTPPUMP_ALL_SENT && (pump->quick >> pump->head & 1);
    pump->parked = event->asleep;
    return !event->asleep;
}

/* Rounds for all that are in the middle of a frame that passes, or for all others. Returns 1 as do_round(). */
static int do_rounds(const struct wstprelay *relay, const struct epoll_event *ready, int came, int passing, int *count)
{
    int i;

    for (i = 0; i < came; i++) {
        struct wstppump *pump = ready[i].data.ptr;
        if (pump->parked && wstppump_is_passing(pump) == passing && do_round(relay, pump, count))
            return 1;
    }
    return 0;
}

int wstprelay_run(const struct wstprelay *relay)
{
    struct epoll_event ready[MOST];
    int i, came, count = 0, turns = 0;

    do {
        came = epoll_wait(relay->descriptor, ready, relay->most < MOST ? relay->most : MOST, 0);
        for (i = 0; i < came; i++) {
            struct wstppump *pump = ready[i].data.ptr;
            if (!pump->parked) /* and with no events asked for, a hang-up would still be reported */
                wstprelay_unwatch(relay->descriptor, pump);
        }
        /* Bulk comes last, and not at all while somebody waits to be accounted for. */
        if (!do_rounds(relay, ready, came, 0, &count) && count == 0)
            do_rounds(relay, ready, came, 1, &count);
    } while (came > 0 && count == 0 && ++turns < TURNS);
    return count;
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

int wstprelay_run(const struct wstprelay *relay)
{
    (void)relay;
    return 0;
}

#endif
