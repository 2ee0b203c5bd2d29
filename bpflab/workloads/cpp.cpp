// A shop in C++: names of the compiler's making (_ZN4shop5Basket3addE...), a template, and an exception now and then.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define NOINLINE __attribute__((noinline))

namespace shop {

class Basket {
public:
    NOINLINE int add(const std::string &article, int count);
    NOINLINE double total() const;

private:
    std::map<std::string, int> articles;
};

template <typename T> NOINLINE T price(const T &base, int count)
{
    T sum = 0;
    for (int i = 0; i < count * 1000; i++)
        sum += base / (i + 1);
    return sum;
}

int Basket::add(const std::string &article, int count)
{
    if (count <= 0)
        throw std::invalid_argument(article);
    return articles[article] += count;
}

double Basket::total() const
{
    double sum = 0;
    for (const auto &[article, count] : articles)
        sum += price<double>(article.size(), count);
    return sum;
}

} // namespace shop

int main(int argc, char **argv)
{
    int rate = argc > 1 ? atoi(argv[1]) : 100;
    volatile double earned = 0; // what nobody looks at is never computed
    const std::vector<std::string> names = {"tea", "bread", "a bicycle"};

    std::puts("running");
    std::fflush(stdout);
    for (int i = 0;; i++) {
        shop::Basket basket;
        try {
            for (const auto &name : names)
                basket.add(name, i % 5);
            earned = earned + basket.total();
        } catch (const std::invalid_argument &) {
        }
        if (rate)
            std::this_thread::sleep_for(std::chrono::microseconds(1000000 / rate));
    }
}
