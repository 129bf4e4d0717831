// The host's futex, on words of our own. Private to sentry/wait.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/time.h"

namespace rampart::wait {

// Waits while word == expected, until the deadline. Spurious returns are possible.
void HostFutexWait(std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline);
// Wakes one thread. The word may be gone: the host only takes its address as a key.
void HostFutexWakeOne(std::atomic<uint32_t>& word);

}  // namespace rampart::wait
