/*
 * Tests of the start of processes in C; tools/test-c builds them with sanitizers and runs them. Where the system has no such
 * start there is nothing to test.
 */
#define _GNU_SOURCE
#include "test_require.h"
#include "wstpspawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char *environment[] = {"COLOUR=green", NULL};
static int null, spare;
static char printed[8192];
static pid_t last;

/* Starts it and returns what wstpspawn_start() did; what it prints is read to the end. */
static int32_t start(char **programs, char **arguments, int *status)
{
    struct wstpspawn spawn = {programs, arguments, environment, NULL, -1, null, spare};
    int output[2];
    size_t length = 0;
    ssize_t more;
    int32_t pid;

    REQUIRE(pipe(output) == 0);
    spawn.output = output[1];
    pid = wstpspawn_start(&spawn);
    close(output[1]);
    while ((more = read(output[0], printed + length, sizeof printed - 1 - length)) > 0)
        length += (size_t)more;
    printed[length] = 0;
    close(output[0]);
    if (pid > 0)
        REQUIRE(waitpid(pid, status, 0) == pid);
    last = pid;
    REQUIRE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* nobody else is left of it */
    return pid;
}

static int shell(char *script)
{
    char *programs[] = {"/bin/sh", NULL}, *arguments[] = {"sh", "-c", script, NULL};
    int status;

    REQUIRE(start(programs, arguments, &status) > 0);
    return status;
}

static void run(char *program, char *argument, char *other)
{
    char *programs[] = {program, NULL}, *arguments[] = {program, argument, other, NULL};
    int status;

    REQUIRE(start(programs, arguments, &status) > 0);
    REQUIRE(status == 0);
}

static void test_output_and_end(void)
{
    int status = shell("read line || echo nothing to read; echo $COLOUR$HOME >&2; exit 3");

    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    REQUIRE(strcmp(printed, "nothing to read\ngreen\n") == 0);
    status = shell("kill -9 $$");
    REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_descriptors(void)
{
    int both[2];
    struct stat of_spare, of_null;

    REQUIRE(pipe(both) == 0); /* without care the child would inherit them */
    REQUIRE(dup2(both[0], 500) == 500);
    run("/bin/ls", "/proc/self/fd", NULL);
    REQUIRE(strcmp(printed, "0\n1\n2\n3\n") == 0); /* the last for the listing */
    REQUIRE(write(both[1], "x", 1) == 1 && fcntl(500, F_GETFD) == 0); /* the caller has them as before */
    close(both[0]), close(both[1]), close(500);
    REQUIRE(fstat(spare, &of_spare) == 0 && fstat(null, &of_null) == 0);
    REQUIRE(of_spare.st_rdev == of_null.st_rdev && S_ISCHR(of_spare.st_mode)); /* no pipe is held open */
}

static void test_errors(void)
{
    char *missing[] = {"/nowhere/at/all", NULL}, *no_program[] = {"/nowhere", "/etc/passwd", "/dev/null/x", NULL};
    char *second[] = {"/nowhere", "/bin/true", NULL}, *arguments[] = {"x", NULL};
    int status;

    REQUIRE(start(missing, arguments, &status) == -ENOENT);
    REQUIRE(start(no_program, arguments, &status) == -EACCES);
    REQUIRE(start(second, arguments, &status) > 0 && status == 0);
}

static void test_session(void)
{
    int pid, group, session;

    run("/bin/cat", "/proc/self/stat", NULL);
    REQUIRE(sscanf(printed, "%d (cat) %*c %*d %d %d", &pid, &group, &session) == 3);
    REQUIRE(pid == last && group == last && session == last);
}

static volatile sig_atomic_t signals;
static pid_t self;

static void count(int number)
{
    (void)number;
    if (getpid() != self) /* in the child, and in the caller's memory */
        abort();
    signals++;
}

static unsigned long long mask_of(const char *name)
{
    const char *line = strstr(printed, name);

    REQUIRE(line != NULL);
    return strtoull(line + strlen(name), NULL, 16);
}

static unsigned long long bit(int number)
{
    return 1ULL << (number - 1);
}

static void test_signals(void)
{
    sigset_t blocked, before, after;

    signal(SIGUSR1, count);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    REQUIRE(sigprocmask(SIG_SETMASK, &blocked, NULL) == 0);
    run("/bin/grep", "Sig", "/proc/self/status");
    REQUIRE(mask_of("SigBlk:") == bit(SIGUSR2));
    REQUIRE((mask_of("SigIgn:") & (bit(SIGPIPE) | bit(SIGHUP))) == bit(SIGHUP)); /* whoever started the caller may want that */
    REQUIRE((mask_of("SigCgt:") & bit(SIGUSR1)) == 0);
    REQUIRE(sigprocmask(SIG_SETMASK, NULL, &after) == 0 && sigismember(&after, SIGUSR2) == 1);
    REQUIRE(sigismember(&after, SIGUSR1) == 0);
    sigemptyset(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    REQUIRE(raise(SIGUSR1) == 0 && signals == 1); /* the handler of the caller is as before */
}

static void test_signals_meanwhile(void)
{
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int number = 0; number < 200; number++)
        REQUIRE(shell("exit 0") == 0);
    setitimer(ITIMER_REAL, &never, NULL);
    REQUIRE(signals > 1);
}

static void test_death_of_the_caller(void)
{
    char *programs[] = {"/bin/sleep", NULL}, *arguments[] = {"sleep", "1000", NULL};
    int output[2], status;
    pid_t caller;
    char byte;

    REQUIRE(pipe(output) == 0);
    caller = fork();
    if (caller == 0) {
        struct wstpspawn spawn = {programs, arguments, environment, NULL, output[1], null, spare};

        _exit(wstpspawn_start(&spawn) > 0 ? 0 : 1);
    }
    close(output[1]);
    REQUIRE(waitpid(caller, &status, 0) == caller && status == 0);
    REQUIRE(read(output[0], &byte, 1) == 0); /* ends with the sleeper, not after 1000 s */
    close(output[0]);
}

int main(void)
{
    if (!wstpspawn_available()) {
        puts("wstpspawn: not on this system");
        return 0;
    }
    self = getpid();
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    spare = fcntl(null, F_DUPFD_CLOEXEC, 3);
    REQUIRE(null > 2 && spare > 2);
    test_output_and_end();
    test_descriptors();
    test_errors();
    test_session();
    test_signals();
    test_signals_meanwhile();
    test_death_of_the_caller();
    puts("wstpspawn: passed");
    return 0;
}
