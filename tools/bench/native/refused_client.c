/* Connects again and again from an address that the server refuses, at a steady rate, and never speaks:
 *
 *   refused_client SOURCE PORT RATE
 *
 * When standard input ends, or at SIGTERM, it answers with one line of JSON: how many connections it made in how many
 * seconds, how many of them were reset or closed, how many were not within a second, how many could not be made, and a
 * histogram of the nanoseconds from the connection to its end.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* Connections at the same time, and nanoseconds between two looks at the clock. */
enum { MOST = 4096, STEP = 500000 };

static int64_t since[1 << 16]; /* when a descriptor was connected; 0 if it is not in use */
static struct histogram ends;
static long made, refused, late, failed, open_now;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void connect_one(int poller, const struct sockaddr_in *source, const struct sockaddr_in *target)
{
    int one = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};

    if (descriptor < 0 || descriptor >= (int)(sizeof since / sizeof *since)) {
        failed++;
        if (descriptor >= 0)
            close(descriptor);
        return;
    }
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    since[descriptor] = now();
    if (bind(descriptor, (const struct sockaddr *)source, sizeof *source) < 0
        || (connect(descriptor, (const struct sockaddr *)target, sizeof *target) < 0 && errno != EINPROGRESS)) {
        failed++;
        since[descriptor] = 0;
        close(descriptor);
        return;
    }
    event.data.fd = descriptor;
    epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
    made++;
    open_now++;
}

static void end_one(int descriptor)
{
    int64_t lasted = now() - since[descriptor];

    histogram_add(&ends, (uint64_t)lasted);
    refused++;
    late += lasted > 1000000000;
    since[descriptor] = 0;
    close(descriptor);
    open_now--;
}

static void print(int64_t began)
{
    printf("{\"connections\": %ld, \"seconds\": %.3f, \"refused\": %ld, \"late\": %ld, \"failed\": %ld, \"ends\": ",
           made, (double)(now() - began) / 1e9, refused, late, failed);
    histogram_print(&ends);
    printf("}\n");
}

int main(int argc, char **argv)
{
    struct sockaddr_in source = {.sin_family = AF_INET}, target = {.sin_family = AF_INET};
    struct itimerspec setting = {.it_interval.tv_nsec = STEP, .it_value.tv_nsec = STEP};
    struct epoll_event events[256], control = {.events = EPOLLIN};
    struct rlimit limit;
    int poller = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int64_t began;
    double rate;

    if (argc != 4 || inet_pton(AF_INET, argv[1], &source.sin_addr) != 1) {
        fprintf(stderr, "usage: refused_client SOURCE PORT RATE\n");
        return 64;
    }
    rate = atof(argv[3]);
    inet_pton(AF_INET, "127.0.0.1", &target.sin_addr);
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    histogram_clear(&ends);
    timerfd_settime(timer, 0, &setting, NULL);
    for (int index = 0; index < 2; index++) {
        control.data.fd = index ? timer : 0;
        epoll_ctl(poller, EPOLL_CTL_ADD, control.data.fd, &control);
    }
    began = now();
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1);
        for (int index = 0; index < count; index++) {
            uint64_t expirations;
            long due;
            if (events[index].data.fd == 0) { /* the end of standard input */
                print(began);
                return 0;
            }
            if (events[index].data.fd != timer) {
                end_one(events[index].data.fd);
                continue;
            }
            if (read(timer, &expirations, sizeof expirations) < 0)
                continue;
            due = (long)((double)(now() - began) / 1e9 * rate) - made - failed;
            while (due-- > 0 && open_now < MOST)
                connect_one(poller, &source, &target);
        }
    }
}
