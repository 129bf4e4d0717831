#include "sentry/wait/host_futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

namespace rampart::wait {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

void HostFutexWait(std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) {
  timespec until{};
  timespec* limit = nullptr;
  if (!deadline.never()) {
    const Nanos at = deadline.at() < 0 ? 0 : deadline.at();
    until.tv_sec = at / kNanosPerSecond;
    until.tv_nsec = at % kNanosPerSecond;
    limit = &until;
  }
  // SAFETY: std::atomic<uint32_t> is a plain 32-bit word here (asserted above); the kernel only reads it.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, limit, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

void HostFutexWakeOne(std::atomic<uint32_t>& word) {
  // SAFETY: as above.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

}  // namespace rampart::wait
