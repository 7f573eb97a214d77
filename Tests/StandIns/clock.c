/* Shifts the calendar clock of a program by CLOCK_SHIFT_SECONDS seconds, for tests of what happens at the end of a month.

   Debian's libfaketime would do it, but also moves timers that are set by other clocks: libdispatch's never ring. Clocks that only
   measure are left alone here, and waits that are given a moment of the calendar are brought back to the kernel's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

/* Later than any time since a machine's start, and earlier than now. */
#define CALENDAR 1000000000

static time_t shift(void) {
    static time_t seconds;
    static int is_known;
    if (!is_known) {
        const char *text = getenv("CLOCK_SHIFT_SECONDS");
        seconds = text ? atol(text) : 0;
        is_known = 1;
    }
    return seconds;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void) zone;
    struct timespec moment;
    if (clock_gettime(CLOCK_REALTIME, &moment) != 0) return -1;
    now->tv_sec = moment.tv_sec;
    now->tv_usec = moment.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec moment;
    if (clock_gettime(CLOCK_REALTIME, &moment) != 0) return -1;
    if (now) *now = moment.tv_sec;
    return moment.tv_sec;
}

static struct timespec unshifted(const struct timespec *moment) {
    struct timespec real = *moment;
    if (real.tv_sec > CALENDAR) real.tv_sec -= shift();
    return real;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static __typeof__(&pthread_cond_timedwait) real;
    if (!real) real = REAL(pthread_cond_timedwait);
    struct timespec moment = unshifted(until);
    return real(condition, mutex, &moment);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    static __typeof__(&sem_timedwait) real;
    if (!real) real = REAL(sem_timedwait);
    struct timespec moment = unshifted(until);
    return real(semaphore, &moment);
}
