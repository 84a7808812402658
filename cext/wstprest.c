/*
 * The rest of a small frame that came in pieces. The contract is in wstppump.h.
 *
 * The vendor's library writes through a ring of some KB: a frame that goes over its end comes in two pieces, which is one
 * evaluation in fifty. With Nagle's algorithm on, the second piece leaves when the first has been acknowledged, and that has
 * just been done. So it is there already, or will be before a greenlet could be woken for it.
 */
#define _GNU_SOURCE /* ppoll */
#include "wstppump_internal.h"

#ifdef __linux__

#include <poll.h>
#include <time.h>

enum {
    LOOKS = 3,          /* for what is left of one frame */
    PATIENCE = 60000    /* nanoseconds to wait for it, once: less than what the wake-up of a greenlet takes */
};

/* Whether the buffer ends within a frame that is to be kept until it is whole, and nothing before it needs the caller. */
static int lacks_rest(const struct wstppump *pump, int verdict)
{
    return verdict == WSTPSCAN_MORE && pump->start < pump->end && pump->unsent == 0 && !pump->open_tail
        && pump->scan->step != WSTPSCAN_AT_BOUNDARY && !wstppump_is_passing(pump)
        && pump->scan->frame_bytes + pump->scan->opaque <= pump->held;
}

static void wait_for(const struct wstppump *pump)
{
    struct pollfd one = {.fd = pump->source->descriptor, .events = POLLIN};
    struct timespec patience = {0, PATIENCE};

    ppoll(&one, 1, &patience, NULL);
}

int wstppump_get_rest(struct wstppump *pump, uint8_t *buffer, size_t size, int verdict, int may_wait)
{
    int looks;

    for (looks = 0; looks < LOOKS && pump->end < size && lacks_rest(pump, verdict); looks++) {
        int next = wstppump_more(pump, buffer, size);
        if (next == WSTPPUMP_CLOSED) /* it is so still when somebody looks next, who has these bytes then */
            break;
        if (next != WSTPPUMP_EMPTY)
            verdict = next;
        else if (may_wait) {
            wait_for(pump);
            may_wait = 0;
        } else
            break;
    }
    return verdict;
}

#else

int wstppump_get_rest(struct wstppump *pump, uint8_t *buffer, size_t size, int verdict, int may_wait)
{
    (void)pump;
    (void)buffer;
    (void)size;
    (void)may_wait;
    return verdict;
}

#endif
