// Readiness bits of poll(2) and epoll(7), which share their values on Linux.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr uint32_t kPollIn = 0x001;
inline constexpr uint32_t kPollPri = 0x002;
inline constexpr uint32_t kPollOut = 0x004;
inline constexpr uint32_t kPollErr = 0x008;
inline constexpr uint32_t kPollHup = 0x010;
inline constexpr uint32_t kPollNval = 0x020;
inline constexpr uint32_t kPollRdNorm = 0x040;
inline constexpr uint32_t kPollRdBand = 0x080;
inline constexpr uint32_t kPollWrNorm = 0x100;
inline constexpr uint32_t kPollWrBand = 0x200;
inline constexpr uint32_t kPollMsg = 0x400;
inline constexpr uint32_t kPollRdHup = 0x2000;

}  // namespace rampart::abi
