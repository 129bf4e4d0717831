// The only way to sleep. WaitQueue: what a file (or anything that becomes ready) notifies. WaitEntry: one registration. Sleeper: the
// binary semaphore on which one task thread sleeps for an event, an interrupt (signal) or a deadline.
//
//   TaskWaitEntry entry(sleeper);                 // wakes that sleeper
//   queue.Register(entry, kPollIn);
//   while (!ready()) { switch (sleeper.Sleep(deadline)) {...} }
//   queue.Unregister(entry);
//
// Rules. A file operation never sleeps: it returns EAGAIN, and the system-call layer registers, tries again and sleeps
// (kernel/blocking.h does that loop once for all). Entries are notified with the queue's lock held: OnEvent must not block, must not copy
// user memory, and may only take locks below (an epoll's ready list, a sleeper). Lock order: WaitQueue::mu_ → epoll's ready lock →
// (epoll's own WaitQueue::mu_) → nothing. Thread safety: all functions from any thread unless said otherwise.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/poll.h"
#include "base/time.h"

namespace rampart::wait {

using EventMask = uint32_t;  // abi::kPoll… bits

class WaitQueue;

class WaitEntry {
 public:
  WaitEntry() = default;
  WaitEntry(const WaitEntry&) = delete;
  WaitEntry& operator=(const WaitEntry&) = delete;
  virtual ~WaitEntry();  // REQUIRES: not registered
  // Something in `events` happened. Called under the queue's lock: see the rules above.
  virtual void OnEvent(EventMask events) = 0;
  // Nobody waits behind this entry now (an epoll without a waiter): a Notify that told it goes on to the next exclusive one.
  virtual bool Idle() const { return false; }

  // Registers as exclusive wherever it is registered (EPOLLEXCLUSIVE). REQUIRES: not registered.
  void set_always_exclusive(bool on) { always_exclusive_ = on; }

 private:
  friend class WaitQueue;
  WaitQueue* queue_ = nullptr;  // guarded by the queue's lock
  WaitEntry* next_ = nullptr;
  WaitEntry* prev_ = nullptr;
  EventMask mask_ = 0;
  bool exclusive_ = false;
  bool always_exclusive_ = false;
};

// While one lives, the host calls with which this thread's Wake and Interrupt rouse sleepers are put off until it is gone: declared above
// the lock under which sleepers are told, it keeps those from running straight into that lock. They nest; the outermost acts. A sleeper
// may be destroyed meanwhile: the call then rouses nobody, or somebody for no reason, which every user of a futex allows for.
// Thread safety: one thread.
class DeferWakes {
 public:
  DeferWakes();
  ~DeferWakes();
  DeferWakes(const DeferWakes&) = delete;
  DeferWakes& operator=(const DeferWakes&) = delete;

 private:
  friend class Sleeper;
  static constexpr size_t kMost = 8;  // beyond these the call is made at once
  static thread_local DeferWakes* current_;
  DeferWakes* const outer_;
  size_t count_ = 0;
  std::atomic<uint32_t>* words_[kMost];
};

class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue();  // REQUIRES: empty

  // Errors and hang-ups (kPollErr, kPollHup) are always delivered, as poll(2) does. An exclusive entry is one of those of which
  // a Notify wakes only the first (EPOLLEXCLUSIVE, accept).
  void Register(WaitEntry& entry, EventMask mask, bool exclusive = false);
  // No OnEvent runs after it has returned. Idempotent.
  void Unregister(WaitEntry& entry);
  // Tells every entry whose mask meets `events` (of the exclusive ones only the first).
  void Notify(EventMask events);
  // Cheap, without the lock: whether Notify would have anyone to tell. May be stale.
  bool empty() const { return head_.load(std::memory_order_acquire) == nullptr; }

 private:
  absl::Mutex mu_;
  std::atomic<WaitEntry*> head_{nullptr};  // written under mu_
  WaitEntry* tail_ ABSL_GUARDED_BY(mu_) = nullptr;
};

// A sleep begins with a short spin (kSpin) where that has been worth it lately: whoever answers at once is then not asked to make a host
// call, and the sleeper does not have to be scheduled in again. Each spin in vain doubles the number of sleeps before the next.
class Sleeper {
 public:
  enum class Outcome { kWoken, kInterrupted, kTimedOut };

  // Makes the current or the next Sleep return kWoken. Async-signal-safe; from any thread.
  void Wake();
  // Makes the current and every later Sleep return kInterrupted until ClearInterrupt. From any thread.
  void Interrupt();
  // Own thread: forget the interrupt (the caller looks at its signals afterwards, not before).
  void ClearInterrupt();
  bool interrupted() const { return (state_.load(std::memory_order_acquire) & kInterruptBit) != 0; }
  // Own thread: sleeps until one of the three. A wake-up given before is consumed at once.
  Outcome Sleep(Deadline deadline);
  // Own thread: as Sleep, deaf to interrupts (as Linux's uninterruptible sleep; for internal, bounded waits).
  Outcome SleepUninterruptible(Deadline deadline);

 private:
  Outcome SleepFor(Deadline deadline, bool interruptible);
  std::optional<Outcome> Ended(Deadline deadline, bool interruptible);
  void Spin(uint32_t bits, Deadline deadline);
  static void Rouse(std::atomic<uint32_t>& word);
  static constexpr uint32_t kWakeBit = 1;
  static constexpr uint32_t kInterruptBit = 2;
  static constexpr uint32_t kSleepingBit = 4;
  static constexpr uint32_t kMaxSpinsSkipped = 128;
  std::atomic<uint32_t> state_{0};  // also the futex word
  // Own thread.
  uint32_t spins_skipped_ = 0;  // sleeps since the last spin
  uint32_t skip_spins_ = 0;     // sleeps without a spin before the next
};

// The usual entry: wakes a sleeper.
class SleeperEntry final : public WaitEntry {
 public:
  explicit SleeperEntry(Sleeper& sleeper) : sleeper_(sleeper) {}
  void OnEvent(EventMask) override { sleeper_.Wake(); }

 private:
  Sleeper& sleeper_;
};

}  // namespace rampart::wait
