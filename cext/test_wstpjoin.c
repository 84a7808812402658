/* Tests of wstpjoin: bytes in both directions at a time, a sink that takes nothing, ends, and a peer that is gone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "wstpjoin.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_require.h"

#define SIZE 4096

static uint8_t buffers[2][SIZE], much[1 << 20];
static struct wstpjoin_way ways[2];
static int left[2], right[2]; /* [0] is the test's end of each connection, [1] the one that is joined */

static void set_up(void)
{
    int index;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, left) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, right) == 0);
    memset(ways, 0, sizeof ways);
    for (index = 0; index < 2; index++) {
        ways[index].source = index ? right[1] : left[1];
        ways[index].sink = index ? left[1] : right[1];
        ways[index].buffer = buffers[index];
        ways[index].size = SIZE;
        ways[index].skip = -1;
    }
}

static void tear_down(void)
{
    close(left[0]), close(left[1]), close(right[0]), close(right[1]);
}

static void passes(void)
{
    uint8_t got[10];

    set_up();
    REQUIRE(wstpjoin(ways, 2, 0) == 2);
    REQUIRE(write(left[0], "abc", 3) == 3 && write(right[0], "de", 2) == 2);
    REQUIRE(wstpjoin(ways, 2, 0) == 2);
    REQUIRE(read(right[0], got, sizeof got) == 3 && memcmp(got, "abc", 3) == 0);
    REQUIRE(read(left[0], got, sizeof got) == 2 && memcmp(got, "de", 2) == 0);
    REQUIRE(wstpjoin(ways, 17, 0) == -EINVAL);
    tear_down();
}

/* The limit is for silence: however much there is, and however long it takes, it passes first. */
static void passes_all_that_is_there(void)
{
    uint32_t index, taken = 0;
    uint8_t got[SIZE];
    ssize_t read_now;

    set_up();
    for (index = 0; index < 10; index++)
        REQUIRE(write(left[0], much + index * SIZE, SIZE) == SIZE);
    REQUIRE(wstpjoin(ways, 2, 0) == 2);
    while ((read_now = read(right[0], got, sizeof got)) > 0)
        taken += (uint32_t)read_now;
    REQUIRE(taken == 10 * SIZE);
    tear_down();
}

static void skips(void)
{
    uint8_t got[10];

    set_up();
    ways[0].skip = ']';
    memcpy(buffers[0], "]]", 2); /* what was received before */
    ways[0].end = 2;
    REQUIRE(write(left[0], "]a]", 3) == 3 && wstpjoin(ways, 2, 0) == 2);
    REQUIRE(read(right[0], got, sizeof got) == 2 && memcmp(got, "a]", 2) == 0);
    memcpy(buffers[1], "first", 5);
    ways[1].end = 5;
    REQUIRE(wstpjoin(ways, 2, 0) == 2 && read(left[0], got, sizeof got) == 5);
    tear_down();
}

static void waits_for_a_slow_sink(void)
{
    uint32_t given = 0, taken = 0, index;
    uint8_t got[1000];

    set_up();
    for (index = 0; index < sizeof much; index++)
        much[index] = (uint8_t)(index * 7 + index / 251);
    while (taken < sizeof much) {
        ssize_t written = write(left[0], much + given, sizeof much - given), read_now;

        if (written > 0)
            given += (uint32_t)written;
        REQUIRE(wstpjoin(ways, 2, 0) == 2);
        while ((read_now = read(right[0], got, sizeof got)) > 0) {
            REQUIRE(memcmp(got, much + taken, (size_t)read_now) == 0);
            taken += (uint32_t)read_now;
            if (taken % 3 == 0)
                break;
        }
    }
    tear_down();
}

static void ends(void)
{
    uint8_t got[10];

    set_up();
    REQUIRE(write(left[0], "last", 4) == 4 && shutdown(left[0], SHUT_WR) == 0);
    REQUIRE(wstpjoin(ways, 2, -1) == 0 && ways[0].ended == 1);
    REQUIRE(read(right[0], got, sizeof got) == 4 && read(right[0], got, sizeof got) == 0);
    REQUIRE(write(right[0], "answer", 6) == 6 && wstpjoin(ways, 2, 0) == 2); /* half of it goes on */
    REQUIRE(read(left[0], got, sizeof got) == 6);
    close(right[0]);
    REQUIRE(wstpjoin(ways, 2, -1) == 1 && ways[1].ended == 1);
    REQUIRE(wstpjoin(ways, 2, 1) == 2); /* nothing is left to wait for but the time */
    right[0] = dup(left[0]);
    tear_down();
}

static void reads_to_the_end_for_a_peer_that_is_gone(void)
{
    set_up();
    close(right[0]);
    REQUIRE(write(left[0], much, 10000) == 10000);
    REQUIRE(wstpjoin(ways, 2, -1) == 1); /* the peer's own end */
    REQUIRE(wstpjoin(ways, 2, 10) == 2 && ways[0].sink == -1);
    close(left[0]);
    REQUIRE(wstpjoin(ways, 2, -1) == 0);
    left[0] = dup(left[1]), right[0] = dup(left[1]);
    tear_down();
}

int main(void)
{
    passes();
    passes_all_that_is_there();
    skips();
    waits_for_a_slow_sink();
    ends();
    reads_to_the_end_for_a_peer_that_is_gone();
    return 0;
}
