#include "recorder.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <fcntl.h>

enum { places = 1 << 16 };
static struct { const void *p; long number; } live[places];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int calls = -1, pairs = -1, threads;
static long allocs, clock_ns;
static __thread int self;

static long *place(const void *p) {
    unsigned long i = ((unsigned long)p >> 4) * 0x9e3779b97f4a7c15ul >> 48;
    while (live[i].p && live[i].p != p) i = (i + 1) % places;
    live[i].p = p; /* places of the dead stay: programs are short */
    return &live[i].number;
}

static void line(const char *format, ...) __attribute__((format(printf, 1, 2)));
#include <stdarg.h>
static void line(const char *format, ...) {
    char text[256];
    int n = snprintf(text, sizeof text, "%ld %d ", clock_ns += 1000, self);
    va_list args;
    va_start(args, format);
    n += vsnprintf(text + n, sizeof text - n, format, args);
    va_end(args);
    if (write(calls, text, n) != n) _exit(3);
}

static int begin(void) {
    if (calls < 0) return 0;
    pthread_mutex_lock(&lock);
    if (!self) self = ++threads;
    return 1;
}

void rec_open(const char *c, const char *p) {
    pairs = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    calls = open(c, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

void rec_close(void) { calls = -1; }

void rec_alloc(void *p, size_t size, void *caller) {
    if (!begin()) return;
    *place(p) = ++allocs;
    line("malloc %p %zu %p\n", p, size, caller);
    pthread_mutex_unlock(&lock);
}

void rec_free(void *p, void *caller) {
    if (!p || !begin()) return;
    *place(p) = 0;
    line("free %p %p\n", p, caller);
    pthread_mutex_unlock(&lock);
}

static __thread long moved;

void rec_realloc_begin(void *old, size_t size, void *caller) {
    if (!begin()) return;
    moved = *place(old);
    *place(old) = 0;
    line("rb %p %zu %p\n", old, size, caller);
    pthread_mutex_unlock(&lock);
}

void rec_realloc_end(void *p, void *old, size_t size, void *caller) {
    if (!begin()) return;
    *place(p) = moved;
    line("re %p %p %zu %p\n", p, old, size, caller);
    pthread_mutex_unlock(&lock);
}

long rec_number(const void *p) {
    if (!begin()) return -1;
    long n = *place(p);
    pthread_mutex_unlock(&lock);
    return n - 1;
}

void rec_pair(long from, long to) {
    if (from < 0 || to < 0 || from == to || !begin()) return;
    dprintf(pairs, "%ld %ld\n", from, to);
    pthread_mutex_unlock(&lock);
}
