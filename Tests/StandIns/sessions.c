// Sessions that come at a steady rate, whatever becomes of those before them, in one cheap thread.
//
//     sessions PORT PATH RATE SECONDS KEY...
//
// Begins RATE sessions each second, of each key in turn. Each asks for its end (CloseStream) as soon as it has the
// 101; the server closes it with 1000 once its slot was claimed and given back. Then prints, a line each: how many
// ended how; how late a session was begun at most and the most that were open at once; the middle and the 99th
// percentile from its begin to the 101 and to the close.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

enum { RECEIVED_AT_MOST = 4096, EVENTS_AT_ONCE = 256, PATIENCE_MS = 15000, NORMAL_CLOSE = 1000 };

struct session {
    int file;
    bool has_sent, is_open;
    size_t size;
    double begun_ms, open_ms, closed_ms;
    char received[RECEIVED_AT_MOST + 1];
};

static int epoll, port, open_now, most_open;
static int done, closed_otherwise, refused, broken, other_code;
static const char *path;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void begin(struct session *session) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    session->begun_ms = now_ms();
    session->file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (session->file < 0) fail("socket");
    setsockopt(session->file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(session->file, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->file, &event) < 0) fail("epoll_ctl");
    if (++open_now > most_open) most_open = open_now;
}

static void end(struct session *session, int *count) {
    session->closed_ms = now_ms();
    close(session->file);
    session->file = -1;
    open_now--;
    (*count)++;
}

static void send_handshake(struct session *session, const char *key) {
    char request[2048];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Authorization: Token %s\r\n\r\n",
                          path, port, key);
    session->has_sent = true;
    if (send(session->file, request, length, MSG_NOSIGNAL) != length) end(session, &broken);
}

static void take(struct session *session, size_t size) {
    session->size -= size;
    memmove(session->received, session->received + size, session->size);
    session->received[session->size] = 0;
}

static void read_handshake(struct session *session) {
    char *head_end = strstr(session->received, "\r\n\r\n");
    if (!head_end) return;
    if (strncmp(session->received, "HTTP/1.1 101", 12) != 0) return end(session, &refused);
    session->is_open = true;
    session->open_ms = now_ms();
    take(session, head_end + 4 - session->received);
    // A text frame of 23 bytes with a mask of zeros.
    static const char close_stream[] = "\x81\x97\0\0\0\0{\"type\": \"CloseStream\"}";
    if (send(session->file, close_stream, sizeof close_stream - 1, MSG_NOSIGNAL) < 0) end(session, &broken);
}

// Reads away messages until the close; the connection ends with it.
static void read_frames(struct session *session) {
    while (session->size >= 2) {
        unsigned char *bytes = (unsigned char *)session->received;
        size_t header = 2, size = bytes[1];
        if (size == 126) {
            if (session->size < 4) return;
            header = 4;
            size = bytes[2] << 8 | bytes[3];
        }
        if (session->size < header + size) return;
        if ((bytes[0] & 0x0f) == 8) {
            int code = size >= 2 ? bytes[header] << 8 | bytes[header + 1] : 0;
            if (code != NORMAL_CLOSE) other_code = code;
            unsigned char answer[] = {0x88, 0x82, 0, 0, 0, 0, bytes[header], bytes[header + 1]};
            send(session->file, answer, sizeof answer, MSG_NOSIGNAL);
            return end(session, code == NORMAL_CLOSE ? &done : &closed_otherwise);
        }
        take(session, header + size);
    }
}

static void receive(struct session *session) {
    while (session->file >= 0) {
        ssize_t got = recv(session->file, session->received + session->size, RECEIVED_AT_MOST - session->size, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) return end(session, &broken);
        session->size += got;
        session->received[session->size] = 0;
        if (!session->is_open) read_handshake(session);
        if (session->is_open && session->file >= 0) read_frames(session);
    }
}

static int by_size(const void *one, const void *other) {
    double left = *(const double *)one, right = *(const double *)other;
    return (left > right) - (left < right);
}

static void print_times(const char *name, double *times, int count) {
    qsort(times, count, sizeof *times, by_size);
    printf("%s %.2f %.2f\n", name, count ? times[count / 2] : 0, count ? times[(int)(count * 0.99)] : 0);
}

static void print_all(struct session *sessions, int total) {
    double *to_open = calloc(total, sizeof *to_open), *to_close = calloc(total, sizeof *to_close);
    int opened = 0, closed = 0;
    for (int i = 0; i < total; i++) {
        if (!sessions[i].is_open) continue;
        to_open[opened++] = sessions[i].open_ms - sessions[i].begun_ms;
        if (sessions[i].file < 0) to_close[closed++] = sessions[i].closed_ms - sessions[i].begun_ms;
    }
    print_times("open_ms", to_open, opened);
    print_times("close_ms", to_close, closed);
}

int main(int count, char **arguments) {
    if (count < 6) {
        fprintf(stderr, "usage: sessions PORT PATH RATE SECONDS KEY...\n");
        return 2;
    }
    port = atoi(arguments[1]);
    path = arguments[2];
    double rate = atof(arguments[3]), latest_ms = 0;
    int total = rate * atof(arguments[4]), keys = count - 5, begun = 0;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct session *sessions = calloc(total, sizeof *sessions);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!sessions || epoll < 0) fail("start");
    struct epoll_event events[EVENTS_AT_ONCE];
    double start = now_ms(), last_due = start + total / rate * 1e3;
    while ((begun < total || open_now > 0) && now_ms() < last_due + PATIENCE_MS) {
        for (double due; begun < total && (due = start + begun / rate * 1e3) <= now_ms(); begun++) {
            if (now_ms() - due > latest_ms) latest_ms = now_ms() - due;
            begin(&sessions[begun]);
        }
        int ready = epoll_wait(epoll, events, EVENTS_AT_ONCE, 1);
        for (int i = 0; i < ready; i++) {
            struct session *session = events[i].data.ptr;
            if (!session->has_sent && events[i].events & EPOLLOUT)
                send_handshake(session, arguments[5 + (session - sessions) % keys]);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(session);
        }
    }
    printf("begun %d done %d closed_otherwise %d other_code %d refused %d broken %d unfinished %d\n", begun, done,
           closed_otherwise, other_code, refused, broken, open_now);
    printf("latest_ms %.2f most_open %d seconds %.3f\n", latest_ms, most_open, (now_ms() - start) / 1e3);
    print_all(sessions, total);
    return 0;
}
