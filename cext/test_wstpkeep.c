/*
 * Tests of the notes that survive a process; tools/test-c builds them with sanitizers and runs them.
 */
#include "test_require.h"
#include "test_tcp.h"
#include "wstpkeep.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct wstpkeep_out *out(const struct wstpkeep *keep)
{
    return &keep->outs[keep->valid_out];
}

static const struct wstpkeep_in *in(const struct wstpkeep *keep)
{
    return &keep->ins[keep->valid_in];
}

static void test_frames_to_the_kernel(void)
{
    struct wstpkeep keep;

    memset(&keep, 0, sizeof keep);
    wstpkeep_send(&keep, 10, 2, 1); /* an evaluation of ten bytes */
    REQUIRE(out(&keep)->begin == 0 && out(&keep)->end == 10 && out(&keep)->evaluations == 1);
    REQUIRE(out(&keep)->head == 2 && out(&keep)->begins == 1);
    wstpkeep_send(&keep, 5, 10, 0); /* an answer to a question begins none, and the last head stays */
    REQUIRE(out(&keep)->begin == 10 && out(&keep)->end == 15 && out(&keep)->evaluations == 1);
    REQUIRE(out(&keep)->head == 2 && out(&keep)->begins == 0);
    wstpkeep_begin(&keep, 3, 1); /* of unknown size: never written whole, before somebody says so */
    REQUIRE(out(&keep)->begin == 15 && out(&keep)->end == UINT64_MAX && out(&keep)->evaluations == 2);
    REQUIRE(out(&keep)->head == 3);
}

static void test_what_was_handed_on(void)
{
    struct wstpkeep keep;
    struct wstpscan copies[2], scan;

    memset(&keep, 0, sizeof keep);
    memset(copies, 0, sizeof copies);
    memset(&scan, 0, sizeof scan);
    wstpkeep_send(&keep, 10, 2, 1);
    wstpkeep_handed_on(&keep, 40, 0); /* the evaluation is open */
    REQUIRE(in(&keep)->boundary == 40 && in(&keep)->idle == 0 && keep.valid_scan == -1);
    wstpkeep_handed_on(&keep, 60, 1);
    REQUIRE(in(&keep)->boundary == 60 && in(&keep)->idle == 1);
    wstpkeep_handed_on(&keep, 70, 0); /* what is not idle now was so after one evaluation */
    REQUIRE(in(&keep)->boundary == 70 && in(&keep)->idle == 1);

    scan.consumed = 77;
    wstpkeep_scanned(&keep, copies, &scan);
    REQUIRE(keep.valid_scan >= 0 && copies[keep.valid_scan].consumed == 77);
    scan.consumed = 78;
    wstpkeep_scanned(&keep, copies, &scan); /* the one before stays until the new one is valid */
    REQUIRE(copies[keep.valid_scan].consumed == 78 && copies[!keep.valid_scan].consumed == 77);
    wstpkeep_handed_on(&keep, 90, 1);
    REQUIRE(keep.valid_scan == -1);

    keep.kept = 5;
    wstpkeep_receive(&keep, 3, 90);
    REQUIRE(keep.buffer == 3 && keep.first == 90 && keep.kept == 0);
}

static void test_bytes_of_a_connection(void)
{
#ifdef __linux__
    struct wstpkeep keep;
    char data[100];
    int pair[2];

    open_tcp_pair(pair);
    memset(data, 'x', sizeof data);
    REQUIRE(wstpkeep_written(pair[0]) >= 0 && wstpkeep_taken(pair[1]) == 0);
    memset(&keep, 0, sizeof keep);
    keep.written = (uint64_t)wstpkeep_written(pair[0]);
    wstpkeep_begin(&keep, 2, 1);
    REQUIRE(send(pair[0], data, sizeof data, 0) == sizeof data);
    REQUIRE(wstpkeep_written(pair[0]) == (int64_t)keep.written + (int64_t)sizeof data); /* read or not */
    REQUIRE(recv(pair[1], data, 30, MSG_WAITALL) == 30 && wstpkeep_taken(pair[1]) == 30); /* not what waits */
    REQUIRE(wstpkeep_complete(&keep, pair[0], 0, 1, 2) == 0);
    REQUIRE(out(&keep)->begin == UINT64_MAX && out(&keep)->end == sizeof data && out(&keep)->evaluations == 1);
    REQUIRE(wstpkeep_complete(&keep, pair[0], 7, 4, 3) == 0); /* more than the notes know of */
    REQUIRE(out(&keep)->evaluations == 4 && out(&keep)->head == 3);
    REQUIRE(out(&keep)->end == sizeof data + 7); /* and what went another way */
    close(pair[0]);
    close(pair[1]);
    REQUIRE(wstpkeep_written(pair[0]) == -1 && wstpkeep_taken(pair[0]) == -1);
    REQUIRE(wstpkeep_complete(&keep, pair[0], 7, 5, 3) == -1 && out(&keep)->evaluations == 4);
#endif
}

int main(void)
{
    test_frames_to_the_kernel();
    test_what_was_handed_on();
    test_bytes_of_a_connection();
    puts("notes: passed");
    return 0;
}
