// rlimits of getrlimit(2).
#pragma once

#include <cstdint>

namespace rampart::abi {

enum class Resource : int {
  kCpu = 0, kFsize = 1, kData = 2, kStack = 3, kCore = 4, kRss = 5, kNproc = 6, kNofile = 7, kMemlock = 8, kAs = 9, kLocks = 10,
  kSigpending = 11, kMsgqueue = 12, kNice = 13, kRtprio = 14, kRttime = 15,
};
inline constexpr int kResourceCount = 16;
inline constexpr uint64_t kRlimInfinity = ~uint64_t{0};
struct Rlimit {
  uint64_t cur;
  uint64_t max;
};

}  // namespace rampart::abi
