#define _GNU_SOURCE
#include "output.h"
#include "pattern.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

char *output_space(struct output *output, size_t length)
{
    if (output->length + length > output->capacity) {
        output->capacity = (output->length + length) * 2;
        output->data = realloc(output->data, output->capacity);
        if (output->data == NULL)
            abort();
    }
    return output->data + output->length;
}

void output_add(struct output *output, const char *data, size_t length)
{
    memcpy(output_space(output, length), data, length);
    output->length += length;
}

static int send_piece(int descriptor, const char *data, size_t length, int more, size_t *sent)
{
    ssize_t done = send(descriptor, data, length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    *sent = done > 0 ? (size_t)done : 0;
    return done >= 0 ? 1 : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

int output_flush(struct output *output, int descriptor)
{
    size_t done, piece;
    int result;
    while (output->sent < output->length) {
        result = send_piece(descriptor, output->data + output->sent, output->length - output->sent,
                            output->pattern_left > 0, &done);
        if (result <= 0)
            return result;
        output->sent += done;
    }
    output->sent = output->length = 0;
    if (output->capacity > 1 << 16)
        output_free(output);
    while (output->pattern_left > 0) {
        const char *data = pattern_at(output->pattern_at, output->pattern_left, &piece);
        result = send_piece(descriptor, data, piece, 1, &done);
        if (result <= 0)
            return result;
        output->pattern_left -= done;
        output->pattern_at += done;
        if (output->fair && output->pattern_left > 0)
            return 0;
    }
    if (output->tail) {
        output->tail = 0;
        output_add(output, "\n]", 2);
        return output_flush(output, descriptor);
    }
    return 1;
}

void output_free(struct output *output)
{
    free(output->data);
    output->data = NULL;
    output->length = output->capacity = output->sent = 0;
}

void prepare_socket(int descriptor)
{
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void fill_address(struct sockaddr_in *address, const char *host, int port)
{
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, host, &address->sin_addr);
}

int connect_to(const char *host, int port, int nonblocking)
{
    struct sockaddr_in address;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (descriptor < 0)
        return -1;
    prepare_socket(descriptor);
    fill_address(&address, host, port);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

int listen_on_loopback(int *port)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    fill_address(&address, "127.0.0.1", 0);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0
        || listen(descriptor, 4096) < 0 || getsockname(descriptor, (struct sockaddr *)&address, &length) < 0)
        return -1;
    *port = ntohs(address.sin_port);
    return descriptor;
}
