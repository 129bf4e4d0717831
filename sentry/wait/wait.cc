#include "sentry/wait/wait.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

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
  // SAFETY: as above. The word may be gone (DeferWakes): the kernel only takes its address as a key.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

// How long a sleep spins at most. 20 µs are enough for the partner of a ping-pong (a system call of another task on the ptrace platform takes
// 10 µs): 63 µs a round trip became 29. A thread that is joined at once lives for 45 µs: creating and joining one took 120–300 µs, 130 with a spin
// of 20 µs, 90 with this. Whoever loses the processor during a spin is not alone on the machine and counts as having spun in vain.
constexpr Nanos kSpin = 50'000;
constexpr Nanos kLostProcessor = 15'000;

// Found out before main: the sentry's filter does not have the call.
const bool kSeveralProcessors = [] {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && CPU_COUNT(&allowed) > 1;
}();

}  // namespace

thread_local DeferWakes* DeferWakes::current_ = nullptr;

DeferWakes::DeferWakes() : outer_(current_) {
  if (outer_ == nullptr) current_ = this;
}

DeferWakes::~DeferWakes() {
  if (outer_ != nullptr) return;
  current_ = nullptr;
  for (size_t i = 0; i < count_; ++i) FutexWakeOne(*words_[i]);
}

void Sleeper::Rouse(std::atomic<uint32_t>& word) {
  DeferWakes* const defer = DeferWakes::current_;
  if (defer != nullptr && defer->count_ < DeferWakes::kMost) {
    defer->words_[defer->count_++] = &word;
    return;
  }
  FutexWakeOne(word);
}

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
  const DeferWakes defer;
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
  if ((old & kSleepingBit) != 0 && (old & kWakeBit) == 0) Rouse(state_);
}

void Sleeper::Interrupt() {
  const uint32_t old = state_.fetch_or(kInterruptBit, std::memory_order_acq_rel);
  if ((old & kSleepingBit) != 0 && (old & kInterruptBit) == 0) Rouse(state_);
}

void Sleeper::ClearInterrupt() { state_.fetch_and(~kInterruptBit, std::memory_order_acq_rel); }

Sleeper::Outcome Sleeper::Sleep(Deadline deadline) { return SleepFor(deadline, true); }
Sleeper::Outcome Sleeper::SleepUninterruptible(Deadline deadline) { return SleepFor(deadline, false); }

void Sleeper::Spin(uint32_t bits, Deadline deadline) {
  if (spins_skipped_ < skip_spins_) {
    ++spins_skipped_;
    return;
  }
  spins_skipped_ = 0;
  if (!kSeveralProcessors) return;
  Nanos now = MonotonicNow();
  const Nanos end = std::min(now + kSpin, deadline.at());
  bool alone = true;
  bool told = false;
  while (alone && !told && now < end) {
    for (int i = 0; i < 16 && !told; ++i) {
      told = (state_.load(std::memory_order_acquire) & bits) != 0;
      if (!told) __builtin_ia32_pause();
    }
    const Nanos before = std::exchange(now, MonotonicNow());
    alone = now - before < kLostProcessor;
  }
  if (told && alone) {
    skip_spins_ = 0;
    return;
  }
  skip_spins_ = std::min(skip_spins_ * 2 + 1, kMaxSpinsSkipped);
}

Sleeper::Outcome Sleeper::SleepFor(Deadline deadline, bool interruptible) {
  const uint32_t bits = kWakeBit | (interruptible ? kInterruptBit : 0);
  if ((state_.load(std::memory_order_acquire) & bits) == 0 && !deadline.Passed()) Spin(bits, deadline);
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
