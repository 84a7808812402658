/*
 * Notes that survive the process. The contract is in wstpkeep.h.
 */
#define _GNU_SOURCE
#include "wstpkeep.h"

#ifdef __linux__
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#endif

/* The compiler must not move stores across this; what the processor does with them is invisible to another process that
 * looks when this one is dead. */
#define IN_ORDER() __asm__ __volatile__("" ::: "memory")

#define NEVER UINT64_MAX

static void note_out(struct wstpkeep *keep, uint64_t begin, uint64_t end, uint64_t evaluations, int32_t head, int32_t begins)
{
    struct wstpkeep_out *next = &keep->outs[!keep->valid_out];

    next->begin = begin;
    next->end = end;
    next->evaluations = evaluations;
    next->head = head;
    next->begins = begins;
    IN_ORDER();
    keep->valid_out = !keep->valid_out;
    IN_ORDER();
}

void wstpkeep_send(struct wstpkeep *keep, uint64_t size, int32_t head, int32_t begins)
{
    const struct wstpkeep_out *last = &keep->outs[keep->valid_out];

    note_out(keep, last->end, last->end + size, last->evaluations + (uint64_t)begins, begins ? head : last->head, begins);
}

void wstpkeep_begin(struct wstpkeep *keep, int32_t head, int32_t begins)
{
    const struct wstpkeep_out *last = &keep->outs[keep->valid_out];

    note_out(keep, last->end, NEVER, last->evaluations + (uint64_t)begins, begins ? head : last->head, begins);
}

int wstpkeep_complete(struct wstpkeep *keep, int32_t descriptor, uint64_t lent, uint64_t evaluations, int32_t head)
{
    int64_t written = wstpkeep_written(descriptor);

    const struct wstpkeep_out *last = &keep->outs[keep->valid_out];

    if (written < 0)
        return -1;
    if (evaluations <= last->evaluations) {
        evaluations = last->evaluations;
        head = last->head;
    }
    note_out(keep, NEVER, (uint64_t)written + lent - keep->written, evaluations, head, 0);
    return 0;
}

void wstpkeep_handed_on(struct wstpkeep *keep, uint64_t boundary, int32_t idle)
{
    struct wstpkeep_in *next = &keep->ins[!keep->valid_in];

    next->boundary = boundary;
    next->idle = idle ? keep->outs[keep->valid_out].evaluations : keep->ins[keep->valid_in].idle;
    IN_ORDER();
    keep->valid_in = !keep->valid_in;
    keep->valid_scan = -1;
    IN_ORDER();
}

void wstpkeep_scanned(struct wstpkeep *keep, struct wstpscan *copies, const struct wstpscan *scan)
{
    int32_t next = keep->valid_scan == 0;

    copies[next] = *scan;
    IN_ORDER();
    keep->valid_scan = next;
    IN_ORDER();
}

void wstpkeep_receive(struct wstpkeep *keep, uint64_t buffer, uint64_t first)
{
    keep->buffer = 0;
    IN_ORDER();
    keep->first = first;
    IN_ORDER();
    keep->buffer = buffer;
    keep->kept = 0;
    IN_ORDER();
}

#ifdef __linux__

/* Where struct tcp_info has tcpi_bytes_acked and tcpi_bytes_received; the C library's own may be older. */
enum { ACKED = 120, RECEIVED = 128, INFO_SIZE = 136, LOOKS = 1000 };

static int64_t counter(int32_t descriptor, size_t place)
{
    unsigned char info[INFO_SIZE];
    socklen_t size = sizeof info;
    uint64_t value;

    if (getsockopt(descriptor, IPPROTO_TCP, 11 /* TCP_INFO */, info, &size) < 0 || size < INFO_SIZE)
        return -1;
    memcpy(&value, info + place, sizeof value);
    return (int64_t)value;
}

/* The counter, and what waits in the queue; asked again until nothing has moved meanwhile. */
static int64_t both(int32_t descriptor, size_t place, unsigned long request, int sign)
{
    int looks;

    for (looks = 0; looks < LOOKS; looks++) {
        int64_t before = counter(descriptor, place);
        int waiting;
        if (before < 0 || ioctl(descriptor, request, &waiting) < 0)
            return -1;
        if (counter(descriptor, place) == before)
            return before + sign * waiting;
    }
    return -1;
}

int64_t wstpkeep_written(int32_t descriptor)
{
    return both(descriptor, ACKED, SIOCOUTQ, 1);
}

int64_t wstpkeep_taken(int32_t descriptor)
{
    return both(descriptor, RECEIVED, SIOCINQ, -1);
}

#else

int64_t wstpkeep_written(int32_t descriptor)
{
    (void)descriptor;
    return -1;
}

int64_t wstpkeep_taken(int32_t descriptor)
{
    (void)descriptor;
    return -1;
}

#endif
