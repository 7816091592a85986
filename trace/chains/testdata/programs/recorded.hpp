// The operators new and delete of a recorded program, and wrappers of
// containers that tell the recorder when a buffer took over from another.
#pragma once
#include "recorder.h"
#include <cstdlib>
#include <new>
#include <type_traits>

__attribute__((noinline)) void *operator new(size_t size) {
    void *p = std::malloc(size);
    rec_alloc(p, size, __builtin_return_address(0));
    return p;
}
__attribute__((noinline)) void operator delete(void *p) noexcept {
    rec_free(p, __builtin_return_address(0));
    std::free(p);
}
__attribute__((noinline)) void operator delete(void *p, size_t) noexcept {
    rec_free(p, __builtin_return_address(0));
    std::free(p);
}

// watch does something to a vector or string, and reports its change of buffer.
template <class V, class F> void watch(V &v, F change) {
    long before = rec_number((const void *)v.data());
    change(v);
    rec_pair(before, rec_number((const void *)v.data()));
}

// Tables allocates like std::allocator. Arrays of pointers, which are the
// buckets of a hash table and the map of a deque, are watched while growing is set.
inline thread_local bool growing;
inline thread_local long table;
template <class T> struct Tables {
    using value_type = T;
    Tables() = default;
    template <class U> Tables(const Tables<U> &) {}
    T *allocate(size_t n) {
        T *p = (T *)::operator new(n * sizeof(T));
        if (std::is_pointer<T>::value) table = rec_number(p);
        return p;
    }
    void deallocate(T *p, size_t) {
        if (std::is_pointer<T>::value && growing) rec_pair(rec_number(p), table);
        ::operator delete(p);
    }
    bool operator==(const Tables &) const { return true; }
    bool operator!=(const Tables &) const { return false; }
};
template <class F> void grow(F change) {
    growing = true;
    change();
    growing = false;
}
