/* The yardstick of the benchmarks: the operations of a trace through malloc,
 * realloc and free of the C library, as a plain loop over dense arrays. Reads
 * the arrays from the file named on the command line:
 *
 *     uint32  operations of the set-up, operations of a pass, slots
 *     uint8   kind of each ('a', 'r', 'f')
 *     uint32  slot of each
 *     uint32  size of each
 *
 * Then, for every line read, it makes a pass and writes a line: nanoseconds of
 * a pass, as the sum of the fastest time so far of each slice of operations. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SLICE = 1024 };

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void replay(const uint8_t *kind, const uint32_t *slot, const uint32_t *size, uint32_t n, void **object)
{
    for (uint32_t i = 0; i < n; i++) {
        switch (kind[i]) {
        case 'a':
            object[slot[i]] = malloc(size[i]);
            break;
        case 'r':
            object[slot[i]] = realloc(object[slot[i]], size[i]);
            break;
        default:
            free(object[slot[i]]);
        }
    }
}

static void *array(FILE *f, size_t n, size_t width)
{
    void *a = malloc(n * width + 1);
    if (a == NULL || fread(a, width, n, f) != n)
        exit(3);
    return a;
}

int main(int argc, char **argv)
{
    uint32_t n[3];
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (f == NULL || fread(n, sizeof n[0], 3, f) != 3)
        return 2;
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
#endif
    uint8_t *kind = array(f, (size_t)n[0] + n[1], sizeof *kind);
    uint32_t *slot = array(f, (size_t)n[0] + n[1], sizeof *slot);
    uint32_t *size = array(f, (size_t)n[0] + n[1], sizeof *size);
    void **object = calloc((size_t)n[2] + 1, sizeof *object);
    if (object == NULL)
        return 3;
    /* Set before the trace begins, so that no object of it is mapped. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    replay(kind, slot, size, n[0], object);
    uint32_t slices = (n[1] + SLICE - 1) / SLICE;
    int64_t *best = calloc((size_t)slices + 1, sizeof *best);
    if (best == NULL)
        return 3;
    for (int c; (c = getchar()) != EOF;) {
        int64_t sum = 0, last;
        if (c != '\n')
            continue;
        last = now();
        for (uint32_t i = 0; i < slices; i++) {
            uint32_t from = n[0] + i * SLICE, length = n[0] + n[1] - from;
            int64_t t;
            replay(kind + from, slot + from, size + from, length < SLICE ? length : SLICE, object);
            t = now();
            if (best[i] == 0 || t - last < best[i])
                best[i] = t - last;
            sum += best[i];
            last = t;
        }
        printf("%lld\n", (long long)sum);
        fflush(stdout);
    }
    return 0;
}
