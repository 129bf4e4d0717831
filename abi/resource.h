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


// struct rusage of getrusage(2) and wait4(2). Times are timevals; maxrss is in KiB.
struct Rusage {
  int64_t utime_sec = 0, utime_usec = 0, stime_sec = 0, stime_usec = 0;
  int64_t maxrss = 0, ixrss = 0, idrss = 0, isrss = 0, minflt = 0, majflt = 0, nswap = 0, inblock = 0, oublock = 0, msgsnd = 0, msgrcv = 0,
          nsignals = 0, nvcsw = 0, nivcsw = 0;
};
static_assert(sizeof(Rusage) == 144);
inline constexpr int kRusageSelf = 0, kRusageChildren = -1, kRusageThread = 1;

}  // namespace rampart::abi
