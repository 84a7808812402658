/*
 * Tests of the frame scanner in C; tools/test-c builds them with sanitizers and runs them.
 *
 * Every input ends exactly at a page that must not be read, so that one byte too many is a crash and not luck. The one
 * argument is a file of recorded expressions: for each a length (4 bytes, little-endian) and so many bytes, its "]"
 * included.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "test_log.h"

#include <sys/mman.h>
#include <unistd.h>

enum { AREA = 1 << 16 };

/* End of the readable area: the next byte is in the guard page. */
static uint8_t *guard;

static void make_guard(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *area = mmap(NULL, AREA + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(area != MAP_FAILED && AREA % page == 0);
    REQUIRE(mprotect(area + AREA, page, PROT_NONE) == 0);
    guard = area + AREA;
}

/* The bytes, moved to where they end at the guard page. */
static const uint8_t *at_guard(const void *data, size_t length)
{
    REQUIRE(length <= AREA);
    return memcpy(guard - length, data, length);
}

static struct wstpscan new_state(void)
{
    struct wstpscan s;

    memset(&s, 0, sizeof s);
    s.stop_at_end = UINT64_MAX;
    return s;
}

static int scan_at_guard(struct wstpscan *s, const void *data, size_t length, struct log *log)
{
    return scan_logged(s, at_guard(data, length), length, log);
}

/* ------------------------------------------------------------------------------------- recorded expressions ----- */

static void test_one_frame(const uint8_t *data, size_t length)
{
    struct wstpscan whole = new_state();
    struct log expected = { 0 };
    size_t split;

    REQUIRE(scan_at_guard(&whole, data, length, &expected) == WSTPSCAN_MORE);
    REQUIRE(expected.ends == 1 && expected.tails == 1);
    REQUIRE(whole.step == WSTPSCAN_AT_BOUNDARY && whole.frame_bytes == length);
    for (split = 1; split < length; split++) {
        struct wstpscan s = new_state(), prefix = new_state();
        struct log log = { 0 }, prefix_log = { 0 };
        scan_at_guard(&s, data, split, &log);
        REQUIRE(log.tails == 0 && log.ends == (split == length - 1));
        scan_at_guard(&prefix, data, split, &prefix_log);
        require_same_position(&s, &prefix);
        scan_at_guard(&s, data + split, length - split, &log);
        require_same_log(&expected, &log);
        require_same_position(&whole, &s);
    }
}

static void test_byte_by_byte(const uint8_t *data, size_t length)
{
    struct wstpscan whole = new_state(), s = new_state();
    struct log expected = { 0 }, log = { 0 };
    size_t i;

    scan_at_guard(&whole, data, length, &expected);
    for (i = 0; i < length; i++)
        scan_at_guard(&s, data + i, 1, &log);
    require_same_log(&expected, &log);
    require_same_position(&whole, &s);
}

/* Each byte changed in turn: no crash, and the same reading whole and byte by byte. */
static void test_damaged(const uint8_t *data, size_t length)
{
    uint8_t copy[AREA / 4];
    size_t i;

    REQUIRE(length <= sizeof copy);
    if (length > 600)
        return; /* long packed data: its bytes are not looked at */
    memcpy(copy, data, length);
    for (i = 0; i < length; i++) {
        copy[i] = (uint8_t)(data[i] ^ (1u << i % 8));
        test_byte_by_byte(copy, length);
        copy[i] = data[i];
    }
}

static int test_recorded(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t size[4], data[AREA];
    int count = 0;

    REQUIRE(file != NULL);
    while (fread(size, 1, 4, file) == 4) {
        size_t length = (size_t)size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16;
        REQUIRE(size[3] == 0 && length <= sizeof data && fread(data, 1, length, file) == length);
        test_one_frame(data, length);
        test_byte_by_byte(data, length);
        test_damaged(data, length);
        count++;
    }
    fclose(file);
    REQUIRE(count > 300);
    return count;
}

/* ------------------------------------------------------------------------------------------------- the rest ----- */

static void test_nothing(void)
{
    struct wstpscan s = new_state();

    REQUIRE(wstpscan_scan(&s, NULL, 0) == WSTPSCAN_MORE && s.used == 0 && s.step == WSTPSCAN_AT_BOUNDARY);
    REQUIRE(wstpscan_skip(&s, 5) == 0);
}

static void test_masks(void)
{
    static const char stream[] = "]F@#PA~MSuspendPacket\n]]F@#OA~LResumePacket\n]]";
    struct wstpscan s;
    struct log log = { 0 };

    memset(&s, 0, sizeof s);
    REQUIRE(scan_at_guard(&s, stream, sizeof stream - 1, &log) == WSTPSCAN_MORE);
    REQUIRE(log.ends == 0 && log.tails == 1); /* of no frame */
    memset(&s, 0, sizeof s);
    s.stop_at_end = (uint64_t)1 << 19; /* ResumePacket */
    REQUIRE(strcmp(wstpscan_head_table(19), "ResumePacket") == 0);
    memset(&log, 0, sizeof log);
    scan_at_guard(&s, stream, sizeof stream - 1, &log);
    REQUIRE(log.ends == 1 && log.tails == 3);
}

/* In B, C and F a space takes the place of a count of 64 and more; in the other formats it is malformed. */
static void test_heads_without_count(void)
{
    static const struct { char letter; size_t width, first; } formats[] = {
        { 'A', 1, 0 }, { 'D', 1, 0 }, { 'E', 2, 0 }, { 'B', 1, 0 }, { 'C', 2, 1 }, { 'F', 4, 0 },
    };
    size_t format;

    for (format = 0; format < sizeof formats / sizeof formats[0]; format++) {
        uint8_t text[3 + 70 * 4] = { 0 }, length;
        char name[WSTPSCAN_HEAD_NAME_SIZE];
        size_t i, width = formats[format].width;
        text[0] = (uint8_t)formats[format].letter;
        text[1] = '~';
        text[2] = ' ';
        for (i = 0; i < 70; i++)
            text[3 + i * width + formats[format].first] = 'x';
        REQUIRE(wstpscan_head_code(at_guard(text, 3 + i * width), 3 + i * width, name, &length) == 0);
        REQUIRE(length == (format < 3 ? 0 : WSTPSCAN_HEAD_NAME_SIZE - 1) && strspn(name, "x") == length);
    }
}

/* The text of every head in the table is found in every format, with and without its context. */
static void test_head_formats(void)
{
    static const struct { char letter; size_t width, first; } formats[] = {
        { 'A', 1, 0 }, { 'B', 1, 0 }, { 'C', 2, 1 }, { 'D', 1, 0 }, { 'E', 2, 0 }, { 'F', 4, 0 }, { 'F', 4, 3 },
    };
    const size_t count = sizeof formats / sizeof formats[0];
    int code;

    for (code = 1; code < wstpscan_head_count(); code++) {
        size_t format;
        for (format = 0; format < 2 * count; format++) {
            uint8_t text[WSTPSCAN_MAX_HEAD_TEXT] = { 0 }, length;
            char name[WSTPSCAN_HEAD_NAME_SIZE], expected[WSTPSCAN_HEAD_NAME_SIZE];
            size_t i, width = formats[format % count].width;
            snprintf(expected, sizeof expected, "%s%s", format < count ? "" : "System`", wstpscan_head_table(code));
            text[0] = (uint8_t)formats[format % count].letter;
            text[1] = '~';
            text[2] = (uint8_t)(0x40 + strlen(expected));
            for (i = 0; i < strlen(expected); i++)
                text[3 + i * width + formats[format % count].first] = (uint8_t)expected[i];
            REQUIRE(wstpscan_head_code(at_guard(text, 3 + i * width), 3 + i * width, name, &length) == code);
            REQUIRE(strcmp(name, expected) == 0 && length == strlen(expected));
        }
    }
}

static void test_deep(void)
{
    struct wstpscan s = new_state();
    struct log log = { 0 };
    long level;

    for (level = 0; level < 1000000; level++)
        scan_at_guard(&s, "FA#DA~Ag\n", 9, &log);
    REQUIRE(s.missing == 1 && s.head_known && log.ends == 0);
    REQUIRE(scan_at_guard(&s, "\xa1\x01\n]", 4, &log) == WSTPSCAN_MORE);
    REQUIRE(log.ends == 1 && log.tails == 1 && s.frame_bytes == 9000004);
}

/* 4 GB of text: one step for the part that is in memory, none for the part that is skipped. */
static void test_huge(void)
{
    struct wstpscan s = new_state();
    struct log log = { 0 };

    REQUIRE(scan_at_guard(&s, "FB#DA~Af\n\"4294967296 A~4294967285 xx", 36, &log) == WSTPSCAN_MORE);
    REQUIRE(s.opaque == 4294967296u - 15);
    REQUIRE(wstpscan_skip(&s, 4294967296u) == 4294967296u - 15 && s.opaque == 0);
    REQUIRE(scan_at_guard(&s, "\nP", 2, &log) == WSTPSCAN_MORE);
    REQUIRE(s.missing == 1 && log.ends == 0);
    REQUIRE(scan_at_guard(&s, "2 ", 2, &log) == WSTPSCAN_ERROR && s.error == WSTPSCAN_E_PACKED_COUNT);
}

static void test_error(const char *stream, size_t length, int error, uint64_t offset)
{
    struct wstpscan s = new_state();
    struct log log = { 0 };

    REQUIRE(scan_at_guard(&s, stream, length, &log) == WSTPSCAN_ERROR);
    if (s.error != error || s.error_offset != offset)
        fprintf(stderr, "%s: %s at %d\n", stream, wstpscan_error_message(s.error), (int)s.error_offset);
    REQUIRE(s.error == error && s.error_offset == offset && s.consumed == offset);
    REQUIRE(wstpscan_scan(&s, (const uint8_t *)"F", 1) == WSTPSCAN_ERROR && s.used == 0 && s.error == error);
}

#define ERROR_AT(stream, error, offset) test_error(stream, sizeof stream - 1, error, offset)

static void test_errors(void)
{
    ERROR_AT("G", WSTPSCAN_E_TOKEN, 0);
    ERROR_AT("F?", WSTPSCAN_E_SIZE, 1);
    ERROR_AT("F ", WSTPSCAN_E_SIZE, 1);
    ERROR_AT("F12A", WSTPSCAN_E_SIZE, 3);
    ERROR_AT("\"1234567890123456 ", WSTPSCAN_E_SIZE_DIGITS, 16);
    ERROR_AT("\xa1\x01]", WSTPSCAN_E_LINE_FEED, 2);
    ERROR_AT("FA#DA~Af\nPA\x01", WSTPSCAN_E_NUMBER_TOKEN, 11);
    ERROR_AT("PA\xa1\x01\n", WSTPSCAN_E_PACKED_PLACE, 0);
    ERROR_AT("FAPA\xa1\x01\n", WSTPSCAN_E_PACKED_PLACE, 2);
    ERROR_AT("FA#DA~Af\nPB\xa1", WSTPSCAN_E_PACKED_COUNT, 10);
    ERROR_AT("AAE", WSTPSCAN_E_ARRAY_MARK, 2);
    ERROR_AT("AADA.", WSTPSCAN_E_ARRAY_HEADER, 4);
    ERROR_AT("AADLFA#GA~DList\n.", WSTPSCAN_E_ARRAY_HEADER, 7);
    ERROR_AT("AADNFA#GA~DList\n.", WSTPSCAN_E_ARRAY_HEADER, 16);
    ERROR_AT("AAD65537 ", WSTPSCAN_E_ARRAY_HEADER_SIZE, 8);
    ERROR_AT("ABDMFA#GA~DList\n.\n", WSTPSCAN_E_ARRAY_TOTAL, 17);
    ERROR_AT("AADMFA#GA~DList\n.\n#", WSTPSCAN_E_ARRAY_LEAF, 18);
    ERROR_AT("F@]", WSTPSCAN_E_MISPLACED_END, 2);
    REQUIRE(strcmp(wstpscan_error_message(99), wstpscan_error_message(-1)) == 0);
}

/* So many arguments at every level that their number leaves 64 bits. */
static void test_too_many_arguments(void)
{
    struct wstpscan s = new_state();
    struct log log = { 0 };
    int levels = 0;

    while (scan_at_guard(&s, "F999999999999999 ", 17, &log) == WSTPSCAN_MORE)
        levels++;
    REQUIRE(s.error == WSTPSCAN_E_ARGUMENTS && levels == 18446);
}

int main(int argc, char **argv)
{
    int vectors;

    REQUIRE(argc == 2);
    make_guard();
    vectors = test_recorded(argv[1]);
    test_nothing();
    test_masks();
    test_head_formats();
    test_heads_without_count();
    test_deep();
    test_huge();
    test_errors();
    test_too_many_arguments();
    printf("%d recorded expressions in all splits, and 8 other C tests passed\n", vectors);
    return 0;
}
