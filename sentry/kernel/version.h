// What uname(2) and /proc say that the kernel is. Constants.
#pragma once

namespace rampart::kernel {

inline constexpr char kUnameSysname[] = "Linux";
inline constexpr char kUnameRelease[] = "6.12.0-rampart";
inline constexpr char kUnameVersion[] = "#1 SMP PREEMPT_DYNAMIC Rampart";
inline constexpr char kUnameMachine[] = "x86_64";

}  // namespace rampart::kernel
