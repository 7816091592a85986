/* Buffers that grow by realloc, and by malloc, memcpy and free, in C as it was
 * written before everybody had realloc. All but nodes come from one xmalloc,
 * so that the call site tells little. */
#include "recorder.h"
#include <stdlib.h>
#include <string.h>

static unsigned seed = 5;
static unsigned upto(unsigned n) { return (seed = seed * 1103515245u + 12345u) / 65536 % n; }

#define CALLER __builtin_return_address(0)
__attribute__((noinline)) static void *xmalloc(size_t n) {
    void *p = malloc(n);
    rec_alloc(p, n, CALLER);
    return p;
}
__attribute__((noinline)) static void xfree(void *p) {
    rec_free(p, CALLER);
    free(p);
}
__attribute__((noinline)) static void *xrealloc(void *old, size_t n) {
    if (!old) return xmalloc(n);
    rec_realloc_begin(old, n, CALLER);
    void *volatile was = old;
    void *p = realloc(old, n);
    rec_realloc_end(p, was, n, CALLER);
    return p;
}
/* What a library of containers does: all its buffers have one call site. */
__attribute__((noinline)) static void *take(size_t n) { void *p = xmalloc(n); __asm__ volatile(""); return p; }

struct buffer { char *data; size_t size, room; };

static void reserve(struct buffer *b, size_t need) {
    if (need <= b->room) return;
    size_t room = b->room ? b->room * 3 / 2 : 16;
    if (room < need) room = need;
    char *data = take(room);
    if (b->data) {
        memcpy(data, b->data, b->size);
        rec_pair(rec_number(b->data), rec_number(data));
        xfree(b->data);
    }
    b->data = data, b->room = room;
}

struct list { int *items; size_t count, room; };

static void push(struct list *l, int x) {
    if (l->count == l->room) l->items = xrealloc(l->items, (l->room = l->room ? 2 * l->room : 4) * sizeof *l->items);
    l->items[l->count++] = x;
}

static void *copy(const char *s, size_t n) { return memcpy(take(n), s, n); }

int main(int argc, char **argv) {
    (void)argc;
    rec_open(argv[1], argv[2]);
    struct buffer page[4] = {{0}};
    struct list l[3] = {{0}};
    char *queue[8] = {0}, text[300] = {0};
    for (int i = 0; i < 1200; i++) {
        struct buffer *b = &page[upto(4)];
        size_t n = 1 + upto(40);
        reserve(b, b->size + n);
        memset(b->data + b->size, 'x', n), b->size += n;
        if (upto(30) == 0) xfree(b->data), memset(b, 0, sizeof *b);
        push(&l[upto(3)], i);
        char **q = &queue[i % 8]; /* first in, first out, sizes at random */
        char *old = *q;
        *q = copy(text, 8 + upto(250));
        if (old) xfree(old);
    }
    for (int i = 0; i < 4; i++) if (page[i].data) xfree(page[i].data);
    for (int i = 0; i < 3; i++) if (l[i].items) xfree(l[i].items);
    for (int i = 0; i < 8; i++) if (queue[i]) xfree(queue[i]);
    rec_close();
    return 0;
}
