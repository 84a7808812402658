/*
 * What the relay has to tell of the frames that went by. The contract is in wstppump.h.
 *
 * Twins are counted for together, in one event; whatever they are not counted for comes between, separates them, and is told
 * before more may come.
 */
#include "wstppump_internal.h"

#include <stddef.h>

struct wstprelay_event *wstprelay_add_event(struct wstprelay_call *call, struct wstppump *pump, int verdict)
{
    struct wstprelay_event *event = &call->relay->events[call->count];

    call->pumps[call->count++] = pump;
    event->number = pump->number;
    event->verdict = verdict;
    event->head = pump->head;
    event->asleep = 1;
    event->begun = event->answered = event->large = 0;
    return event;
}

/* The event of two pumps of a bridge; `asking` is the one with questions. */
static struct wstprelay_event *shared_event(struct wstprelay_call *call, struct wstppump *asking)
{
    if (asking->slot == 0) {
        wstprelay_add_event(call, asking, WSTPPUMP_ALL_SENT)->head = asking->paired;
        asking->slot = call->count;
    }
    return &call->relay->events[asking->slot - 1];
}

/* Whether a frame with this head is what the pump and its twin are counted for. */
static int is_counted(const struct wstppump *pump, int32_t head)
{
    return pump->twin && head == pump->paired && (pump->once || !pump->twin->allowed);
}

/* A frame that is told by itself. It comes between what the pump and its twin are counted for. */
static struct wstprelay_event *single_event(struct wstprelay_call *call, struct wstppump *pump)
{
    if (pump->twin)
        pump->twin = pump->twin->twin = NULL;
    call->hurry = 1;
    return wstprelay_add_event(call, pump, WSTPPUMP_ALL_SENT);
}

void wstprelay_note(struct wstprelay_call *call, struct wstppump *pump)
{
    if (!is_counted(pump, pump->head))
        single_event(call, pump)->begun = pump->once;
    else if (pump->once) {
        shared_event(call, pump)->begun++;
        call->open++;
    } else {
        shared_event(call, pump->twin)->answered++;
        call->open--;
        pump->twin->allowed = 1;
    }
}

void wstprelay_note_large(struct wstprelay_call *call, struct wstppump *pump)
{
    struct wstprelay_event *event;

    pump->head = pump->scan->head;
    if (!pump->once)
        event = wstprelay_add_event(call, pump, WSTPPUMP_ALL_SENT);
    else if (is_counted(pump, pump->head)) {
        event = shared_event(call, pump);
        call->open++;
    } else
        event = single_event(call, pump);
    event->begun += pump->once;
    event->large = 1;
    pump->begun_event = (int32_t)(event - call->relay->events);
}

void wstprelay_forget_large(struct wstprelay_call *call, struct wstppump *pump)
{
    struct wstprelay_event *event = &call->relay->events[pump->begun_event];

    event->large = 0;
    if (!pump->once)
        event->number = 0;
}
