/* See wstprelay.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "wstprelay.h"
#include "wstpsocket.h"
#include "wstpstream.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The watches are handed to poll(2) as they are: not compiled where that is not possible. */
typedef char same_as_pollfd[sizeof(struct wstprelay_watch) == sizeof(struct pollfd)
        && offsetof(struct wstprelay_watch, events) == offsetof(struct pollfd, events)
        && offsetof(struct wstprelay_watch, ready) == offsetof(struct pollfd, revents) ? 1 : -1];

enum { LEFT_TO_PYTHON = 0, DONE = 1, RETURN = 2 };

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Passes whole frames from the stream on. What is no such frame stays in the buffer. */
static int take(struct wstprelay *relay)
{
    ssize_t got = read(relay->incoming, relay->buffer, relay->size);
    int result = DONE;

    if (got < 0 && not_now())
        return DONE;
    if (got <= 0)
        return LEFT_TO_PYTHON;
    relay->heard = 1;
    relay->begin = 0;
    relay->end = (uint32_t)got;
    while (relay->end - relay->begin > STREAM_HEADER) {
        const uint8_t *frame = relay->buffer + relay->begin;
        uint32_t length = stream_length(frame);
        struct wstprelay_end *end;
        ssize_t sent;

        if (frame[4] != STREAM_DATA || frame[5] < 1 || frame[5] > 2)
            return RETURN;
        end = &relay->ends[frame[5] - 1];
        if (end->descriptor < 0 || length == 0 || length > end->credit
            || length >= relay->end - relay->begin - STREAM_HEADER || frame[STREAM_HEADER + length] != STREAM_LINE_FEED)
            return RETURN;
        sent = send(end->descriptor, frame + STREAM_HEADER, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0)
            return RETURN;
        end->credit -= length;
        end->delivered += (uint32_t)sent;
        if ((uint32_t)sent < length) {
            relay->begin += STREAM_HEADER + (uint32_t)sent;
            relay->channel = frame[5];
            relay->left = length - (uint32_t)sent;
            return RETURN;
        }
        if (frame[5] == STREAM_LINK && length > STREAM_SMALL)
            relay->until = relay->pause;
        relay->begin += STREAM_FRAME + length;
        if (end->delivered >= end->enough)
            result = RETURN;
    }
    if (relay->begin < relay->end)
        return RETURN;
    relay->begin = relay->end = 0;
    return result;
}

/* A frame of the first connection has passed. Returns how many small ones are to follow before the call returns. */
static uint32_t count_down(struct wstprelay *relay, uint32_t length)
{
    if (length > STREAM_SMALL)
        relay->until = relay->pause;
    else if (relay->until)
        relay->until--;
    return relay->until;
}

/* Passes what a connection has to the stream as a frame. */
static int pass(struct wstprelay *relay, uint32_t number)
{
    struct wstprelay_end *end = &relay->ends[number - 1];
    uint32_t most = end->may_pass < relay->chunk ? end->may_pass : relay->chunk, size;
    ssize_t got, sent;

    if (most == 0)
        return LEFT_TO_PYTHON;
    got = recv(end->descriptor, relay->frame + STREAM_HEADER, most, MSG_DONTWAIT);
    if (got < 0 && not_now())
        return DONE;
    if (got <= 0)
        return LEFT_TO_PYTHON;
    size = (uint32_t)got;
    stream_put_header(relay->frame, size, (uint8_t)number);
    relay->frame[STREAM_HEADER + size] = STREAM_LINE_FEED;
    end->may_pass -= size;
    end->passed += size;
    size += STREAM_FRAME;
    sent = write(relay->outgoing, relay->frame, size);
    if (sent < 0)
        sent = 0;
    if ((uint32_t)sent < size) {
        relay->rest_begin = (uint32_t)sent;
        relay->rest_end = size;
        return RETURN;
    }
    if (number == STREAM_LINK && relay->pause && count_down(relay, (uint32_t)got) == 0)
        return RETURN;
    return end->may_pass == 0 ? RETURN : DONE;
}

/* Does what is usual with a descriptor that is ready. */
static int serve(struct wstprelay *relay, const struct wstprelay_watch *watch)
{
    uint32_t number;

    if (relay->outgoing < 0 || watch->ready != POLLIN)
        return LEFT_TO_PYTHON;
    if (watch->descriptor == relay->incoming)
        return take(relay);
    for (number = 1; number <= 2; number++)
        if (watch->descriptor == relay->ends[number - 1].descriptor)
            return pass(relay, number);
    return LEFT_TO_PYTHON;
}

int32_t wstprelay_wait(struct wstprelay *relay, struct wstprelay_watch *watches, uint32_t count, int32_t milliseconds)
{
    int64_t until = milliseconds < 0 ? 0 : now() + milliseconds;

    for (;;) {
        int ready = poll((struct pollfd *)watches, count, milliseconds), returns = 0;
        int32_t left = 0;
        uint32_t index;

        if (ready < 0)
            return errno == EINTR ? 0 : -errno;
        if (ready == 0)
            return 0;
        for (index = 0; index < count; index++) {
            if (watches[index].ready == 0)
                continue;
            switch (returns ? DONE : serve(relay, &watches[index])) {
            case LEFT_TO_PYTHON:
                left++;
                continue;
            case RETURN:
                returns = 1;
            }
            watches[index].ready = 0; /* it is done, or is ready the next time as well */
        }
        if (left || returns)
            return left;
        if (milliseconds >= 0) {
            int64_t rest = until - now();

            if (rest <= 0)
                return 0;
            milliseconds = (int32_t)rest;
        }
    }
}
