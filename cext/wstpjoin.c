/* See wstpjoin.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "wstpjoin.h"
#include "wstpsocket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

#define MOST 16 /* ways at a time */

/* The vendor's library sends a frame in several small writes, and waits for the acknowledgement of each. */
static void acknowledge(int descriptor)
{
#ifdef TCP_QUICKACK
    int yes = 1;

    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &yes, sizeof yes);
#else
    (void)descriptor;
#endif
}

/* Sends on what the sink takes. */
static void send_on(struct wstpjoin_way *way)
{
    if (way->skip >= 0 && way->begin < way->end) {
        while (way->begin < way->end && way->buffer[way->begin] == (uint8_t)way->skip)
            way->begin++;
        if (way->begin < way->end)
            way->skip = -1;
    }
    while (way->begin < way->end && way->sink >= 0) {
        ssize_t sent = send(way->sink, way->buffer + way->begin, way->end - way->begin, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent >= 0)
            way->begin += (uint32_t)sent;
        else if (errno != EINTR && not_now())
            return;
        else if (errno != EINTR)
            way->sink = -1;
    }
    way->begin = way->end = 0;
}

/* Receives once and sends on. */
static void pass(struct wstpjoin_way *way)
{
    ssize_t got = recv(way->source, way->buffer, way->size, MSG_DONTWAIT);

    if (got < 0 && not_now())
        return;
    if (got <= 0) {
        way->ended = 1;
        if (way->sink >= 0)
            (void)shutdown(way->sink, SHUT_WR);
        return;
    }
    acknowledge(way->source);
    way->end = (uint32_t)got;
    send_on(way);
}

int32_t wstpjoin(struct wstpjoin_way *ways, uint32_t count, int32_t milliseconds)
{
    struct pollfd watched[MOST];
    uint32_t which[MOST];

    if (count > MOST)
        return -EINVAL;
    for (;;) {
        uint32_t index, number = 0;
        int ready;

        for (index = 0; index < count; index++) {
            struct wstpjoin_way *way = &ways[index];

            if (way->ended)
                continue;
            if (way->begin < way->end)
                send_on(way);
            which[number] = index;
            watched[number].fd = way->begin < way->end ? way->sink : way->source;
            watched[number].events = way->begin < way->end ? POLLOUT : POLLIN;
            watched[number++].revents = 0;
        }
        ready = poll(watched, (nfds_t)number, milliseconds);
        if (ready < 0)
            return -errno;
        if (ready == 0)
            return (int32_t)count;
        for (index = 0; index < number; index++) {
            struct wstpjoin_way *way = &ways[which[index]];

            if (watched[index].revents == 0)
                continue;
            if (way->begin < way->end)
                send_on(way);
            else
                pass(way);
            if (way->ended)
                return (int32_t)which[index];
        }
    }
}
