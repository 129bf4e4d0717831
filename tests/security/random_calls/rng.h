// A small random number generator (splitmix64): its whole state is one word, so that a worker can be started again from a printed seed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace random_calls {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // 0 ≤ result < n; n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  template <typename T, size_t N>
  T Pick(const T (&from)[N]) {
    return from[Below(N)];
  }

 private:
  uint64_t state_;
};

}  // namespace random_calls
