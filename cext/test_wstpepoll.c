/*
 * Tests of channels that wait in one epoll set; tools/test-c builds them with sanitizers and runs them.
 */
#include "test_epoll.h"
#include "test_refuse.h"

#include <pthread.h>

static void test_loop(void)
{
    struct bench b, other;
    struct wstpepoll_event events[8];
    struct wstpepoll work = {.others = -1, .most = 8, .buffer = buffer, .events = events};
    int epoll = wstpepoll_open();

    if (epoll < 0) {
        puts("no epoll on this system");
        return;
    }
    work.descriptor = epoll;
    work.size = work.portion = sizeof buffer;
    wstpcopy_make_pipe(work.pipe);
    setup(&b);
    setup(&other);
    b.channel.number = 1;
    other.channel.number = 2;
    b.channel.silent = 1;
    REQUIRE(wstpepoll_watch(epoll, &b.channel) == 0 && wstpepoll_watch(epoll, &b.channel) == 0);
    REQUIRE(wstpepoll_watch(epoll, &other.channel) == 0);
    b.channel.waiting = other.channel.waiting = 1;
    REQUIRE(wstpepoll_run(&work, 0) == 0);

    come(&b, RETURN);
    come(&other, EVALUATE);
    REQUIRE(wstpepoll_run(&work, 0) == 2);
    REQUIRE(events[0].number + events[1].number == 3 && events[0].verdict == WSTPCOPY_ALL_SENT);
    REQUIRE(events[0].head + events[1].head == EVALUATE_PACKET + RETURN_PACKET);
    REQUIRE(b.channel.waiting && other.channel.waiting && went(&b, RETURN) && went(&other, EVALUATE));

    come(&b, TEXT); /* nobody has to hear of it */
    REQUIRE(wstpepoll_run(&work, 0) == 0 && went(&b, TEXT) && b.channel.waiting);

    come(&b, "F");
    REQUIRE(wstpepoll_run(&work, 0) == 1);
    REQUIRE(events[0].verdict == WSTPSCAN_MORE && !b.channel.waiting && b.channel.end == 1 && b.channel.watched);
    come(&b, "A");
    REQUIRE(wstpepoll_run(&work, 0) == 0 && !b.channel.watched);
    REQUIRE(round_of(&b, 1) == WSTPSCAN_MORE && b.channel.end == 2);

    other.channel.counted = 0;
    come(&other, EVALUATE);
    REQUIRE(wstpepoll_run(&work, 0) == 1 && !other.channel.waiting);
    REQUIRE(other.channel.frame == 0 && other.channel.position == strlen(EVALUATE) && went(&other, EVALUATE));

    other.channel.waiting = 1;
    close(other.far_source);
    REQUIRE(wstpepoll_run(&work, 0) == 1 && events[0].verdict == WSTPCOPY_CLOSED);
    wstpepoll_unwatch(epoll, &other.channel);
    REQUIRE(!other.channel.watched && wstpepoll_run(&work, 0) == 0);
    teardown(&b);
    teardown(&other);
    close(epoll);
    close(work.pipe[0]);
    close(work.pipe[1]);
}

/* A bridge: what `up` asks, `down` answers. */
struct bridge {
    struct bench up, down;
    struct wstpepoll_event events[8];
    struct wstpepoll work;
    int far_others; /* a byte written here means that the caller has other work */
};

static void setup_bridge(struct bridge *b)
{
    memset(b, 0, sizeof *b);
    setup(&b->up);
    setup(&b->down);
    b->up.channel.number = 1;
    b->down.channel.number = 2;
    b->up.channel.one_shot = b->down.channel.silent = 1;
    b->up.channel.paired = EVALUATE_PACKET;
    b->down.channel.paired = RETURN_PACKET;
    b->up.channel.peer = &b->down.channel;
    b->down.channel.peer = &b->up.channel;
    b->up.channel.large = b->up.scan.stop_at_end;
    b->down.channel.large = UINT64_MAX;
    b->up.channel.held = b->down.channel.held = 100;
    open_loop(&b->work, b->events, 8, &b->far_others);
    REQUIRE(wstpepoll_watch(b->work.descriptor, &b->up.channel) == 0);
    REQUIRE(wstpepoll_watch(b->work.descriptor, &b->down.channel) == 0);
    b->up.channel.waiting = b->down.channel.waiting = 1;
}

static void teardown_bridge(struct bridge *b)
{
    teardown(&b->up);
    teardown(&b->down);
    close_loop(&b->work, b->far_others);
}

static int told(const struct bridge *b, int count, int number, int begun, int answered)
{
    return count == 1 && b->events[0].number == number && b->events[0].verdict == WSTPCOPY_ALL_SENT && b->events[0].still_waiting
        && b->events[0].begun == begun && b->events[0].answered == answered && !b->events[0].large;
}

static void test_pairs(void)
{
    struct bridge b;

    setup_bridge(&b);
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 1, 1, 0) && !b.up.channel.permitted && went(&b.up, EVALUATE));
    come(&b.down, RETURN); /* the next question may go before the caller hears of this */
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 1, 0, 1) && b.up.channel.permitted && went(&b.down, RETURN));
    REQUIRE(wstpepoll_run(&b.work, 0) == 0); /* or epoll would still have the other channel first */
    come(&b.up, EVALUATE);
    come(&b.down, TEXT RETURN);
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 1, 1, 1) && b.up.channel.permitted && b.up.channel.slot == 0);
    REQUIRE(went(&b.up, EVALUATE) && went(&b.down, TEXT RETURN));

    come(&b.down, RETURN); /* nobody has asked */
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 2, 0, 0) && !b.up.channel.peer && !b.down.channel.peer);
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 1, 1, 0));
    come(&b.down, RETURN);
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 2, 0, 0) && !b.up.channel.permitted);
    teardown_bridge(&b);
}

static void test_other_questions(void)
{
    struct bridge b;

    setup_bridge(&b);
    b.up.channel.paired = RETURN_PACKET; /* so that an EvaluatePacket is one that its peer does not answer */
    come(&b.up, EVALUATE);
    REQUIRE(told(&b, wstpepoll_run(&b.work, 0), 1, 1, 0) && !b.up.channel.peer && !b.down.channel.peer);
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
        count = wstpepoll_run(&b.work, 1);
        REQUIRE(count == 0 || (count == 1 && b.events[0].number == 1));
        begun += count ? b.events[0].begun : 0;
        answered += count ? b.events[0].answered : 0;
    }
    REQUIRE(pthread_join(peer, NULL) == 0 && begun == 3 && b.up.channel.permitted);

    REQUIRE(wstpepoll_run(&b.work, 1) == 0);
    b.work.left_at = INT64_MAX / 2; /* a moment ago, however slow this machine is */
    REQUIRE(wstpepoll_run(&b.work, 1) == 0 && b.work.waited == 1);
    b.work.left_at = INT64_MAX / 2;
    REQUIRE(wstpepoll_run(&b.work, 0) == 0 && b.work.waited == 0);
    b.work.left_at = 0; /* long ago */
    REQUIRE(wstpepoll_run(&b.work, 1) == 0 && b.work.waited == 0);

    b.up.channel.peer = b.down.channel.peer = NULL; /* the answer has to be accounted for before more may come */
    come(&b.up, EVALUATE);
    b.work.left_at = INT64_MAX / 2;
    REQUIRE(told(&b, wstpepoll_run(&b.work, 1), 1, 1, 0) && b.work.waited == 0);
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
    REQUIRE(wstpepoll_run(&b.work, 0) == 1 && b.events[0].large && b.events[0].begun == 1 && b.events[0].still_waiting);
    REQUIRE(!b.up.sink.free && b.up.channel.passing == b.up.scan.frame_start + 1 && !b.up.channel.permitted && !b.up.channel.begun);
    come(&b.up, HUNDRED);
    REQUIRE(wstpepoll_run(&b.work, 0) == 0 && went(&b.up, LARGE_EVALUATE HUNDRED) && b.up.channel.waiting);
    come(&b.up, REST);
    count = wstpepoll_run(&b.work, 0);
    REQUIRE(count == 1 && !b.events[0].still_waiting && b.events[0].verdict == WSTPSCAN_END && !b.events[0].large);
    REQUIRE(b.up.channel.start == 0 && b.up.channel.position == strlen(REST) && went(&b.up, ""));
    teardown_bridge(&b);

    setup_bridge(&b); /* to where somebody else is in the middle of a frame, nothing goes */
    b.down.sink.free = 0;
    come(&b.down, LARGE_RETURN);
    REQUIRE(wstpepoll_run(&b.work, 0) == 1 && !b.events[0].still_waiting && b.events[0].verdict == WSTPSCAN_MORE);
    REQUIRE(b.down.channel.start == 0 && b.down.channel.passing == 0 && went(&b.down, ""));
    teardown_bridge(&b);

    setup_bridge(&b); /* nor a small frame that will be whole soon */
    b.down.channel.held = 1000;
    come(&b.down, LARGE_RETURN);
    REQUIRE(wstpepoll_run(&b.work, 0) == 1 && !b.events[0].still_waiting && went(&b.down, ""));
    teardown_bridge(&b);
}

/* Sends more of a large text than a call may move in portions; returns how much of it went. */
static size_t moved(struct bridge *b, int64_t talked)
{
    enum { MORE = 30000 };
    static char got[MORE];
    static const char more[MORE];

    b->work.portion = 1000;
    b->work.last_small = talked;
    REQUIRE(send(b->down.far_source, more, MORE, 0) == MORE);
    REQUIRE(wstpepoll_run(&b->work, 0) == 0);
    return (size_t)recv(b->down.far_sink, got, MORE, 0);
}

static void test_portions(void)
{
    struct bridge b;

    setup_bridge(&b);
    come(&b.down, "FA#MA~JTextPacket\n\"90000 A~");
    REQUIRE(wstpepoll_run(&b.work, 0) == 1 && b.events[0].large);
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
    b->up.channel.permitted = bench == &b->up; /* the other way, an evaluation is under way */
    REQUIRE(pthread_create(&peer, NULL, end_frame, &ending) == 0);
    come(bench, beginning);
    b->work.left_at = INT64_MAX / 2;
    *count = wstpepoll_run(&b->work, 1);
    REQUIRE(*count == 0 || b->events[0].number == 0 || b->events[0].still_waiting);
    if (*count > 0 && b->events[0].large) { /* the thread was too late */
        while (wstpepoll_run(&b->work, 0) == 0)
            ;
        REQUIRE(send(bench->sink.descriptor, HUNDRED REST, sizeof HUNDRED REST - 1, 0) > 0);
        REQUIRE(pthread_join(peer, NULL) == 0);
        teardown_bridge(b);
        return 0;
    }
    REQUIRE(pthread_join(peer, NULL) == 0 && bench->sink.free && bench->channel.passing == 0 && !bench->channel.begun);
    return 1;
}

static void test_large_frames_in_one_call(void)
{
    struct bridge b;
    int count;

    while (!in_one_call(&b, &b.up, LARGE_EVALUATE, &count))
        ;
    REQUIRE(told(&b, count, 1, 1, 0) && !b.up.channel.permitted);
    teardown_bridge(&b);
    while (!in_one_call(&b, &b.down, LARGE_RETURN, &count))
        ;
    REQUIRE(count == 2 && b.events[0].number == 0 && b.events[1].number == 1 && b.events[1].answered == 1);
    REQUIRE(b.up.channel.permitted);
    teardown_bridge(&b);
    while (!in_one_call(&b, &b.down, LARGE_TEXT, &count))
        ;
    REQUIRE(count == 1 && b.events[0].number == 0);
    teardown_bridge(&b);
}

#define PROMPT "FA#RA~OInputNamePacket\n\"DA~A1\n]"
#define COMMAND "FA#RA~OWSCommandPacket\n\"DA~A2\n]"

/* What comes with the end of a large text, behind it: the caller takes it, and completes the text. */
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
        b.down.channel.reported |= (uint64_t)1 << INPUT_NAME_PACKET;
        b.down.channel.direct = ~((uint64_t)1 << COMMAND_PACKET);
        REQUIRE(pthread_create(&peer, NULL, start_frame, &ending) == 0);
        come(&b.down, LARGE_TEXT);
        b.work.left_at = INT64_MAX / 2;
        count = wstpepoll_run(&b.work, 1);
        REQUIRE(pthread_join(peer, NULL) == 0 && b.events[0].large);
        if (count == 2)
            break;
        teardown_bridge(&b); /* the thread was too late */
    }
    REQUIRE(b.events[0].large && b.events[1].verdict == WSTPSCAN_END && !b.events[1].still_waiting);
    REQUIRE(b.down.channel.start == 0 && b.down.channel.position == strlen(end) && b.down.scan.frame_bytes == strlen(frame));
    REQUIRE(!b.down.sink.free && went(&b.down, ""));
    teardown_bridge(&b);
}

int main(void)
{
    test_loop();
    test_pairs();
    test_other_questions();
    test_waiting();
    test_large_frames();
    test_portions();
    test_large_frames_in_one_call();
    behind_a_large_text(PROMPT);
    behind_a_large_text(COMMAND);
#if defined __linux__ && defined SYS_epoll_pwait2
    with_refused(SYS_epoll_pwait2, test_waiting);
#endif
    puts("many channels: passed");
    return 0;
}
