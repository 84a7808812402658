/*
 * For the C tests and the fuzz target: runs the scanner over bytes and writes down what it reports, in a form that does
 * not depend on how the bytes were cut. Two runs over the same bytes must leave equal logs, and the scanner in the same
 * position.
 */
#ifndef TEST_LOG_H
#define TEST_LOG_H

#include "test_require.h"
#include "wstpscan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was reported: a count of each kind, and a hash over all of it with heads and offsets. */
struct log {
    uint64_t ends, tails, hash;
};

static inline void log_number(struct log *log, uint64_t number)
{
    int byte;

    for (byte = 0; byte < 64; byte += 8)
        log->hash = (log->hash ^ (number >> byte & 0xff)) * 1099511628211u; /* FNV-1a */
}

static inline void log_event(struct log *log, uint64_t kind, uint64_t offset, const struct wstpscan *s)
{
    log_number(log, kind);
    log_number(log, offset);
    log_number(log, (uint64_t)s->head);
    log_number(log, (uint64_t)s->head_name_length << 8 | (uint8_t)s->head_name[0]);
}

/* One verdict. An END that took its "]" along counts as one without and a TAIL. */
static inline void log_verdict(struct log *log, int verdict, const uint8_t *next, const struct wstpscan *s)
{
    int with_tail = verdict == WSTPSCAN_END && next[-1] == ']';

    if (verdict == WSTPSCAN_END) {
        log->ends++;
        log_event(log, WSTPSCAN_END, s->consumed - (uint64_t)with_tail, s);
    }
    if (verdict == WSTPSCAN_TAIL || with_tail) {
        log->tails++;
        log_event(log, WSTPSCAN_TAIL, s->consumed, s);
    }
}

static inline void check_result(const struct wstpscan *s, int verdict, size_t length)
{
    REQUIRE(s->used <= length);
    REQUIRE(verdict != WSTPSCAN_MORE || s->used == length);
    REQUIRE(verdict != WSTPSCAN_TAIL || s->used == 1);
    REQUIRE((verdict == WSTPSCAN_ERROR) == (s->error != 0));
    REQUIRE(s->error != 0 || s->undecided <= WSTPSCAN_MAX_UNDECIDED);
    REQUIRE(s->undecided <= s->consumed && s->frame_bytes <= s->consumed);
    REQUIRE(verdict != WSTPSCAN_END || (s->step == WSTPSCAN_AT_BOUNDARY && s->head_known));
    REQUIRE(s->opaque == 0 || s->step == WSTPSCAN_AT_OPAQUE);
    REQUIRE(s->head_name_length == strlen(s->head_name) && s->head < wstpscan_head_count());
}

/* Scans all of the bytes, or up to the error. Returns the last verdict. */
static inline int scan_logged(struct wstpscan *s, const uint8_t *data, size_t length, struct log *log)
{
    const uint8_t *end = data + length;
    int verdict;

    for (;;) {
        verdict = wstpscan_scan(s, data, (size_t)(end - data));
        check_result(s, verdict, (size_t)(end - data));
        if (verdict == WSTPSCAN_MORE || verdict == WSTPSCAN_ERROR)
            return verdict;
        data += s->used;
        log_verdict(log, verdict, data, s);
    }
}

static inline void require_same_text(const struct wstpscan *a, const struct wstpscan *b, uint64_t left)
{
    uint64_t seen = a->size - left;

    REQUIRE(a->size == b->size);
    if (seen == 0)
        return;
    REQUIRE(memcmp(a->text, b->text, seen < sizeof a->text ? (size_t)seen : sizeof a->text) == 0);
    if (a->step != WSTPSCAN_AT_HEAD_TEXT) {
        REQUIRE(a->tail_length == (seen < sizeof a->tail ? seen : sizeof a->tail));
        REQUIRE(a->tail_length == b->tail_length && memcmp(a->tail, b->tail, a->tail_length) == 0);
    }
}

/* Whether both stand in the same position, as far as a caller can tell. Neither has skipped in the current text. */
static inline void require_same_position(const struct wstpscan *a, const struct wstpscan *b)
{
    REQUIRE(a->consumed == b->consumed && a->frame_start == b->frame_start && a->step == b->step);
    REQUIRE(a->error == b->error && a->error_offset == b->error_offset);
    REQUIRE(a->head_known == b->head_known && a->head == b->head && a->missing == b->missing);
    REQUIRE(a->opaque == b->opaque && a->array_missing == b->array_missing);
    REQUIRE(strcmp(a->head_name, b->head_name) == 0);
    if (a->step != WSTPSCAN_AT_BOUNDARY && a->step != WSTPSCAN_AT_ITEM) {
        REQUIRE(a->item_start == b->item_start);
        REQUIRE(a->item_start >= a->frame_start && a->item_start < a->consumed);
    }
    switch (a->step) {
    case WSTPSCAN_AT_BOUNDARY:
        break;
    case WSTPSCAN_AT_ITEM:
        REQUIRE(a->place == b->place);
        break;
    case WSTPSCAN_AT_SIZE:
    case WSTPSCAN_AT_NUMBER_TOKEN:
        REQUIRE(a->token == b->token && a->size == b->size && a->digits == b->digits);
        break;
    case WSTPSCAN_AT_OPAQUE:
        REQUIRE(a->token == b->token);
        if (strchr("\"#+*", a->token))
            require_same_text(a, b, a->opaque);
        break;
    case WSTPSCAN_AT_HEAD_TEXT:
    case WSTPSCAN_AT_DIMENSION_TEXT:
        REQUIRE(a->left == b->left);
        require_same_text(a, b, a->left);
        break;
    default:
        REQUIRE(a->array_total == b->array_total || a->step == WSTPSCAN_AT_LINE_FEED);
    }
    if (a->array_missing > 0)
        REQUIRE(a->number_token == b->number_token);
}

static inline void require_same_log(const struct log *a, const struct log *b)
{
    REQUIRE(a->ends == b->ends && a->tails == b->tails && a->hash == b->hash);
}

#endif
