/*
 * A slower clock for one program, for `clock.py`: time passes for it FACTOR times more slowly than for the host, since the
 * moment that SLOW_CLOCK_MONOTONIC and SLOW_CLOCK_REAL give in nanoseconds, and so for all that start with the same moment.
 * What it asks of libc is answered by that clock, and what it waits for takes that much longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

#define SECOND 1000000000LL

static int64_t factor = 1;
static int64_t monotonic;
static int64_t real;

__attribute__((constructor)) static void begin(void)
{
    factor = atoll(getenv("SLOW_CLOCK_FACTOR"));
    monotonic = atoll(getenv("SLOW_CLOCK_MONOTONIC"));
    real = atoll(getenv("SLOW_CLOCK_REAL"));
}

/* The moment since which a clock is slow; NULL for clocks that do not tell time, but work. */
static const int64_t *beginning(clockid_t clock)
{
    switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
        return &monotonic;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return &real;
    default:
        return NULL;
    }
}

static int64_t counted(const struct timespec *time)
{
    return time->tv_sec * SECOND + time->tv_nsec;
}

static struct timespec spelled(int64_t nanoseconds)
{
    return (struct timespec){.tv_sec = nanoseconds / SECOND, .tv_nsec = nanoseconds % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    const int64_t *since = beginning(clock);
    int failed;

    if (!next)
        next = dlsym(RTLD_NEXT, "clock_gettime");
    failed = next(clock, time);
    if (!failed && since)
        *time = spelled(*since + (counted(time) - *since) / factor);
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *place)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}

int ppoll(struct pollfd *files, nfds_t count, const struct timespec *limit, const sigset_t *signals)
{
    static int (*next)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    struct timespec longer;

    if (!next)
        next = dlsym(RTLD_NEXT, "ppoll");
    if (limit)
        longer = spelled(counted(limit) * factor);
    return next(files, count, limit ? &longer : NULL, signals);
}

int poll(struct pollfd *files, nfds_t count, int limit)
{
    static int (*next)(struct pollfd *, nfds_t, int);

    if (!next)
        next = dlsym(RTLD_NEXT, "poll");
    return next(files, count, limit > 0 ? limit * (int)factor : limit);
}

int epoll_wait(int queue, struct epoll_event *events, int most, int limit)
{
    static int (*next)(int, struct epoll_event *, int, int);

    if (!next)
        next = dlsym(RTLD_NEXT, "epoll_wait");
    return next(queue, events, most, limit > 0 ? limit * (int)factor : limit);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict end)
{
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    /* QEMU's conditions count by the monotonic clock, others by the date, which is far ahead of it. */
    int64_t since = counted(end) >= real ? real : monotonic;
    struct timespec later = spelled(since + (counted(end) - since) * factor);

    if (!next) /* the present one: without a version an old one may be found, of other types */
        next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next) /* processors that came later have one only */
        next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return next(condition, mutex, &later);
}
