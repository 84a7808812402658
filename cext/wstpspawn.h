/*
 * wstpspawn: starts a program in a session of its own. The cost does not depend on how much memory and how many descriptors
 * the caller has.
 *
 * fork() copies the page tables and the table of descriptors. The child here uses the memory of the caller until it executes
 * the program, as after vfork(), and copies only the beginning of the table of descriptors.
 *
 *   - Needs Linux 5.9 (close_range with CLOSE_RANGE_UNSHARE); wstpspawn_available() tells.
 *   - The calling thread is suspended until the program runs; other threads go on, and may call as well with another `spare`.
 *   - Only async-signal-safe calls are made in the child.
 *
 * The part between the two "cffi" lines is read by build_native.py as well: no preprocessor but plain integers.
 */
#ifndef WSTPSPAWN_H
#define WSTPSPAWN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* What to start, and with which descriptors. `null` and `spare` are above 2. The caller keeps all
 * but the output for all its calls, so that they can be low numbers: only the descriptors up to them are copied. */
struct wstpspawn {
    char **programs;        /* paths that are tried in turn, as execvp() does; NULL at the end */
    char **arguments;       /* NULL at the end, as for execve() */
    char **environment;
    char *directory;        /* the program's working directory; NULL for that of the caller */
    int32_t output;         /* becomes the program's standard output and error */
    int32_t null;           /* an open /dev/null: becomes the standard input */
    int32_t spare;          /* a descriptor for the call to use; afterwards it is /dev/null again */
};

/* 1 if wstpspawn_start() works on this system. */
int wstpspawn_available(void);

/* Starts the program and returns its process ID. It leads a session of its own, has no other descriptors, the signals
 * that the caller catches, SIGPIPE and SIGXFSZ at their defaults, and is killed when the calling thread ends.
 * -errno: the program could not be executed, and nothing is left of the child. 0: the system does not allow what is done
 * here, and nothing happened. */
int32_t wstpspawn_start(const struct wstpspawn *spawn);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
