// The host system calls of the sentry: the whole list, with the reason and the argument checks of each. docs/seccomp.md is printed from
// it. Thread safety: values, except InstallSentryFilter, which is called once.
#pragma once

#include "platform/platform.h"
#include "runner/seccomp/policy.h"

namespace rampart::sentry::boot {

// The bound, held by a test for every platform.
inline constexpr size_t kMostSentrySyscalls = 50;

// What every sentry may call, on whatever platform.
seccomp::Policy BasePolicy();

// That, and what `platform` needs beyond: for known platforms with argument checks of our own, for others as named. Numbers of descriptors are
// those of the platform that create() made last (PlatformInfo::needed_ioctls).
seccomp::Policy SentryPolicy(const platform::PlatformInfo& platform);

// Puts the filter in force on every thread. Call after everything is open, mapped and created (the platform too), and before the first
// application instruction. Starts and ends one thread. Errors: see seccomp::Install.
Result<void> InstallSentryFilter(const seccomp::Policy& policy);

}  // namespace rampart::sentry::boot
