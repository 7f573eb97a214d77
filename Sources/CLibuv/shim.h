#ifndef CLIBUV_SHIM_H
#define CLIBUV_SHIM_H

#include <uv.h>

/* uv_loop_configure is variadic, which Swift cannot call. */
static inline int clibuv_loop_measure_idle_time(uv_loop_t *loop) {
    return uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
}


// glibc shows it to programs that define _GNU_SOURCE alone.
extern int pthread_setname_np(pthread_t thread, const char *name);
#endif
