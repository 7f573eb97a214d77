// The least that a WebSocket server over libwebsockets and libuv can do: it counts messages. What Hansard costs per
// message and per connection is measured against this.
//
//     sink PORT        prints "messages N" on SIGTERM
#include <libwebsockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <uv.h>

static unsigned long long messages;

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    (void)user;
    (void)in;
    (void)length;
    if (reason == LWS_CALLBACK_RECEIVE && lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi)) messages++;
    return 0;
}

static void on_signal(uv_signal_t *handle, int number) {
    (void)number;
    uv_stop(handle->loop);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: sink PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    uv_loop_t loop;
    uv_loop_init(&loop);
    void *loops[] = {&loop};
    // rx_buffer_size and tx_packet_size as the server sets them, or the comparison says nothing.
    static const struct lws_protocols protocols[] = {
        {.name = "sink", .callback = on_event, .rx_buffer_size = 4096, .tx_packet_size = 1 << 20},
        {.name = NULL},
    };
    struct lws_context_creation_info info = {
        .port = atoi(arguments[1]),
        .iface = "127.0.0.1",
        .protocols = protocols,
        .foreign_loops = loops,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8,
        .pt_serv_buf_size = 64 * 1024,
    };
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (!context) {
        fprintf(stderr, "sink: cannot listen on port %s\n", arguments[1]);
        return 1;
    }
    uv_signal_t ended;
    uv_signal_init(&loop, &ended);
    uv_signal_start(&ended, on_signal, SIGTERM);
    uv_run(&loop, UV_RUN_DEFAULT);
    // The process ends here; taking libwebsockets down in order would only measure itself.
    printf("messages %llu\n", messages);
    return 0;
}
