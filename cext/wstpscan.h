/*
 * wstpscan: finds the boundaries of frames in a stream of WSTP expressions.
 *
 * A frame is one complete top-level expression together with the "]" that may follow it. The scanner reads the bytes
 * of one direction of one link, in pieces of any length, and reports where frames begin and end and which symbol is
 * the head of each. It never decodes a value and never looks into the bytes of a text or of packed numbers.
 *
 *   - Portable C99. No allocation, no input or output, no variable outside the state, no recursion.
 *   - The state is a plain struct; all bytes zero is the start of a stream. It holds no pointer, so it may be copied
 *     (which copies the position in the stream) and needs no destruction.
 *   - Resumable at any byte: the events, their offsets and the errors do not depend on how the stream is cut.
 *   - Errors are numbered and sticky: after the first one every call returns WSTPSCAN_ERROR and consumes nothing.
 *   - Time is linear in the bytes that are looked at. A text or packed block of any size costs one step per call,
 *     and wstpscan_skip() passes over bytes of it that the caller never had in memory.
 *   - Nesting costs one addition to a counter: there is no stack, hence no limit of depth. The price: a packed block
 *     that holds more values than its own function lacks, but not more than the whole frame lacks, goes unnoticed.
 *
 * One state must not be used by two threads at once; different states are independent.
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPSCAN_H
#define WSTPSCAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* Limits. ------------------------------------------------------------------------------------------------------- */

/* Most decimal digits in a size or count; 15 nines are a petabyte, and every sum of sizes stays inside 64 bits. */
#define WSTPSCAN_MAX_SIZE_DIGITS 15

/* Most bytes in the header of a rectangular array (at least 12 for each dimension, so thousands of dimensions). */
#define WSTPSCAN_MAX_ARRAY_HEADER 65536

/* A head symbol whose text takes more bytes than this is WSTPSCAN_HEAD_OTHER as soon as its size is read. Every name
 * in the table fits, with its context and in the longest spelling that the text formats allow. */
#define WSTPSCAN_MAX_HEAD_TEXT 256

/* Most bytes of a frame that can have been consumed before its head is known: "F", a count, "#", a size, and the text
 * of the head but for its last byte. */
#define WSTPSCAN_MAX_UNDECIDED 289

/* Size of wstpscan.head_name; one byte of it is for the terminating zero. */
#define WSTPSCAN_HEAD_NAME_SIZE 64

/* Size of wstpscan.tail. */
#define WSTPSCAN_TAIL_SIZE 16

/* Values of wstpscan.token in the header of an array: a dimension, and the symbol after it. */
#define WSTPSCAN_DIMENSION 0x64
#define WSTPSCAN_DIMENSION_SYMBOL 0x73

/* What wstpscan_scan() returns. ---------------------------------------------------------------------------------- */

enum wstpscan_verdict {
    /* The stream is not WSTP, now or since an earlier call: see error, error_offset. used counts the good bytes. */
    WSTPSCAN_ERROR = -1,
    /* All bytes consumed, nothing to report. */
    WSTPSCAN_MORE = 0,
    /* A frame is complete; its "]" was consumed with it if it was the next byte of the buffer. Comes once for each
     * frame whose head is in stop_at_end. */
    WSTPSCAN_END = 1,
    /* A "]" between frames; it belongs to the frame before. One byte consumed. Comes where the END of that frame was
     * reported, and where no frame came before; otherwise such bytes are passed over in silence. */
    WSTPSCAN_TAIL = 2
};

/* Errors, in wstpscan.error. The offset is that of the first byte that cannot be right. --------------------------- */

enum wstpscan_error {
    WSTPSCAN_OK = 0,
    WSTPSCAN_E_TOKEN = 1,           /* no expression begins with this byte */
    WSTPSCAN_E_SIZE = 2,            /* a size or count is neither a byte 0x40..0x7f nor digits and a space */
    WSTPSCAN_E_SIZE_DIGITS = 3,     /* more than WSTPSCAN_MAX_SIZE_DIGITS digits */
    WSTPSCAN_E_LINE_FEED = 4,       /* no line feed after a text, a number or a block */
    WSTPSCAN_E_NUMBER_TOKEN = 5,    /* a block of values of unknown type */
    WSTPSCAN_E_PACKED_PLACE = 6,    /* a packed block as a frame or as a head */
    WSTPSCAN_E_PACKED_COUNT = 7,    /* a packed block with more values than are missing */
    WSTPSCAN_E_ARGUMENTS = 8,       /* the missing arguments of a frame do not fit into 64 bits */
    WSTPSCAN_E_ARRAY_MARK = 9,      /* no "D" after the number of leaves of an array */
    WSTPSCAN_E_ARRAY_HEADER = 10,   /* the header of an array is malformed or not as long as it says */
    WSTPSCAN_E_ARRAY_HEADER_SIZE = 11, /* it is longer than WSTPSCAN_MAX_ARRAY_HEADER */
    WSTPSCAN_E_ARRAY_TOTAL = 12,    /* its dimensions do not multiply to the number of leaves */
    WSTPSCAN_E_ARRAY_LEAF = 13,     /* a leaf of an array is neither a machine number nor a packed block */
    WSTPSCAN_E_MISPLACED_END = 14   /* "]" inside an expression */
};

/* Where the scanner stands: what the next byte is. For wstpscan.step. -------------------------------------------- */

enum wstpscan_step {
    WSTPSCAN_AT_BOUNDARY = 0,       /* between frames */
    WSTPSCAN_AT_ITEM = 1,           /* the first byte of an expression, of a packed block or of an array */
    WSTPSCAN_AT_SIZE = 2,           /* a byte of a size or count; see token, size, digits */
    WSTPSCAN_AT_NUMBER_TOKEN = 3,   /* the type of the values of a P or O block */
    WSTPSCAN_AT_OPAQUE = 4,         /* one of the remaining bytes of a text, a number or a block */
    WSTPSCAN_AT_HEAD_TEXT = 5,      /* the same, and the text may turn out to be a packet's name */
    WSTPSCAN_AT_LINE_FEED = 6,      /* the line feed that closes a text, a number or a block */
    WSTPSCAN_AT_ARRAY_MARK = 7,     /* the "D" of an array */
    WSTPSCAN_AT_DIMENSION = 8,      /* in an array's header: "F" of one more dimension, or "." */
    WSTPSCAN_AT_DIMENSION_HEAD = 9, /* "#" after a dimension */
    WSTPSCAN_AT_DIMENSION_TEXT = 10, /* a byte of the text of that symbol */
    WSTPSCAN_AT_DIMENSION_LINE_FEED = 11, /* the line feed after it */
    WSTPSCAN_AT_HEADER_LINE_FEED = 12 /* the line feed after an array's header */
};

/* The state. ----------------------------------------------------------------------------------------------------- */

struct wstpscan {
    /* Set by the caller, at any time between two calls. */

    uint64_t stop_at_end;       /* bit n: report WSTPSCAN_END and WSTPSCAN_TAIL for frames with head code n */

    /* Results of the last call. */

    uint64_t used;              /* bytes consumed by it */
    uint64_t consumed;          /* bytes consumed since the start of the stream */
    uint64_t frame_bytes;       /* bytes of the current frame so far; between frames, of the last one with its "]" */
    uint64_t undecided;         /* how many of the last consumed bytes belong to a frame whose head is not known yet:
                                   0 .. WSTPSCAN_MAX_UNDECIDED. A caller that inspects the head before it passes
                                   on a byte of the frame must hold these back. */
    uint64_t opaque;            /* bytes that follow and belong to a text or packed block, whatever they are */
    uint64_t error_offset;      /* since the start of the stream; valid if error is not 0 */
    int32_t error;              /* enum wstpscan_error */
    int32_t head;               /* head code of the current or last frame; 0 while it is unknown */
    uint8_t head_known;         /* 0 or 1: the head of the current or last frame is decided */
    uint8_t head_name_length;   /* 0 .. 63 */

    /* What is left of the current frame, for a caller who has to complete it. */

    uint8_t step;               /* enum wstpscan_step */
    uint8_t token;              /* first byte of the item in progress: " # + * F P A O or a number token;
                                   within an array also D (size of its header) and the two values above */
    uint8_t digits;             /* AT_SIZE: decimal digits read so far */
    uint8_t number_token;       /* type of the last packed block of the array in progress, 0 if there was none */
    uint8_t dimensions;         /* of the array header in progress, counted up to 255 */
    uint8_t place;              /* private: whether the next item is a frame, a head or an argument */
    uint64_t missing;           /* expressions that the frame lacks beside the item in progress. (An F counts as
                                   lacking until its count is read, the leaves of an array are counted apart.) */
    uint64_t array_missing;     /* leaves that the array in progress lacks beside the block in progress */
    uint64_t left;              /* AT_HEAD_TEXT, AT_DIMENSION_TEXT: bytes of the text that follow */
    uint64_t size;              /* AT_SIZE: the number read so far; afterwards the size or count of the item */
    uint64_t array_total;       /* leaves of the array whose header is in progress, */
    uint64_t array_product;     /* product of its dimensions so far, held at 2^64-1, */
    uint64_t array_header_end;  /* and offset in the stream of the first byte after its header */
    uint64_t frame_start;       /* offset in the stream of the first byte of the current or last frame */
    uint64_t item_start;        /* and of the item in progress: of its token, of the "A" for all of an array's header.
                                   Says nothing at AT_BOUNDARY and AT_ITEM, unless the byte there is in error. */

    char head_name[WSTPSCAN_HEAD_NAME_SIZE]; /* see wstpscan_head_code() */

    /* Of a text in progress, valid between two calls at AT_HEAD_TEXT, AT_DIMENSION_TEXT and, for texts, AT_OPAQUE: */
    uint8_t text[WSTPSCAN_MAX_HEAD_TEXT];    /* its first bytes, as many as were read and fit; */
    uint8_t tail[WSTPSCAN_TAIL_SIZE];        /* the last tail_length of those that were read, which is all there is to
                                                know of those that do not fit. After wstpscan_skip() there are none */
    uint8_t tail_length;                     /* until more bytes are scanned; at AT_HEAD_TEXT there are none. */
};

/*
 * Reads on in the stream. data: the next bytes; length: how many, may be 0; data may then be NULL. Consumes state->used
 * of them; after anything but MORE the caller calls again with the rest.
 */
int wstpscan_scan(struct wstpscan *state, const uint8_t *data, size_t length);

/*
 * Passes over up to count opaque bytes that the caller does not have in memory, as if they had been scanned. Returns
 * how many were passed over: never more than state->opaque.
 */
uint64_t wstpscan_skip(struct wstpscan *state, uint64_t count);

/* A sentence without a full stop about an error number; for any other number, that it is unknown. */
const char *wstpscan_error_message(int error);

/* Head codes. ------------------------------------------------------------------------------------------------------ */

/* Head code of atoms, of functions whose head is no symbol, and of symbols that are not in the table. */
#define WSTPSCAN_HEAD_OTHER 0

/* Head codes are below this. */
int wstpscan_head_count(void);

/* The name that has this head code, "" for WSTPSCAN_HEAD_OTHER and for numbers that are no head code. */
const char *wstpscan_head_table(int code);

/*
 * Reads the text of a symbol (format letter, "~", number of characters as far as its format gives it, characters) into
 * name as ASCII, with "?" for every other character, cut at 63 characters, and returns its head code. System` in front of
 * a name of the table makes no difference. Formats: A, B, C, D, E, F. Malformed text: name is empty and the code
 * WSTPSCAN_HEAD_OTHER. The number of characters is not compared with the characters. *name_length receives the length of
 * name.
 */
int wstpscan_head_code(const uint8_t *text, size_t length, char name[WSTPSCAN_HEAD_NAME_SIZE],
                       uint8_t *name_length);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
