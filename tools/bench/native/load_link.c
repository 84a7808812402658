/* One client's link: connect, greet, ask, compare answers. */
#include "greeting.h"
#include "load.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 1 << 18, COMPARED_BYTES = 1 << 16 };

static char received[RECEIVE_BYTES];

void link_close(struct client *client)
{
    if (client->data >= 0)
        close(client->data);
    if (client->message >= 0)
        close(client->message);
    client->data = client->message = -1;
    output_free(&client->output);
    free(client->pending);
    client->pending = NULL;
    client->pending_length = 0;
}

void link_fail(struct client *client, const char *when, const char *why)
{
    count_error(when, why);
    totals.failed++;
    totals.ended += !client->complete;
    client->phase = FAILED;
    link_close(client);
}

static const char *activity(const struct client *client)
{
    return client->phase == IDLE_OR_BUSY ? "evaluating" : "connecting";
}

static void flush(struct client *client)
{
    int state = output_flush(&client->output, client->data);
    if (state < 0)
        link_fail(client, activity(client), "the server closed the link");
    else if (state == 0)
        watch(client->data, client, 0, EPOLLIN | EPOLLOUT, 0);
}

/* -- asking ------------------------------------------------------------------------------------------------------ */

static void put_xs(struct output *output, uint64_t count)
{
    memset(output_space(output, count), 'x', count);
    output->length += count;
}

/* Begin an evaluation that counts from `begin` on. It carries numbers of its own, so that no other's answer fits. */
void link_evaluate(struct client *client, int64_t begin)
{
    struct asked *asked = &client->asked[(client->first_asked + client->count_asked++) % load.depth];
    struct output *output = &client->output;
    char *start = output_space(output, 256), *to = put_function(start, "EvaluatePacket", 1);
    int64_t unique = (int64_t)client->number * 1000003 + client->sent++;
    asked->begin = begin;
    if (load.size == 0) {
        asked->answer = unique + 2;
        to = put_int64(put_int64(put_function(to, "Plus", 2), 2), unique);
    } else {
        asked->answer = unique;
        to = put_text_header(put_int64(put_function(to, "List", 2), unique), '"', load.size);
        output->length += (size_t)(to - start);
        put_xs(output, load.size);
        start = to = output_space(output, 2);
        *to++ = '\n';
    }
    *to++ = ']';
    output->length += (size_t)(to - start);
    flush(client);
}

/* -- reading answers --------------------------------------------------------------------------------------------- */

static int all_xs(const char *data, size_t length)
{
    static char expected[COMPARED_BYTES];
    if (expected[0] == 0)
        memset(expected, 'x', sizeof expected);
    for (size_t piece; length > 0; data += piece, length -= piece) {
        piece = length < sizeof expected ? length : sizeof expected;
        if (memcmp(expected, data, piece) != 0)
            return 0;
    }
    return 1;
}

static void copy_text(char *to, size_t space, const struct token *token)
{
    size_t length = token->length < space ? token->length : space - 1;
    memcpy(to, token->text, length);
    to[length] = '\0';
}

static void take(void *owner, const struct token *token)
{
    struct client *client = owner;
    if (token->index == 1 && token->kind == TOKEN_SYMBOL && token->text != NULL)
        copy_text(client->head, sizeof client->head, token);
    else if (token->is_integer && !client->has_integer) {
        client->integer = token->integer;
        client->has_integer = 1;
    } else if (token->kind == TOKEN_SYMBOL && client->text[0] == '\0' && token->text != NULL)
        copy_text(client->text, sizeof client->text, token);
    else if (token->kind == TOKEN_STRING) {
        client->text_length = token->length;
        client->text_seen = 0;
        if (token->text != NULL) {
            copy_text(client->text, sizeof client->text, token);
            client->wrong_text = token->length != load.size || !all_xs(token->text, token->length);
        }
    }
}

/* A long text: the letter of its format and its count go before the characters. */
static void contents(void *owner, const char *data, size_t length)
{
    struct client *client = owner;
    uint64_t header = client->text_length - load.size;
    size_t skipped = 0;
    if (client->text_length < load.size || header > 24)
        client->wrong_text = 1;
    else if (client->text_seen < header)
        skipped = length < header - client->text_seen ? length : (size_t)(header - client->text_seen);
    if (!client->wrong_text && !all_xs(data + skipped, length - skipped))
        client->wrong_text = 1;
    client->text_seen += length;
}

static void fail_with_packet(struct client *client, const char *instead)
{
    char why[160];
    snprintf(why, sizeof why, "%s instead of %s%s%s", client->head[0] ? client->head : "something", instead,
             client->text[0] ? ": " : "", client->text);
    link_fail(client, activity(client), why);
}

/* Whether a packet says why the client waits for its kernel; one that is too long for `text` does. */
static int is_waiting_notice(const struct client *client)
{
    static const char beginning[] = "WSTPServer: waiting up to ";

    return strcmp(client->head, "TextPacket") == 0
        && (client->text[0] == '\0' || strncmp(client->text, beginning, sizeof beginning - 1) == 0);
}

static void take_prompt(struct client *client)
{
    if (is_waiting_notice(client))
        return;
    if (strcmp(client->head, "InputNamePacket") != 0) {
        fail_with_packet(client, "a prompt");
        return;
    }
    client->phase = IDLE_OR_BUSY;
    totals.prompted++;
    histogram_add(&totals.prompt, (uint64_t)(now() - client->begin));
    client_is_prompted(client);
}

/* Says what came instead of the right answer: the symbol or text in it, or its number. */
static void fail_with_answer(struct client *client, int64_t expected)
{
    char why[160];
    if (client->count_asked == 0)
        snprintf(why, sizeof why, "wrong answer: no evaluation is open");
    else if (!client->has_integer)
        snprintf(why, sizeof why, "wrong answer: %s", client->text[0] ? client->text : "no number");
    else if (client->integer != expected)
        snprintf(why, sizeof why, "wrong answer: %lld instead of %lld", (long long)client->integer, (long long)expected);
    else
        snprintf(why, sizeof why, "wrong answer: another text");
    link_fail(client, "evaluating", why);
}

static void take_answer(struct client *client)
{
    struct asked asked = client->asked[client->first_asked];
    if (strcmp(client->head, "ReturnPacket") != 0)
        fail_with_packet(client, "an answer");
    else if (client->count_asked == 0 || client->integer != asked.answer || !client->has_integer
             || (load.size > 0 && (client->wrong_text || client->text_length < load.size)))
        fail_with_answer(client, asked.answer);
    else {
        client->first_asked = (client->first_asked + 1) % load.depth;
        client->count_asked--;
        client->answered++;
        totals.answers++;
        histogram_add(&totals.evaluation, (uint64_t)(now() - asked.begin));
        client_is_answered(client);
    }
}

static void end(void *owner)
{
    struct client *client = owner;
    if (client->phase == AWAITING_PROMPT)
        take_prompt(client);
    else
        take_answer(client);
    client->head[0] = client->text[0] = '\0';
    client->integer = client->has_integer = client->wrong_text = 0;
    client->text_length = 0;
    client->reader.stopped = client->data < 0;
}

/* -- connecting -------------------------------------------------------------------------------------------------- */

static void send_id(struct client *client, int descriptor, const char *channel)
{
    char line[ID_LENGTH + 1 + WORDS_LENGTH];
    size_t length = ID_LENGTH;
    write_id(line, (uint64_t)getpid(), (uint64_t)client->number, channel);
    if (descriptor == client->data) {
        memcpy(line + ID_LENGTH, WORDS, WORDS_LENGTH);
        length += WORDS_LENGTH;
    }
    if (send(descriptor, line, length, MSG_NOSIGNAL) != (ssize_t)length)
        link_fail(client, "connecting", "the server closed the link");
}

/* The error of a connection that was being opened, 0 if it is open. */
static int connect_error(int descriptor)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

static void fail_to_connect(struct client *client, int error)
{
    char why[120];
    snprintf(why, sizeof why, "cannot connect: %s", strerror(error));
    link_fail(client, "connecting", why);
}

void link_open(struct client *client)
{
    client->begin = client->heard = now();
    client->phase = CONNECTING;
    client->reader = (struct reader){.take = take, .contents = contents, .end = end, .owner = client};
    client->data = connect_to(load.host, load.port, 1);
    client->message = client->data < 0 ? -1 : connect_to(load.host, load.port, 1);
    if (client->message < 0) {
        fail_to_connect(client, errno);
        return;
    }
    watch(client->data, client, 0, EPOLLOUT, 1);
    watch(client->message, client, 1, EPOLLOUT, 1);
}

static void connected(struct client *client, int is_message)
{
    int descriptor = is_message ? client->message : client->data, error = connect_error(descriptor);
    if (error != 0) {
        fail_to_connect(client, error);
        return;
    }
    if (is_message)
        client->message_connected = 1;
    else
        client->phase = AWAITING_WORDS;
    watch(descriptor, client, is_message, EPOLLIN, 0);
    send_id(client, descriptor, is_message ? "mesg" : "data");
}

/* Each step of the greeting takes what it can of the data and returns how much. */
static size_t greet(struct client *client, const char *data, size_t length)
{
    size_t used = lines_length(data, length, GREETING_LINES);
    if (client->phase == AWAITING_WORDS) {
        if (length < WORDS_LENGTH)
            return 0;
        client->phase = AWAITING_GREETING;
        output_add(&client->output, GREETING, strlen(GREETING));
        flush(client);
        return WORDS_LENGTH;
    }
    if (length >= 10 && memcmp(data, "Math Link ", 10) != 0)
        link_fail(client, "connecting", "what came is no greeting");
    else if (used > 0) {
        client->phase = AWAITING_PROMPT;
        totals.connected++;
        histogram_add(&totals.connect, (uint64_t)(now() - client->begin));
    }
    return used;
}

static void take_data(struct client *client, const char *data, size_t length)
{
    size_t position = 0, used = 1;
    while (used > 0 && position < length && client->data >= 0) {
        if (client->phase < AWAITING_PROMPT)
            used = greet(client, data + position, length - position);
        else
            used = read_frames(&client->reader, data + position, length - position);
        position += used;
    }
    if (client->data < 0)
        return;
    if (client->reader.error != NULL) {
        link_fail(client, activity(client), client->reader.error);
        return;
    }
    free(client->pending);
    client->pending = NULL;
    client->pending_length = length - position;
    if (client->pending_length > 0) {
        client->pending = malloc(client->pending_length);
        memcpy(client->pending, data + position, client->pending_length);
    }
}

static void receive(struct client *client)
{
    size_t before = client->pending_length;
    ssize_t length;
    if (before > 0)
        memcpy(received, client->pending, before);
    length = recv(client->data, received + before, sizeof received - before, 0);
    if (length > 0) {
        client->heard = now();
        take_data(client, received, before + (size_t)length);
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        link_fail(client, activity(client), "the server closed the link");
}

void link_event(struct client *client, int is_message, unsigned events)
{
    char message[64];
    if (client->data < 0)
        return;
    if (is_message ? !client->message_connected : client->phase == CONNECTING)
        connected(client, is_message);
    else if (is_message) {
        if (recv(client->message, message, sizeof message, 0) <= 0)
            watch(client->message, client, 1, 0, 0); /* the data connection's end tells the same */
    } else if (events & EPOLLOUT) {
        watch(client->data, client, 0, EPOLLIN, 0);
        flush(client);
    } else
        receive(client);
}
