/*
 * The pump's round. The contract is in wstppump.h.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* TCP_QUICKACK */
#include "wstppump_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the interpreter ignores SIGPIPE */
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

/* Sends what lies between start and position. */
static void flush(struct wstppump *pump, const uint8_t *buffer)
{
    pump->unsent = send_now(pump->sink->descriptor, buffer + pump->start, (size_t)(pump->position - pump->start));
    pump->open_tail = buffer[pump->position - 1] != END_PACKET;
    pump->start = pump->position;
}

/* Whether the frame that ends at position lies whole behind start, and may be sent. */
static int may_be_sent(const struct wstppump *pump)
{
    return pump->allowed && pump->sink && pump->sink->free && pump->sink->descriptor >= 0 && has(pump->direct, pump->scan->head)
        && pump->scan->frame_bytes <= pump->position - pump->start;
}

void wstppump_acknowledge(int32_t descriptor)
{
#ifdef TCP_QUICKACK
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one); /* Linux clears it by itself */
#else
    (void)descriptor;
#endif
}

/* Whether the peer is likely to have more to send that it holds back until it hears from us. */
static int ends_within_frame(const struct wstppump *pump, const uint8_t *buffer)
{
    return pump->scan->step != WSTPSCAN_AT_BOUNDARY || buffer[pump->end - 1] != END_PACKET;
}

int wstppump_is_passing(const struct wstppump *pump)
{
    return pump->passing == pump->scan->frame_start + 1 && pump->scan->step != WSTPSCAN_AT_BOUNDARY
        && pump->sink && pump->sink->descriptor >= 0;
}

/* Whether the frame in progress, whose beginning lies behind start, may go to the sink as it comes. */
static int may_begin(const struct wstppump *pump)
{
    const struct wstpscan *scan = pump->scan;

    return pump->begins && scan->head_known && has(pump->large, scan->head) && scan->step != WSTPSCAN_AT_BOUNDARY && !scan->error
        && pump->allowed && pump->sink && pump->sink->free && pump->sink->descriptor >= 0
        && scan->frame_bytes <= pump->end - pump->start && scan->frame_bytes + scan->opaque > pump->held;
}

static void begin(struct wstppump *pump, const uint8_t *buffer)
{
    flush(pump, buffer);
    pump->open_tail = 0;
    pump->passing = pump->scan->frame_start + 1;
    pump->sink->free = 0;
    pump->begun = 1;
    if (pump->once)
        pump->allowed = 0;
}

/* Whether this END is that of the frame which was begun here, or of one behind it that nobody has to look at either. */
static int completes(const struct wstppump *pump)
{
    return pump->passing == pump->scan->frame_start + 1 || has(pump->quick, pump->scan->head);
}

/* Sends the end of a frame that was begun here, if it is the last in the buffer and has its "]". Returns 1 if all was
 * taken; otherwise the caller completes the frame with what is left behind start. */
static int complete(struct wstppump *pump, const uint8_t *buffer)
{
    if (pump->position < pump->end || buffer[pump->position - 1] != END_PACKET)
        return 0;
    flush(pump, buffer);
    pump->start -= pump->unsent;
    if (pump->unsent > 0) {
        pump->unsent = 0;
        return 0;
    }
    pump->passing = 0;
    pump->sink->free = 1;
    pump->begun = 0;
    return 1;
}

int wstppump_next(struct wstppump *pump, const uint8_t *buffer)
{
    struct wstpscan *scan = pump->scan;

    pump->unsent = 0;
    pump->open_tail = 0;
    while (pump->position < pump->end) {
        int verdict = wstpscan_scan(scan, buffer + pump->position, (size_t)(pump->end - pump->position));
        pump->position += scan->used;
        if (verdict == WSTPSCAN_MORE)
            break;
        if (verdict == WSTPSCAN_END && pump->begun) {
            if (!completes(pump) || !complete(pump, buffer))
                return verdict;
            pump->head = scan->head;
            if (has(pump->reported, scan->head))
                return WSTPPUMP_ALL_SENT;
            break;
        }
        if (verdict != WSTPSCAN_END || !may_be_sent(pump))
            return verdict;
        if (has(pump->reported, scan->head)) {
            pump->frame = pump->position - scan->frame_bytes;
            pump->head = scan->head;
            flush(pump, buffer);
            if (pump->once)
                pump->allowed = 0;
            return pump->position == pump->end && pump->unsent == 0 && !pump->open_tail ? WSTPPUMP_ALL_SENT
                                                                                         : WSTPPUMP_SENT;
        }
    }
    if (scan->step == WSTPSCAN_AT_BOUNDARY && !scan->error && pump->start < pump->end) {
        if (pump->begun) /* its end is not one that the scanner stops at */
            complete(pump, buffer);
        else if (may_be_sent(pump))
            flush(pump, buffer);
    }
    else if (wstppump_is_passing(pump) && pump->start < pump->end) {
        flush(pump, buffer);
        pump->open_tail = 0;
    }
    else if (may_begin(pump))
        begin(pump, buffer);
    if (pump->source->descriptor >= 0 && ends_within_frame(pump, buffer))
        wstppump_acknowledge(pump->source->descriptor);
    return WSTPSCAN_MORE;
}

/* Receives what fits; 1: something came, 0: the end, -1: nothing is there yet. */
static int receive(struct wstppump *pump, uint8_t *data, size_t room)
{
    ssize_t size;

    do
        size = recv(pump->source->descriptor, data, room, 0);
    while (size < 0 && errno == EINTR);
    if (size > 0) {
        pump->drained = (size_t)size < room;
        pump->end += (uint64_t)size;
        return 1;
    }
    return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -1 : 0;
}

int wstppump_more(struct wstppump *pump, uint8_t *buffer, size_t size)
{
    int came = receive(pump, buffer + pump->end, size - (size_t)pump->end);

    if (came <= 0)
        return came < 0 ? WSTPPUMP_EMPTY : WSTPPUMP_CLOSED;
    return wstppump_next(pump, buffer);
}

int wstppump_receive(struct wstppump *pump, uint8_t *buffer, size_t size, size_t kept)
{
    if (pump->source->descriptor < 0)
        return WSTPPUMP_UNAVAILABLE;
    pump->start = 0;
    pump->position = pump->end = kept;
    return wstppump_more(pump, buffer, size);
}
