/*
 * peer_hnswlib.cpp - hnswlib on the files of peers.py: build (or load) a graph, then one pass over the queries for each
 * ef, one query at a time on one thread. One JSON line an ef. Test only.
 *
 *     bench_hnswlib BASE.fbin QUERIES.fbin TRUTH.ivecs l2|ip GRAPH K M EF_CONSTRUCTION THREADS EF...
 *
 * Debian's libhnswlib-dev; compiled for the machine it runs on, as its own README asks.
 */
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <hnswlib/hnswlib.h>

namespace
{
struct matrix {
    std::int32_t n = 0, dim = 0;
    std::vector<float> rows;
    const float *row(std::size_t i) const { return rows.data() + i * static_cast<std::size_t>(dim); }
};

[[noreturn]] void die(const std::string &what)
{
    std::fprintf(stderr, "bench_hnswlib: %s\n", what.c_str());
    std::exit(1);
}

matrix read_fbin(const char *path)
{
    matrix m;
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char *>(&m.n), 4);
    file.read(reinterpret_cast<char *>(&m.dim), 4);
    if (!file || m.n < 1 || m.dim < 1) die(std::string("cannot read ") + path);
    m.rows.resize(static_cast<std::size_t>(m.n) * static_cast<std::size_t>(m.dim));
    file.read(reinterpret_cast<char *>(m.rows.data()),
              static_cast<std::streamsize>(m.rows.size() * sizeof(float)));
    if (!file) die(std::string("cannot read ") + path);
    return m;
}

std::vector<std::set<std::size_t>> read_truth(const char *path, std::size_t n, std::size_t k)
{
    std::vector<std::set<std::size_t>> truth(n);
    std::ifstream file(path, std::ios::binary);
    for (auto &row : truth) {
        std::int32_t width = 0;
        file.read(reinterpret_cast<char *>(&width), 4);
        std::vector<std::int32_t> ids(static_cast<std::size_t>(width > 0 ? width : 0));
        file.read(reinterpret_cast<char *>(ids.data()),
                  static_cast<std::streamsize>(ids.size() * sizeof ids[0]));
        if (!file || ids.size() < k) die(std::string("cannot read ") + path);
        row.insert(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(k));
    }
    return truth;
}

double seconds_since(std::chrono::steady_clock::time_point start)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

using graph = hnswlib::HierarchicalNSW<float>;

std::unique_ptr<graph> build(hnswlib::SpaceInterface<float> *space, const matrix &base, std::size_t m,
                             std::size_t ef, unsigned n_threads)
{
    auto made = std::make_unique<graph>(space, static_cast<std::size_t>(base.n), m, ef);
    std::atomic<std::size_t> next{1};
    made->addPoint(base.row(0), 0);
    auto work = [&] {
        for (std::size_t i; (i = next++) < static_cast<std::size_t>(base.n);)
            made->addPoint(base.row(i), i);
    };
    std::vector<std::thread> threads;
    for (unsigned t = 1; t < n_threads; t++)
        threads.emplace_back(work);
    work();
    for (auto &thread : threads)
        thread.join();
    return made;
}
} // namespace

int main(int argc, char **argv)
{
    if (argc < 11) die("usage: BASE QUERIES TRUTH l2|ip GRAPH K M EF_CONSTRUCTION THREADS EF...");
    matrix base = read_fbin(argv[1]), queries = read_fbin(argv[2]);
    std::size_t k = std::strtoul(argv[6], nullptr, 10), m = std::strtoul(argv[7], nullptr, 10);
    auto truth = read_truth(argv[3], static_cast<std::size_t>(queries.n), k);
    std::unique_ptr<hnswlib::SpaceInterface<float>> space;
    if (std::string(argv[4]) == "l2")
        space = std::make_unique<hnswlib::L2Space>(static_cast<std::size_t>(base.dim));
    else
        space = std::make_unique<hnswlib::InnerProductSpace>(static_cast<std::size_t>(base.dim));

    std::unique_ptr<graph> index;
    double build_s = 0;
    if (std::ifstream(argv[5]).good()) {
        index = std::make_unique<graph>(space.get(), argv[5]);
    } else {
        auto start = std::chrono::steady_clock::now();
        index = build(space.get(), base, m, std::strtoul(argv[8], nullptr, 10),
                      static_cast<unsigned>(std::strtoul(argv[9], nullptr, 10)));
        build_s = seconds_since(start);
        index->saveIndex(argv[5]);
    }
    for (int a = 10; a < argc; a++) {
        index->setEf(std::strtoul(argv[a], nullptr, 10));
        std::size_t found = 0;
        auto start = std::chrono::steady_clock::now();
        std::vector<std::vector<std::size_t>> answers(truth.size());
        for (std::size_t q = 0; q < truth.size(); q++) {
            auto heap = index->searchKnn(queries.row(q), k);
            for (; !heap.empty(); heap.pop())
                answers[q].push_back(heap.top().second);
        }
        double qps = static_cast<double>(truth.size()) / seconds_since(start);
        for (std::size_t q = 0; q < truth.size(); q++)
            for (std::size_t id : answers[q])
                found += truth[q].count(id);
        std::printf("{\"ef\":%s,\"qps\":%.1f,\"recall\":%.5f,\"build_s\":%.1f}\n", argv[a], qps,
                    static_cast<double>(found) / static_cast<double>(truth.size() * k), build_s);
    }
    return 0;
}
