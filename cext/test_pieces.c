/*
 * Tests of small frames that come in pieces; tools/test-c builds them with sanitizers and runs them.
 */
#include "test_epoll.h"

#include <pthread.h>
#include <sys/ioctl.h>

/* A loop with one channel, which receives one piece at a time: its source keeps the boundaries of what is sent. */
struct desk {
    struct bench bench;
    struct wstpepoll_event events[4];
    struct wstpepoll work;
    int far_others;
};

static void set_up(struct desk *d)
{
    int both[2];

    memset(d, 0, sizeof *d);
    setup(&d->bench);
    close(d->bench.source.descriptor);
    close(d->bench.far_source);
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0 && fcntl(both[0], F_SETFL, O_NONBLOCK) == 0);
    d->bench.source.descriptor = both[0];
    d->bench.far_source = both[1];
    d->bench.channel.number = d->bench.channel.waiting = 1;
    d->bench.channel.held = 100;
    open_loop(&d->work, d->events, 4, &d->far_others);
    REQUIRE(wstpepoll_watch(d->work.descriptor, &d->bench.channel) == 0);
}

static void tear_down(struct desk *d)
{
    teardown(&d->bench);
    close_loop(&d->work, d->far_others);
}

/* One event, and it says that all was sent. */
static int all_sent(const struct desk *d, int count)
{
    return count == 1 && d->events[0].verdict == WSTPCOPY_ALL_SENT && d->events[0].still_waiting;
}

/* One event, and the caller has to see to so many bytes from the beginning of the buffer on. */
static int handed_over(const struct desk *d, int count, int verdict, size_t length)
{
    return count == 1 && d->events[0].verdict == verdict && !d->events[0].still_waiting && d->bench.channel.start == 0
        && d->bench.channel.end == length;
}

static void test_pieces(void)
{
    struct desk d;

    set_up(&d);
    come(&d.bench, "FA#QA~NEvalu");
    come(&d.bench, "atePacket\n#DA~Ax\n]");
    REQUIRE(all_sent(&d, wstpepoll_run(&d.work, 0)) && went(&d.bench, EVALUATE));

    come(&d.bench, TEXT "FA#QA~NEvalu");
    come(&d.bench, "atePacket\n#DA~Ax\n]");
    REQUIRE(all_sent(&d, wstpepoll_run(&d.work, 0)) && went(&d.bench, TEXT EVALUATE));

    come(&d.bench, EVALUATE "FA#MA~JTe"); /* an evaluation that was sent is told first, and with it what is behind it */
    come(&d.bench, "xtPacket\n\"DA~Az\n]");
    REQUIRE(wstpepoll_run(&d.work, 0) == 1 && d.events[0].verdict == WSTPCOPY_SENT && !d.events[0].still_waiting);
    REQUIRE(went(&d.bench, EVALUATE) && d.bench.channel.start == strlen(EVALUATE));
    tear_down(&d);
}

/* A peer that sends byte by byte does not keep the loop to itself. */
static void test_many_pieces(void)
{
    struct desk d;
    const char *piece;

    set_up(&d);
    for (piece = "FA#QA"; *piece; piece++)
        REQUIRE(send(d.bench.far_source, piece, 1, 0) == 1);
    REQUIRE(handed_over(&d, wstpepoll_run(&d.work, 0), WSTPSCAN_MORE, 4) && d.bench.scan.frame_bytes == 4);
    REQUIRE(went(&d.bench, ""));
    tear_down(&d);
}

static void test_what_is_left_alone(void)
{
    struct desk d;

    set_up(&d); /* a frame that is too large to be kept */
    d.bench.channel.held = 10;
    come(&d.bench, "FA#QA~NEvalu");
    come(&d.bench, "atePacket\n#DA~Ax\n]");
    REQUIRE(handed_over(&d, wstpepoll_run(&d.work, 0), WSTPSCAN_MORE, strlen("FA#QA~NEvalu")));
    tear_down(&d);

    set_up(&d); /* a frame that may not be sent is put together all the same */
    d.bench.channel.permitted = 0;
    come(&d.bench, "FA#QA~NEvalu");
    come(&d.bench, "atePacket\n#DA~Ax\n]");
    REQUIRE(handed_over(&d, wstpepoll_run(&d.work, 0), WSTPSCAN_END, strlen(EVALUATE)) && went(&d.bench, ""));
    tear_down(&d);

    set_up(&d); /* what is not right is said as ever */
    come(&d.bench, "FA#QA~NEvalu");
    come(&d.bench, "atePacket\n!");
    REQUIRE(wstpepoll_run(&d.work, 0) == 1 && d.events[0].verdict == WSTPSCAN_ERROR && !d.events[0].still_waiting);
    tear_down(&d);

    set_up(&d); /* and so is an end */
    come(&d.bench, "FA#QA~NEvalu");
    close(d.bench.far_source);
    REQUIRE(handed_over(&d, wstpepoll_run(&d.work, 0), WSTPSCAN_MORE, strlen("FA#QA~NEvalu")));
    REQUIRE(round_of(&d.bench, strlen("FA#QA~NEvalu")) == WSTPCOPY_CLOSED);
    tear_down(&d);
}

/* Sends the second piece when the first one has been received. */
static void *send_rest(void *desk)
{
    struct desk *d = desk;
    int left;

    do
        REQUIRE(ioctl(d->bench.source.descriptor, FIONREAD, &left) == 0);
    while (left > 0);
    come(&d->bench, "atePacket\n#DA~Ax\n]");
    return NULL;
}

static void test_waiting(void)
{
    struct desk d;
    pthread_t peer;
    int count, calls, in_time = 0;

    for (calls = 0; calls < 10000 && !in_time; calls++) { /* the scheduler may run the other thread too late */
        set_up(&d);
        come(&d.bench, "FA#QA~NEvalu");
        REQUIRE(pthread_create(&peer, NULL, send_rest, &d) == 0);
        d.work.left_at = INT64_MAX / 2;
        count = wstpepoll_run(&d.work, 1);
        REQUIRE(pthread_join(peer, NULL) == 0);
        in_time = all_sent(&d, count) && went(&d.bench, EVALUATE);
        REQUIRE(in_time || handed_over(&d, count, WSTPSCAN_MORE, strlen("FA#QA~NEvalu")));
        tear_down(&d);
    }
    REQUIRE(in_time);
}

int main(void)
{
    int epoll = wstpepoll_open();

    if (epoll < 0) {
        puts("no epoll on this system");
        return 0;
    }
    close(epoll);
    test_pieces();
    test_many_pieces();
    test_what_is_left_alone();
    test_waiting();
    puts("frames in pieces: passed");
    return 0;
}
