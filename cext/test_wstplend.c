/*
 * Tests of a stream that is lent: what passes, what gives it back, and what is known of it when a server was killed;
 * tools/test-c builds them with sanitizers and runs them.
 */
#include "test_epoll.h"
#include "test_tcp.h"

#ifdef __linux__

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A connector and a server. The connection between them is a TCP one, of which a channel of the server is the reader. */
struct pair {
    struct bench b;
    struct wstpepoll work;
    struct wstpepoll_event events[8];
    struct wstplend_page *page;
    struct wstplend lend;
    int far_others;
    int connection;             /* the connector's end, */
    int in, out;                /* of the stream, as the agent sees them, */
    int bell;                   /* and of what both ring */
};

/* The server's end and the connector's, which has connected. */
static void connect_pair(int32_t *near_end, int *far_end)
{
    int pair[2];

    open_tcp_pair(pair);
    REQUIRE(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0);
    *far_end = pair[0];
    *near_end = pair[1];
}

static void begin(struct pair *p)
{
    struct bench *b = &p->b;
    int both[2];

    memset(p, 0, sizeof *p);
    setup(b);
    close(b->source.descriptor);
    close(b->far_source);
    connect_pair(&b->source.descriptor, &p->connection);
    b->far_source = p->connection;
    b->source.free = 1;
    b->channel.number = 1;
    open_loop(&p->work, p->events, 8, &p->far_others);
    REQUIRE(wstpepoll_watch(p->work.descriptor, &b->channel) == 0);
    b->channel.waiting = 1;
    p->page = mmap(NULL, sizeof *p->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p->page != MAP_FAILED);
    p->lend.page = p->page;
    make_pair(&p->lend.incoming, &p->out);
    make_pair(&p->lend.outgoing, &p->in);
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0);
    p->lend.bell = both[0];
    p->bell = both[1];
    REQUIRE(wstpepoll_borrow(p->work.descriptor, &b->channel, &p->lend) == 0);
}

static void end(struct pair *p)
{
    if (p->b.source.lend)
        wstpepoll_return(&p->b.channel);
    wstpepoll_unwatch(p->work.descriptor, &p->b.channel);
    close(p->lend.incoming);
    close(p->lend.outgoing);
    close(p->lend.bell);
    close(p->in);
    close(p->out);
    close(p->bell);
    munmap(p->page, sizeof *p->page);
    close_loop(&p->work, p->far_others);
    teardown(&p->b);
}

static int run(struct pair *p)
{
    return wstpepoll_run(&p->work, 0);
}

/* The connector offers the stream; returns whether it is lent then. */
static int offer(struct pair *p, uint32_t may_send, uint32_t may_take)
{
    REQUIRE(wstplend_offer(p->page, p->connection, may_send, may_take) == 0 && p->page->state == WSTPLEND_OFFERED);
    REQUIRE(send(p->bell, "", 1, 0) == 1);
    run(p);
    REQUIRE((p->page->state == WSTPLEND_LENT) == p->lend.lent);
    return p->lend.lent;
}

/* Whether the server has rung. */
static int was_rung(const struct pair *p)
{
    char byte;

    return recv(p->bell, &byte, 1, MSG_DONTWAIT) == 1;
}

static void frame(const struct pair *p, const char *text)
{
    uint8_t whole[ROOM];
    size_t length = strlen(text);

    memset(whole, 0, 6);
    whole[2] = (uint8_t)(length >> 8);
    whole[3] = (uint8_t)length;
    whole[5] = 1;
    memcpy(whole + 6, text, length);
    whole[6 + length] = '\n';
    REQUIRE(send(p->out, whole, length + 7, 0) == (ssize_t)length + 7);
}

static size_t waiting(int descriptor)
{
    char got[ROOM];
    ssize_t size = recv(descriptor, got, sizeof got, MSG_PEEK | MSG_DONTWAIT);

    return size < 0 ? 0 : (size_t)size;
}

static void test_frames_pass(void)
{
    struct pair p;
    char got[100];

    begin(&p);
    REQUIRE(offer(&p, 1000, 1000));
    REQUIRE(wstpcopy_send_lent(&p.b.source, (const uint8_t *)"abc", 3) == 1);
    REQUIRE(recv(p.in, got, sizeof got, 0) == 10 && memcmp(got, "\0\0\0\3\0\1abc\n", 10) == 0);
    frame(&p, RETURN);
    frame(&p, RETURN);
    REQUIRE(run(&p) == 1 && p.events[0].verdict == WSTPCOPY_ALL_SENT && went(&p.b, RETURN)); /* one by one */
    REQUIRE(run(&p) == 1 && went(&p.b, RETURN) && run(&p) == 0);
    REQUIRE(p.b.source.lent.sent == 3 && p.b.source.lent.taken == 2 * strlen(RETURN));
    REQUIRE(p.page->may_send == 997 && p.page->may_take == 1000 - 2 * strlen(RETURN) && !was_rung(&p));
    wstplend_recall(p.page, p.bell);
    REQUIRE(wstplend_totals(p.page).sent == 3 && wstplend_totals(p.page).taken == 2 * strlen(RETURN));
    frame(&p, RETURN);
    REQUIRE(run(&p) == 0 && !p.lend.lent && waiting(p.lend.incoming) > 0); /* it is the connector's */
    REQUIRE(wstpcopy_send_lent(&p.b.source, (const uint8_t *)"abc", 3) == 0 && waiting(p.in) == 0);
    REQUIRE(offer(&p, 1000, 1000) && went(&p.b, RETURN)); /* and may be lent again, with what waits in it */
    wstpepoll_unwatch(p.work.descriptor, &p.b.channel);
    REQUIRE(!p.lend.lent && p.page->state == WSTPLEND_CONNECTOR && was_rung(&p));
    end(&p);
}

/* A frame of the kernel that crosses several frames of the stream. */
static void test_pieces_pass(void)
{
    struct pair p;

    begin(&p);
    p.b.channel.held = ROOM;
    REQUIRE(offer(&p, 1000, 1000));
    frame(&p, "FA#OA~LReturn");
    frame(&p, "Packet\n\"DA~Ay\n]");
    REQUIRE(run(&p) == 1 && went(&p.b, RETURN) && p.lend.lent);
    end(&p);
}

static void test_offers_that_are_declined(void)
{
    struct pair p;
    char got[100];

    begin(&p);
    p.b.channel.waiting = 0; /* the channel is busy */
    REQUIRE(!offer(&p, 1000, 1000) && p.page->state == WSTPLEND_CONNECTOR && was_rung(&p));
    p.b.channel.waiting = 1;
    p.b.source.free = 0; /* somebody writes a frame */
    REQUIRE(!offer(&p, 1000, 1000) && was_rung(&p));
    p.b.source.free = 1;
    REQUIRE(send(p.b.source.descriptor, "xyz", 3, 0) == 3); /* which the connector has not read */
    REQUIRE(!offer(&p, 1000, 1000) && was_rung(&p));
    REQUIRE(recv(p.connection, got, 2, 0) == 2 && !offer(&p, 1000, 1000) && was_rung(&p));
    REQUIRE(recv(p.connection, got, 2, 0) == 1);
    come(&p.b, RETURN); /* which the server has not read */
    REQUIRE(wstplend_offer(p.page, p.connection, 1000, 1000) == 0);
    REQUIRE(wstplend_take(&p.lend, p.b.source.descriptor, 1) == 0 && was_rung(&p));
    REQUIRE(run(&p) == 1 && went(&p.b, RETURN));
    come(&p.b, "FA");
    REQUIRE(round_of(&p.b, 0) == WSTPSCAN_MORE && p.b.scan.step != WSTPSCAN_AT_BOUNDARY);
    p.b.channel.waiting = 1;
    REQUIRE(!offer(&p, 1000, 1000) && was_rung(&p)); /* in the middle of a frame */
    REQUIRE(wstplend_offer(p.page, p.connection, 1, 1) == 0);
    wstplend_recall(p.page, p.bell); /* the offer is withdrawn */
    REQUIRE(wstplend_take(&p.lend, p.b.source.descriptor, 1) == 0 && p.page->state == WSTPLEND_CONNECTOR);
    close(p.b.source.descriptor);
    REQUIRE(wstplend_offer(p.page, -1, 1, 1) == -1 && p.page->state == WSTPLEND_CONNECTOR);
    connect_pair(&p.b.source.descriptor, &p.far_others);
    end(&p);
}

/* These bytes give the stream back, and stay in it. */
static void is_left(const char *bytes, size_t size, uint32_t may_take)
{
    struct pair p;

    begin(&p);
    REQUIRE(offer(&p, 1000, may_take));
    REQUIRE(send(p.out, bytes, size, 0) == (ssize_t)size);
    REQUIRE(run(&p) == 0 && !p.lend.lent && p.page->state == WSTPLEND_CONNECTOR && was_rung(&p));
    REQUIRE(waiting(p.lend.incoming) == size && wstplend_totals(p.page).taken == 0 && went(&p.b, ""));
    REQUIRE(run(&p) == 0);
    end(&p);
}

static void test_what_gives_it_back(void)
{
    static char large[17000];
    struct pair p;

    is_left("\0\0\0\2\0\1ab\n", 9, 1); /* more than is allowed */
    is_left("\0\0\0\2\0\1abc", 9, 100); /* no line feed */
    is_left("\0\0\0\2\0\1ab", 8, 100); /* not whole */
    is_left("\0\0\0\2\0\1", 6, 100);
    is_left("\0", 1, 100);
    is_left("\0\0\0\2\0\2ab\n", 9, 100); /* another channel */
    is_left("\0\0\0\0\5\0\n", 7, 100); /* another kind */
    is_left("\0\0\0\0\0\1\n", 7, 100); /* nothing in it */
    is_left("\xff\xff\xff\xff\0\1\n", 7, UINT32_MAX);
    memcpy(large, "\0\0\x42\0\0\1", 6);
    large[6 + 0x4200] = '\n';
    is_left(large, 7 + 0x4200, 100000);

    begin(&p);
    REQUIRE(offer(&p, 10, 10) && wstpcopy_send_lent(&p.b.source, (const uint8_t *)"0123456789", 10) == 1);
    REQUIRE(wstpcopy_send_lent(&p.b.source, (const uint8_t *)"0", 1) == 0 && was_rung(&p) && waiting(p.in) == 17);
    REQUIRE(offer(&p, 100000, 10) && wstpcopy_send_lent(&p.b.source, (const uint8_t *)large, 16385) == 0 && was_rung(&p));
    REQUIRE(offer(&p, UINT32_MAX, 10)); /* until the stream takes no more: each of them as a whole, or not at all */
    while (wstpcopy_send_lent(&p.b.source, (const uint8_t *)large, 16000))
        REQUIRE(p.lend.lent);
    REQUIRE(was_rung(&p) && waiting(p.in) > 0 && p.b.source.lent.sent % 16000 == 10);
    REQUIRE(wstplend_totals(p.page).sent == p.b.source.lent.sent);
    end(&p);

    begin(&p);
    close(p.in);
    p.in = dup(p.out);
    REQUIRE(offer(&p, 10, 10) && wstpcopy_send_lent(&p.b.source, (const uint8_t *)"0", 1) == 0 && was_rung(&p));
    REQUIRE(offer(&p, 10, 10));
    REQUIRE(shutdown(p.out, SHUT_WR) == 0 && run(&p) == 0 && !p.lend.lent && was_rung(&p)); /* the end */
    end(&p);

    begin(&p);
    REQUIRE(offer(&p, 10, 10));
    close(p.bell); /* the connector is gone */
    REQUIRE(run(&p) == 0 && !p.lend.lent && run(&p) == 0);
    p.bell = dup(p.out);
    end(&p);
}

/* A server that passes frames as fast as it can, and the agent, which takes them all and sends others. */
static void serve(struct pair *p)
{
    uint8_t got[100];

    for (;;) {
        struct pollfd room = {.fd = p->lend.outgoing, .events = POLLOUT};
        REQUIRE(poll(&room, 1, -1) == 1);
        if (!wstplend_send(&p->lend, (const uint8_t *)"0123456", 7) || wstplend_receive(&p->lend, got, sizeof got) < 0)
            _exit(1);
    }
}

static void test_a_server_that_is_killed(void)
{
    int round, in_use = 0;

    for (round = 0; round < 100; round++) {
        struct pair p;
        struct wstplend_totals totals;
        size_t sent = 0, taken = 0;
        char got[ROOM];
        int status, more = 0, child;

        begin(&p);
        REQUIRE(offer(&p, UINT32_MAX, UINT32_MAX));
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            close(p.bell);
            serve(&p);
        }
        close(p.lend.bell);
        while (more < 3) {
            REQUIRE(waitpid(child, &status, WNOHANG) == 0);
            ssize_t size = recv(p.in, got, sizeof got, MSG_DONTWAIT);
            if (size > 0) {
                sent += (size_t)size;
                more++;
            }
            if (send(p.out, "\0\0\0\2\0\1ab\n", 9, MSG_DONTWAIT) == 9)
                taken += 2;
        }
        usleep((useconds_t)(round % 10)); /* it has room to go on */
        kill(child, SIGKILL);
        wstplend_recall(p.page, p.bell); /* before or after it is dead */
        totals = wstplend_totals(p.page);
        REQUIRE(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && p.page->state == WSTPLEND_CONNECTOR);
        in_use += p.page->under_way == p.page->number + 1;
        sent += waiting(p.in);
        REQUIRE(sent % 14 == 0 && totals.sent == sent / 14 * 7);
        REQUIRE(waiting(p.lend.incoming) % 9 == 0 && totals.taken == taken - waiting(p.lend.incoming) / 9 * 2);
        p.lend.bell = dup(p.bell);
        end(&p);
    }
    printf("%d of %d were killed while they passed a frame\n", in_use, round);
}

int main(void)
{
    test_frames_pass();
    test_pieces_pass();
    test_offers_that_are_declined();
    test_what_gives_it_back();
    test_a_server_that_is_killed();
    puts("a stream that is lent: passed");
    return 0;
}

#else

int main(void)
{
    puts("nothing is lent on this system");
    return 0;
}

#endif
