/*
 * wstplend: the stream of a kernel on another machine, lent by its connector to the server.
 *
 * The connector (keeper/connector.py) stands between the server and the stream of frames to the agent (keeper/stream.py).
 * While nothing but small DATA frames of channel 1 pass, it lends the stream to the server, which then reads and writes
 * them itself. Both have a page of memory in common. Its `state` says whose the stream is, in both directions:
 *
 *     the connector's  --offer-->  offered  --take-->  lent  <-->  in use by the server, for one frame
 *
 * From any of them it goes back to the connector: the server gives it back as soon as there is anything that is no whole
 * small DATA frame within the allowance, and leaves that where it is. The connector recalls it whenever it likes, and when
 * the server is dead. So nothing is ever half read or half written when it changes hands.
 *
 *   - The page also has the totals of what was sent and taken. The system itself notes in it whether a frame has moved
 *     (`msg_len` of sendmmsg and recvmmsg), so that the totals are right whenever the server is killed.
 *   - What is sent or taken is never more than the system sends or takes as a whole.
 *   - Linux only; elsewhere nothing is ever offered.
 *
 * The part between the two "cffi" lines is also read by the build script: no preprocessor, plain integers only.
 */
#ifndef WSTPLEND_H
#define WSTPLEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

enum wstplend_state { WSTPLEND_CONNECTOR, WSTPLEND_OFFERED, WSTPLEND_LENT, WSTPLEND_IN_USE };

/* Bytes of DATA frames that have passed in this way, without what makes them frames. */
struct wstplend_totals {
    uint64_t sent;              /* to the kernel */
    uint64_t taken;             /* from it */
};

/* What both processes see. All bytes zero, but the totals, is the beginning. */
struct wstplend_page {
    uint32_t state;             /* enum wstplend_state */
    uint32_t may_send;          /* bytes that the server may send, */
    uint32_t may_take;          /* and take, until it gives the stream back */
    int32_t sends;              /* whether what is under way is sent */
    uint64_t received;          /* of the offer: what the connector has received from the connection with the server; */
    uint64_t given;             /* and what it has written to it */
    uint64_t number;            /* of frames that have passed; its last bit says which totals are valid */
    uint64_t under_way;         /* number + 1 while a frame is being passed */
    struct wstplend_totals totals[2];
    uint64_t message[8];        /* struct mmsghdr of that frame */
};

/* The server's side. */
struct wstplend {
    struct wstplend_page *page;
    int32_t incoming, outgoing; /* the stream */
    int32_t bell;               /* tells the other process that it should look at the page */
    int32_t lent;               /* 1: lent, as far as this side knows */
    uint32_t most;              /* bytes of a frame at most; set by wstplend_begin() */
    int32_t epoll;              /* where `incoming` is waited for while it is lent, */
    void *data;                 /* and for whom */
};

/* Bytes that were ever given to the system for a TCP connection; -1: unknown. It can be compared with what the other end has
 * received (wstpkeep_taken): wstpkeep_written counts one byte more at the end that has connected. */
int64_t wstplend_given(int32_t connection);

/* What has passed, also if a server was killed meanwhile. To be asked while the stream is the connector's. */
struct wstplend_totals wstplend_totals(const struct wstplend_page *page);

/* The connector offers the stream. `connection` is its side of the connection with the server. Returns 0, or -1 if it
 * cannot. */
int wstplend_offer(struct wstplend_page *page, int32_t connection, uint32_t may_send, uint32_t may_take);

/* The connector takes it back; waits for the end of a frame that the server passes. `bell` is readable with nothing to
 * read, or has an error, if the server is dead. */
void wstplend_recall(struct wstplend_page *page, int32_t bell);

/* The server begins with a page. Returns 0, or -1 if it cannot borrow here. */
int wstplend_begin(struct wstplend *lend);

/* The server takes what is offered, if it is `ready` and nothing is on its way over its `connection`; else it declines.
 * Returns 1 if the stream is lent now. */
int wstplend_take(struct wstplend *lend, int32_t connection, int ready);

/* Sends these bytes as a frame. Returns 1, or 0 if the stream is not lent any more and nothing was sent. */
int wstplend_send(struct wstplend *lend, const uint8_t *data, size_t length);

/* Takes the content of the next frame. Returns its size, 0 if there is none, -1 if the stream is not lent any more. Bytes
 * behind the content may be overwritten. */
int64_t wstplend_receive(struct wstplend *lend, uint8_t *buffer, size_t room);

/* The server gives the stream back, if it is lent. */
void wstplend_give_back(struct wstplend *lend);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
