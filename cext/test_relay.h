/*
 * A relay whose caller may be called away, for test_wstprelay.c and test_wstprest.c.
 */
#ifndef TEST_RELAY_H
#define TEST_RELAY_H

#include "test_bench.h"

/* A byte written to far_others means that the caller has something else to do. */
static void open_relay(struct wstprelay *work, struct wstprelay_event *events, int most, int *far_others)
{
    *work = (struct wstprelay){.most = most, .buffer = buffer, .size = sizeof buffer, .portion = sizeof buffer};
    work->events = events;
    work->descriptor = wstprelay_open();
    make_pair(&work->others, far_others);
    wstprelay_make_pipe(work->pipe);
}

static void close_relay(const struct wstprelay *work, int far_others)
{
    close(work->descriptor);
    close(work->others);
    close(far_others);
    close(work->pipe[0]);
    close(work->pipe[1]);
}

#endif
