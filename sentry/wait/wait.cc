#include "sentry/wait/wait.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sentry/wait/host_futex.h"
#include "sentry/wait/run_queue.h"

namespace rampart::wait {
namespace {

// How long a sleep spins at most. 20 µs are enough for the partner of a ping-pong (a system call of another task on the ptrace platform takes
// 10 µs): 63 µs a round trip became 29. A thread that is joined at once lives for 45 µs: creating and joining one took 120–300 µs, 130 with a spin
// of 20 µs, 95 with this; with 50 µs one that took longer once made the next spins be left out, which made all of them take longer (185 µs).
// Whoever loses the processor during a spin is not alone on the machine and counts as having spun in vain.
constexpr Nanos kSpin = 100'000;
constexpr Nanos kLostProcessor = 15'000;

// Nobody else could use the processor: a task's thread has the turn, any other takes one that nobody uses.
bool MaySpin() {
  if (Runner::processors() < 2) return false;
  return Runner::Current() != nullptr ? !Runner::Crowded() : Runner::ProcessorIdle();
}

}  // namespace

thread_local DeferWakes* DeferWakes::current_ = nullptr;

DeferWakes::DeferWakes() : outer_(current_) {
  if (outer_ == nullptr) current_ = this;
}

DeferWakes::~DeferWakes() {
  if (outer_ != nullptr) return;
  current_ = nullptr;
  for (size_t i = 0; i < count_; ++i) HostFutexWakeOne(*words_[i]);
}

void Sleeper::Rouse(std::atomic<uint32_t>& word) {
  DeferWakes* const defer = DeferWakes::current_;
  if (defer != nullptr && defer->count_ < DeferWakes::kMost) {
    defer->words_[defer->count_++] = &word;
    return;
  }
  HostFutexWakeOne(word);
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
  if (!MaySpin()) return;
  Nanos now = MonotonicNow();
  const Nanos end = std::min(now + kSpin, deadline.at());
  bool alone = true;
  bool told = false;
  while (alone && !told && now < end && MaySpin()) {
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
  std::optional<Outcome> outcome = Ended(deadline, interruptible);
  if (outcome.has_value()) return *outcome;
  Runner* const runner = Runner::Current();
  if (runner != nullptr) runner->Leave();
  for (; !outcome.has_value(); outcome = Ended(deadline, interruptible)) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if ((state & bits) != 0) continue;
    if ((state & kSleepingBit) == 0) {
      if (!state_.compare_exchange_weak(state, state | kSleepingBit, std::memory_order_acq_rel)) continue;
      state |= kSleepingBit;
    }
    HostFutexWait(state_, state, deadline);
  }
  if (runner != nullptr) runner->Enter();
  return *outcome;
}

// How the sleep ends, if it ends now.
std::optional<Sleeper::Outcome> Sleeper::Ended(Deadline deadline, bool interruptible) {
  const uint32_t state = state_.load(std::memory_order_acquire);
  if ((state & kWakeBit) != 0) {
    state_.fetch_and(~(kWakeBit | kSleepingBit), std::memory_order_acq_rel);
    return Outcome::kWoken;
  }
  std::optional<Outcome> outcome;
  if (interruptible && (state & kInterruptBit) != 0) {
    outcome = Outcome::kInterrupted;
  } else if (deadline.Passed()) {
    outcome = Outcome::kTimedOut;
  }
  if (outcome.has_value()) state_.fetch_and(~kSleepingBit, std::memory_order_acq_rel);
  return outcome;
}

}  // namespace rampart::wait
