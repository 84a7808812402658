/*
 * Tests of the rounds of a channel, on pairs of sockets; tools/test-c builds them with sanitizers and runs them.
 */
#include "test_channel.h"
#include "test_refuse.h"

static void test_what_is_sent(void)
{
    struct bench b;
    uint64_t all = 0;

    setup(&b);
    b.channel.total = &all;
    REQUIRE(round_of(&b, 0) == WSTPCOPY_EMPTY && all == 0);
    come(&b, RETURN);
    REQUIRE(round_of(&b, 0) == WSTPCOPY_ALL_SENT && all == strlen(RETURN) && b.channel.head == RETURN_PACKET && b.channel.drained == 1);
    REQUIRE(b.channel.frame == 0 && b.channel.position == strlen(RETURN) && went(&b, RETURN));

    come(&b, TEXT RETURN TEXT);
    REQUIRE(round_of(&b, 0) == WSTPCOPY_SENT && b.channel.frame == strlen(TEXT));
    REQUIRE(wstpcopy_next(&b.channel, buffer) == WSTPSCAN_MORE && b.channel.start == b.channel.end);
    REQUIRE(went(&b, TEXT RETURN TEXT));

    b.channel.one_shot = 1;
    come(&b, EVALUATE EVALUATE);
    REQUIRE(round_of(&b, 0) == WSTPCOPY_SENT && went(&b, EVALUATE));
    REQUIRE(wstpcopy_next(&b.channel, buffer) == WSTPSCAN_END && b.channel.start == strlen(EVALUATE));
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
        case 1: b.channel.permitted = 0; break;
        case 2: b.channel.sink = NULL; break;
        default: b.channel.direct = ~((uint64_t)1 << RETURN_PACKET); break;
        }
        come(&b, TEXT RETURN);
        REQUIRE(round_of(&b, 0) == WSTPSCAN_END && b.channel.start == 0 && b.channel.position == strlen(TEXT RETURN));
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
            REQUIRE(round_of(&b, 0) == WSTPCOPY_SENT && b.channel.open_tail == 1 && b.channel.unsent == 0);
            come(&b, "]");
            REQUIRE(round_of(&b, 0) == WSTPSCAN_TAIL);
        } else {
            REQUIRE(round_of(&b, 0) == WSTPSCAN_MORE && b.channel.start == 0 && b.channel.end == cut && went(&b, ""));
            come(&b, &RETURN[cut]);
            REQUIRE(round_of(&b, cut) == WSTPCOPY_ALL_SENT && went(&b, RETURN));
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
        total += strlen(text) - (size_t)b.channel.unsent;
        REQUIRE(++rounds < 1000);
    } while (verdict == WSTPCOPY_ALL_SENT);
    REQUIRE(verdict == WSTPCOPY_SENT && b.channel.unsent > 0 && b.channel.unsent <= strlen(text));
    while ((size = recv(b.far_sink, sent, sizeof sent, 0)) > 0)
        total -= (size_t)size;
    REQUIRE(total == 0);
    teardown(&b);
    free(text);
}

/* Frames that the caller has kept: they go past what the channel receives, noted like others, if the sink is free. */
static void test_what_was_kept(void)
{
    static uint8_t large[1 << 22];
    struct wstpkeep keep;
    struct bench b;
    int64_t unsent;

    setup(&b);
    memset(&keep, 0, sizeof keep);
    b.channel.one_shot = 1;
    b.channel.permitted = 0; /* what is received must wait; what has waited is before it */
    b.sink.keep = &keep;
    come(&b, EVALUATE "FA#QA~NEvaluateP");
    REQUIRE(round_of(&b, 0) == WSTPSCAN_END && wstpcopy_next(&b.channel, buffer) == WSTPSCAN_MORE && went(&b, ""));
    REQUIRE(wstpcopy_send_kept(&b.channel, (const uint8_t *)EVALUATE, strlen(EVALUATE), EVALUATE_PACKET) == 0);
    REQUIRE(went(&b, EVALUATE) && keep.outs[keep.valid_out].evaluations == 1);
    REQUIRE(keep.outs[keep.valid_out].end == strlen(EVALUATE) && keep.outs[keep.valid_out].head == EVALUATE_PACKET);
    b.sink.free = 0;
    REQUIRE(wstpcopy_send_kept(&b.channel, (const uint8_t *)EVALUATE, strlen(EVALUATE), EVALUATE_PACKET) == -1);
    REQUIRE(went(&b, "") && keep.outs[keep.valid_out].evaluations == 1);
    b.sink.free = 1;
    unsent = wstpcopy_send_kept(&b.channel, large, sizeof large, EVALUATE_PACKET);
    REQUIRE(unsent > 0 && unsent < (int64_t)sizeof large && keep.outs[keep.valid_out].evaluations == 2);
    close(b.far_sink);
    b.sink.keep = NULL;
    REQUIRE(wstpcopy_send_kept(&b.channel, large, sizeof large, EVALUATE_PACKET) == 0); /* a broken one takes everything */
    b.channel.sink = NULL;
    REQUIRE(wstpcopy_send_kept(&b.channel, large, sizeof large, EVALUATE_PACKET) == -1);
    teardown(&b);
}

static void test_ends(void)
{
    struct bench b;

    setup(&b);
    close(b.far_sink);
    come(&b, RETURN);
    REQUIRE(round_of(&b, 0) == WSTPCOPY_ALL_SENT); /* and no signal */
    close(b.far_source);
    REQUIRE(round_of(&b, 0) == WSTPCOPY_CLOSED);
    close(b.source.descriptor);
    b.source.descriptor = -1;
    REQUIRE(round_of(&b, 0) == WSTPCOPY_UNAVAILABLE);
    close(b.sink.descriptor);

    setup(&b);
    come(&b, RETURN TEXT "?");
    REQUIRE(round_of(&b, 0) == WSTPCOPY_SENT);
    REQUIRE(wstpcopy_next(&b.channel, buffer) == WSTPSCAN_ERROR && b.channel.start == strlen(RETURN));
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
    uint64_t all = 0;
    int32_t ends[2];
    unsigned step = 1;

    wstpcopy_make_pipe(ends);
    setup(&b);
    b.channel.total = &all;
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
            int verdict = wstpcopy_pass(&b.channel, buffer, sizeof buffer, ends);
            REQUIRE(verdict == WSTPSCAN_MORE || verdict == WSTPCOPY_EMPTY);
            if (verdict == WSTPSCAN_MORE && b.channel.passing == 0) {
                owed = (size_t)b.channel.end; /* the beginning */
                owed_at = 0;
                if (b.scan.step != WSTPSCAN_AT_BOUNDARY)
                    b.channel.passing = b.scan.frame_start + 1;
            } else if (verdict == WSTPSCAN_MORE) {
                passed += b.channel.start == b.channel.end;
                owed = (size_t)(b.channel.unsent + b.channel.end - b.channel.start);
                owed_at = (size_t)(b.channel.start - b.channel.unsent);
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
    REQUIRE(received == total && memcmp(got, text, total) == 0 && passed > 5 && all == total);
    REQUIRE(b.scan.step == WSTPSCAN_AT_BOUNDARY && b.scan.frame_bytes == total);

    come(&b, "FA#MA~JTextPacket\n\"1000000 A~"); /* and one that breaks off */
    REQUIRE(round_of(&b, 0) == WSTPSCAN_MORE);
    b.channel.passing = b.scan.frame_start + 1;
    b.channel.start = 7;
    REQUIRE(send(b.far_source, text, 1000, 0) == 1000);
    close(b.far_source);
    REQUIRE(wstpcopy_pass(&b.channel, buffer, sizeof buffer, ends) == WSTPSCAN_MORE);
    REQUIRE(b.channel.start == b.channel.end && b.channel.unsent == 0);
    REQUIRE(wstpcopy_pass(&b.channel, buffer, sizeof buffer, ends) == WSTPCOPY_CLOSED);
    REQUIRE(recv(b.far_sink, got, LENGTH, 0) == 1000);
    teardown(&b);
    close(ends[0]);
    close(ends[1]);
    free(text);
    free(got);
}

int main(void)
{
    test_what_is_sent();
    test_what_is_not();
    test_frames_in_pieces();
    test_a_full_sink();
    test_what_was_kept();
    test_ends();
    test_passing();
#ifdef __linux__
    with_refused(SYS_splice, test_passing);
#endif
    puts("rounds of a channel: passed");
    return 0;
}
