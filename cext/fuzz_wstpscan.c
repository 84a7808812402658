/*
 * Fuzz target (libFuzzer) for the frame scanner; tools/fuzz builds and runs it.
 *
 * Beside what the sanitizers see it checks that the events, the errors and the final position do not depend on how the
 * stream is cut, nor on whether opaque bytes are scanned or skipped, and all that test_log.h checks after each call.
 *
 * The first two bytes of an input choose masks; the third is the seed of the cuts; the rest is the stream.
 */
#include "test_log.h"

enum { CHOICES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static struct wstpscan new_state(const uint8_t *choices)
{
    struct wstpscan s;

    memset(&s, 0, sizeof s);
    s.stop_at_end = choices[0] & 1 ? UINT64_MAX : (uint64_t)choices[0] >> 1;
    return s;
}

/* A copy of its own for each piece, so that the address sanitizer sees a read past the end of the piece. */
static int scan_copy(struct wstpscan *s, const uint8_t *data, size_t length, struct log *log)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    int verdict;

    REQUIRE(copy != NULL);
    memcpy(copy, data, length);
    verdict = scan_logged(s, copy, length, log);
    free(copy);
    return verdict;
}

/* Pieces of random lengths, mostly short. With skip, opaque bytes are sometimes skipped; returns whether any were. */
static int scan_in_pieces(struct wstpscan *s, const uint8_t *data, size_t length, uint64_t seed, int skip,
                          struct log *log)
{
    int skipped = 0;

    while (length > 0) {
        uint64_t choice = next_random(&seed);
        size_t piece = (size_t)(choice % 8 ? next_random(&seed) % 8 : next_random(&seed) % 512);
        if (piece > length)
            piece = length;
        if (skip && s->opaque > 0 && choice & 8) {
            piece = (size_t)wstpscan_skip(s, piece);
            skipped = 1;
        } else if (scan_copy(s, data, piece, log) == WSTPSCAN_ERROR) {
            break;
        }
        data += piece;
        length -= piece;
    }
    return skipped;
}

/* What was not fed after an error must be refused, and change nothing. */
static void require_sticky(struct wstpscan *s)
{
    struct wstpscan before = *s;

    REQUIRE(wstpscan_scan(s, (const uint8_t *)"]", 1) == WSTPSCAN_ERROR && s->used == 0);
    REQUIRE(s->consumed == before.consumed && s->error == before.error && wstpscan_skip(s, 1) == 0);
    REQUIRE(s->error_offset == before.error_offset && s->error_offset == s->consumed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wstpscan whole, pieces, skipping;
    struct log whole_log = { 0 }, pieces_log = { 0 }, skipping_log = { 0 };

    if (size < CHOICES)
        return 0;
    whole = pieces = skipping = new_state(data);
    scan_copy(&whole, data + CHOICES, size - CHOICES, &whole_log);
    scan_in_pieces(&pieces, data + CHOICES, size - CHOICES, data[2], 0, &pieces_log);
    require_same_log(&whole_log, &pieces_log);
    require_same_position(&whole, &pieces);
    if (!scan_in_pieces(&skipping, data + CHOICES, size - CHOICES, data[2], 1, &skipping_log))
        require_same_position(&whole, &skipping);
    require_same_log(&whole_log, &skipping_log);
    REQUIRE(whole.consumed == skipping.consumed && whole.missing == skipping.missing);
    if (whole.error)
        require_sticky(&whole);
    return 0;
}
