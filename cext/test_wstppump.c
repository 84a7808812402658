/*
 * Tests of the pump's round and of the relay in C, on pairs of sockets; tools/test-c builds them with sanitizers and runs
 * them.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "wstppump.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

#define EVALUATE "FA#QA~NEvaluatePacket\n#DA~Ax\n]"
#define RETURN "FA#OA~LReturnPacket\n\"DA~Ay\n]"
#define TEXT "FA#MA~JTextPacket\n\"DA~Az\n]"

enum { ROOM = 1 << 16, EVALUATE_PACKET = 2, RETURN_PACKET = 5 };

/* A pump between two pairs of sockets, with the far ends of both. */
struct bench {
    struct wstpscan scan;
    struct wstpend source, sink;
    struct wstppump pump;
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
    b->pump.scan = &b->scan;
    b->pump.source = &b->source;
    b->pump.sink = &b->sink;
    b->pump.allowed = 1;
    b->pump.direct = UINT64_MAX;
    b->pump.reported = b->pump.quick = b->scan.stop_at_end;
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
    return wstppump_receive(&b->pump, buffer, sizeof buffer, kept);
}

static void test_what_is_sent(void)
{
    struct bench b;

    setup(&b);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_EMPTY);
    come(&b, RETURN);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_ALL_SENT && b.pump.head == RETURN_PACKET && b.pump.drained == 1);
    REQUIRE(b.pump.frame == 0 && b.pump.position == strlen(RETURN) && went(&b, RETURN));

    come(&b, TEXT RETURN TEXT);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_SENT && b.pump.frame == strlen(TEXT));
    REQUIRE(wstppump_next(&b.pump, buffer) == WSTPSCAN_MORE && b.pump.start == b.pump.end);
    REQUIRE(went(&b, TEXT RETURN TEXT));

    b.pump.once = 1;
    come(&b, EVALUATE EVALUATE);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_SENT && went(&b, EVALUATE));
    REQUIRE(wstppump_next(&b.pump, buffer) == WSTPSCAN_END && b.pump.start == strlen(EVALUATE));
    REQUIRE(went(&b, ""));
    teardown(&b);
}

static void test_what_is_not(void)
{
    struct bench b;
    int i;

    for (i = 0; i < 4; i++) {
        setup(&b);
        switch (i) {
        case 0: b.sink.free = 0; break;
        case 1: b.pump.allowed = 0; break;
        case 2: b.pump.sink = NULL; break;
        default: b.pump.direct = ~((uint64_t)1 << RETURN_PACKET); break;
        }
        come(&b, TEXT RETURN);
        REQUIRE(round_of(&b, 0) == WSTPSCAN_END && b.pump.start == 0 && b.pump.position == strlen(TEXT RETURN));
        REQUIRE(b.scan.frame_bytes == strlen(RETURN) && went(&b, ""));
        teardown(&b);
    }
}

static void test_frames_in_pieces(void)
{
    struct bench b;
    size_t cut;

    for (cut = 1; cut < strlen(RETURN); cut++) {
        char first[64];
        setup(&b);
        memcpy(first, RETURN, cut);
        first[cut] = 0;
        come(&b, first);
        if (cut == strlen(RETURN) - 1) { /* the expression is whole, and its end comes late */
            REQUIRE(round_of(&b, 0) == WSTPPUMP_SENT && b.pump.open_tail == 1 && b.pump.unsent == 0);
            come(&b, "]");
            REQUIRE(round_of(&b, 0) == WSTPSCAN_TAIL);
        } else {
            REQUIRE(round_of(&b, 0) == WSTPSCAN_MORE && b.pump.start == 0 && b.pump.end == cut && went(&b, ""));
            come(&b, &RETURN[cut]);
            REQUIRE(round_of(&b, cut) == WSTPPUMP_ALL_SENT && went(&b, RETURN));
        }
        teardown(&b);
    }
}

static void test_a_full_sink(void)
{
    struct bench b;
    char *text = malloc(60000), sent[ROOM];
    size_t total = 0;
    ssize_t size;
    int verdict, rounds = 0, length;

    setup(&b);
    length = sprintf(text, "FA#OA~LReturnPacket\n\"50002 A~");
    memset(text + length, 'y', 50000);
    memcpy(text + length + 50000, "\n]", 3);
    do {
        come(&b, text);
        verdict = round_of(&b, 0);
        total += strlen(text) - (size_t)b.pump.unsent;
        REQUIRE(++rounds < 1000);
    } while (verdict == WSTPPUMP_ALL_SENT);
    REQUIRE(verdict == WSTPPUMP_SENT && b.pump.unsent > 0 && b.pump.unsent <= strlen(text));
    while ((size = recv(b.far_sink, sent, sizeof sent, 0)) > 0)
        total -= (size_t)size;
    REQUIRE(total == 0);
    teardown(&b);
    free(text);
}

static void test_ends(void)
{
    struct bench b;

    setup(&b);
    close(b.far_sink);
    come(&b, RETURN);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_ALL_SENT); /* and no signal */
    close(b.far_source);
    REQUIRE(round_of(&b, 0) == WSTPPUMP_CLOSED);
    close(b.source.descriptor);
    b.source.descriptor = -1;
    REQUIRE(round_of(&b, 0) == WSTPPUMP_UNAVAILABLE);
    close(b.sink.descriptor);

    setup(&b);
    come(&b, RETURN TEXT "?");
    REQUIRE(round_of(&b, 0) == WSTPPUMP_SENT);
    REQUIRE(wstppump_next(&b.pump, buffer) == WSTPSCAN_ERROR && b.pump.start == strlen(RETURN));
    REQUIRE(b.scan.error == WSTPSCAN_E_TOKEN && went(&b, RETURN));
    teardown(&b);
}

/* The beginning of a frame is the caller's, the rest passes, whatever the sink takes at a time. */
static void test_passing(void)
{
    enum { LENGTH = 3000000, HEADER = 29 };
    struct bench b;
    uint8_t *text = malloc(LENGTH + 64), *got = malloc(LENGTH + 64);
    size_t sent = 0, received = 0, owed = 0, owed_at = 0, passed = 0, total, i;
    int32_t ends[2];
    unsigned step = 1;

    wstprelay_make_pipe(ends);
    setup(&b);
    total = (size_t)sprintf((char *)text, "FA#MA~JTextPacket\n\"%d A~", LENGTH + 2);
    REQUIRE(total == HEADER);
    for (i = 0; i < LENGTH; i++)
        text[total++] = (uint8_t)(i * 2654435761U >> 11);
    text[total++] = '\n';
    text[total++] = ']';
    while (received < total) {
        size_t room = (step = step * 1103515245U + 12345U) % 70000U + 1;
        ssize_t size = send(b.far_source, text + sent, total - sent < room ? total - sent : room, 0);
        if (size > 0)
            sent += (size_t)size;
        if (owed == 0) {
            int verdict = wstppump_pass(&b.pump, buffer, sizeof buffer, ends);
            REQUIRE(verdict == WSTPSCAN_MORE || verdict == WSTPPUMP_EMPTY);
            if (verdict == WSTPSCAN_MORE && b.pump.passing == 0) {
                owed = (size_t)b.pump.end; /* the beginning */
                owed_at = 0;
                if (b.scan.step != WSTPSCAN_AT_BOUNDARY)
                    b.pump.passing = b.scan.frame_start + 1;
            } else if (verdict == WSTPSCAN_MORE) {
                passed += b.pump.start == b.pump.end;
                owed = (size_t)(b.pump.unsent + b.pump.end - b.pump.start);
                owed_at = (size_t)(b.pump.start - b.pump.unsent);
            }
        }
        size = owed > 0 ? send(b.sink.descriptor, buffer + owed_at, owed, 0) : 0;
        if (size > 0) {
            owed -= (size_t)size;
            owed_at += (size_t)size;
        }
        if (step & 1U << 20 && (size = recv(b.far_sink, got + received, total + 64 - received, 0)) > 0)
            received += (size_t)size;
    }
    REQUIRE(received == total && memcmp(got, text, total) == 0 && passed > 5);
    REQUIRE(b.scan.step == WSTPSCAN_AT_BOUNDARY && b.scan.frame_bytes == total);

    come(&b, "FA#MA~JTextPacket\n\"100000 A~"); /* and one that breaks off */
    REQUIRE(round_of(&b, 0) == WSTPSCAN_MORE);
    b.pump.passing = b.scan.frame_start + 1;
    b.pump.start = 7;
    REQUIRE(send(b.far_source, text, 1000, 0) == 1000);
    close(b.far_source);
    REQUIRE(wstppump_pass(&b.pump, buffer, sizeof buffer, ends) == WSTPSCAN_MORE);
    REQUIRE(b.pump.start == 0 && b.pump.end == 0 && b.pump.unsent == 0);
    REQUIRE(wstppump_pass(&b.pump, buffer, sizeof buffer, ends) == WSTPPUMP_CLOSED);
    REQUIRE(recv(b.far_sink, got, LENGTH, 0) == 1000);
    teardown(&b);
    close(ends[0]);
    close(ends[1]);
    free(text);
    free(got);
}

static void test_relay(void)
{
    struct bench b, other;
    struct wstprelay_event events[8];
    struct wstprelay work = {.most = 8, .buffer = buffer, .size = sizeof buffer, .events = events};
    int relay = wstprelay_open();

    if (relay < 0) {
        puts("no relay on this system");
        return;
    }
    work.descriptor = relay;
    wstprelay_make_pipe(work.pipe);
    setup(&b);
    setup(&other);
    b.pump.number = 1;
    other.pump.number = 2;
    b.pump.talkative = 1;
    REQUIRE(wstprelay_watch(relay, &b.pump) == 0 && wstprelay_watch(relay, &b.pump) == 0);
    REQUIRE(wstprelay_watch(relay, &other.pump) == 0);
    b.pump.parked = other.pump.parked = 1;
    REQUIRE(wstprelay_run(&work) == 0);

    come(&b, RETURN);
    come(&other, EVALUATE);
    REQUIRE(wstprelay_run(&work) == 2);
    REQUIRE(events[0].number + events[1].number == 3 && events[0].verdict == WSTPPUMP_ALL_SENT);
    REQUIRE(events[0].head + events[1].head == EVALUATE_PACKET + RETURN_PACKET);
    REQUIRE(b.pump.parked && other.pump.parked && went(&b, RETURN) && went(&other, EVALUATE));

    come(&b, TEXT); /* nobody has to hear of it */
    REQUIRE(wstprelay_run(&work) == 0 && went(&b, TEXT) && b.pump.parked);

    come(&b, "F");
    REQUIRE(wstprelay_run(&work) == 1);
    REQUIRE(events[0].verdict == WSTPSCAN_MORE && !b.pump.parked && b.pump.end == 1 && b.pump.watched);
    come(&b, "A");
    REQUIRE(wstprelay_run(&work) == 0 && !b.pump.watched);
    REQUIRE(round_of(&b, 1) == WSTPSCAN_MORE && b.pump.end == 2);

    other.pump.quick = 0;
    come(&other, EVALUATE);
    REQUIRE(wstprelay_run(&work) == 1 && !other.pump.parked);
    REQUIRE(other.pump.frame == 0 && other.pump.position == strlen(EVALUATE) && went(&other, EVALUATE));

    other.pump.parked = 1;
    close(other.far_source);
    REQUIRE(wstprelay_run(&work) == 1 && events[0].verdict == WSTPPUMP_CLOSED);
    wstprelay_unwatch(relay, &other.pump);
    REQUIRE(!other.pump.watched && wstprelay_run(&work) == 0);
    teardown(&b);
    teardown(&other);
    close(relay);
    close(work.pipe[0]);
    close(work.pipe[1]);
}

int main(void)
{
    test_what_is_sent();
    test_what_is_not();
    test_frames_in_pieces();
    test_a_full_sink();
    test_ends();
    test_passing();
    test_relay();
    puts("the pump's round: passed");
    return 0;
}
