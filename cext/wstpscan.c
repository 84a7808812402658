/*
 * The frame scanner: its entry points. The contract is in wstpscan.h, the grammar in docs/wire-protocol.md, section 3.
 *
 * Two readers of the same grammar work hand in hand: wstpscan_one_step() reads on from any position and is the one that
 * knows all of the grammar and all of the errors; skip_items() only runs over plain items that lie whole in the
 * buffer, several times faster, and leaves everything else, every error included, to the first.
 */
#include "wstpscan_internal.h"

/*
 * Runs over items that lie whole in the buffer: numbers, and functions and texts with a size of one byte. Stops in front
 * of the first other thing and in front of the last item of the frame. Only where the next item is an argument or a
 * head of a frame whose own head is known, and not among the leaves of an array.
 */
static void skip_items(struct wstpscan *s, struct input *in)
{
    const uint8_t *next = in->next;
    uint64_t missing = s->missing;
    int after_function = 0;

    while (missing > 1 && in->end - next >= 2) {
        size_t room = (size_t)(in->end - next), bytes = wstpscan_number_width[next[0]];
        if (bytes > 0) {
            bytes += 2;
        } else if (next[0] == 'F' && next[1] >= 0x40 && next[1] <= 0x7f) {
            uint64_t count = (uint64_t)(next[1] - 0x40);
            if (count > UINT64_MAX - missing)
                break;
            missing += count;
            next += 2;
            after_function = 1;
            continue;
        } else if (is_text(next[0]) && next[1] >= 0x40 && next[1] <= 0x7f) {
            bytes = (size_t)(next[1] - 0x40) + 3;
            if (s->max_block > 0 && bytes - 3 > s->max_block)
                break;
        } else {
            break;
        }
        if (bytes > room || next[bytes - 1] != LINE_FEED)
            break;
        missing--;
        next += bytes;
        after_function = 0;
    }
    if (next != in->next)
        s->place = after_function ? PLACE_HEAD : PLACE_ARGUMENT;
    in->next = next;
    s->missing = missing;
}

static int scan(struct wstpscan *s, struct input *in)
{
    int verdict = CONTINUE;

    while (in->next < in->end && verdict == CONTINUE) {
        if (s->step == WSTPSCAN_AT_ITEM && s->head_known && s->array_missing == 0) {
            skip_items(s, in);
            if (in->next == in->end)
                break;
        }
        verdict = wstpscan_one_step(s, in);
    }
    return verdict;
}

static void report_position(struct wstpscan *s)
{
    s->frame_bytes = s->consumed - s->frame_start;
    s->undecided = s->step == WSTPSCAN_AT_BOUNDARY || s->head_known ? 0 : s->frame_bytes;
}

int wstpscan_scan(struct wstpscan *s, const uint8_t *data, size_t length)
{
    struct input in;
    int verdict;

    s->used = 0;
    if (s->error)
        return WSTPSCAN_ERROR;
    if (length == 0)
        return WSTPSCAN_MORE;
    in.next = data;
    in.end = data + length;
    in.offset_of_end = s->consumed + length;
    verdict = scan(s, &in);
    s->used = (uint64_t)(in.next - data);
    s->consumed += s->used;
    report_position(s);
    return verdict;
}

uint64_t wstpscan_skip(struct wstpscan *s, uint64_t count)
{
    if (s->error || s->step != WSTPSCAN_AT_OPAQUE)
        return 0;
    if (count > s->opaque)
        count = s->opaque;
    s->opaque -= count;
    if (s->opaque == 0)
        s->step = WSTPSCAN_AT_LINE_FEED;
    s->tail_length = 0;
    s->consumed += count;
    report_position(s);
    return count;
}

const char *wstpscan_error_message(int error)
{
    static const char *const messages[] = {
        "no error",
        "no expression begins with this byte",
        "a size is neither a byte from 0x40 to 0x7f nor digits and a space",
        "a size has too many digits",
        "a text, a number or a block is not followed by a line feed",
        "a block of values of an unknown type",
        "a packed block where it cannot stand: as a whole expression or as a head",
        "a packed block has more values than arguments are missing",
        "more arguments are announced than can be counted",
        "a text or packed block is larger than allowed",
        "no D after the number of leaves of an array",
        "the header of an array is malformed",
        "the header of an array is larger than allowed",
        "the dimensions of an array do not multiply to the number of its leaves",
        "a leaf of an array is neither a machine number nor a packed block",
        "an end of packet inside an expression",
    };
    int count = (int)(sizeof messages / sizeof messages[0]);

    return error >= 0 && error < count ? messages[error] : "an unknown error";
}
