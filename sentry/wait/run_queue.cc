#include "sentry/wait/run_queue.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "sentry/wait/host_futex.h"

namespace rampart::wait {
namespace {

// How long a runner may stand still before it is not counted: far above a system call, also one that asks the gofer; below what a person or a
// time-out notices.
constexpr Nanos kTick = kNanosPerMilli;
// As long as Linux lets a thread run on while others wait (its base slice: 3 ms).
constexpr Nanos kPatience = 4 * kNanosPerMilli;

// One word, so that whoever enters or leaves sees both at once: the low half counts those that have the turn, the high half those that wait.
constexpr uint64_t kOneRunning = 1;
constexpr uint64_t kOneWaiting = uint64_t{1} << 32;
constexpr uint32_t Running(uint64_t word) { return static_cast<uint32_t>(word); }
constexpr uint32_t Waiting(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

std::atomic<uint64_t> g_word{0};
std::atomic<uint32_t> g_processors{1};

}  // namespace

class RunQueue {
 public:
  // Futex words to be woken once the lock has been released.
  using Wakes = absl::InlinedVector<std::atomic<uint32_t>*, 4>;
  static void Send(const Wakes& wakes) {
    for (std::atomic<uint32_t>* word : wakes) HostFutexWakeOne(*word);
  }

  void Add(Runner& r) {
    absl::MutexLock lock(&mu_);
    r.next_ = all_;
    if (all_ != nullptr) all_->prev_ = &r;
    all_ = &r;
  }

  void Remove(Runner& r) {
    absl::MutexLock lock(&mu_);
    (r.prev_ != nullptr ? r.prev_->next_ : all_) = r.next_;
    if (r.next_ != nullptr) r.next_->prev_ = r.prev_;
  }

  void EnterSlowly(Runner& r) {
    const Nanos begun = MonotonicNow();
    uint64_t ahead = 0;
    {
      absl::MutexLock lock(&mu_);
      if (!QueueOrTakeLocked(r)) return;
      if (first_ == &r) moved_on_ = begun;
      ahead = r.ticket_ - first_->ticket_;
    }
    while (true) {
      // Everybody's patience begins to run out in turn, so that one wakes at a time to look after the queue.
      HostFutexWait(r.granted_, 0, Deadline::After(kTick * static_cast<Nanos>(std::min<uint64_t>(ahead, 100) + 1)));
      if (r.granted_.load(std::memory_order_acquire) != 0) return;
      Wakes wakes;
      bool granted = false;
      {
        absl::MutexLock lock(&mu_);
        LookAfterLocked(MonotonicNow(), wakes);
        granted = r.granted_.load(std::memory_order_relaxed) != 0;
        if (!granted) ahead = r.ticket_ - first_->ticket_;
      }
      Send(wakes);
      if (granted) return;
    }
  }

  void LeaveSlowly() {
    Wakes wakes;
    {
      absl::MutexLock lock(&mu_);
      g_word.fetch_sub(kOneRunning, std::memory_order_acq_rel);
      GrantFreeLocked(wakes);
    }
    Send(wakes);
  }

 private:
  // False: there was room after all, and `r` has the turn.
  bool QueueOrTakeLocked(Runner& r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    uint64_t word = g_word.load(std::memory_order_relaxed);
    while (true) {
      const bool room = Waiting(word) == 0 && Running(word) < g_processors.load(std::memory_order_relaxed);
      if (!g_word.compare_exchange_weak(word, word + (room ? kOneRunning : kOneWaiting), std::memory_order_acq_rel)) continue;
      if (room) {
        r.has_turn_.store(true, std::memory_order_release);
        return false;
      }
      break;
    }
    r.granted_.store(0, std::memory_order_relaxed);
    r.ticket_ = next_ticket_++;
    r.next_waiting_ = nullptr;
    (first_ != nullptr ? last_->next_waiting_ : first_) = &r;
    last_ = &r;
    return true;
  }

  void GrantFirstLocked(Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    Runner& r = *first_;
    first_ = r.next_waiting_;
    moved_on_ = MonotonicNow();
    g_word.fetch_add(kOneRunning - kOneWaiting, std::memory_order_acq_rel);
    r.seen_moves_ = UINT64_MAX;
    r.has_turn_.store(true, std::memory_order_relaxed);
    r.granted_.store(1, std::memory_order_release);
    wakes.push_back(&r.granted_);
  }

  void GrantFreeLocked(Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    while (first_ != nullptr && Running(g_word.load(std::memory_order_acquire)) < g_processors.load(std::memory_order_relaxed)) {
      GrantFirstLocked(wakes);
    }
  }

  // What somebody who has waited for a tick does for all.
  void LookAfterLocked(Nanos now, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (now - looked_ >= kTick * 9 / 10) {
      looked_ = now;
      for (Runner* r = all_; r != nullptr; r = r->next_) {
        if (!r->has_turn_.load(std::memory_order_relaxed)) continue;
        const uint64_t moves = r->moves_.load(std::memory_order_relaxed);
        if (std::exchange(r->seen_moves_, moves) != moves) continue;
        if (r->has_turn_.exchange(false, std::memory_order_acq_rel)) g_word.fetch_sub(kOneRunning, std::memory_order_acq_rel);
      }
    }
    GrantFreeLocked(wakes);
    if (first_ != nullptr && now - moved_on_ >= kPatience) GrantFirstLocked(wakes);
  }

  absl::Mutex mu_;
  Runner* all_ ABSL_GUARDED_BY(mu_) = nullptr;
  Runner* first_ ABSL_GUARDED_BY(mu_) = nullptr;  // that wait
  Runner* last_ ABSL_GUARDED_BY(mu_) = nullptr;   // valid when first_ is not null
  uint64_t next_ticket_ ABSL_GUARDED_BY(mu_) = 0;
  Nanos moved_on_ ABSL_GUARDED_BY(mu_) = 0;  // when the queue last became shorter, or somebody came to the empty one
  Nanos looked_ ABSL_GUARDED_BY(mu_) = 0;
};

namespace {

RunQueue& TheQueue() {
  static RunQueue* const queue = new RunQueue;  // threads may outlive static destruction
  return *queue;
}

}  // namespace

thread_local Runner* Runner::current_ = nullptr;

Runner::Runner() {
  CHECK(current_ == nullptr);
  current_ = this;
  TheQueue().Add(*this);
}

Runner::~Runner() {
  Leave();
  TheQueue().Remove(*this);
  current_ = nullptr;
}

void Runner::Enter() {
  if (has_turn_.load(std::memory_order_relaxed)) return;
  moves_.store(moves_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  uint64_t word = g_word.load(std::memory_order_relaxed);
  while (Waiting(word) == 0 && Running(word) < g_processors.load(std::memory_order_relaxed)) {
    if (!g_word.compare_exchange_weak(word, word + kOneRunning, std::memory_order_acq_rel)) continue;
    has_turn_.store(true, std::memory_order_release);
    return;
  }
  TheQueue().EnterSlowly(*this);
}

void Runner::Leave() {
  if (!has_turn_.exchange(false, std::memory_order_acq_rel)) return;
  uint64_t word = g_word.load(std::memory_order_relaxed);
  while (Waiting(word) == 0) {
    if (g_word.compare_exchange_weak(word, word - kOneRunning, std::memory_order_acq_rel)) return;
  }
  TheQueue().LeaveSlowly();
}

void Runner::SetProcessors(uint32_t count) { g_processors.store(std::max(count, 1u), std::memory_order_relaxed); }
uint32_t Runner::processors() { return g_processors.load(std::memory_order_relaxed); }
bool Runner::Crowded() { return Waiting(g_word.load(std::memory_order_relaxed)) != 0; }
bool Runner::ProcessorIdle() { return Running(g_word.load(std::memory_order_relaxed)) < processors(); }

}  // namespace rampart::wait
