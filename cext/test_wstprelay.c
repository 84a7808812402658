/*
 * Tests of pumps that wait together; tools/test-c builds them with sanitizers and runs them.
 */
#include "test_relay.h"

#include <pthread.h>

static void test_relay(void)
{
    struct bench b, other;
    struct wstprelay_event events[8];
    struct wstprelay work = {.others = -1, .most = 8, .buffer = buffer, .events = events};
    int relay = wstprelay_open();

    if (relay < 0) {
        puts("no relay on this system");
        return;
    }
    work.descriptor = relay;
    work.size = work.portion = sizeof buffer;
    wstprelay_make_pipe(work.pipe);
    setup(&b);
    setup(&other);
    b.pump.number = 1;
    other.pump.number = 2;
    b.pump.talkative = 1;
    REQUIRE(wstprelay_watch(relay, &b.pump) == 0 && wstprelay_watch(relay, &b.pump) == 0);
    REQUIRE(wstprelay_watch(relay, &other.pump) == 0);
    b.pump.parked = other.pump.parked = 1;
    REQUIRE(wstprelay_run(&work, 0) == 0);

    come(&b, RETURN);
    come(&other, EVALUATE);
    REQUIRE(wstprelay_run(&work, 0) == 2);
    REQUIRE(events[0].number + events[1].number == 3 && events[0].verdict == WSTPPUMP_ALL_SENT);
    REQUIRE(events[0].head + events[1].head == EVALUATE_PACKET + RETURN_PACKET);
    REQUIRE(b.pump.parked && other.pump.parked && went(&b, RETURN) && went(&other, EVALUATE));

    come(&b, TEXT); /* nobody has to hear of it */
    REQUIRE(wstprelay_run(&work, 0) == 0 && went(&b, TEXT) && b.pump.parked);

    come(&b, "F");
    REQUIRE(wstprelay_run(&work, 0) == 1);
    REQUIRE(events[0].verdict == WSTPSCAN_MORE && !b.pump.parked && b.pump.end == 1 && b.pump.watched);
    come(&b, "A");
    REQUIRE(wstprelay_run(&work, 0) == 0 && !b.pump.watched);
    REQUIRE(round_of(&b, 1) == WSTPSCAN_MORE && b.pump.end == 2);

    other.pump.quick = 0;
    come(&other, EVALUATE);
    REQUIRE(wstprelay_run(&work, 0) == 1 && !other.pump.parked);
    REQUIRE(other.pump.frame == 0 && other.pump.position == strlen(EVALUATE) && went(&other, EVALUATE));

    other.pump.parked = 1;
    close(other.far_source);
    REQUIRE(wstprelay_run(&work, 0) == 1 && events[0].verdict == WSTPPUMP_CLOSED);
    wstprelay_unwatch(relay, &other.pump);
    REQUIRE(!other.pump.watched && wstprelay_run(&work, 0) == 0);
    teardown(&b);
    teardown(&other);
    close(relay);
    close(work.pipe[0]);
    close(work.pipe[1]);
}

/* A bridge: what `up` asks, `down` answers. */
struct bridge {
    struct bench up, down;
    struct wstprelay_event events[8];
    struct wstprelay work;
    int far_others; /* a byte written here means that the caller has something else to do */
};

static void setup_bridge(struct bridge *b)
{
    memset(b, 0, sizeof *b);
    setup(&b->up);
    setup(&b->down);
    b->up.pump.number = 1;
    b->down.pump.number = 2;
    b->up.pump.once = b->down.pump.talkative = 1;
    b->up.pump.paired = EVALUATE_PACKET;
    b->down.pump.paired = RETURN_PACKET;
    b->up.pump.twin = &b->down.pump;
    b->down.pump.twin = &b->up.pump;
    b->up.pump.large = b->up.scan.stop_at_end;
    b->down.pump.large = UINT64_MAX;
    b->up.pump.held = b->down.pump.held = 100;
    open_relay(&b->work, b->events, 8, &b->far_others);
    REQUIRE(wstprelay_watch(b->work.descriptor, &b->up.pump) == 0);
    REQUIRE(wstprelay_watch(b->work.descriptor, &b->down.pump) == 0);
    b->up.pump.parked = b->down.pump.parked = 1;
}

static void teardown_bridge(struct bridge *b)
{
    teardown(&b->up);
    teardown(&b->down);
    close_relay(&b->work, b->far_others);
}

static int told(const struct bridge *b, int count, int number, int begun, int answered)
{
    return count == 1 && b->events[0].number == number && b->events[0].verdict == WSTPPUMP_ALL_SENT && b->events[0].asleep
        && b->events[0].begun == begun && b->events[0].answered == answered && !b->events[0].large;
}

static void test_pairs(void)
{
    struct bridge b;

    setup_bridge(&b);
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 1, 1, 0) && !b.up.pump.allowed && went(&b.up, EVALUATE));
    come(&b.down, RETURN); /* the next question may go before the caller hears of this */
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 1, 0, 1) && b.up.pump.allowed && went(&b.down, RETURN));
    REQUIRE(wstprelay_run(&b.work, 0) == 0); /* or epoll would still have the other pump first */
    come(&b.up, EVALUATE);
    come(&b.down, TEXT RETURN);
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 1, 1, 1) && b.up.pump.allowed && b.up.pump.slot == 0);
    REQUIRE(went(&b.up, EVALUATE) && went(&b.down, TEXT RETURN));

    come(&b.down, RETURN); /* nobody has asked */
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 2, 0, 0) && !b.up.pump.twin && !b.down.pump.twin);
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 1, 1, 0));
    come(&b.down, RETURN);
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 2, 0, 0) && !b.up.pump.allowed);
    teardown_bridge(&b);
}

static void test_other_questions(void)
{
    struct bridge b;

    setup_bridge(&b);
    b.up.pump.paired = RETURN_PACKET; /* so that an EvaluatePacket is one that its twin does not answer */
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstprelay_run(&b.work, 0), 1, 1, 0) && !b.up.pump.twin && !b.down.pump.twin);
    teardown_bridge(&b);
}

/* A client and its kernel, each of which waits for the other. */
static void *ask_thrice(void *bridge)
{
    struct bridge *b = bridge;
    char got[sizeof EVALUATE];

    fcntl(b->up.far_sink, F_SETFL, 0);
    fcntl(b->down.far_sink, F_SETFL, 0);
    for (int i = 0; i < 3; i++) {
        come(&b->up, EVALUATE);
        REQUIRE(recv(b->up.far_sink, got, sizeof EVALUATE - 1, MSG_WAITALL) == sizeof EVALUATE - 1);
        come(&b->down, RETURN);
        REQUIRE(recv(b->down.far_sink, got, sizeof RETURN - 1, MSG_WAITALL) == sizeof RETURN - 1);
    }
    return NULL;
}

static void test_waiting(void)
{
    struct bridge b;
    pthread_t peer;
    int count, begun = 0, answered = 0;

    setup_bridge(&b);
    REQUIRE(pthread_create(&peer, NULL, ask_thrice, &b) == 0);
    while (answered < 3) { /* how many calls that takes is up to the scheduler */
        count = wstprelay_run(&b.work, 1);
        REQUIRE(count == 0 || (count == 1 && b.events[0].number == 1));
        begun += count ? b.events[0].begun : 0;
        answered += count ? b.events[0].answered : 0;
    }
    REQUIRE(pthread_join(peer, NULL) == 0 && begun == 3 && b.up.pump.allowed);

    REQUIRE(wstprelay_run(&b.work, 1) == 0);
    b.work.left = INT64_MAX / 2; /* a moment ago, however slow this machine is */
    REQUIRE(wstprelay_run(&b.work, 1) == 0 && b.work.waited == 1);
    b.work.left = INT64_MAX / 2;
    REQUIRE(wstprelay_run(&b.work, 0) == 0 && b.work.waited == 0);
    b.work.left = 0; /* long ago */
    REQUIRE(wstprelay_run(&b.work, 1) == 0 && b.work.waited == 0);

    b.up.pump.twin = b.down.pump.twin = NULL; /* the answer has to be accounted for before more may come */
    come(&b.up, EVALUATE);
    b.work.left = INT64_MAX / 2;
    REQUIRE(told(&b, wstprelay_run(&b.work, 1), 1, 1, 0) && b.work.waited == 0);
    teardown_bridge(&b);
}

#define LARGE_EVALUATE "FA#QA~NEvaluatePacket\n\"200 A~"
#define LARGE_RETURN "FA#OA~LReturnPacket\n\"200 A~"
#define LARGE_TEXT "FA#MA~JTextPacket\n\"200 A~"
#define HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define REST "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\n]"

static void test_large_frames(void)
{
    struct bridge b;
    int count;

    setup_bridge(&b);
    come(&b.up, LARGE_EVALUATE);
    REQUIRE(wstprelay_run(&b.work, 0) == 1 && b.events[0].large && b.events[0].begun == 1 && b.events[0].asleep);
    REQUIRE(!b.up.sink.free && b.up.pump.passing == b.up.scan.frame_start + 1 && !b.up.pump.allowed && !b.up.pump.begun);
    come(&b.up, HUNDRED);
    REQUIRE(wstprelay_run(&b.work, 0) == 0 && went(&b.up, LARGE_EVALUATE HUNDRED) && b.up.pump.parked);
    come(&b.up, REST);
    count = wstprelay_run(&b.work, 0);
    REQUIRE(count == 1 && !b.events[0].asleep && b.events[0].verdict == WSTPSCAN_END && !b.events[0].large);
    REQUIRE(b.up.pump.start == 0 && b.up.pump.position == strlen(REST) && went(&b.up, ""));
    teardown_bridge(&b);

    setup_bridge(&b); /* to where somebody else is in the middle of a frame, nothing goes */
    b.down.sink.free = 0;
    come(&b.down, LARGE_RETURN);
    REQUIRE(wstprelay_run(&b.work, 0) == 1 && !b.events[0].asleep && b.events[0].verdict == WSTPSCAN_MORE);
    REQUIRE(b.down.pump.start == 0 && b.down.pump.passing == 0 && went(&b.down, ""));
    teardown_bridge(&b);

    setup_bridge(&b); /* nor a small frame that will be whole soon */
    b.down.pump.held = 1000;
    come(&b.down, LARGE_RETURN);
    REQUIRE(wstprelay_run(&b.work, 0) == 1 && !b.events[0].asleep && went(&b.down, ""));
    teardown_bridge(&b);
}

/* Sends more of a large text than a call may move in portions; returns how much of it went. */
static size_t moved(struct bridge *b, int64_t talked)
{
    enum { MORE = 30000 };
    static char got[MORE];
    static const char more[MORE];

    b->work.portion = 1000;
    b->work.talked = talked;
    REQUIRE(send(b->down.far_source, more, MORE, 0) == MORE);
    REQUIRE(wstprelay_run(&b->work, 0) == 0);
    return (size_t)recv(b->down.far_sink, got, MORE, 0);
}

static void test_portions(void)
{
    struct bridge b;

    setup_bridge(&b);
    come(&b.down, "FA#MA~JTextPacket\n\"90000 A~");
    REQUIRE(wstprelay_run(&b.work, 0) == 1 && b.events[0].large);
    REQUIRE(went(&b.down, "FA#MA~JTextPacket\n\"90000 A~"));
    REQUIRE(moved(&b, 0) == 30000); /* nobody but bulk has had anything for ages */
    REQUIRE(moved(&b, INT64_MAX / 2) <= 10000);
    teardown_bridge(&b);
}

/* Ends a frame once its beginning has arrived. */
struct ending {
    struct bench *bench;
    size_t length;
    const char *end;
};

static void *start_frame(void *what)
{
    struct ending *ending = what;
    char got[400];

    fcntl(ending->bench->far_sink, F_SETFL, 0);
    REQUIRE(recv(ending->bench->far_sink, got, ending->length, MSG_WAITALL) == (ssize_t)ending->length);
    come(ending->bench, ending->end);
    fcntl(ending->bench->far_sink, F_SETFL, O_NONBLOCK);
    return NULL;
}

static void *end_frame(void *what)
{
    struct ending *ending = what;
    char got[400];

    start_frame(what);
    fcntl(ending->bench->far_sink, F_SETFL, 0);
    REQUIRE(recv(ending->bench->far_sink, got, strlen(ending->end), MSG_WAITALL) == (ssize_t)strlen(ending->end));
    return NULL;
}

/* A large frame that begins and ends within one call, if the scheduler lets it: returns 1 then. */
static int in_one_call(struct bridge *b, struct bench *bench, const char *beginning, int *count)
{
    struct ending ending = {bench, strlen(beginning), HUNDRED REST};
    pthread_t peer;

    setup_bridge(b);
    b->up.pump.allowed = bench == &b->up; /* the other way, an evaluation is under way */
    REQUIRE(pthread_create(&peer, NULL, end_frame, &ending) == 0);
    come(bench, beginning);
    b->work.left = INT64_MAX / 2;
    *count = wstprelay_run(&b->work, 1);
    REQUIRE(*count == 0 || b->events[0].number == 0 || b->events[0].asleep);
    if (*count > 0 && b->events[0].large) { /* the thread was too late */
        while (wstprelay_run(&b->work, 0) == 0)
            ;
        REQUIRE(send(bench->sink.descriptor, HUNDRED REST, sizeof HUNDRED REST - 1, 0) > 0);
        REQUIRE(pthread_join(peer, NULL) == 0);
        teardown_bridge(b);
        return 0;
    }
    REQUIRE(pthread_join(peer, NULL) == 0 && bench->sink.free && bench->pump.passing == 0 && !bench->pump.begun);
    return 1;
}

static void test_large_frames_in_one_call(void)
{
    struct bridge b;
    int count;

    while (!in_one_call(&b, &b.up, LARGE_EVALUATE, &count))
        ;
    REQUIRE(told(&b, count, 1, 1, 0) && !b.up.pump.allowed);
    teardown_bridge(&b);
    while (!in_one_call(&b, &b.down, LARGE_RETURN, &count))
        ;
    REQUIRE(count == 2 && b.events[0].number == 0 && b.events[1].number == 1 && b.events[1].answered == 1);
    REQUIRE(b.up.pump.allowed);
    teardown_bridge(&b);
    while (!in_one_call(&b, &b.down, LARGE_TEXT, &count))
        ;
    REQUIRE(count == 1 && b.events[0].number == 0);
    teardown_bridge(&b);
}

#define PROMPT "FA#RA~OInputNamePacket\n\"DA~A1\n]"
#define COMMAND "FA#RA~OWSCommandPacket\n\"DA~A2\n]"

/* What comes behind the end of a large text, in the same breath: it is for the caller, and the text is completed by him. */
static void behind_a_large_text(const char *frame)
{
    struct bridge b;
    struct ending ending = {&b.down, strlen(LARGE_TEXT), NULL};
    char end[sizeof HUNDRED REST + 64];
    pthread_t peer;
    int count;

    snprintf(end, sizeof end, "%s%s", HUNDRED REST, frame);
    ending.end = end;
    for (;;) {
        setup_bridge(&b);
        b.down.scan.stop_at_end |= (uint64_t)1 << INPUT_NAME_PACKET | (uint64_t)1 << COMMAND_PACKET;
        b.down.pump.reported |= (uint64_t)1 << INPUT_NAME_PACKET;
        b.down.pump.direct = ~((uint64_t)1 << COMMAND_PACKET);
        REQUIRE(pthread_create(&peer, NULL, start_frame, &ending) == 0);
        come(&b.down, LARGE_TEXT);
        b.work.left = INT64_MAX / 2;
        count = wstprelay_run(&b.work, 1);
        REQUIRE(pthread_join(peer, NULL) == 0 && b.events[0].large);
        if (count == 2)
            break;
        teardown_bridge(&b); /* the thread was too late */
    }
    REQUIRE(b.events[0].large && b.events[1].verdict == WSTPSCAN_END && !b.events[1].asleep);
    REQUIRE(b.down.pump.start == 0 && b.down.pump.position == strlen(end) && b.down.scan.frame_bytes == strlen(frame));
    REQUIRE(!b.down.sink.free && went(&b.down, ""));
    teardown_bridge(&b);
}

int main(void)
{
    test_relay();
    test_pairs();
    test_other_questions();
    test_waiting();
    test_large_frames();
    test_portions();
    test_large_frames_in_one_call();
    behind_a_large_text(PROMPT);
    behind_a_large_text(COMMAND);
    puts("the relay: passed");
    return 0;
}
