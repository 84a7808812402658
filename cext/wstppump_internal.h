/*
 * What wstppump.c, wstppass.c, wstprest.c, wstprelay.c and wstpevents.c share.
 */
#ifndef WSTPPUMP_INTERNAL_H
#define WSTPPUMP_INTERNAL_H

#include "wstppump.h"

/* Whether what comes next belongs to a frame that has begun to go to the sink. */
int wstppump_is_passing(const struct wstppump *pump);

/* Receives behind what is in the buffer, which has room for more and was scanned, and goes on as wstppump_next(). With
 * WSTPPUMP_EMPTY and WSTPPUMP_CLOSED nothing is changed. */
int wstppump_more(struct wstppump *pump, uint8_t *buffer, size_t size);

/* After this verdict on what is in the buffer: the same for what is left of a small frame, waiting for it a moment if that
 * may be. Returns the last verdict. */
int wstppump_get_rest(struct wstppump *pump, uint8_t *buffer, size_t size, int verdict, int may_wait);

/* What one call of wstprelay_run() knows. */
struct wstprelay_call {
    struct wstprelay *relay;
    struct wstppump *pumps[256]; /* of the events */
    int count;                   /* events so far */
    int open;                    /* evaluations begun, less those answered */
    int alone;                   /* 1: the caller has nothing else to do; */
    int patient;                 /* and only one pump has, in this turn */
    int64_t time;                /* before this turn */
    int rounds;                  /* in this turn, for pumps that are not in the middle of a frame that passes; */
    int portions;                /* and for those that are */
    int hurry;                   /* 1: the caller has to account for something before more may come */
};

/* Makes an event; there must be room for it. */
struct wstprelay_event *wstprelay_add_event(struct wstprelay_call *call, struct wstppump *pump, int verdict);

/* A quick frame has gone by. */
void wstprelay_note(struct wstprelay_call *call, struct wstppump *pump);

/* A large frame has begun to go by; */
void wstprelay_note_large(struct wstprelay_call *call, struct wstppump *pump);

/* and it has gone by, in the same call. */
void wstprelay_forget_large(struct wstprelay_call *call, struct wstppump *pump);

#endif
