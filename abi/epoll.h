// epoll(7) and eventfd(2) of Linux x86-64.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr int kEpollCtlAdd = 1, kEpollCtlDel = 2, kEpollCtlMod = 3;
inline constexpr uint32_t kEpollCloexec = 02000000;
// Beside the kPoll… bits.
inline constexpr uint32_t kEpollExclusive = 1u << 28, kEpollWakeup = 1u << 29, kEpollOneshot = 1u << 30, kEpollEt = 1u << 31;

// struct epoll_event is packed on x86-64.
struct EpollEvent {
  uint32_t events;
  uint32_t data_low;
  uint32_t data_high;
  uint64_t data() const { return (uint64_t{data_high} << 32) | data_low; }
};
static_assert(sizeof(EpollEvent) == 12);

inline constexpr uint32_t kEfdSemaphore = 1, kEfdNonblock = 04000, kEfdCloexec = 02000000;

}  // namespace rampart::abi
