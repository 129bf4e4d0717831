#include "sentry/wait/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/check.h"

namespace rampart::wait {
namespace {

// Waits while *word == expected, until the absolute monotonic deadline. Returns false on time-out.
bool FutexWait(std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) {
  timespec until{};
  timespec* limit = nullptr;
  if (!deadline.never()) {
    const Nanos at = deadline.at() < 0 ? 0 : deadline.at();
    until.tv_sec = at / kNanosPerSecond;
    until.tv_nsec = at % kNanosPerSecond;
    limit = &until;
  }
  // SAFETY: std::atomic<uint32_t> is a plain 32-bit word here (asserted below); the kernel only reads it.
  const long rc = syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, limit, nullptr,
                          FUTEX_BITSET_MATCH_ANY);
  return !(rc < 0 && errno == ETIMEDOUT);
}
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

void FutexWakeOne(std::atomic<uint32_t>& word) {
  // SAFETY: as above.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

}  // namespace

WaitEntry::~WaitEntry() { CHECK(queue_ == nullptr); }

WaitQueue::~WaitQueue() { CHECK(head_.load() == nullptr); }

void WaitQueue::Register(WaitEntry& entry, EventMask mask, bool exclusive) {
  absl::MutexLock lock(&mu_);
  CHECK(entry.queue_ == nullptr);
  entry.queue_ = this;
  entry.mask_ = mask | abi::kPollErr | abi::kPollHup;
  entry.exclusive_ = exclusive || entry.always_exclusive_;
  entry.next_ = nullptr;
  entry.prev_ = tail_;
  if (tail_ != nullptr) {
    tail_->next_ = &entry;
  } else {
    head_.store(&entry, std::memory_order_release);
  }
  tail_ = &entry;
}

void WaitQueue::Unregister(WaitEntry& entry) {
  absl::MutexLock lock(&mu_);
  if (entry.queue_ == nullptr) return;
  CHECK(entry.queue_ == this);
  if (entry.prev_ != nullptr) {
    entry.prev_->next_ = entry.next_;
  } else {
    head_.store(entry.next_, std::memory_order_release);
  }
  if (entry.next_ != nullptr) {
    entry.next_->prev_ = entry.prev_;
  } else {
    tail_ = entry.prev_;
  }
  entry.queue_ = nullptr;
  entry.next_ = entry.prev_ = nullptr;
}

void WaitQueue::Notify(EventMask events) {
  // A waiter registers before it looks at the state again; whoever changes the state does so before this load. Both sides need a full
  // barrier for one of them to see the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (empty()) return;
  absl::MutexLock lock(&mu_);
  bool exclusive_told = false;
  for (WaitEntry* e = head_.load(std::memory_order_relaxed); e != nullptr;) {
    WaitEntry* next = e->next_;
    if ((e->mask_ & events) != 0 && !(e->exclusive_ && exclusive_told)) {
      exclusive_told = exclusive_told || (e->exclusive_ && !e->Idle());
      e->OnEvent(events);
    }
    e = next;
  }
}

void Sleeper::Wake() {
  const uint32_t old = state_.fetch_or(kWakeBit, std::memory_order_acq_rel);
  if ((old & kSleepingBit) != 0 && (old & kWakeBit) == 0) FutexWakeOne(state_);
}

void Sleeper::Interrupt() {
  const uint32_t old = state_.fetch_or(kInterruptBit, std::memory_order_acq_rel);
  if ((old & kSleepingBit) != 0 && (old & kInterruptBit) == 0) FutexWakeOne(state_);
}

void Sleeper::ClearInterrupt() { state_.fetch_and(~kInterruptBit, std::memory_order_acq_rel); }

Sleeper::Outcome Sleeper::Sleep(Deadline deadline) { return SleepFor(deadline, true); }
Sleeper::Outcome Sleeper::SleepUninterruptible(Deadline deadline) { return SleepFor(deadline, false); }

Sleeper::Outcome Sleeper::SleepFor(Deadline deadline, bool interruptible) {
  while (true) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if ((state & kWakeBit) != 0) {
      state_.fetch_and(~(kWakeBit | kSleepingBit), std::memory_order_acq_rel);
      return Outcome::kWoken;
    }
    if (interruptible && (state & kInterruptBit) != 0) {
      state_.fetch_and(~kSleepingBit, std::memory_order_acq_rel);
      return Outcome::kInterrupted;
    }
    if (deadline.Passed()) {
      state_.fetch_and(~kSleepingBit, std::memory_order_acq_rel);
      return Outcome::kTimedOut;
    }
    if ((state & kSleepingBit) == 0) {
      if (!state_.compare_exchange_weak(state, state | kSleepingBit, std::memory_order_acq_rel)) continue;
      state |= kSleepingBit;
    }
    FutexWait(state_, state, deadline);
  }
}

}  // namespace rampart::wait
