/*
 * A channel between two pairs of sockets, for test_wstpcopy.c, test_wstpepoll.c and test_pieces.c.
 */
#ifndef TEST_CHANNEL_H
#define TEST_CHANNEL_H

#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "test_require.h"
#include "wstpepoll.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVALUATE "FA#QA~NEvaluatePacket\n#DA~Ax\n]"
#define RETURN "FA#OA~LReturnPacket\n\"DA~Ay\n]"
#define TEXT "FA#MA~JTextPacket\n\"DA~Az\n]"

enum { ROOM = 1 << 16, COMMAND_PACKET = 1, EVALUATE_PACKET = 2, RETURN_PACKET = 5, INPUT_NAME_PACKET = 8 };

/* A channel between two pairs of sockets, with the far ends of both. */
struct bench {
    struct wstpscan scan;
    struct wstpcopy_end source, sink;
    struct wstpcopy channel;
    int far_source, far_sink;
};

static uint8_t buffer[ROOM];

static void make_pair(int32_t *near_end, int *far_end)
{
    int both[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, both) == 0);
    REQUIRE(fcntl(both[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(both[1], F_SETFL, O_NONBLOCK) == 0);
    *near_end = both[0];
    *far_end = both[1];
}

static void setup(struct bench *b)
{
    memset(b, 0, sizeof *b);
    make_pair(&b->source.descriptor, &b->far_source);
    make_pair(&b->sink.descriptor, &b->far_sink);
    b->sink.free = 1;
    b->scan.stop_at_end = (uint64_t)1 << EVALUATE_PACKET | (uint64_t)1 << RETURN_PACKET;
    b->channel.scan = &b->scan;
    b->channel.source = &b->source;
    b->channel.sink = &b->sink;
    b->channel.permitted = 1;
    b->channel.direct = UINT64_MAX;
    b->channel.reported = b->channel.counted = b->scan.stop_at_end;
}

static void teardown(struct bench *b)
{
    close(b->source.descriptor);
    close(b->far_source);
    close(b->sink.descriptor);
    close(b->far_sink);
}

static void come(struct bench *b, const char *text)
{
    REQUIRE(send(b->far_source, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static int went(struct bench *b, const char *text)
{
    char got[ROOM];
    ssize_t size = recv(b->far_sink, got, sizeof got, 0);

    return size < 0 ? text[0] == 0 : (size_t)size == strlen(text) && memcmp(got, text, (size_t)size) == 0;
}

static int round_of(struct bench *b, size_t kept)
{
    return wstpcopy_receive(&b->channel, buffer, sizeof buffer, kept);
}

#endif
