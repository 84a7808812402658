/* Many clients of one server in one thread: what the parts of load_client share. */
#ifndef LOAD_H
#define LOAD_H

#include "histogram.h"
#include "output.h"
#include "wire.h"

/* What to do; times in nanoseconds. */
struct load {
    const char *host;
    int port, clients, evaluations, depth, opening, together, hold;
    uint64_t size;          /* characters in the string that an evaluation carries; 0: a sum instead */
    double rate;            /* evaluations begun in a second by all clients together; 0: as fast as they are answered */
    int64_t duration;       /* no evaluation begins later than this after the first; 0: no such bound */
    int64_t timeout, limit;
};

enum phase { UNUSED, CONNECTING, AWAITING_WORDS, AWAITING_GREETING, AWAITING_PROMPT, IDLE_OR_BUSY, LEFT, FAILED };

struct asked {
    int64_t begin, answer;
};

struct client {
    enum phase phase;
    int number, data, message;
    int message_connected, complete;
    struct reader reader;
    struct output output;
    char *pending;
    size_t pending_length;
    struct asked *asked;    /* what is not answered yet, oldest first, in a ring of load.depth */
    int first_asked, count_asked, sent, answered;
    int64_t begin, heard;   /* when it began to connect; when something came last */
    /* the frame at hand */
    char head[24], text[80];
    int64_t integer;
    int has_integer, wrong_text;
    uint64_t text_length, text_seen;
};

struct totals {
    int started, connected, prompted, failed;
    int ended;              /* clients that have all their answers, and those that failed before */
    uint64_t answers;
    struct histogram connect, prompt, evaluation;   /* since the last report */
};

extern struct load load;
extern struct totals totals;
extern struct client *clients;

int64_t now(void);

/* load_arguments.c: one name=value of the command line into `load`; ends the program if it is none. */
void read_argument(const char *argument);

/* load_link.c: the events of one client's connections, and what it sends. */
void link_open(struct client *client);
void link_event(struct client *client, int is_message, unsigned events);
void link_evaluate(struct client *client, int64_t begin);
void link_close(struct client *client);
void link_fail(struct client *client, const char *when, const char *why);

/* load_client.c: told by the links. */
void client_is_prompted(struct client *client);
void client_is_answered(struct client *client);
void watch(int descriptor, struct client *client, int is_message, unsigned events, int is_new);
void count_error(const char *when, const char *why);

#endif
