// inotify(7) of Linux.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr uint32_t kInAllEvents = 0xfff;      // IN_ACCESS … IN_MOVE_SELF
inline constexpr uint32_t kInOnlydir = 0x01000000, kInDontFollow = 0x02000000, kInExclUnlink = 0x04000000, kInMaskCreate = 0x10000000,
                          kInMaskAdd = 0x20000000, kInOneshot = 0x80000000;
inline constexpr uint32_t kInCloexec = 02000000, kInNonblock = 04000;

// struct inotify_event, without its name.
struct InotifyEvent {
  int32_t wd;
  uint32_t mask;
  uint32_t cookie;
  uint32_t len;  // of the name that follows, with its padding
};
static_assert(sizeof(InotifyEvent) == 16);

}  // namespace rampart::abi
