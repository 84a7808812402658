/* One client that measures: takes one step for each line on stdin and answers it with one line, "ok" and the
 * nanoseconds that each evaluation took, or "error: ...".
 *
 *   connect PORT          until the greeting is over, and until the first InputNamePacket
 *   time N                N evaluations of Plus, one after the other
 *   echo NUMBERS N        N times: a list of that many Real64 to the kernel and back
 *   up NUMBERS N          N times: the list to the kernel, which answers with its length
 *   down NUMBERS N        N times: the kernel sends the list
 *   close
 */
#include "greeting.h"
#include "output.h"
#include "pattern.h"
#include "wire.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int data_link = -1, message_link = -1;
static const char *problem;

/* What the frame at hand is. */
static struct {
    char head[32];
    int64_t integer;
    uint64_t numbers, bytes;
    double first;
    int complete, wrong;
} answer;

/* The number that this evaluation carries as first element, or -1 if its answer is a plain pattern. */
static double expected_first;

static long long nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int failed(const char *why)
{
    problem = why;
    return 0;
}

/* -- reading an answer ------------------------------------------------------------------------------------------- */

static void contents(void *owner, const char *data, size_t length)
{
    uint64_t number = 0;
    (void)owner;
    while (length > 0 && answer.bytes < sizeof number && expected_first >= 0) {
        ((char *)&answer.first)[answer.bytes++] = *data++;
        length--;
    }
    if (length > 0 && !pattern_matches(answer.bytes, data, length))
        answer.wrong = 1;
    answer.bytes += length;
}

static void take(void *owner, const struct token *token)
{
    (void)owner;
    if (token->index == 1 && token->text != NULL && token->length < sizeof answer.head) {
        memcpy(answer.head, token->text, token->length);
        answer.head[token->length] = '\0';
    } else if (token->index == 2 && token->is_integer)
        answer.integer = token->integer;
    else if (token->kind == TOKEN_BLOCK)
        answer.numbers += token->count;
    else if (token->kind == TOKEN_NUMBER && token->index > 2) { /* some relays unpack lists */
        answer.numbers++;
        contents(owner, token->text, token->length);
    }
}

static void end(void *owner)
{
    ((struct reader *)owner)->stopped = answer.complete = 1;
}

static struct reader reader = {.take = take, .contents = contents, .end = end, .owner = &reader};
static char received[1 << 20];
static size_t begin, filled;

/* Reads the next packet into `answer`; false at the end of the link or when nothing came for a long time. */
static int read_packet(void)
{
    memset(&answer, 0, sizeof answer);
    reader.stopped = 0;
    for (;;) {
        ssize_t length;
        begin += read_frames(&reader, received + begin, filled - begin);
        if (reader.error != NULL)
            return failed(reader.error);
        if (answer.complete)
            return 1;
        memmove(received, received + begin, filled - begin);
        filled -= begin;
        begin = 0;
        length = recv(data_link, received + filled, sizeof received - filled, 0);
        if (length <= 0)
            return failed(length == 0 ? "the link was closed" : "no answer in time");
        filled += (size_t)length;
    }
}

static int read_answer(void)
{
    if (!read_packet())
        return 0;
    return strcmp(answer.head, "ReturnPacket") == 0 ? 1 : failed("another packet than an answer");
}

/* -- evaluations ------------------------------------------------------------------------------------------------- */

static int send_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(data_link, data, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return failed("the link was closed");
        data += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static int plus(int number)
{
    char frame[128], *to = put_function(frame, "EvaluatePacket", 1);
    to = put_function(to, "Plus", 2);
    to = put_int64(put_int64(to, 2), number);
    *to++ = ']';
    if (!send_all(frame, (size_t)(to - frame)) || !read_answer())
        return 0;
    return answer.integer == number + 2LL ? 1 : failed("wrong answer");
}

/* EvaluatePacket[function[{...}]]: the pattern's numbers, the first replaced by expected_first if that is not -1. */
static int send_list(const char *function, uint64_t numbers)
{
    char frame[160], *to = put_function(frame, "EvaluatePacket", 1);
    struct output output = {.pattern_left = numbers * 8, .tail = 1};
    to = put_reals_header(put_function(to, function, 1), numbers);
    if (expected_first >= 0) {
        memcpy(to, &expected_first, 8);
        to += 8;
        output.pattern_at = 8;
        output.pattern_left -= 8;
    }
    output_add(&output, frame, (size_t)(to - frame));
    if (output_flush(&output, data_link) != 1)
        problem = "the link was closed";
    output_free(&output);
    return problem == NULL;
}

static int right_list(uint64_t numbers)
{
    if (answer.wrong || answer.numbers != numbers || answer.bytes != numbers * 8)
        return failed("wrong numbers");
    return expected_first < 0 || answer.first == expected_first ? 1 : failed("wrong answer");
}

static int echo(uint64_t numbers, int number)
{
    expected_first = number;
    return send_list("Echo", numbers) && read_answer() && right_list(numbers);
}

static int up(uint64_t numbers)
{
    expected_first = -1;
    if (!send_list("Length", numbers) || !read_answer())
        return 0;
    return answer.integer == (int64_t)numbers ? 1 : failed("wrong length");
}

static int down(uint64_t numbers)
{
    char frame[128], *to = put_function(frame, "EvaluatePacket", 1);
    to = put_int64(put_function(to, "Reals", 1), (int64_t)numbers);
    *to++ = ']';
    expected_first = -1;
    return send_all(frame, (size_t)(to - frame)) && read_answer() && right_list(numbers);
}

/* -- steps ------------------------------------------------------------------------------------------------------- */

static int receive_some(void)
{
    ssize_t length = recv(data_link, received + filled, sizeof received - filled, 0);
    if (length <= 0)
        return failed("the link was closed in the greeting");
    filled += (size_t)length;
    return 1;
}

static int greet(uint64_t number)
{
    char line[ID_LENGTH + 1];
    write_id(line, (uint64_t)getpid(), number, "mesg");
    if (send(message_link, line, ID_LENGTH, MSG_NOSIGNAL) != ID_LENGTH)
        return failed("the message connection was closed");
    write_id(line, (uint64_t)getpid(), number, "data");
    if (!send_all(line, ID_LENGTH) || !send_all(WORDS, WORDS_LENGTH))
        return 0;
    while (filled < WORDS_LENGTH)
        if (!receive_some())
            return 0;
    if (!send_all(GREETING, strlen(GREETING)))
        return 0;
    while ((begin = lines_length(received + WORDS_LENGTH, filled - WORDS_LENGTH, GREETING_LINES)) == 0)
        if (!receive_some())
            return 0;
    begin += WORDS_LENGTH;
    return 1;
}

static void close_link(void)
{
    if (data_link >= 0) {
        close(message_link);
        close(data_link);
    }
    data_link = message_link = -1;
}

static int connect_link(int port)
{
    static uint64_t number;
    struct timeval limit = {.tv_sec = 120};
    long long start = nanoseconds();
    close_link();
    begin = filled = 0;
    if ((data_link = connect_to("127.0.0.1", port, 0)) < 0 || (message_link = connect_to("127.0.0.1", port, 0)) < 0)
        return failed("cannot connect");
    setsockopt(data_link, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (!greet(++number))
        return 0;
    printf(" %lld", nanoseconds() - start);
    if (!read_packet())
        return 0;
    printf(" %lld", nanoseconds() - start);
    return strcmp(answer.head, "InputNamePacket") == 0 ? 1 : failed("no InputNamePacket");
}

static int evaluate(const char *word, uint64_t numbers, int number)
{
    if (strcmp(word, "time") == 0)
        return plus(number);
    if (strcmp(word, "echo") == 0)
        return echo(numbers, number);
    if (strcmp(word, "up") == 0)
        return up(numbers);
    return strcmp(word, "down") == 0 ? down(numbers) : failed("no such step");
}

static int step(const char *line)
{
    static int number;
    char word[16] = "";
    unsigned long long first = 0, second = 0;
    int words = sscanf(line, "%15s %llu %llu", word, &first, &second);
    problem = NULL;
    if (strcmp(word, "connect") == 0)
        return connect_link((int)first);
    if (strcmp(word, "close") == 0) {
        close_link();
        return 1;
    }
    if (data_link < 0)
        return failed("no link");
    for (uint64_t left = words == 3 ? second : first; left > 0; left--) {
        long long start = nanoseconds();
        if (!evaluate(word, first, number++ & 0xffffff))
            return 0;
        printf(" %lld", nanoseconds() - start);
    }
    return 1;
}

int main(void)
{
    static char line[256];
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    make_pattern();
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (step(line))
            puts(" ok");
        else
            printf(" error: %s\n", problem);
        fflush(stdout);
    }
    close_link();
    return 0;
}
