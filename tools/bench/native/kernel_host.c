/* The kernels of a measurement, all in one process: those of links that light_kernels hand over, and those of clients
 * that connect directly or through a relay, in UUID mode.
 *
 *     kernel_host SOCKET
 *
 * Listens on that Unix socket and on a port of the loopback interface, which it prints. Ends when its standard input
 * does.
 */
#define _GNU_SOURCE
#include "greeting.h"
#include "kernel.h"
#include "pattern.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum kind { COMMANDS, TCP_LISTENER, UNIX_LISTENER, LAUNCHER, MESSAGES, IDENTIFYING, GREETING_WORDS, GREETING_TEXT, SERVING };

struct connection {
    enum kind kind;
    int descriptor;         /* -1 when closed */
    int used;               /* the launcher of this link was told so */
    struct connection *launcher, *data, *messages;   /* of a handed-over link */
    struct connection *next_closed;
    char *pending;          /* what came and could not be used yet */
    size_t pending_length;
    struct kernel kernel;
};

static int poller;
static struct connection *closed;
static char received[1 << 18];

static struct connection *watch(int descriptor, enum kind kind)
{
    struct connection *connection = calloc(1, sizeof *connection);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    connection->kind = kind;
    connection->descriptor = descriptor;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) < 0) {
        perror("kernel_host: epoll_ctl");
        exit(1);
    }
    return connection;
}

static void wait_for(struct connection *connection, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->descriptor, &event);
}

/* Events of it may still be in the batch at hand: the memory is given back after that. */
static void end_one(struct connection *connection)
{
    if (connection == NULL || connection->descriptor < 0)
        return;
    /* Closing alone would not end its events: the launcher may hold the same connection a moment longer. */
    epoll_ctl(poller, EPOLL_CTL_DEL, connection->descriptor, NULL);
    close(connection->descriptor);
    connection->descriptor = -1;
    connection->next_closed = closed;
    closed = connection;
}

static void end_link(struct connection *connection)
{
    struct connection *launcher = connection->launcher, *data = connection->data, *messages = connection->messages;
    end_one(connection);
    end_one(data);
    end_one(messages);
    end_one(launcher);
}

static void free_closed(void)
{
    while (closed != NULL) {
        struct connection *connection = closed;
        closed = connection->next_closed;
        kernel_free(&connection->kernel);
        free(connection->pending);
        free(connection);
    }
}

static void keep_pending(struct connection *connection, const char *data, size_t length)
{
    char *copy = NULL;
    if (length > 0) {
        copy = malloc(length);
        memcpy(copy, data, length);
    }
    free(connection->pending);
    connection->pending = copy;
    connection->pending_length = length;
}

static void flush(struct connection *connection)
{
    int state = output_flush(&connection->kernel.output, connection->descriptor);
    if (state < 0) {
        end_link(connection);
        return;
    }
    if (state > 0)
        connection->kernel.reader.stopped = 0;
    wait_for(connection, state > 0 ? EPOLLIN : EPOLLOUT);
}

static void write_answers(struct connection *connection)
{
    int state = output_flush(&connection->kernel.output, connection->descriptor);
    if (state > 0)
        connection->kernel.reader.stopped = 0;
    else
        flush(connection);
}

/* Each of these takes what it can of the data and returns how much, or -1 for what is no link. */
static ssize_t identify(struct connection *connection, const char *data, size_t length)
{
    if (length < ID_LENGTH)
        return 0;
    if (memcmp(data, "id=", 3) != 0)
        return -1;
    connection->kind = memcmp(data + ID_LENGTH - 4, "data", 4) == 0 ? GREETING_WORDS : MESSAGES;
    return ID_LENGTH;
}

static ssize_t exchange_words(struct connection *connection, size_t length)
{
    if (length < WORDS_LENGTH)
        return 0;
    output_add(&connection->kernel.output, WORDS, WORDS_LENGTH);
    output_add(&connection->kernel.output, GREETING, strlen(GREETING));
    connection->kind = GREETING_TEXT;
    return WORDS_LENGTH;
}

static ssize_t greet(struct connection *connection, const char *data, size_t length)
{
    size_t used = lines_length(data, length, GREETING_LINES);
    if (used == 0)
        return 0;
    kernel_begin(&connection->kernel);
    connection->kind = SERVING;
    return (ssize_t)used;
}

static ssize_t serve(struct connection *connection, const char *data, size_t length)
{
    size_t used = read_frames(&connection->kernel.reader, data, length);
    if (connection->launcher != NULL && !connection->used) {
        connection->used = 1;
        send(connection->launcher->descriptor, "u", 1, MSG_NOSIGNAL);
    }
    return connection->kernel.reader.error == NULL ? (ssize_t)used : -1;
}

static ssize_t take_some(struct connection *connection, const char *data, size_t length)
{
    switch (connection->kind) {
    case IDENTIFYING: return identify(connection, data, length);
    case GREETING_WORDS: return exchange_words(connection, length);
    case GREETING_TEXT: return greet(connection, data, length);
    case SERVING: return serve(connection, data, length);
    default: return (ssize_t)length;
    }
}

static void take_data(struct connection *connection, const char *data, size_t length)
{
    size_t position = 0;
    ssize_t used;
    while (position < length && (used = take_some(connection, data + position, length - position)) != 0) {
        if (used < 0) {
            fprintf(stderr, "kernel_host: a connection that speaks no WSTP\n");
            end_link(connection);
            return;
        }
        position += (size_t)used;
        write_answers(connection);
        if (connection->descriptor < 0)
            return;
        if (connection->kernel.reader.stopped)
            break;
    }
    keep_pending(connection, data + position, length - position);
}

static void receive(struct connection *connection)
{
    size_t before = connection->pending_length;
    ssize_t length;
    if (before > 0)
        memcpy(received, connection->pending, before);
    length = recv(connection->descriptor, received + before, sizeof received - before, 0);
    if (length > 0)
        take_data(connection, received, before + (size_t)length);
    else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        end_link(connection);
}

static void continue_writing(struct connection *connection)
{
    size_t length = connection->pending_length;
    flush(connection);
    if (connection->descriptor < 0 || connection->kernel.reader.stopped || length == 0)
        return;
    memcpy(received, connection->pending, length);
    take_data(connection, received, length);
}

static void accept_clients(int listener)
{
    int descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        prepare_socket(descriptor);
        watch(descriptor, IDENTIFYING);
    }
}

static void accept_launchers(int listener)
{
    int descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(descriptor, LAUNCHER);
}

/* A launcher says one thing, which comes with the link's connections; then it only ends. */
static void hear_launcher(struct connection *launcher)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(2 * sizeof(int))]; } control;
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header;
    int links[2];
    if (recvmsg(launcher->descriptor, &message, MSG_CMSG_CLOEXEC) <= 0 || (header = CMSG_FIRSTHDR(&message)) == NULL) {
        end_link(launcher);
        return;
    }
    memcpy(links, CMSG_DATA(header), sizeof links);
    for (int index = 0; index < 2; index++)
        fcntl(links[index], F_SETFL, O_NONBLOCK);
    launcher->data = watch(links[0], SERVING);
    launcher->messages = watch(links[1], MESSAGES);
    launcher->data->launcher = launcher->messages->launcher = launcher;
    launcher->data->messages = launcher->messages;
    launcher->messages->data = launcher->data;
    kernel_begin(&launcher->data->kernel);
    flush(launcher->data);
}

static void handle(struct connection *connection, unsigned events)
{
    if (connection->descriptor < 0)
        return;
    if (connection->kind == COMMANDS) {
        if (read(connection->descriptor, received, sizeof received) <= 0)
            exit(0);
    } else if (connection->kind == TCP_LISTENER)
        accept_clients(connection->descriptor);
    else if (connection->kind == UNIX_LISTENER)
        accept_launchers(connection->descriptor);
    else if (connection->kind == LAUNCHER)
        hear_launcher(connection);
    else if (events & EPOLLOUT)
        continue_writing(connection);
    else
        receive(connection);
}

static int listen_for_launchers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0
        || listen(descriptor, 4096) < 0) {
        perror("kernel_host: the Unix socket");
        exit(1);
    }
    return descriptor;
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    struct rlimit limit;
    int port, listener;
    if (argc != 2) {
        fprintf(stderr, "usage: kernel_host SOCKET\n");
        return 64;
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    make_pattern();
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = listen_on_loopback(&port);
    if (listener < 0) {
        perror("kernel_host: listening");
        return 1;
    }
    watch(listener, TCP_LISTENER);
    watch(listen_for_launchers(argv[1]), UNIX_LISTENER);
    watch(0, COMMANDS);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1);
        for (int index = 0; index < count; index++)
            handle(events[index].data.ptr, events[index].events);
        free_closed();
    }
}
