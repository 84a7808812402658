/*
 * For C tests: runs a function in a thread for which the system refuses one system call, as a container's filter does.
 */
#ifndef TEST_REFUSE_H
#define TEST_REFUSE_H

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "test_require.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

struct refusal {
    long call;
    int error;
    void (*function)(void);
    int works;
};

static void *run_refused(void *what)
{
    struct refusal *refusal = what;
#ifdef __linux__
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusal->call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    refusal->works = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#endif
    if (refusal->works)
        refusal->function();
    return NULL;
}

/* Runs the function while the system call fails with each of these errors in turn. */
static void with_refused(long call, void (*function)(void))
{
    static const int errors[] = {EPERM, ENOSYS, EINVAL};
    pthread_t thread;
    size_t i;

    for (i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct refusal refusal = {call, errors[i], function, 0};
        REQUIRE(pthread_create(&thread, NULL, run_refused, &refusal) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        if (!refusal.works)
            puts("this system has no filters for system calls");
    }
}

#endif
