/*
 * A loop whose caller may have other work, for test_wstpepoll.c and test_pieces.c.
 */
#ifndef TEST_EPOLL_H
#define TEST_EPOLL_H

#include "test_channel.h"

/* A byte written to far_others means that the caller has other work. */
static void open_loop(struct wstpepoll *work, struct wstpepoll_event *events, int most, int *far_others)
{
    *work = (struct wstpepoll){.most = most, .buffer = buffer, .size = sizeof buffer, .portion = sizeof buffer};
    work->events = events;
    work->descriptor = wstpepoll_open();
    make_pair(&work->others, far_others);
    wstpcopy_make_pipe(work->pipe);
}

static void close_loop(const struct wstpepoll *work, int far_others)
{
    close(work->descriptor);
    close(work->others);
    close(far_others);
    close(work->pipe[0]);
    close(work->pipe[1]);
}

#endif
