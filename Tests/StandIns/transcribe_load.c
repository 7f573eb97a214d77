// The least that can play Amazon Transcribe Streaming: it takes frames apart, counts their audio, and answers. It looks
// at no signature and no checksum. What relaying costs is measured with it at the other end.
//
//     transcribe_load PORT PARTIAL_MS FINAL_MS [BYTES_PER_SECOND]
//
// For each PARTIAL_MS of audio a stream is sent a partial result, for each FINAL_MS a final one; without audio a frame
// ends it: a last final, and a close with 1000. BYTES_PER_SECOND is 32000 (16 kHz, mono) unless given. Prints
// "listening" when it does, and its counters as a line of JSON on SIGUSR1 and, ending, on SIGTERM.
#include <libwebsockets.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

enum { PRELUDE = 12, CHECKSUM = 4, OVERHEAD = PRELUDE + CHECKSUM, LENGTHS = 8, WORDS = 10, LARGEST_ANSWER = 4096 };

struct stream {
    unsigned number;
    unsigned segment;
    // Of the frame that is coming: its first bytes, which say its lengths, and how many bytes there have been.
    uint8_t lengths[LENGTHS];
    size_t received;
    uint64_t audio_bytes;
    uint64_t segment_began;
    uint64_t next_partial;
    uint64_t next_final;
};

static struct {
    unsigned long long opened, open, frames, bytes, audio_bytes, partials, finals, ended, invalid, unsent;
} counted;
static uint64_t bytes_per_second = 32000, partial_bytes, final_bytes;
static uint32_t checksums[256];
static uint8_t scratch[LWS_PRE + LARGEST_ANSWER];

static void make_checksums(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0xEDB88320 : value >> 1;
        checksums[byte] = value;
    }
}

static uint32_t checksum(const uint8_t *bytes, size_t count) {
    uint32_t value = ~0u;
    while (count--) value = value >> 8 ^ checksums[(value ^ *bytes++) & 255];
    return ~value;
}

static uint32_t read_number(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static void write_number(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = value >> (24 - 8 * i);
}

static size_t write_header(uint8_t *at, const char *name, const char *value) {
    size_t name_length = strlen(name), length = strlen(value);
    *at = name_length;
    memcpy(at + 1, name, name_length);
    uint8_t *rest = at + 1 + name_length;
    rest[0] = 7;  // A string.
    rest[1] = length >> 8;
    rest[2] = length;
    memcpy(rest + 3, value, length);
    return 1 + name_length + 3 + length;
}

static double seconds(uint64_t bytes) {
    return (double)bytes / bytes_per_second;
}

// The words of a segment, spread evenly over its time.
static size_t write_result(char *at, size_t room, const struct stream *stream, int is_final) {
    double start = seconds(stream->segment_began), end = seconds(stream->audio_bytes);
    size_t length = snprintf(
        at, room,
        "{\"Transcript\":{\"Results\":[{\"ResultId\":\"%08x-0000-4000-8000-%012x\",\"StartTime\":%.3f,"
        "\"EndTime\":%.3f,\"IsPartial\":%s,\"Alternatives\":[{\"Transcript\":\"one two three four five six seven "
        "eight nine ten\",\"Items\":[",
        stream->number, stream->segment, start, end, is_final ? "false" : "true");
    static const char *words[WORDS] = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"};
    double step = (end - start) / WORDS;
    for (int i = 0; i < WORDS; i++) {
        length += snprintf(at + length, room - length,
                           "%s{\"Type\":\"pronunciation\",\"Content\":\"%s\",\"StartTime\":%.3f,\"EndTime\":%.3f,%s"
                           "\"VocabularyFilterMatch\":false}",
                           i ? "," : "", words[i], start + i * step, start + (i + 1) * step,
                           is_final ? "\"Confidence\":0.97," : "");
    }
    return length + snprintf(at + length, room - length, "]}]}]}}");
}

static void answer(struct lws *wsi, const struct stream *stream, int is_final) {
    // Bytes must not be written while others wait (see lws_partial_buffered): such a peer is too slow for this test.
    if (lws_partial_buffered(wsi)) {
        counted.unsent++;
        return;
    }
    uint8_t *frame = scratch + LWS_PRE, *headers = frame + PRELUDE, *payload = headers;
    payload += write_header(payload, ":content-type", "application/json");
    payload += write_header(payload, ":event-type", "TranscriptEvent");
    payload += write_header(payload, ":message-type", "event");
    size_t room = scratch + sizeof scratch - CHECKSUM - payload;
    size_t length = payload + write_result((char *)payload, room, stream, is_final) + CHECKSUM - frame;
    write_number(frame, length);
    write_number(frame + 4, payload - headers);
    write_number(frame + 8, checksum(frame, LENGTHS));
    write_number(frame + length - CHECKSUM, checksum(frame, length - CHECKSUM));
    if (lws_write(wsi, frame, length, LWS_WRITE_BINARY) < 0) return;
    if (is_final) {
        counted.finals++;
    } else {
        counted.partials++;
    }
}

static void finish_segment(struct lws *wsi, struct stream *stream) {
    if (stream->audio_bytes == stream->segment_began) return;
    answer(wsi, stream, 1);
    stream->segment++;
    stream->segment_began = stream->audio_bytes;
}

// A whole frame has come. Gives nonzero if it was the last.
static int take_frame(struct lws *wsi, struct stream *stream) {
    counted.frames++;
    uint32_t length = read_number(stream->lengths), headers = read_number(stream->lengths + 4);
    if (stream->received < OVERHEAD || length != stream->received || headers > length - OVERHEAD) {
        counted.invalid++;
        lws_close_reason(wsi, LWS_CLOSE_STATUS_PROTOCOL_ERR, NULL, 0);
        return -1;
    }
    uint32_t audio = length - headers - OVERHEAD;
    if (audio == 0) {
        finish_segment(wsi, stream);
        counted.ended++;
        lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        return -1;
    }
    stream->audio_bytes += audio;
    counted.audio_bytes += audio;
    if (stream->audio_bytes >= stream->next_final) {
        finish_segment(wsi, stream);
        while (stream->next_final <= stream->audio_bytes) stream->next_final += final_bytes;
    } else if (stream->audio_bytes >= stream->next_partial) {
        answer(wsi, stream, 0);
    }
    while (stream->next_partial <= stream->audio_bytes) stream->next_partial += partial_bytes;
    return 0;
}

static int receive(struct lws *wsi, struct stream *stream, const uint8_t *bytes, size_t length) {
    if (lws_is_first_fragment(wsi)) stream->received = 0;
    if (stream->received < LENGTHS) {
        size_t missing = LENGTHS - stream->received;
        memcpy(stream->lengths + stream->received, bytes, length < missing ? length : missing);
    }
    stream->received += length;
    counted.bytes += length;
    if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi)) return 0;
    return take_frame(wsi, stream);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    struct stream *stream = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        *stream = (struct stream){
            .number = ++counted.opened, .next_partial = partial_bytes, .next_final = final_bytes};
        counted.open++;
        return 0;
    case LWS_CALLBACK_RECEIVE:
        return receive(wsi, stream, in, length);
    case LWS_CALLBACK_CLOSED:
        counted.open--;
        return 0;
    default:
        return 0;
    }
}

static void print_counters(void) {
    printf("{\"opened\": %llu, \"open\": %llu, \"frames\": %llu, \"bytes\": %llu, \"audio_bytes\": %llu, "
           "\"partials\": %llu, \"finals\": %llu, \"ended\": %llu, \"invalid\": %llu, \"unsent\": %llu}\n",
           counted.opened, counted.open, counted.frames, counted.bytes, counted.audio_bytes, counted.partials,
           counted.finals, counted.ended, counted.invalid, counted.unsent);
    fflush(stdout);
}

static void on_signal(uv_signal_t *handle, int number) {
    print_counters();
    if (number == SIGTERM) uv_stop(handle->loop);
}

int main(int count, char **arguments) {
    if (count == 5) bytes_per_second = strtoull(arguments[4], NULL, 10);
    if (count >= 4) {
        partial_bytes = bytes_per_second * strtoull(arguments[2], NULL, 10) / 1000;
        final_bytes = bytes_per_second * strtoull(arguments[3], NULL, 10) / 1000;
    }
    if (count > 5 || !partial_bytes || !final_bytes) {
        fprintf(stderr, "usage: transcribe_load PORT PARTIAL_MS FINAL_MS [BYTES_PER_SECOND]\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    make_checksums();

    uv_loop_t loop;
    uv_loop_init(&loop);
    void *loops[] = {&loop};
    static const struct lws_protocols protocols[] = {
        {.name = "transcribe", .callback = on_event, .per_session_data_size = sizeof(struct stream),
         .rx_buffer_size = 4096, .tx_packet_size = 1 << 20},
        {.name = NULL},
    };
    struct lws_context_creation_info info = {
        .port = atoi(arguments[1]),
        .iface = "127.0.0.1",
        .protocols = protocols,
        .foreign_loops = loops,
        .options = LWS_SERVER_OPTION_LIBUV,
        .pt_serv_buf_size = 64 * 1024,
        // A presigned URL with a session token is long.
        .max_http_header_data = 16 * 1024,
    };
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (!context) {
        fprintf(stderr, "transcribe_load: cannot listen on port %s\n", arguments[1]);
        return 1;
    }
    uv_signal_t asked, ended;
    uv_signal_init(&loop, &asked);
    uv_signal_start(&asked, on_signal, SIGUSR1);
    uv_signal_init(&loop, &ended);
    uv_signal_start(&ended, on_signal, SIGTERM);
    printf("listening\n");
    fflush(stdout);
    uv_run(&loop, UV_RUN_DEFAULT);
    // The process ends here; taking libwebsockets down in order would only measure itself.
    return 0;
}
