// Many WebSocket clients in one cheap thread: raw sockets, epoll, one frame built once.
//
//     load PORT PATH KEY CONNECTIONS FRAME_BYTES INTERVAL_MS FRAMES [event-stream]
//
// Opens CONNECTIONS sessions and prints "open N refused M"; then sends FRAMES binary frames on each, one every
// INTERVAL_MS, spread evenly over the interval; prints "sent N received M"; holds the connections until its standard
// input ends. FRAMES 0 leaves them idle but for a KeepAlive every four seconds. With event-stream each frame is what a
// client of Amazon Transcribe sends, without checksums, and the connections are held without a word.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST_FRAME = 65535, EVENT_BYTES = 128, KEEP_ALIVE_MS = 4000, EVENTS_AT_ONCE = 256 };

static int epoll;
static unsigned long long received_bytes;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

// One session; -1 if the server refuses it.
static int open_session(int port, const char *path, const char *key) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) fail("socket");
    if (connect(file, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    int one = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[2048], answer[4096];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Authorization: Token %s\r\n\r\n",
                          path, port, key);
    if (length >= (int)sizeof request || write(file, request, length) != length) fail("request");
    size_t got = 0;
    answer[0] = 0;
    while (got < sizeof answer - 1 && !strstr(answer, "\r\n\r\n")) {
        ssize_t more = read(file, answer + got, sizeof answer - 1 - got);
        if (more <= 0) break;
        got += more;
        answer[got] = 0;
    }
    if (strncmp(answer, "HTTP/1.1 101", 12) != 0) {
        close(file);
        return -1;
    }
    fcntl(file, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
    epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event);
    return file;
}

// Reads away what the server sends, and waits at most so long for it. False when standard input has ended.
static bool receive(int timeout_ms) {
    static char buffer[1 << 16];
    struct epoll_event events[EVENTS_AT_ONCE];
    bool go_on = true;
    int ready = epoll_wait(epoll, events, EVENTS_AT_ONCE, timeout_ms);
    for (int i = 0; i < ready; i++) {
        ssize_t got = read(events[i].data.fd, buffer, sizeof buffer);
        if (events[i].data.fd == STDIN_FILENO) {
            if (got <= 0) go_on = false;
        } else if (got > 0) {
            received_bytes += got;
        } else if (got == 0 || errno != EAGAIN) {
            fprintf(stderr, "load: the server closed a connection\n");
            exit(1);
        }
    }
    return go_on;
}

// A client's frame with a mask of zeros, so that it can be built once and sent as it is.
static size_t build_frame(unsigned char *frame, int opcode, const void *payload, size_t size) {
    size_t header = 2;
    frame[0] = 0x80 | opcode;
    if (size < 126) {
        frame[1] = 0x80 | size;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = size >> 8;
        frame[3] = size & 0xff;
        header = 4;
    }
    memset(frame + header, 0, 4);
    memcpy(frame + header + 4, payload, size);
    return header + 4 + size;
}

// An AudioEvent of Amazon Transcribe around audio; nobody here looks at its checksums.
static size_t build_event(unsigned char *event, const void *audio, size_t size) {
    static const char *headers[][2] = {{":content-type", "application/octet-stream"},
                                       {":event-type", "AudioEvent"},
                                       {":message-type", "event"}};
    size_t at = 12;
    for (int i = 0; i < 3; i++) {
        size_t name = strlen(headers[i][0]), value = strlen(headers[i][1]);
        event[at++] = name;
        memcpy(event + at, headers[i][0], name);
        at += name;
        event[at++] = 7;
        event[at++] = value >> 8;
        event[at++] = value & 0xff;
        memcpy(event + at, headers[i][1], value);
        at += value;
    }
    uint32_t lengths[] = {htonl(at + size + 4), htonl(at - 12), 0};
    memcpy(event, lengths, 12);
    memcpy(event + at, audio, size);
    memset(event + at + size, 0, 4);
    return at + size + 4;
}

// Loopback takes a whole frame or nothing while the server keeps up; if it does not, we wait for it.
static void send_frame(int file, const unsigned char *frame, size_t size) {
    while (size > 0) {
        ssize_t written = write(file, frame, size);
        if (written > 0) {
            frame += written;
            size -= written;
        } else if (errno == EAGAIN) {
            struct pollfd waiting = {.fd = file, .events = POLLOUT};
            poll(&waiting, 1, 1000);
        } else {
            fail("send");
        }
    }
}

// Sends rounds of frames on all connections; the time between two frames of a connection is interval_ms.
static unsigned long long send_rounds(const int *files, int count, const unsigned char *frame, size_t size,
                                      double interval_ms, long rounds) {
    double start = now_ms();
    unsigned long long sent = 0;
    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            double due = start + (round + (double)i / count) * interval_ms;
            for (double wait = due - now_ms(); wait > 0; wait = due - now_ms()) receive(wait < 1 ? 1 : (int)wait);
            send_frame(files[i], frame, size);
            sent++;
            if (i % 64 == 0) receive(0);
        }
    }
    return sent;
}

int main(int count, char **arguments) {
    bool is_event = count == 9 && strcmp(arguments[8], "event-stream") == 0;
    if (count != 8 && !is_event) {
        fprintf(stderr, "usage: load PORT PATH KEY CONNECTIONS FRAME_BYTES INTERVAL_MS FRAMES [event-stream]\n");
        return 2;
    }
    int port = atoi(arguments[1]), connections = atoi(arguments[4]), frame_bytes = atoi(arguments[5]);
    double interval_ms = atof(arguments[6]);
    long frames = atol(arguments[7]);
    if (connections < 1 || frame_bytes < 0 || frame_bytes > LARGEST_FRAME - EVENT_BYTES || interval_ms <= 0) return 2;

    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0) fail("standard input must be a pipe");

    int *files = calloc(connections, sizeof *files), open = 0;
    for (int i = 0; i < connections; i++) {
        int file = open_session(port, arguments[2], arguments[3]);
        if (file >= 0) files[open++] = file;
    }
    printf("open %d refused %d\n", open, connections - open);
    fflush(stdout);

    static unsigned char audio[LARGEST_FRAME], payload[LARGEST_FRAME], frame[LARGEST_FRAME + 8], keep_alive[64];
    size_t payload_bytes = frame_bytes;
    if (is_event) {
        payload_bytes = build_event(payload, audio, frame_bytes);
    } else {
        memcpy(payload, audio, frame_bytes);
    }
    size_t size = build_frame(frame, 2, payload, payload_bytes);
    size_t keep_alive_size = build_frame(keep_alive, 1, "{\"type\": \"KeepAlive\"}", 21);
    unsigned long long sent = send_rounds(files, open, frame, size, interval_ms, frames);
    if (frames > 0) receive(200);
    printf("sent %llu received_bytes %llu\n", sent, received_bytes);
    fflush(stdout);
    double last = now_ms();
    while (receive(200)) {
        if (is_event || now_ms() - last < KEEP_ALIVE_MS) continue;
        last = now_ms();
        for (int i = 0; i < open; i++) send_frame(files[i], keep_alive, keep_alive_size);
    }
    return 0;
}
