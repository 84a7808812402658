/*
 * wstpkeep: what a server notes of a kernel's data connection so that another one can go on with it after a crash.
 *
 * The notes lie in memory that outlives the process. They are made before and after each system call that moves bytes, so
 * that they are right at every moment: the process may be killed between any two instructions. How many bytes have really
 * been moved is asked of the system afterwards (wstpkeep_written(), wstpkeep_taken()); the notes say what these bytes were.
 *
 *   - Notes of several words are written where nobody looks, and become valid with one word.
 *   - No allocation, no variable outside the state, no system call in the usual case.
 *
 * The part between the two "cffi" lines is also read by the build script: no preprocessor, plain integers only.
 */
#ifndef WSTPKEEP_H
#define WSTPKEEP_H

#include "wstpscan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* A frame to the kernel. Places are bytes since the first frame of the connection. */
struct wstpkeep_out {
    uint64_t begin;             /* if so many bytes were written, nothing of it was; */
    uint64_t end;               /* and if so many, it was written whole: any other number is the middle of the frame */
    uint64_t evaluations;       /* evaluations that have begun in the kernel, this frame included */
    int32_t head;               /* head code of the last of them */
    int32_t begins;             /* 1: this frame is one */
};

struct wstpkeep_in {
    uint64_t boundary;          /* what comes before was handed on, in whole frames */
    uint64_t idle;              /* evaluations that had begun when the kernel was idle last */
};

/* The notes of one connection; all bytes zero is the beginning. */
struct wstpkeep {
    int32_t valid_out;          /* which of the two is valid */
    int32_t valid_in;
    int32_t valid_scan;         /* the same for copies of the scanner; -1: none is */
    int32_t valid_record;       /* the same for records of the server, which are elsewhere; -1: none is */
    uint64_t written;           /* bytes that had been written before the first frame, as wstpkeep_written() counts; */
    uint64_t taken;             /* and received, as wstpkeep_taken() counts */
    uint64_t buffer;            /* place + 1 of the receive buffer in the file of buffers; 0: what it held is nowhere */
    uint64_t first;             /* place of its first byte in the stream */
    uint64_t kept;              /* bytes of a frame that is not whole, which the server has put elsewhere */
    int32_t plain;              /* 1: a ReturnPacket answers the only evaluation that may be open */
    int32_t used;               /* 1: the notes are somebody's */
    int32_t state;              /* the kernel's state, where it is another one than in the record: its number + 1; else 0 */
    int32_t unused;
    struct wstpkeep_out outs[2];
    struct wstpkeep_in ins[2];
};

/* A whole frame of so many bytes goes out next. */
void wstpkeep_send(struct wstpkeep *keep, uint64_t size, int32_t head, int32_t begins);

/* A frame of which nobody knows the size begins. */
void wstpkeep_begin(struct wstpkeep *keep, int32_t head, int32_t begins);

/* It has been written. With the number of evaluations that have begun and the head of the last one, unless the notes know of
 * more. `lent` bytes have ever gone another way (wstplend.h). Returns 0, or -1: the system does not say how much was
 * written, and the notes say that the frame is not complete. */
int wstpkeep_complete(struct wstpkeep *keep, int32_t descriptor, uint64_t lent, uint64_t evaluations, int32_t head);

/* Everything that was scanned up to this place was handed on. With `idle`, the kernel has no open evaluation. */
void wstpkeep_handed_on(struct wstpkeep *keep, uint64_t boundary, int32_t idle);

/* The beginning of a frame was handed on, up to where the scanner stands. `copies` are two places for its state. */
void wstpkeep_scanned(struct wstpkeep *keep, struct wstpscan *copies, const struct wstpscan *scan);

/* The next bytes are received into a buffer whose first byte has this place in the stream. */
void wstpkeep_receive(struct wstpkeep *keep, uint64_t buffer, uint64_t first);

/* Bytes that were ever written to a connection, and that were ever received from it by a program; -1: unknown. */
int64_t wstpkeep_written(int32_t descriptor);
int64_t wstpkeep_taken(int32_t descriptor);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
