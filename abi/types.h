// Types that several ABI headers share: guest descriptors, ids, timespec and friends. Linux x86-64 layouts, no padding.
#pragma once

#include <cstdint>

namespace rampart::abi {

struct Timespec {
  int64_t tv_sec;
  int64_t tv_nsec;
};
struct Timeval {
  int64_t tv_sec;
  int64_t tv_usec;
};
struct Iovec {
  uint64_t base;
  uint64_t len;
};

using Uid = uint32_t;
using Gid = uint32_t;
using Pid = int32_t;
inline constexpr uint32_t kOverflowId = 65534;

inline constexpr int kPathMax = 4096;  // with the NUL
inline constexpr int kNameMax = 255;
inline constexpr int kIovMax = 1024;
// Linux's MAX_RW_COUNT: no transfer is longer.
inline constexpr uint64_t kMaxRwCount = 0x7ffff000;

}  // namespace rampart::abi

namespace rampart {
// A descriptor of the application. A type of its own, so that it cannot reach a host call.
enum class Fd : int32_t {};
inline constexpr Fd kAtFdCwd{-100};
}  // namespace rampart

namespace rampart {
// What a system call returns when it succeeds.
using Word = uint64_t;
}  // namespace rampart
