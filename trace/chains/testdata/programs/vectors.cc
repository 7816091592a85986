// Vectors and strings of all sorts among list and map nodes. One thread.
#include "recorded.hpp"
#include <list>
#include <map>
#include <random>
#include <string>
#include <vector>

static std::mt19937 random_(7);
static int upto(int n) { return (int)(random_() % n); }

// Text copies when it moves, as types without a noexcept move do: growing a
// vector of them allocates for each element.
struct Text {
    std::string s;
    explicit Text(int n) : s(n, 'x') {}
    Text(const Text &) = default;
    Text &operator=(const Text &) = default;
};
struct Point { double x, y, z; };

static void numbers(std::list<std::vector<int>> &keep) {
    keep.emplace_back();
    for (int n = 1 + upto(300); n > 0; n--) watch(keep.back(), [](auto &v) { v.push_back(1); });
    if (keep.size() > 6) keep.pop_front();
}
static void points() {
    std::vector<Point> a, b; // grow in turns
    for (int n = 1 + upto(60); n > 0; n--) {
        watch(a, [](auto &v) { v.push_back(Point()); });
        if (upto(2)) watch(b, [](auto &v) { v.push_back(Point()); });
    }
}
static void names(std::vector<std::string> &all) {
    watch(all, [](auto &v) { v.push_back(std::string(8 + upto(40), 'n')); });
}
static void texts() {
    std::vector<Text> v;
    for (int n = 1 + upto(20); n > 0; n--) watch(v, [](auto &v) { v.emplace_back(16 + upto(30)); });
}
static void matrix() {
    std::vector<std::vector<short>> rows;
    for (int n = 1 + upto(12); n > 0; n--) {
        watch(rows, [](auto &v) { v.emplace_back(); });
        for (int k = upto(20); k > 0; k--) watch(rows.back(), [](auto &v) { v.push_back(2); });
    }
}
static void line() {
    std::string s;
    for (int n = 1 + upto(40); n > 0; n--) watch(s, [](auto &s) { s.append(1 + upto(12), 'l'); });
}

int main(int, char **argv) {
    rec_open(argv[1], argv[2]);
    {
        std::list<std::vector<int>> keep;
        std::vector<std::string> all;
        std::map<int, std::string> index;
        std::list<std::string> queue;
        for (int i = 0; i < 150; i++) {
            switch (upto(7)) {
            case 0: numbers(keep); break;
            case 1: points(); break;
            case 2: names(all); break;
            case 3: texts(); break;
            case 4: matrix(); break;
            case 5: line(); break;
            }
            index[upto(200)] = std::string(upto(60), 'i');
            queue.push_back(std::string(16 + upto(100), 'q')); // first in, first out, sizes at random
            if (queue.size() > 5) queue.pop_front();
            if (upto(3) == 0) index.erase(index.begin());
        }
    }
    rec_close();
}
