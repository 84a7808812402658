/* Evaluates in EvaluatePacket: Plus[integers]; List[...] and Echo[expr], which come back as they are; Length[list of
 * the pattern's numbers]; Reals[n], the first n numbers of the pattern. All else is Null, so that definitions of the
 * server do no harm. */
#include "kernel.h"
#include "pattern.h"
#include <stdlib.h>

static int is(const struct kernel *kernel, const char *name)
{
    return strcmp(kernel->name, name) == 0;
}

static void contents(void *owner, const char *data, size_t length)
{
    struct kernel *kernel = owner;
    if (is(kernel, "Length") && !pattern_matches(kernel->number_bytes, data, length))
        kernel->wrong = 1;
    kernel->number_bytes += length;
}

static void take(void *owner, const struct token *token)
{
    struct kernel *kernel = owner;
    if (token->index == 1)
        kernel->is_evaluation = token->text != NULL && token->length == 14
            && memcmp(token->text, "EvaluatePacket", 14) == 0;
    else if (token->index == 2)
        kernel->arguments = token->count;
    else if (token->index == 3 && token->kind == TOKEN_SYMBOL && token->length < sizeof kernel->name) {
        memcpy(kernel->name, token->text, token->length);
        kernel->name[token->length] = '\0';
    } else if (token->index > 3 && token->is_integer)
        kernel->integer += token->integer;
    else if (token->kind == TOKEN_BLOCK)
        kernel->block += token->count;
    else if (token->kind == TOKEN_NUMBER) { /* some relays unpack lists */
        kernel->block++;
        contents(kernel, token->text, token->length);
    }
}

static void keep(struct kernel *kernel, const char *data, size_t length)
{
    if (kernel->kept_length + length > kernel->kept_capacity) {
        kernel->kept_capacity = (kernel->kept_length + length) * 2;
        kernel->kept = realloc(kernel->kept, kernel->kept_capacity);
        if (kernel->kept == NULL)
            abort();
    }
    memcpy(kernel->kept + kernel->kept_length, data, length);
    kernel->kept_length += length;
}

/* reader.index is one past the token that the bytes belong to. */
static void raw(void *owner, const char *data, size_t length)
{
    struct kernel *kernel = owner;
    int index = kernel->reader.index - 1;
    if (index == 2 || index == 3 || (index > 3 && is(kernel, "List")) || (index > 3 && is(kernel, "Echo")))
        keep(kernel, data, length);
    if (index == 3 && is(kernel, "Echo"))
        kernel->kept_length = 0;
}

static void reset(struct kernel *kernel)
{
    if (kernel->kept_capacity > 1 << 16) {
        free(kernel->kept);
        kernel->kept = NULL;
        kernel->kept_capacity = 0;
    }
    kernel->kept_length = 0;
    kernel->name[0] = '\0';
    kernel->is_evaluation = kernel->wrong = 0;
    kernel->integer = 0;
    kernel->arguments = kernel->block = kernel->number_bytes = 0;
}

static void answer(struct kernel *kernel)
{
    struct output *output = &kernel->output;
    char *begin = output_space(output, 256), *to = put_function(begin, "ReturnPacket", 1);
    if (is(kernel, "Plus"))
        to = put_int64(to, kernel->integer);
    else if (is(kernel, "Length") && !kernel->wrong)
        to = put_int64(to, (int64_t)kernel->block);
    else if (is(kernel, "Reals") && kernel->integer > 0) {
        to = put_reals_header(to, (uint64_t)kernel->integer);
        output->pattern_left = (uint64_t)kernel->integer * 8;
        output->pattern_at = 0;
        output->tail = 1;
    } else if (is(kernel, "List") || is(kernel, "Echo")) {
        output->length += (size_t)(to - begin);
        output_add(output, kernel->kept, kernel->kept_length);
        begin = to = output_space(output, 1);
    } else
        to = put_text(to, '#', kernel->wrong ? "$Failed" : "Null");
    output->length += (size_t)(to - begin);
    if (!output->tail)
        output_add(output, "]", 1);
}

static void end(void *owner)
{
    struct kernel *kernel = owner;
    if (kernel->is_evaluation)
        answer(kernel);
    kernel->reader.stopped = kernel->output.tail; /* what follows waits until that is written */
    reset(kernel);
}

void kernel_begin(struct kernel *kernel)
{
    char *begin = output_space(&kernel->output, 256), *to = put_function(begin, "InputNamePacket", 1);
    to = put_text(to, '"', "In[1]:= ");
    *to++ = ']';
    kernel->output.length += (size_t)(to - begin);
    kernel->output.fair = 1; /* many kernels in one process */
    kernel->reader = (struct reader){.take = take, .contents = contents, .raw = raw, .end = end, .owner = kernel};
}

void kernel_free(struct kernel *kernel)
{
    free(kernel->kept);
    output_free(&kernel->output);
}
