/* Tests of wstprelay: frames in both directions, what is left to Python, and bytes of all kinds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "wstprelay.h"
#include "wstpstream.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_require.h"

#define CHUNK 1000

static uint8_t buffer[4096], frame[6 + CHUNK + 1];
static struct wstprelay relay;
static struct wstprelay_watch watches[3];
static int to_stream, from_stream, peers[2];

static void set_up(void)
{
    int in[2], out[2], pair[2], index;

    memset(&relay, 0, sizeof relay);
    REQUIRE(pipe2(in, O_NONBLOCK) == 0 && pipe2(out, O_NONBLOCK) == 0);
    relay.incoming = in[0], to_stream = in[1];
    relay.outgoing = out[1], from_stream = out[0];
    relay.buffer = buffer, relay.size = sizeof buffer;
    relay.frame = frame, relay.chunk = CHUNK;
    for (index = 0; index < 2; index++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
        relay.ends[index].descriptor = pair[0];
        relay.ends[index].may_pass = relay.ends[index].credit = relay.ends[index].enough = 100000;
        peers[index] = pair[1];
        watches[index].descriptor = pair[0];
        watches[index].events = POLLIN;
    }
    watches[2].descriptor = relay.incoming;
    watches[2].events = POLLIN;
}

static void tear_down(void)
{
    int index;

    close(relay.incoming), close(to_stream), close(relay.outgoing), close(from_stream);
    for (index = 0; index < 2; index++)
        close(watches[index].descriptor), close(peers[index]);
}

static int32_t once(void)
{
    relay.begin = relay.end = relay.left = relay.rest_begin = relay.rest_end = 0;
    return wstprelay_wait(&relay, watches, 3, 0);
}

static void passes(void)
{
    uint8_t got[100];

    set_up();
    REQUIRE(write(to_stream, "\0\0\0\2\0\1ab\n\0\0\0\1\0\2c\n", 17) == 17);
    REQUIRE(once() == 0 && relay.end == 0 && relay.heard == 1);
    REQUIRE(read(peers[0], got, sizeof got) == 2 && memcmp(got, "ab", 2) == 0);
    REQUIRE(read(peers[1], got, sizeof got) == 1 && got[0] == 'c');
    REQUIRE(relay.ends[0].credit == 99998 && relay.ends[0].delivered == 2);
    REQUIRE(write(peers[1], "xyz", 3) == 3 && once() == 0);
    REQUIRE(read(from_stream, got, sizeof got) == 10 && memcmp(got, "\0\0\0\3\0\2xyz\n", 10) == 0);
    REQUIRE(relay.ends[1].passed == 3 && relay.ends[1].may_pass == 99997);
    tear_down();
}

static void leaves(void)
{
    uint8_t got[CHUNK];
    int index;

    set_up();
    REQUIRE(write(to_stream, "\0\0\0\2\0\1ab\n\0\0\0\0\4\0\n", 16) == 16); /* a frame of another kind */
    REQUIRE(once() == 0 && relay.begin == 9 && relay.end == 16);
    REQUIRE(write(to_stream, "\0\0\0\2\0\1a", 7) == 7); /* not whole */
    REQUIRE(once() == 0 && relay.begin == 0 && relay.end == 7);
    relay.ends[0].credit = 1;
    REQUIRE(write(to_stream, "\0\0\0\2\0\1ab\n", 9) == 9); /* more than credit */
    REQUIRE(once() == 0 && relay.begin == 0 && relay.end == 9);
    relay.ends[1].may_pass = 0;
    REQUIRE(write(peers[1], "x", 1) == 1);
    REQUIRE(once() == 1 && watches[1].ready == POLLIN);
    relay.ends[1].may_pass = 100000;
    for (index = 0; relay.rest_end == 0 && index < 10000; index++) { /* until the stream takes no more */
        REQUIRE(write(peers[1], got, sizeof got) > 0 || index > 0);
        REQUIRE(once() >= 0);
        relay.ends[1].may_pass = 100000;
    }
    REQUIRE(relay.rest_end > relay.rest_begin && relay.rest_end <= sizeof frame);
    tear_down();
}

/* The call returns after so many small frames of the first connection; a large one makes it wait for as many again. */
static void counts(void)
{
    static uint8_t large[STREAM_SMALL + 1], got[STREAM_SMALL + 100];
    uint32_t size = STREAM_SMALL + 1;

    set_up();
    relay.chunk = size;
    relay.frame = got;
    relay.pause = relay.until = 3;
    REQUIRE(write(peers[1], "x", 1) == 1 && once() == 0 && relay.until == 3); /* the other connection */
    REQUIRE(write(peers[0], "x", 1) == 1 && once() == 0 && relay.until == 2);
    REQUIRE(write(peers[0], large, size) == (ssize_t)size && once() == 0 && relay.until == 3);
    REQUIRE(write(peers[0], "x", 1) == 1 && once() == 0 && relay.until == 2);
    relay.ends[0].credit = relay.ends[0].enough = 100000;
    relay.buffer = got, relay.size = sizeof got;
    REQUIRE(write(to_stream, "\0\0\x40\1\0\1", 6) == 6 && write(to_stream, large, STREAM_SMALL + 1) == STREAM_SMALL + 1);
    REQUIRE(write(to_stream, "\n", 1) == 1 && once() == 0 && relay.end == 0 && relay.until == 3); /* a large one comes */
    for (size = 3; size > 0; size--)
        REQUIRE(write(peers[0], "x", 1) == 1 && relay.until == size && once() == 0);
    REQUIRE(relay.until == 0);
    relay.pause = 0; /* it is not asked to count */
    REQUIRE(write(peers[0], "x", 1) == 1 && once() == 0 && relay.until == 0);
    tear_down();
}

static void anything(void)
{
    uint8_t bytes[200];
    int round, index;

    srand(1);
    for (round = 0; round < 2000; round++) {
        set_up();
        for (index = 0; index < (int)sizeof bytes; index++)
            bytes[index] = (uint8_t)(rand() % 4 ? rand() % 3 : rand());
        REQUIRE(write(to_stream, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
        relay.ends[0].credit = (uint32_t)rand() % 50;
        REQUIRE(once() >= 0);
        REQUIRE(relay.begin <= relay.end && relay.end <= relay.size);
        tear_down();
    }
}

int main(void)
{
    passes();
    leaves();
    counts();
    anything();
    return 0;
}
