/* A kernel process that needs hardly any memory: it makes its link like any kernel, then hands both connections over to
 * a kernel_host, which evaluates for many of them, closes its output, and lives on as long as that one keeps its link.
 *
 *     light_kernel --hand-over SOCKET -wstp -linkprotocol TCPIP -linkconnect -linkname P@127.0.0.1,P2@127.0.0.1
 */
#include "greeting.h"
#include "output.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static const char *option(int argc, char **argv, const char *name)
{
    for (int index = 1; index + 1 < argc; index++)
        if (strcmp(argv[index], name) == 0)
            return argv[index + 1];
    fprintf(stderr, "light_kernel: no %s\n", name);
    exit(64);
}

/* Both connections and the whole greeting. The server looks up whose connections they are while this goes on. */
static void make_link(const char *name, int links[2])
{
    char answer[4096];
    size_t length = 0;
    const char *second = strchr(name, ',');
    if (second == NULL || (links[0] = connect_to("127.0.0.1", atoi(name), 0)) < 0)
        fail("light_kernel: data connection");
    if (write(links[0], "need_msg_portN", 14) != 14)
        fail("light_kernel: first line");
    while (length < 3) {
        ssize_t done = read(links[0], answer + length, sizeof answer - length);
        if (done <= 0)
            fail("light_kernel: answer to the first line");
        length += (size_t)done;
    }
    if ((links[1] = connect_to("127.0.0.1", atoi(second + 1), 0)) < 0)
        fail("light_kernel: message connection");
    if (write(links[0], GREETING, strlen(GREETING)) < 0)
        fail("light_kernel: greeting");
    while (lines_length(answer + 3, length - 3, GREETING_LINES) == 0) {
        ssize_t done = read(links[0], answer + length, sizeof answer - length);
        if (done <= 0)
            fail("light_kernel: the other side's greeting");
        length += (size_t)done;
    }
}

static int hand_over(const char *path, int links[2])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union { struct cmsghdr header; char space[CMSG_SPACE(2 * sizeof(int))]; } control = {0};
    struct iovec byte = {"k", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int host = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (host < 0 || connect(host, (struct sockaddr *)&address, sizeof address) < 0)
        fail("light_kernel: no kernel_host");
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), links, 2 * sizeof(int));
    if (sendmsg(host, &message, 0) < 0)
        fail("light_kernel: hand-over");
    return host;
}

/* Nothing will be printed any more: the server does not have to keep the pipe open for that. */
static void close_output(void)
{
    int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere < 0 || dup2(nowhere, 1) < 0 || dup2(nowhere, 2) < 0)
        fail("light_kernel: /dev/null");
    close(nowhere);
}

int main(int argc, char **argv)
{
    int links[2], host;
    char byte;
    make_link(option(argc, argv, "-linkname"), links);
    host = hand_over(option(argc, argv, "--hand-over"), links);
    /* The host says when the link is in use: from then on nobody asks whose connections these are. */
    if (read(host, &byte, 1) == 1) {
        close(links[0]);
        close(links[1]);
        close_output();
        while (read(host, &byte, 1) > 0)
            ;
    }
    return 0;
}
