// Hash tables, deques and heaps on three threads.
#include "recorded.hpp"
#include <deque>
#include <queue>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

template <class K, class V>
using Map = std::unordered_map<K, V, std::hash<K>, std::equal_to<K>, Tables<std::pair<const K, V>>>;
using Set = std::unordered_set<int, std::hash<int>, std::equal_to<int>, Tables<int>>;

static void work(int seed) {
    std::mt19937 random(seed);
    auto upto = [&](int n) { return (int)(random() % n); };
    Map<int, std::string> names;
    std::deque<int, Tables<int>> line;
    for (int i = 0; i < 12; i++) {
        Set seen;
        for (int n = upto(300); n > 0; n--) grow([&] { seen.insert(upto(1000)); });
        for (int n = upto(40); n > 0; n--) {
            std::string s(upto(50), 'v');
            grow([&] { names.emplace(upto(5000), s); });
        }
        for (int n = upto(1500); n > 0; n--) grow([&] { line.push_back(n); });
        while (line.size() > 1000) line.pop_front();
        std::vector<long> heap;
        for (int n = upto(100); n > 0; n--) watch(heap, [&](auto &v) { v.push_back(upto(99)); });
    }
}

int main(int, char **argv) {
    rec_open(argv[1], argv[2]);
    {
        std::thread a(work, 1), b(work, 2), c(work, 3);
        a.join(), b.join(), c.join();
    }
    rec_close();
}
