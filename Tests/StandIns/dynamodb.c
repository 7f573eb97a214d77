// A DynamoDB that stores nothing and refuses nothing, in one cheap thread: what Hansard alone costs per claim is
// measured against it. HTTP/1.1 with kept connections, no TLS, no look at signatures.
//
//     dynamodb PORT DELAY_MS
//
// Every transaction and write is done, DELAY_MS later; lists are empty; each item that is read is a tenant's counter
// with room for all. Prints "listening" when it does, and on SIGTERM "connections N transactions N bytes_in N ...".
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST_REQUEST = 256 << 10, CONNECTIONS = 1024, WAITING = 1 << 14, EVENTS_AT_ONCE = 64 };

// A client sends its next request only after the answer to the one before.
struct connection {
    int file;
    size_t size;
    char *bytes;
};

struct answer {
    double due_ms;
    int file;
    const char *body;
};

static struct connection connections[CONNECTIONS];
// The delay is the same for all, so that they come due in the order in which they came.
static struct answer waiting[WAITING];
static unsigned long first_waiting, after_waiting;
static unsigned long long opened, transactions, bytes_in, bytes_out;
static double delay_ms;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static const char *body_for(const char *operation) {
    if (strncmp(operation, "Query", 5) == 0) return "{\"Count\":0,\"Items\":[],\"ScannedCount\":0}";
    if (strncmp(operation, "GetItem", 7) == 0)
        return "{\"Item\":{\"pk\":{\"S\":\"T#\"},\"sk\":{\"S\":\"CONC\"},\"n\":{\"N\":\"0\"},"
               "\"lim\":{\"N\":\"9007199254740992\"},\"version\":{\"N\":\"1000000\"},\"changes\":{\"N\":\"1\"}}}";
    if (strncmp(operation, "TransactWriteItems", 18) == 0) transactions++;
    return "{}";
}

// CRC-32 of zlib and of x-amz-crc32, which clients compare.
static unsigned crc32(const char *text) {
    unsigned sum = ~0u;
    for (; *text; text++) {
        sum ^= (unsigned char)*text;
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0);
    }
    return ~sum;
}

static void send_answer(int file, const char *body) {
    char text[1024];
    // The headers that AWS sends.
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Sun, 01 Jan 2040 00:00:00 GMT\r\n"
                          "Content-Type: application/x-amz-json-1.0\r\nContent-Length: %zu\r\n"
                          "Connection: keep-alive\r\n"
                          "x-amzn-RequestId: 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123\r\n"
                          "x-amz-crc32: %u\r\n\r\n%s",
                          strlen(body), crc32(body), body);
    // So short an answer fits into the socket's buffer; a client that has gone needs none.
    if (send(file, text, length, MSG_NOSIGNAL) == length) bytes_out += length;
}

static void answer_later(int file, const char *body) {
    if (delay_ms <= 0) return send_answer(file, body);
    if (after_waiting - first_waiting == WAITING) fail("too many requests wait");
    waiting[after_waiting++ % WAITING] = (struct answer){.due_ms = now_ms() + delay_ms, .file = file, .body = body};
}

static void send_due(void) {
    while (first_waiting < after_waiting && waiting[first_waiting % WAITING].due_ms <= now_ms()) {
        struct answer *due = &waiting[first_waiting++ % WAITING];
        if (due->file >= 0) send_answer(due->file, due->body);
    }
}

// The value of a header, or null.
static const char *header(const char *head, const char *name) {
    const char *line = strcasestr(head, name);
    return line ? line + strlen(name) : NULL;
}

// Takes the complete requests out of what came.
static void answer_requests(struct connection *connection) {
    char *head_end;
    connection->bytes[connection->size] = 0;
    while ((head_end = strstr(connection->bytes, "\r\n\r\n"))) {
        const char *length = header(connection->bytes, "\r\ncontent-length: ");
        size_t size = head_end + 4 - connection->bytes + (length ? strtoul(length, NULL, 10) : 0);
        if (connection->size < size) return;
        const char *operation = header(connection->bytes, "\r\nx-amz-target: DynamoDB_20120810.");
        answer_later(connection->file, body_for(operation ? operation : ""));
        connection->size -= size;
        memmove(connection->bytes, connection->bytes + size, connection->size);
        connection->bytes[connection->size] = 0;
    }
}

static void close_connection(struct connection *connection) {
    for (unsigned long at = first_waiting; at < after_waiting; at++)
        if (waiting[at % WAITING].file == connection->file) waiting[at % WAITING].file = -1;
    close(connection->file);
    free(connection->bytes);
    connection->bytes = NULL;
}

static void receive(struct connection *connection) {
    ssize_t got = recv(connection->file, connection->bytes + connection->size, LARGEST_REQUEST - connection->size,
                       MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return close_connection(connection);
    bytes_in += got;
    connection->size += got;
    answer_requests(connection);
}

static void accept_connection(int epoll, int listener) {
    int file = accept4(listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
    if (file < 0) return;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (connections[i].bytes) continue;
        connections[i] = (struct connection){.file = file, .bytes = malloc(LARGEST_REQUEST + 1)};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (!connections[i].bytes || epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) < 0) fail("connection");
        opened++;
        return;
    }
    close(file);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(file, (struct sockaddr *)&address, sizeof address) < 0 || listen(file, 1024) < 0) fail("listen");
    return file;
}

static int until_next(void) {
    if (first_waiting == after_waiting) return -1;
    double left = waiting[first_waiting % WAITING].due_ms - now_ms();
    return left <= 0 ? 0 : (int)left + 1;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: dynamodb PORT DELAY_MS\n");
        return 2;
    }
    delay_ms = atof(arguments[2]);
    int listener = listen_on(atoi(arguments[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    struct epoll_event events[EVENTS_AT_ONCE];
    struct epoll_event on_accept = {.events = EPOLLIN, .data.ptr = &listener};
    struct epoll_event on_signal = {.events = EPOLLIN, .data.ptr = &signals};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &on_accept) < 0) fail("listener");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &on_signal) < 0) fail("signals");
    printf("listening\n");
    fflush(stdout);
    for (bool goes_on = true; goes_on;) {
        int ready = epoll_wait(epoll, events, EVENTS_AT_ONCE, until_next());
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listener) {
                accept_connection(epoll, listener);
            } else if (events[i].data.ptr == &signals) {
                goes_on = false;
            } else {
                receive(events[i].data.ptr);
            }
        }
        send_due();
    }
    printf("connections %llu transactions %llu bytes_in %llu bytes_out %llu\n", opened, transactions, bytes_in,
           bytes_out);
    return 0;
}
