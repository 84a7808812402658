/* Many clients of one server, in one thread: connects them, lets each evaluate, compares every answer, reports ten times
 * a second in a line of JSON. Arguments are name=value; run_load in tools/bench/load/engine.py gives them.
 *
 * Stops at SIGINT and SIGTERM, when standard input ends, and when time is over; the last line says how it went.
 */
#define _GNU_SOURCE
#include "load.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { REPORT_INTERVAL = 100000000, MOST_ERRORS = 40, ERROR_LENGTH = 240 };

struct load load = {.host = "127.0.0.1", .clients = 1, .depth = 1, .opening = 50, .together = 1,
                    .timeout = 30000000000, .limit = 120000000000};
struct totals totals;
struct client *clients;

static struct { char text[ERROR_LENGTH]; int count; } errors[MOST_ERRORS];
static int poller, stopping, finished;
static int64_t began, connecting_ended, evaluating_began, next_report, due;
static uint64_t begun;
/* Clients that may begin an evaluation, in a ring, when there is a rate. */
static int *idle, first_idle, count_idle;

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void watch(int descriptor, struct client *client, int is_message, unsigned events, int is_new)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(client - clients) * 2 + (uint64_t)is_message};
    epoll_ctl(poller, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, descriptor, &event);
}

void count_error(const char *when, const char *why)
{
    char text[ERROR_LENGTH];
    int index = 0;
    snprintf(text, sizeof text, "%s: %s", when, why);
    while (index < MOST_ERRORS - 1 && errors[index].count > 0 && strcmp(errors[index].text, text) != 0)
        index++;
    memcpy(errors[index].text, text, sizeof text);
    errors[index].count++;
}

/* -- who evaluates when ------------------------------------------------------------------------------------------ */

static int is_over(void)
{
    return load.duration > 0 && evaluating_began > 0 && now() - evaluating_began > load.duration;
}

static int may_evaluate(const struct client *client)
{
    return client->phase == IDLE_OR_BUSY && client->sent < load.evaluations && client->count_asked < load.depth
        && !is_over();
}

static void offer(struct client *client)
{
    if (load.rate > 0) {
        if (may_evaluate(client))
            idle[(first_idle + count_idle++) % (load.clients * load.depth)] = (int)(client - clients);
        return;
    }
    while (may_evaluate(client))
        link_evaluate(client, now());
}

static void begin_evaluating(void)
{
    evaluating_began = due = next_report = now();   /* who measures hears of it at once */
    for (int index = 0; index < load.clients; index++)
        for (int depth = 0; depth < (load.rate > 0 ? load.depth : 1); depth++)
            offer(&clients[index]);
}

/* Evaluations count from the moment at which they were due, also if no client was free then. */
static void begin_what_is_due(void)
{
    while (load.rate > 0 && evaluating_began > 0 && count_idle > 0 && due <= now()) {
        struct client *client = &clients[idle[first_idle]];
        first_idle = (first_idle + 1) % (load.clients * load.depth);
        count_idle--;
        if (may_evaluate(client)) {
            link_evaluate(client, due);
            due = evaluating_began + (int64_t)((double)++begun * 1e9 / load.rate);
        }
    }
}

static void client_is_complete(struct client *client)
{
    totals.ended++;
    client->complete = 1;
    if (load.together)
        return;
    client->phase = LEFT;
    link_close(client);
}

void client_is_prompted(struct client *client)
{
    connecting_ended = now();
    if (load.evaluations == 0)
        client_is_complete(client);
    if (load.together || client->phase != IDLE_OR_BUSY)
        return;
    if (evaluating_began == 0)
        evaluating_began = due = now();
    for (int depth = 0; depth < (load.rate > 0 ? load.depth : 1); depth++)
        offer(client);
}

void client_is_answered(struct client *client)
{
    if (client->sent < load.evaluations && !is_over())
        offer(client);
    else if (client->count_asked == 0)
        client_is_complete(client);
}

/* -- the run ----------------------------------------------------------------------------------------------------- */

static void open_some(void)
{
    while (totals.started < load.clients && totals.started - totals.connected - totals.failed < load.opening) {
        link_open(&clients[totals.started++]);
    }
}

/* Whether nothing is left to be done; begins the evaluations when everybody is there. */
static int is_finished(void)
{
    if (load.together && evaluating_began == 0 && totals.prompted + totals.failed >= load.clients)
        begin_evaluating();
    return totals.ended == load.clients;
}

/* Those who have no evaluation under way when the duration is over hear of it here. */
static void end_idle_ones(void)
{
    for (int index = 0; index < totals.started && is_over(); index++) {
        struct client *client = &clients[index];
        if (client->phase == IDLE_OR_BUSY && client->count_asked == 0 && !client->complete)
            client_is_complete(client);
    }
}

static void give_up_silent_ones(void)
{
    int64_t limit = now() - load.timeout;
    for (int index = 0; index < totals.started; index++) {
        struct client *client = &clients[index];
        int owed = client->phase < IDLE_OR_BUSY ? client->phase > UNUSED : client->count_asked > 0;
        int64_t since = client->phase == IDLE_OR_BUSY ? client->asked[client->first_asked].begin : client->begin;
        if (owed && client->phase <= IDLE_OR_BUSY && client->heard < limit && since < limit)
            link_fail(client, client->phase == IDLE_OR_BUSY ? "evaluating" : "connecting", "no answer in time");
    }
}

static void print_errors(void)
{
    printf("{");
    for (int index = 0; index < MOST_ERRORS && errors[index].count > 0; index++) {
        printf("%s\"", index ? ", " : "");
        for (const unsigned char *at = (const unsigned char *)errors[index].text; *at; at++)
            printf(*at < ' ' || *at > '~' || *at == '"' || *at == '\\' ? "\\u%04x" : "%c", *at);
        printf("\": %d", errors[index].count);
    }
    printf("}");
}

static void report(void)
{
    int64_t time = now();
    printf("{\"time\": %.6f, \"connected\": %d, \"prompted\": %d, \"answers\": %llu, \"failed\": %d, ",
           (double)(time - began) / 1e9, totals.connected, totals.prompted, (unsigned long long)totals.answers,
           totals.failed);
    printf("\"connecting\": %.6f, \"evaluating\": %.6f, \"finished\": %s, \"errors\": ",
           connecting_ended ? (double)(connecting_ended - began) / 1e9 : 0,
           evaluating_began ? (double)(time - evaluating_began) / 1e9 : 0, finished ? "true" : "false");
    print_errors();
    printf(", \"connect\": ");
    histogram_print(&totals.connect);
    printf(", \"prompt\": ");
    histogram_print(&totals.prompt);
    printf(", \"evaluation\": ");
    histogram_print(&totals.evaluation);
    printf("}\n");
    if (fflush(stdout) != 0)
        exit(1);
    histogram_clear(&totals.connect);
    histogram_clear(&totals.prompt);
    histogram_clear(&totals.evaluation);
    next_report = time + REPORT_INTERVAL;
}

static void set_timer(int timer)
{
    int64_t next = next_report;
    struct itimerspec setting = {0};
    if (load.rate > 0 && evaluating_began > 0 && count_idle > 0 && due < next)
        next = due;
    setting.it_value.tv_sec = next / 1000000000;
    setting.it_value.tv_nsec = next % 1000000000;
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL);
}

static void look_at_the_clock(void)
{
    if (now() < next_report)
        return;
    give_up_silent_ones();
    end_idle_ones();
    if (now() - began > load.limit) {
        count_error("the run", "its time was over");
        stopping = 1;
    } else
        report();
}

static void run(int timer, int signals)
{
    static struct epoll_event events[512];
    const uint64_t special = (uint64_t)load.clients * 2;
    int control[] = {timer, signals, 0};
    for (uint64_t index = 0; index < 3; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = special + index};
        epoll_ctl(poller, EPOLL_CTL_ADD, control[index], &event);
    }
    while (!stopping && (!(finished = is_finished()) || load.hold)) {
        int count;
        open_some();
        begin_what_is_due();
        set_timer(timer);
        count = epoll_wait(poller, events, 512, -1);
        for (int index = 0; index < count; index++) {
            uint64_t which = events[index].data.u64;
            if (which < special)
                link_event(&clients[which / 2], which & 1, events[index].events);
            else if (which > special)
                stopping = 1;
        }
        look_at_the_clock();
    }
}

static void make_clients(void)
{
    clients = calloc((size_t)load.clients, sizeof *clients);
    idle = calloc((size_t)load.clients * (size_t)load.depth, sizeof *idle);
    for (int index = 0; index < load.clients; index++) {
        clients[index].number = index;
        clients[index].data = clients[index].message = -1;
        clients[index].asked = calloc((size_t)load.depth, sizeof *clients[index].asked);
    }
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    sigset_t signals;
    for (int index = 1; index < argc; index++)
        read_argument(argv[index]);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    make_clients();
    histogram_clear(&totals.connect);
    histogram_clear(&totals.prompt);
    histogram_clear(&totals.evaluation);
    poller = epoll_create1(EPOLL_CLOEXEC);
    began = now();
    next_report = began + REPORT_INTERVAL;
    run(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), signalfd(-1, &signals, SFD_NONBLOCK));
    report();
    return 0;
}
