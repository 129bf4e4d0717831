// Where a write goes that may append: O_APPEND of the description, and the flags of pwritev2 that overrule it.
#pragma once

#include <cstdint>

#include "abi/fcntl.h"

namespace rampart::vfs {

inline constexpr uint32_t kRwfNoappend = 32;  // RWF_NOAPPEND, since Linux 6.9

// Whether a write of a description with `flags` goes to the end.
constexpr bool Appends(uint32_t flags, uint32_t rwf) {
  return (rwf & kRwfNoappend) == 0 && ((flags & abi::kOAppend) != 0 || (rwf & abi::kRwfAppend) != 0);
}

}  // namespace rampart::vfs
