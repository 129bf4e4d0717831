// The host system calls of the sentry: the whole list, with the reason and the argument checks of each. docs/seccomp.md is printed from
// it. Thread safety: values, except InstallSentryFilter, which is called once.
#pragma once

#include <span>
#include <string>

#include "platform/platform.h"
#include "runner/seccomp/policy.h"

namespace rampart::sentry::boot {

// The bound, held by a test for every platform.
inline constexpr size_t kMostSentrySyscalls = 50;

// What every sentry may call, and what `platform` needs beyond: for known platforms with argument checks of our own, for others as named.
seccomp::Policy SentryPolicy(const std::string& platform, std::span<const platform::NeededSyscall> needed);

// Puts the filter in force on every thread. Call after everything is open, mapped and created (the platform too), and before the first
// application instruction. Starts and ends one thread. Errors: see seccomp::Install.
Result<void> InstallSentryFilter(const std::string& platform, std::span<const platform::NeededSyscall> needed);

}  // namespace rampart::sentry::boot
