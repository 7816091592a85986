/* A recorder that is linked into the program it records. It writes calls in
 * the hrec text form to the file named by argv[1], and to argv[2] the pairs of
 * objects, as numbers of their allocs from zero, of which the program itself
 * says that the second took over from the first. Neither is part of what is
 * measured: the recorder allocates nothing. */
#ifndef RECORDER_H
#define RECORDER_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
void rec_open(const char *calls, const char *pairs);
void rec_close(void);
void rec_alloc(void *p, size_t size, void *caller);
void rec_free(void *p, void *caller);
void rec_realloc_begin(void *old, size_t size, void *caller);
void rec_realloc_end(void *p, void *old, size_t size, void *caller);
long rec_number(const void *p); /* of a live object, or -1 */
void rec_pair(long from, long to);
#ifdef __cplusplus
}
#endif
#endif
