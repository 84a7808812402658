/* One link's kernel: takes frames, answers evaluations. */
#ifndef KERNEL_H
#define KERNEL_H

#include "output.h"
#include "wire.h"

struct kernel {
    struct reader reader;
    struct output output;
    char name[32];          /* of the function that is to be evaluated */
    int is_evaluation, wrong;
    int64_t integer;        /* the sum of its integer arguments */
    uint64_t arguments, block, number_bytes;
    /* what is to be sent back as it came */
    char *kept;
    size_t kept_length, kept_capacity;
};

void kernel_begin(struct kernel *kernel);       /* writes the first prompt */
void kernel_free(struct kernel *kernel);

#endif
