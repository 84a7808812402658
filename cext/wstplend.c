/*
 * A stream that changes hands between two processes. The contract is in wstplend.h.
 */
#define _GNU_SOURCE /* sendmmsg, recvmmsg */
#include "wstplend.h"

#ifdef __linux__

#include "wstpkeep.h"
#include "wstpsocket.h"
#include "wstpstream.h"

#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
    OVERHEAD = 256, /* of half a socket's buffer, which is what the system takes as a whole */
    LOOK_TIME = 1   /* milliseconds between two looks at a server that passes a frame */
};

/* The message lies in the page as it is: not compiled where that is not possible. */
typedef char fits[sizeof(struct mmsghdr) <= sizeof(((struct wstplend_page *)0)->message) ? 1 : -1];

/* The compiler must not move stores across this; see wstpkeep.c. */
#define IN_ORDER() __asm__ __volatile__("" ::: "memory")

static int change(struct wstplend_page *page, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&page->state, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void set_state(struct wstplend_page *page, uint32_t state)
{
    __atomic_store_n(&page->state, state, __ATOMIC_RELEASE);
}

/* Where the connection stands. --------------------------------------------------------------------------------------- */

/* Where struct tcp_info has what is needed; the C library's own may be older. */
enum { NOT_SENT = 144, BYTES_SENT = 200, BYTES_RETRANSMITTED = 208, INFO_SIZE = 216 };

int64_t wstplend_given(int32_t connection)
{
    unsigned char info[INFO_SIZE];
    socklen_t size = sizeof info;
    uint64_t sent, again;
    uint32_t waiting;

    if (getsockopt(connection, IPPROTO_TCP, 11 /* TCP_INFO */, info, &size) < 0 || size < INFO_SIZE)
        return -1;
    memcpy(&sent, info + BYTES_SENT, sizeof sent);
    memcpy(&again, info + BYTES_RETRANSMITTED, sizeof again);
    memcpy(&waiting, info + NOT_SENT, sizeof waiting);
    return (int64_t)(sent - again + waiting);
}

/* The connector. ----------------------------------------------------------------------------------------------------- */

/* The message of the page, of which the system writes msg_len. */
static struct mmsghdr *message_of(struct wstplend_page *page)
{
    return (struct mmsghdr *)(void *)page->message;
}

struct wstplend_totals wstplend_totals(const struct wstplend_page *page)
{
    struct wstplend_totals totals = page->totals[page->number & 1];
    struct mmsghdr message;

    memcpy(&message, page->message, sizeof message);
    if (page->under_way == page->number + 1 && message.msg_len > STREAM_FRAME)
        *(page->sends ? &totals.sent : &totals.taken) += message.msg_len - STREAM_FRAME;
    return totals;
}

int wstplend_offer(struct wstplend_page *page, int32_t connection, uint32_t may_send, uint32_t may_take)
{
    int64_t received = wstpkeep_taken(connection), given = wstplend_given(connection);

    if (received < 0 || given < 0)
        return -1;
    page->received = (uint64_t)received;
    page->given = (uint64_t)given;
    page->may_send = may_send;
    page->may_take = may_take;
    return change(page, WSTPLEND_CONNECTOR, WSTPLEND_OFFERED) ? 0 : -1;
}

/* Waits a moment; returns 1 if the server is dead. */
static int is_dead(int32_t bell)
{
    struct pollfd one = {.fd = bell, .events = POLLRDHUP};

    return poll(&one, 1, LOOK_TIME) > 0 && (one.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

void wstplend_recall(struct wstplend_page *page, int32_t bell)
{
    while (__atomic_load_n(&page->state, __ATOMIC_ACQUIRE) != WSTPLEND_CONNECTOR)
        if (change(page, WSTPLEND_LENT, WSTPLEND_CONNECTOR) || change(page, WSTPLEND_OFFERED, WSTPLEND_CONNECTOR))
            return;
        else if (is_dead(bell))
            set_state(page, WSTPLEND_CONNECTOR);
}

/* The server. -------------------------------------------------------------------------------------------------------- */

int wstplend_begin(struct wstplend *lend)
{
    int size = 0;
    socklen_t length = sizeof size;

    lend->lent = 0;
    if (getsockopt(lend->outgoing, SOL_SOCKET, SO_SNDBUF, &size, &length) < 0 || size / 2 < 2 * OVERHEAD)
        return -1;
    lend->most = size / 2 - OVERHEAD < STREAM_SMALL ? (uint32_t)(size / 2 - OVERHEAD) : (uint32_t)STREAM_SMALL;
    return 0;
}

static void ring(const struct wstplend *lend)
{
    /* without room for it enough of them are there */
    while (send(lend->bell, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR)
        ;
}

/* The stream is not lent any more. */
static void forget(struct wstplend *lend)
{
    lend->lent = 0;
    epoll_ctl(lend->epoll, EPOLL_CTL_DEL, lend->incoming, NULL);
}

/* Gives back what is in use. */
static void put_back(struct wstplend *lend)
{
    forget(lend);
    set_state(lend->page, WSTPLEND_CONNECTOR);
    ring(lend);
}

/* Begins to pass a frame; returns 0 if the stream is not lent any more. */
static int enter(struct wstplend *lend)
{
    if (change(lend->page, WSTPLEND_LENT, WSTPLEND_IN_USE))
        return 1;
    forget(lend); /* it was recalled */
    return 0;
}

static void leave(struct wstplend *lend)
{
    set_state(lend->page, WSTPLEND_LENT);
}

/* Has the system move a frame with this content as a whole; returns 1 if it has. What it says is in the page when it is
 * true, and counts at once. */
static int move(struct wstplend *lend, int sends, struct iovec *parts, size_t length)
{
    struct wstplend_page *page = lend->page;
    struct mmsghdr *message = message_of(page);
    struct wstplend_totals *next = &page->totals[~page->number & 1];
    int done;

    memset(message, 0, sizeof *message);
    message->msg_hdr.msg_iov = parts;
    message->msg_hdr.msg_iovlen = 3;
    page->sends = sends;
    IN_ORDER();
    page->under_way = page->number + 1;
    IN_ORDER();
    do
        done = sends ? sendmmsg(lend->outgoing, message, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
                     : recvmmsg(lend->incoming, message, 1, MSG_DONTWAIT, NULL);
    while (done < 0 && errno == EINTR);
    if (done == 1 && message->msg_len == length + STREAM_FRAME) {
        *next = page->totals[page->number & 1];
        *(sends ? &next->sent : &next->taken) += length;
        IN_ORDER();
        page->number++;
        return 1;
    }
    if (done == 1 && message->msg_len > 0) { /* nobody can go on with a part of a frame */
        shutdown(lend->outgoing, SHUT_RDWR);
        shutdown(lend->incoming, SHUT_RDWR);
    }
    message->msg_len = 0;
    IN_ORDER();
    page->under_way = 0;
    return 0;
}

int wstplend_take(struct wstplend *lend, int32_t connection, int ready)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = lend->data}};
    struct wstplend_page *page = lend->page;

    if (!change(page, WSTPLEND_OFFERED, WSTPLEND_IN_USE))
        return 0;
    if (lend->lent) /* it was recalled meanwhile, and offered again */
        forget(lend);
    if (!ready || wstplend_given(connection) != (int64_t)page->received
        || wstpkeep_taken(connection) != (int64_t)page->given
        || epoll_ctl(lend->epoll, EPOLL_CTL_ADD, lend->incoming, &event) < 0) {
        set_state(page, WSTPLEND_CONNECTOR);
        ring(lend);
        return 0;
    }
    lend->lent = 1;
    leave(lend);
    return 1;
}

int wstplend_send(struct wstplend *lend, const uint8_t *data, size_t length)
{
    struct wstplend_page *page = lend->page;
    uint8_t end = STREAM_LINE_FEED, header[STREAM_HEADER];
    struct iovec parts[3] = {{header, STREAM_HEADER}, {(void *)(uintptr_t)data, length}, {&end, 1}};

    if (!enter(lend))
        return 0;
    stream_put_header(header, (uint32_t)length, STREAM_LINK);
    if (length == 0 || length > lend->most || length > page->may_send || !move(lend, 1, parts, length)) {
        put_back(lend);
        return 0;
    }
    page->may_send -= (uint32_t)length;
    leave(lend);
    return 1;
}

/* The size of the content of the frame that begins with this header, if it is there as a whole, within the allowance and
 * of the only kind that is passed here; else 0. `size` bytes were seen, the header included. */
static size_t content(const struct wstplend *lend, const uint8_t *header, const uint8_t *rest, size_t size)
{
    size_t length;

    if (size <= STREAM_HEADER || header[4] != STREAM_DATA || header[5] != STREAM_LINK)
        return 0;
    length = stream_length(header);
    if (length > lend->page->may_take || size - STREAM_HEADER <= length || rest[length] != STREAM_LINE_FEED)
        return 0;
    return length;
}

int64_t wstplend_receive(struct wstplend *lend, uint8_t *buffer, size_t room)
{
    uint8_t end, header[STREAM_HEADER];
    size_t length = 0;
    struct iovec parts[3] = {{header, STREAM_HEADER}, {buffer, room < STREAM_SMALL + 1 ? room : STREAM_SMALL + 1}, {&end, 1}};
    struct msghdr peek = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t seen;

    if (!enter(lend))
        return -1;
    do
        seen = recvmsg(lend->incoming, &peek, MSG_PEEK | MSG_DONTWAIT);
    while (seen < 0 && errno == EINTR);
    if (seen < 0 && not_now()) {
        leave(lend);
        return 0;
    }
    if (seen > 0)
        length = content(lend, header, buffer, (size_t)seen);
    parts[1].iov_len = length;
    if (length == 0 || !move(lend, 0, parts, length)) {
        put_back(lend);
        return -1;
    }
    lend->page->may_take -= (uint32_t)length;
    leave(lend);
    return (int64_t)length;
}

void wstplend_give_back(struct wstplend *lend)
{
    if (lend->lent && enter(lend))
        put_back(lend);
}

#else

int64_t wstplend_given(int32_t connection)
{
    (void)connection;
    return -1;
}

struct wstplend_totals wstplend_totals(const struct wstplend_page *page)
{
    return page->totals[page->number & 1];
}

int wstplend_offer(struct wstplend_page *page, int32_t connection, uint32_t may_send, uint32_t may_take)
{
    (void)page, (void)connection, (void)may_send, (void)may_take;
    return -1;
}

void wstplend_recall(struct wstplend_page *page, int32_t bell)
{
    (void)page, (void)bell;
}

int wstplend_begin(struct wstplend *lend)
{
    (void)lend;
    return -1;
}

int wstplend_take(struct wstplend *lend, int32_t connection, int ready)
{
    (void)lend, (void)connection, (void)ready;
    return 0;
}

int wstplend_send(struct wstplend *lend, const uint8_t *data, size_t length)
{
    (void)lend, (void)data, (void)length;
    return 0;
}

int64_t wstplend_receive(struct wstplend *lend, uint8_t *buffer, size_t room)
{
    (void)lend, (void)buffer, (void)room;
    return -1;
}

void wstplend_give_back(struct wstplend *lend)
{
    (void)lend;
}

#endif
