/*
 * Tests of what accepts connections in C, and of the question whose they are; tools/test-c builds them with sanitizers and
 * runs them. Users are known on Linux only.
 */
#define _GNU_SOURCE
#include "test_require.h"
#include "wstppeer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/netlink.h>
#endif

static int listener, netlink = -1;
static struct sockaddr_in listening;
static struct wstppeer_accepted accepted;

static const struct wstppeer_network local = {AF_INET, 32, {127, 0, 0, 1}}, odd = {AF_INET, 31, {127, 0, 0, 2}},
                                     six = {AF_INET6, 0, {0}}, all = {AF_INET, 0, {0}};

/* A connection from this address; `host` is in network order. */
static int connect_from(const char *host)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);

    REQUIRE(inet_pton(AF_INET, host, &source.sin_addr) == 1);
    REQUIRE(bind(descriptor, (struct sockaddr *)&source, sizeof source) == 0);
    REQUIRE(connect(descriptor, (struct sockaddr *)&listening, sizeof listening) == 0);
    return descriptor;
}

static uint16_t port_of(int descriptor)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;

    REQUIRE(getsockname(descriptor, (struct sockaddr *)&own, &size) == 0);
    return ntohs(own.sin_port);
}

/* Whether the other side has reset the connection. */
static int is_reset(int descriptor)
{
    struct pollfd wait = {descriptor, POLLIN, 0};
    char byte;

    REQUIRE(poll(&wait, 1, 10000) == 1);
    return recv(descriptor, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

/* Whether a connection from this address is admitted by the only network in the rules. */
static int admits(const struct wstppeer_network *network, const char *host)
{
    struct wstppeer_rules rules = {network, NULL, network ? 1 : -1, -1, -1};
    int descriptor = connect_from(host), found;
    uint16_t port = port_of(descriptor);

    found = wstppeer_accept(listener, &rules, &accepted);
    if (found >= 0) {
        REQUIRE(accepted.refused_count == 0 && accepted.user == 1);
        REQUIRE(strcmp(accepted.end.host, host) == 0 && accepted.end.port == port);
        REQUIRE(fcntl(found, F_GETFL) & O_NONBLOCK && fcntl(found, F_GETFD) & FD_CLOEXEC);
        close(found);
    } else {
        REQUIRE(found == -EAGAIN && accepted.refused_count == 1);
        REQUIRE(accepted.refused[0].count == 1 && !accepted.refused[0].by_user);
        REQUIRE(strcmp(accepted.refused[0].end.host, host) == 0 && accepted.refused[0].end.port == port);
        REQUIRE(is_reset(descriptor));
    }
    close(descriptor);
    REQUIRE(wstppeer_accept(listener, &rules, &accepted) == -EAGAIN && accepted.refused_count == 0);
    return found >= 0;
}

static void test_addresses(void)
{
    struct wstppeer_rules nobody = {NULL, NULL, 0, -1, -1};
    int descriptor;

    REQUIRE(admits(NULL, "127.0.0.1") && admits(NULL, "127.0.0.9"));
    REQUIRE(admits(&local, "127.0.0.1") && !admits(&local, "127.0.0.2"));
    REQUIRE(admits(&odd, "127.0.0.2") && admits(&odd, "127.0.0.3"));
    REQUIRE(!admits(&odd, "127.0.0.4") && !admits(&odd, "127.0.0.1"));
    REQUIRE(!admits(&six, "127.0.0.1") && admits(&all, "127.1.2.3"));
    descriptor = connect_from("127.0.0.1");
    REQUIRE(wstppeer_accept(listener, &nobody, &accepted) == -EAGAIN && accepted.refused_count == 1);
    close(descriptor);
}

/* What is refused is counted by host, and a call ends when others are to have their turn. */
static void test_many(void)
{
    static const char *const hosts[] = {"127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.2", "127.0.0.2",
                                        "127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.1"};
    enum { COUNT = sizeof hosts / sizeof *hosts };
    struct wstppeer_rules rules = {&local, NULL, 1, -1, -1};
    int descriptors[COUNT], index, found;

    for (index = 0; index < COUNT; index++)
        descriptors[index] = connect_from(hosts[index]);
    REQUIRE(wstppeer_accept(listener, &rules, &accepted) == -EAGAIN && accepted.refused_count == 3);
    REQUIRE(accepted.refused[0].count == 2 && accepted.refused[0].end.port == port_of(descriptors[0]));
    REQUIRE(accepted.refused[1].count == 1 && strcmp(accepted.refused[1].end.host, "127.0.0.3") == 0);
    REQUIRE(accepted.refused[2].count == 5);
    found = wstppeer_accept(listener, &rules, &accepted);
    REQUIRE(found >= 0 && accepted.refused_count == 1 && accepted.end.port == port_of(descriptors[COUNT - 1]));
    close(found);
    for (index = 0; index < COUNT; index++)
        close(descriptors[index]);
}

#ifdef __linux__
static void test_users(void)
{
    uint32_t own = (uint32_t)geteuid(), others[] = {own + 1, own + 2}, us[] = {own + 1, own}, user = own + 1;
    struct wstppeer_rules rules = {NULL, us, -1, 2, netlink};
    int descriptor = connect_from("127.0.0.1"), found = wstppeer_accept(listener, &rules, &accepted);

    REQUIRE(found >= 0 && accepted.user == 1);
    REQUIRE(wstppeer_user(netlink, found, &user) == 1 && user == own);
    close(descriptor);
    while (wstppeer_user(netlink, found, &user) == 1) /* until the system has ended it */
        usleep(1000);
    REQUIRE(wstppeer_user(netlink, found, &user) == 0);
    close(found);

    rules.users = others;
    descriptor = connect_from("127.0.0.1");
    REQUIRE(wstppeer_accept(listener, &rules, &accepted) == -EAGAIN && accepted.refused_count == 1);
    REQUIRE(accepted.refused[0].by_user && accepted.refused[0].user == own && is_reset(descriptor));
    close(descriptor);

    /* without an answer the caller has to decide */
    descriptor = connect_from("127.0.0.1");
    rules.netlink = -1;
    found = wstppeer_accept(listener, &rules, &accepted);
    REQUIRE(found >= 0 && accepted.user == 0);
    close(found);
    close(descriptor);
    descriptor = connect_from("127.0.0.1");
    rules.netlink = listener; /* no netlink socket at all */
    found = wstppeer_accept(listener, &rules, &accepted);
    REQUIRE(found >= 0 && accepted.user == -1);
    close(found);
    close(descriptor);
}
#endif

static void listen_on(const char *host)
{
    socklen_t size = sizeof listening;

    memset(&accepted, 0, sizeof accepted);
    memset(&listening, 0, sizeof listening);
    listening.sin_family = AF_INET;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    REQUIRE(inet_pton(AF_INET, host, &listening.sin_addr) == 1);
    REQUIRE(bind(listener, (struct sockaddr *)&listening, sizeof listening) == 0 && listen(listener, 64) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&listening, &size) == 0);
    inet_pton(AF_INET, "127.0.0.1", &listening.sin_addr);
}

int main(void)
{
    static const char *const hosts[] = {"127.0.0.1", "0.0.0.0"};
    struct wstppeer_rules rules = {NULL, NULL, -1, -1, -1};
    size_t index;

#ifdef __linux__
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
#endif
    for (index = 0; index < 2; index++) {
        listen_on(hosts[index]);
        test_addresses();
        test_many();
#ifdef __linux__
        if (netlink >= 0)
            test_users();
        else
            puts("this system does not tell the users of sockets");
#endif
        close(listener);
        REQUIRE(wstppeer_accept(listener, &rules, &accepted) == -EBADF);
    }
    puts("wstppeer: passed");
    return 0;
}
