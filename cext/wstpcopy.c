/*
 * One round of a channel: receive, scan, send. The contract is in wstpcopy.h.
 */
#define _GNU_SOURCE /* splice, pipe2, F_SETPIPE_SZ, ppoll, TCP_QUICKACK */
#include "wstpcopy.h"
#include "wstpsocket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __linux__
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>
#endif

enum { END_PACKET = ']' };

static int has(uint64_t heads, int32_t head)
{
    return (int)(heads >> head & 1);
}

/* Sends length bytes; returns how many of them were not taken. */
static size_t send_now(int32_t descriptor, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(descriptor, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? length : 0;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int wstpcopy_send_lent(struct wstpcopy_end *end, const uint8_t *data, size_t length)
{
    if (!end->lend->lent || !wstplend_send(end->lend, data, length))
        return 0;
    end->lent.sent += length;
    return 1;
}

void wstpcopy_give_back(struct wstpcopy_end *end)
{
    if (end->lend)
        wstplend_give_back(end->lend);
}

/* Notes for a whole frame that is about to be sent, or for the end of a large one, which is noted afterwards. */
static void note_frame(const struct wstpcopy *channel, size_t length, int32_t head)
{
    struct wstpkeep *keep = channel->sink->keep;

    if (keep->outs[keep->valid_out].end != UINT64_MAX)
        wstpkeep_send(keep, length, head, channel->one_shot);
}

/* Notes for what is about to be sent: a whole frame, the beginning of a large one, or more of that. */
static void note_send(const struct wstpcopy *channel, size_t length)
{
    if (channel->scan->step == WSTPSCAN_AT_BOUNDARY)
        note_frame(channel, length, channel->scan->head);
    else if (!channel->begun && channel->passing != channel->scan->frame_start + 1)
        wstpkeep_begin(channel->sink->keep, channel->scan->head, channel->one_shot);
}

/* Sends to a connection, or over the stream that takes its place; returns how many bytes were not taken. */
static size_t send_to(struct wstpcopy_end *sink, const uint8_t *data, size_t length)
{
    if (sink->lend && wstpcopy_send_lent(sink, data, length))
        return 0;
    return send_now(sink->descriptor, data, length);
}

/* Sends what lies between start and position. */
static void flush(struct wstpcopy *channel, const uint8_t *buffer)
{
    size_t length = (size_t)(channel->position - channel->start);

    if (channel->sink->keep)
        note_send(channel, length);
    channel->unsent = send_to(channel->sink, buffer + channel->start, length);
    channel->open_tail = buffer[channel->position - 1] != END_PACKET;
    channel->start = channel->position;
}

/* Whether a whole frame can be sent to the sink now. */
static int is_sink_free(const struct wstpcopy *channel)
{
    return channel->sink && channel->sink->free && channel->sink->descriptor >= 0;
}

int64_t wstpcopy_send_kept(struct wstpcopy *channel, const uint8_t *frame, size_t length, int32_t head)
{
    if (!is_sink_free(channel))
        return -1;
    if (channel->sink->keep)
        note_frame(channel, length, head);
    return (int64_t)send_to(channel->sink, frame, length);
}

/* Whether the frame that ends at position lies whole behind start, and may be sent. */
static int may_be_sent(const struct wstpcopy *channel)
{
    return channel->permitted && is_sink_free(channel) && has(channel->direct, channel->scan->head)
        && channel->scan->frame_bytes <= channel->position - channel->start;
}

void wstpcopy_acknowledge(int32_t descriptor)
{
#ifdef TCP_QUICKACK
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one); /* Linux clears it by itself */
#else
    (void)descriptor;
#endif
}

/* Whether the peer is likely to have more to send that it holds back until it hears from us. */
static int ends_within_frame(const struct wstpcopy *channel, const uint8_t *buffer)
{
    return channel->scan->step != WSTPSCAN_AT_BOUNDARY || buffer[channel->end - 1] != END_PACKET;
}

int wstpcopy_is_passing(const struct wstpcopy *channel)
{
    return channel->passing == channel->scan->frame_start + 1 && channel->scan->step != WSTPSCAN_AT_BOUNDARY
        && channel->sink && channel->sink->descriptor >= 0;
}

/* Whether the frame in progress, whose beginning lies behind start, may go to the sink as it comes. */
static int may_begin(const struct wstpcopy *channel)
{
    const struct wstpscan *scan = channel->scan;

    return channel->begins && scan->head_known && has(channel->large, scan->head) && scan->step != WSTPSCAN_AT_BOUNDARY
        && !scan->error && channel->permitted && is_sink_free(channel)
        && scan->frame_bytes <= channel->end - channel->start && scan->frame_bytes + scan->opaque > channel->held;
}

static void begin(struct wstpcopy *channel, const uint8_t *buffer)
{
    flush(channel, buffer);
    channel->open_tail = 0;
    channel->passing = channel->scan->frame_start + 1;
    channel->sink->free = 0;
    channel->begun = 1;
    if (channel->one_shot)
        channel->permitted = 0;
}

/* Whether this END is that of the frame which was begun here, or of one behind it that nobody has to look at either. */
static int completes(const struct wstpcopy *channel)
{
    return channel->passing == channel->scan->frame_start + 1 || has(channel->counted, channel->scan->head);
}

/* Sends the end of a frame that was begun here, if it is the last in the buffer and has its "]". Returns 1 if all was
 * taken; otherwise the caller completes the frame with what is left behind start. */
static int complete(struct wstpcopy *channel, const uint8_t *buffer)
{
    if (channel->position < channel->end || buffer[channel->position - 1] != END_PACKET)
        return 0;
    flush(channel, buffer);
    channel->start -= channel->unsent;
    if (channel->unsent > 0) {
        channel->unsent = 0;
        return 0;
    }
    channel->passing = 0;
    channel->sink->free = 1;
    channel->begun = 0;
    if (channel->sink->keep) {
        const struct wstpkeep_out *last = &channel->sink->keep->outs[channel->sink->keep->valid_out];
        wstpkeep_complete(channel->sink->keep, channel->sink->descriptor, channel->sink->lent.sent, last->evaluations, last->head);
    }
    return 1;
}

int wstpcopy_next(struct wstpcopy *channel, const uint8_t *buffer)
{
    struct wstpscan *scan = channel->scan;

    channel->unsent = 0;
    channel->open_tail = 0;
    while (channel->position < channel->end) {
        int verdict = wstpscan_scan(scan, buffer + channel->position, (size_t)(channel->end - channel->position));
        channel->position += scan->used;
        if (verdict == WSTPSCAN_MORE)
            break;
        if (verdict == WSTPSCAN_END && channel->begun) {
            if (!completes(channel) || !complete(channel, buffer))
                return verdict;
            channel->head = scan->head;
            if (has(channel->reported, scan->head))
                return WSTPCOPY_ALL_SENT;
            break;
        }
        if (verdict != WSTPSCAN_END || !may_be_sent(channel))
            return verdict;
        if (has(channel->reported, scan->head)) {
            channel->frame = channel->position - scan->frame_bytes;
            channel->head = scan->head;
            flush(channel, buffer);
            if (channel->one_shot)
                channel->permitted = 0;
            return channel->position == channel->end && channel->unsent == 0 && !channel->open_tail ? WSTPCOPY_ALL_SENT
                                                                                         : WSTPCOPY_SENT;
        }
    }
    if (scan->step == WSTPSCAN_AT_BOUNDARY && !scan->error && channel->start < channel->end) {
        if (channel->begun) /* its end is not one that the scanner stops at */
            complete(channel, buffer);
        else if (may_be_sent(channel))
            flush(channel, buffer);
    }
    else if (wstpcopy_is_passing(channel) && channel->start < channel->end) {
        flush(channel, buffer);
        channel->open_tail = 0;
    }
    else if (may_begin(channel))
        begin(channel, buffer);
    if (channel->source->descriptor >= 0 && ends_within_frame(channel, buffer))
        wstpcopy_acknowledge(channel->source->descriptor);
    return WSTPSCAN_MORE;
}

/* So many bytes were received. */
static void add_to_total(const struct wstpcopy *channel, size_t size)
{
    if (channel->total)
        *channel->total += size;
}

/* Receives from the stream that takes the connection's place; as recv(). */
static ssize_t receive_lent(struct wstpcopy_end *source, uint8_t *data, size_t room)
{
    int64_t size = wstplend_receive(source->lend, data, room);

    if (size > 0) {
        source->lent.taken += (uint64_t)size;
        return (ssize_t)size;
    }
    errno = EAGAIN;
    return -1;
}

/* Receives what fits; 1: something came, 0: the end, -1: nothing is there yet. */
static int receive(struct wstpcopy *channel, uint8_t *data, size_t room)
{
    ssize_t size = -1;

    if (channel->source->lend && channel->source->lend->lent)
        size = receive_lent(channel->source, data, room);
    if (size < 0)
        do
            size = recv(channel->source->descriptor, data, room, 0);
        while (size < 0 && errno == EINTR);
    if (size > 0) {
        channel->drained = (size_t)size < room;
        channel->end += (uint64_t)size;
        add_to_total(channel, (size_t)size);
        return 1;
    }
    return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -1 : 0;
}

int wstpcopy_more(struct wstpcopy *channel, uint8_t *buffer, size_t size)
{
    int came = receive(channel, buffer + channel->end, size - (size_t)channel->end);

    if (came <= 0)
        return came < 0 ? WSTPCOPY_EMPTY : WSTPCOPY_CLOSED;
    return wstpcopy_next(channel, buffer);
}

int wstpcopy_receive(struct wstpcopy *channel, uint8_t *buffer, size_t size, size_t kept)
{
    if (channel->source->descriptor < 0)
        return WSTPCOPY_UNAVAILABLE;
    channel->start = 0;
    channel->position = channel->end = kept;
    if (channel->keep)
        wstpkeep_receive(channel->keep, wstpcopy_place(channel, buffer), channel->scan->consumed - kept);
    return wstpcopy_more(channel, buffer, size);
}

uint64_t wstpcopy_place(const struct wstpcopy *channel, const uint8_t *buffer)
{
    uintptr_t place = (uintptr_t)buffer - (uintptr_t)channel->shared;

    return place < channel->shared_size ? place + 1 : 0;
}

void wstpcopy_note(struct wstpcopy *channel)
{
    if (channel->scan->step == WSTPSCAN_AT_BOUNDARY)
        wstpkeep_handed_on(channel->keep, channel->scan->consumed, 0);
    else
        wstpkeep_scanned(channel->keep, channel->copies, channel->scan);
}

/* Long blocks, past the buffer. ---------------------------------------------------------------------------------------
 *
 * splice() moves the kernel's own pages from one socket to the other; it needs a pipe between them. All channels share one,
 * because what the sink does not take is read back from it at once.
 */

#ifdef __linux__

enum {
    WORTH_IT = 1 << 17, /* below this, copying is as fast */
    PIPE_SIZE = 1 << 20,
    BURST = 1 << 17     /* after so many bytes other channels get a round */
};

void wstpcopy_make_pipe(int32_t ends[2])
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

/* Whether the system, or a filter of system calls, does not do this for these descriptors at all. */
static int refused(void)
{
    return errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EINVAL;
}

static void close_pipe(int32_t ends[2])
{
    close(ends[0]);
    close(ends[1]);
    ends[0] = ends[1] = -1;
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

/* Empties the pipe into the sink. What that does not take is read into the buffer; returns how much. A broken sink takes
 * everything, as everywhere. */
static size_t empty(const struct wstpcopy *channel, int from, uint8_t *buffer, size_t length)
{
    while (length > 0) {
        ssize_t moved = splice_now(from, channel->sink->descriptor, length);
        if (moved <= 0) {
            int kept = moved < 0 && (not_now() || refused());
            fetch(from, buffer, length);
            return kept ? length : 0;
        }
        length -= (size_t)moved;
    }
    return 0;
}

int wstpcopy_pass(struct wstpcopy *channel, uint8_t *buffer, size_t size, int32_t pipe[2])
{
    size_t total = 0, unsent = 0;
    int ended = 0;

    if (pipe[0] < 0 || channel->source->descriptor < 0 || !wstpcopy_is_passing(channel) || channel->scan->opaque < WORTH_IT
        || (channel->source->lend && channel->source->lend->lent))
        return wstpcopy_receive(channel, buffer, size, 0);
    wstpcopy_give_back(channel->sink);
    if (channel->keep)
        wstpkeep_receive(channel->keep, 0, 0);
    while (unsent == 0 && total < BURST && channel->scan->opaque > 0) {
        uint64_t want = channel->scan->opaque < size ? channel->scan->opaque : size;
        ssize_t came = splice_now(channel->source->descriptor, pipe[1], (size_t)want);
        if (came < 0 && total == 0 && refused()) {
            close_pipe(pipe);
            return wstpcopy_receive(channel, buffer, size, 0);
        }
        if (came <= 0) {
            ended = came == 0 || !not_now();
            break;
        }
        total += (size_t)came;
        wstpscan_skip(channel->scan, (uint64_t)came);
        unsent = empty(channel, pipe[0], buffer, (size_t)came);
    }
    add_to_total(channel, total);
    channel->start = channel->position = channel->end = unsent;
    channel->unsent = unsent;
    channel->open_tail = 0;
    channel->drained = 1;
    if (total == 0)
        return ended ? WSTPCOPY_CLOSED : WSTPCOPY_EMPTY;
    if (!ended && total < BURST)
        wstpcopy_acknowledge(channel->source->descriptor); /* the rest may wait for that */
    return WSTPSCAN_MORE;
}

#else

void wstpcopy_make_pipe(int32_t ends[2])
{
    ends[0] = ends[1] = -1;
}

int wstpcopy_pass(struct wstpcopy *channel, uint8_t *buffer, size_t size, int32_t pipe[2])
{
    (void)pipe;
    return wstpcopy_receive(channel, buffer, size, 0);
}

#endif

/* The rest of a small frame that came in pieces. ----------------------------------------------------------------------
 *
 * The vendor's library writes through a ring of 4 KB: a frame that crosses its end comes in two pieces, which is one
 * evaluation in fifty. With Nagle's algorithm on, the second piece is sent when the first was acknowledged, and that has just
 * been done. So it is there already, or will be before a greenlet could be woken for it.
 */

#ifdef __linux__

enum {
    LOOKS = 3,          /* for what is left of one frame */
    WAIT_TIME = 60000   /* nanoseconds to wait for it, once: less than the wake-up of a greenlet takes */
};

/* Whether the buffer ends within a frame that is to be kept until it is whole, and nothing before it needs the caller. */
static int lacks_rest(const struct wstpcopy *channel, int verdict)
{
    return verdict == WSTPSCAN_MORE && channel->start < channel->end && channel->unsent == 0 && !channel->open_tail
        && channel->scan->step != WSTPSCAN_AT_BOUNDARY && !wstpcopy_is_passing(channel)
        && channel->scan->frame_bytes + channel->scan->opaque <= channel->held;
}

static void wait_for(const struct wstpcopy *channel)
{
    const struct wstpcopy_end *source = channel->source;
    int lent = source->lend && source->lend->lent;
    struct pollfd one = {.fd = lent ? source->lend->incoming : source->descriptor, .events = POLLIN};
    struct timespec wait_time = {0, WAIT_TIME};

    ppoll(&one, 1, &wait_time, NULL);
}

int wstpcopy_get_rest(struct wstpcopy *channel, uint8_t *buffer, size_t size, int verdict, int may_wait)
{
    int looks;

    for (looks = 0; looks < LOOKS && channel->end < size && lacks_rest(channel, verdict); looks++) {
        int next = wstpcopy_more(channel, buffer, size);
        if (next == WSTPCOPY_CLOSED) /* the next receive reports it, when these bytes have been processed */
            break;
        if (next != WSTPCOPY_EMPTY)
            verdict = next;
        else if (may_wait) {
            wait_for(channel);
            may_wait = 0;
        } else
            break;
    }
    return verdict;
}

#else

int wstpcopy_get_rest(struct wstpcopy *channel, uint8_t *buffer, size_t size, int verdict, int may_wait)
{
    (void)channel;
    (void)buffer;
    (void)size;
    (void)may_wait;
    return verdict;
}

#endif
