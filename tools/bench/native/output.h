/* What waits to be written to a non-blocking connection: bytes, then numbers of the pattern, then the frame's end. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stddef.h>
#include <stdint.h>

struct output {
    char *data;
    size_t length, capacity, sent;
    uint64_t pattern_left, pattern_at;
    int tail;               /* a line feed and ] are due behind the pattern */
    int fair;               /* write at most one piece of the pattern at a time: others have a turn */
};

/* Space for `length` further bytes; add what was written to output->length. */
char *output_space(struct output *output, size_t length);
void output_add(struct output *output, const char *data, size_t length);

/* Write as much as goes; 1 if nothing is left, 0 if more is to be written when it takes more, -1 if it is broken. */
int output_flush(struct output *output, int descriptor);

void output_free(struct output *output);

/* A connection with Nagle's algorithm off; -1 with errno. */
int connect_to(const char *host, int port, int nonblocking);
/* A listening socket on a port of the loopback interface that the system chooses. */
int listen_on_loopback(int *port);
void prepare_socket(int descriptor);

#endif
