// Preloaded into the server: counts heap allocations and signals to other threads, so that their number per message can be
// told apart from time.
//
//     COUNTER_FILE=FILE LD_PRELOAD=counter.so hansard ...
//
// FILE then holds two 64-bit numbers, which only grow: allocations, signals. Only the program named `hansard` counts, not
// what it starts.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *counts;

enum { ALLOCATIONS, SIGNALS, COUNTS };

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

__attribute__((constructor)) static void open_counts(void) {
    const char *file = getenv("COUNTER_FILE");
    if (!file || strcmp(program_invocation_short_name, "hansard") != 0) return;
    int descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0 || ftruncate(descriptor, COUNTS * sizeof *counts) < 0) return;
    void *memory = mmap(NULL, COUNTS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (memory != MAP_FAILED) counts = memory;
}

static void count(int which) {
    if (counts) atomic_fetch_add_explicit(&counts[which], 1, memory_order_relaxed);
}

void *malloc(size_t size) {
    count(ALLOCATIONS);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(ALLOCATIONS);
    return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size) {
    count(ALLOCATIONS);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
    count(ALLOCATIONS);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = memalign(alignment, size);
    return *block || !size ? 0 : ENOMEM;
}

// libuv wakes a loop by writing to an eventfd.
ssize_t write(int descriptor, const void *bytes, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (size == sizeof(uint64_t)) count(SIGNALS);
    return real(descriptor, bytes, size);
}

int pthread_cond_signal(pthread_cond_t *condition) {
    static int (*real)(pthread_cond_t *);
    if (!real) real = (int (*)(pthread_cond_t *))dlvsym(RTLD_NEXT, "pthread_cond_signal", "GLIBC_2.3.2");
    count(SIGNALS);
    return real(condition);
}
