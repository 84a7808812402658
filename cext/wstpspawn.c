/*
 * Starting a program without a copy of the caller. The contract is in wstpspawn.h.
 *
 * From clone() to execve() the child uses the memory of its caller, which is suspended meanwhile: whatever it writes there
 * must be meant for the caller, and no signal handler of the caller may run in it.
 */
#define _GNU_SOURCE
#include "wstpspawn.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* on all architectures; the C library may be older than the system */
#endif

/* The sanitizer does not know that the child has a stack of its own. */
#if defined(__GNUC__) || defined(__clang__)
#define ON_CHILD_STACK __attribute__((no_sanitize_address))
#define ALIGNED __attribute__((aligned(16)))
#else
#define ON_CHILD_STACK
#define ALIGNED
#endif

enum { UNSHARE = 2, STACK_SIZE = 32 * 1024 };

struct child {
    const struct wstpspawn *spawn;
    pid_t parent;
    sigset_t mask;          /* of the caller */
    volatile int error;     /* of execve() */
    volatile int refused;   /* the system did not allow what comes before */
};

static int close_range_of(unsigned first, unsigned last, unsigned flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

int wstpspawn_available(void)
{
    return close_range_of(~0U, ~0U, 0) == 0; /* no such descriptors: it does nothing */
}

/* No handler of the caller may run here once signals are let through; execve() would be too late for that. */
ON_CHILD_STACK static void reset_signals(const struct child *child)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) < 0)
            continue; /* the C library's own */
        if (action.sa_handler == SIG_DFL || (action.sa_handler == SIG_IGN && number != SIGPIPE && number != SIGXFSZ))
            continue;
        action.sa_handler = SIG_DFL;
        action.sa_flags = 0;
        sigaction(number, &action, NULL);
    }
    sigprocmask(SIG_SETMASK, &child->mask, NULL);
}

/* The first call leaves the caller's table of descriptors behind, so nothing that it does here touches that. */
ON_CHILD_STACK static int take_descriptors(const struct wstpspawn *spawn)
{
    unsigned last = (unsigned)(spawn->null > spawn->spare ? spawn->null : spawn->spare);

    return close_range_of(last + 1, ~0U, UNSHARE) == 0 && dup2(spawn->null, 0) == 0 && dup2(spawn->spare, 1) == 1
           && dup2(spawn->spare, 2) == 2 && close_range_of(3, ~0U, 0) == 0;
}

/* As execvp(): of several errors the one that says most. */
ON_CHILD_STACK static int execute(const struct wstpspawn *spawn)
{
    int error = 0;

    for (char **program = spawn->programs; *program != NULL; program++) {
        execve(*program, spawn->arguments, spawn->environment);
        if (error == 0 || error == ENOENT || error == ENOTDIR)
            error = errno;
    }
    return error;
}

ON_CHILD_STACK static int run(void *argument)
{
    struct child *child = argument;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != child->parent) /* it ended before this call */
        _exit(1);
    if (!take_descriptors(child->spawn)) {
        child->refused = 1;
        _exit(1);
    }
    setsid();
    reset_signals(child);
    if (child->spawn->directory != NULL && chdir(child->spawn->directory) < 0) {
        child->error = errno;
        _exit(127);
    }
    child->error = execute(child->spawn);
    _exit(127);
}

/* The child may not share these: a signal that it gets would be handled in it as if it were the caller. */
static pid_t start(struct child *child)
{
    const int flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD;
    char stack[STACK_SIZE] ALIGNED;
    sigset_t all;
    pid_t pid;
    int error;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &child->mask); /* of this thread */
    pid = clone(run, stack + sizeof stack, flags, child);
    error = errno;
    sigprocmask(SIG_SETMASK, &child->mask, NULL);
    errno = error;
    return pid;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int32_t wstpspawn_start(const struct wstpspawn *spawn)
{
    struct child child = {.spawn = spawn, .parent = getpid()};
    pid_t pid;
    int error;

    if (dup3(spawn->output, spawn->spare, O_CLOEXEC) < 0)
        return -errno;
    pid = start(&child);
    error = errno;
    dup3(spawn->null, spawn->spare, O_CLOEXEC);
    if (pid < 0)
        return error == EAGAIN || error == ENOMEM ? -error : 0;
    if (child.refused || child.error) {
        reap(pid);
        return child.refused ? 0 : -child.error;
    }
    return (int32_t)pid;
}

#else

int wstpspawn_available(void)
{
    return 0;
}

int32_t wstpspawn_start(const struct wstpspawn *spawn)
{
    (void)spawn;
    return 0;
}

#endif
