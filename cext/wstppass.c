/*
 * Long blocks on their way past the buffer. The contract is in wstppump.h.
 *
 * splice() moves the kernel's own pages from one socket to the other; the pipe between is what it needs for that. All
 * pumps can share one, because what the sink does not take is fetched from it at once.
 */
#define _GNU_SOURCE /* splice, pipe2, F_SETPIPE_SZ */
#include "wstppump_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#ifdef __linux__

enum {
    WORTH_IT = 1 << 17, /* below this, copying is as fast */
    PIPE_SIZE = 1 << 20,
    BURST = 1 << 17     /* after so many bytes others get their turn */
};

void wstprelay_make_pipe(int32_t ends[2])
{
    int both[2];

    ends[0] = ends[1] = -1;
    if (pipe2(both, O_NONBLOCK | O_CLOEXEC) < 0)
        return;
    fcntl(both[1], F_SETPIPE_SZ, PIPE_SIZE); /* an unprivileged user may have less */
    ends[0] = both[0];
    ends[1] = both[1];
}

static ssize_t splice_now(int from, int to, size_t length)
{
    ssize_t moved;

    do
        moved = splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (moved < 0 && errno == EINTR);
    return moved;
}

static int not_now(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* Takes so many bytes out of the pipe; they are there. */
static void fetch(int from, uint8_t *buffer, size_t length)
{
    while (length > 0) {
        ssize_t size = read(from, buffer, length);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return;
        buffer += size;
        length -= (size_t)size;
    }
}

/* Empties the pipe into the sink. What that does not take comes into the buffer; returns how much, 0 if the sink is broken:
 * it takes everything then, as everywhere. */
static size_t empty(const struct wstppump *pump, int from, uint8_t *buffer, size_t length)
{
    while (length > 0) {
        ssize_t moved = splice_now(from, pump->sink->descriptor, length);
        if (moved <= 0) {
            int full = moved < 0 && not_now();
            fetch(from, buffer, length);
            return full ? length : 0;
        }
        length -= (size_t)moved;
    }
    return 0;
}

int wstppump_pass(struct wstppump *pump, uint8_t *buffer, size_t size, const int32_t pipe[2])
{
    size_t total = 0, unsent = 0;
    int ended = 0;

    if (pipe[0] < 0 || pump->source->descriptor < 0 || !wstppump_is_passing(pump) || pump->scan->opaque < WORTH_IT)
        return wstppump_receive(pump, buffer, size, 0);
    while (unsent == 0 && total < BURST && pump->scan->opaque > 0) {
        uint64_t want = pump->scan->opaque < size ? pump->scan->opaque : size;
        ssize_t came = splice_now(pump->source->descriptor, pipe[1], (size_t)want);
        if (came <= 0) {
            ended = came == 0 || !not_now();
            break;
        }
        total += (size_t)came;
        wstpscan_skip(pump->scan, (uint64_t)came);
        unsent = empty(pump, pipe[0], buffer, (size_t)came);
    }
    pump->start = pump->position = pump->end = unsent;
    pump->unsent = unsent;
    pump->open_tail = 0;
    pump->drained = 1;
    if (total == 0)
        return ended ? WSTPPUMP_CLOSED : WSTPPUMP_EMPTY;
    if (!ended && total < BURST)
        wstppump_acknowledge(pump->source->descriptor); /* the rest may wait for that */
    return WSTPSCAN_MORE;
}

#else

void wstprelay_make_pipe(int32_t ends[2])
{
    ends[0] = ends[1] = -1;
}

int wstppump_pass(struct wstppump *pump, uint8_t *buffer, size_t size, const int32_t pipe[2])
{
    (void)pipe;
    return wstppump_receive(pump, buffer, size, 0);
}

#endif
