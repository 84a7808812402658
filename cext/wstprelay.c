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

enum { MOST = 64 };

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

int wstprelay_run(int relay, uint8_t *buffer, size_t size, const int32_t pipe[2], struct wstprelay_event *events,
                  int most)
{
    struct epoll_event ready[MOST];
    int i, count = 0, came = epoll_wait(relay, ready, most < MOST ? most : MOST, 0);

    for (i = 0; i < came; i++) {
        struct wstppump *pump = ready[i].data.ptr;
        int verdict;
        if (!pump->parked) {
            wstprelay_unwatch(relay, pump); /* with no events asked for, a hang-up would still be reported */
            continue;
        }
        verdict = wstppump_pass(pump, buffer, size, pipe);
        if (verdict == WSTPPUMP_EMPTY)
            continue;
        if (all_went_by(pump, verdict)) {
            if (pump->scan->step == WSTPSCAN_AT_BOUNDARY)
                wstppump_acknowledge(pump->source->descriptor);
            continue;
        }
        events[count].number = pump->number;
        events[count].verdict = verdict;
        events[count].head = pump->head;
        count++;
        if (verdict != WSTPPUMP_ALL_SENT || !(pump->quick >> pump->head & 1)) {
            pump->parked = 0;
            break;
        }
    }
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

int wstprelay_run(int relay, uint8_t *buffer, size_t size, const int32_t pipe[2], struct wstprelay_event *events,
                  int most)
{
    (void)pipe;
    (void)relay;
    (void)buffer;
    (void)size;
    (void)events;
    (void)most;
    return 0;
}

#endif
