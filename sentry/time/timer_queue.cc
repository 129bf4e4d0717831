#include "sentry/time/timer_queue.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/sanitizers.h"

namespace rampart::time {

struct Timer::Node {
  explicit Node(Callback c) : callback(std::move(c)) {}
  const Callback callback;
  // Guarded by the queue's lock.
  Nanos at = 0;
  bool armed = false;
  bool running = false;
};

struct TimerQueue::State {
  struct Earlier {
    bool operator()(const std::shared_ptr<Timer::Node>& a, const std::shared_ptr<Timer::Node>& b) const {
      return a->at != b->at ? a->at < b->at : a < b;
    }
  };

  void Loop();
  void Wait(Nanos until, uint32_t seen);
  void Kick();
  static void* Main(void* self);

  absl::Mutex mu;
  absl::CondVar idle;  // a callback has returned
  std::set<std::shared_ptr<Timer::Node>, Earlier> armed ABSL_GUARDED_BY(mu);
  pthread_t thread ABSL_GUARDED_BY(mu) = 0;
  bool started ABSL_GUARDED_BY(mu) = false;
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> changes{0};  // futex word: bumped when the thread must look again
  std::atomic<bool> sleeping{false};
};

TimerQueue::TimerQueue() : state_(std::make_unique<State>()) {}

TimerQueue::~TimerQueue() { Stop(); }

void* TimerQueue::State::Main(void* self) {
  pthread_setname_np(pthread_self(), "timers");
  static_cast<State*>(self)->Loop();
  return nullptr;
}

void TimerQueue::Start() {
  absl::MutexLock lock(&state_->mu);
  if (state_->started) return;
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  // Callbacks send signals and wake sleepers: small frames.
  CHECK(pthread_attr_setstacksize(&attributes, (kSanitized ? 1024 : 256) * 1024) == 0);
  state_->stop = false;
  CHECK(pthread_create(&state_->thread, &attributes, &State::Main, state_.get()) == 0);
  pthread_attr_destroy(&attributes);
  state_->started = true;
}

void TimerQueue::Stop() {
  pthread_t thread;
  {
    absl::MutexLock lock(&state_->mu);
    if (!state_->started) return;
    state_->started = false;
    thread = state_->thread;
    state_->stop = true;
  }
  state_->Kick();
  pthread_join(thread, nullptr);
}

void TimerQueue::State::Kick() {
  changes.fetch_add(1, std::memory_order_seq_cst);
  if (!sleeping.load(std::memory_order_seq_cst)) return;
  // SAFETY: std::atomic<uint32_t> is a plain 32-bit word.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&changes), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

void TimerQueue::State::Wait(Nanos until, uint32_t seen) {
  timespec at{};
  timespec* limit = nullptr;
  if (until != kNanosMax) {
    at.tv_sec = until / kNanosPerSecond;
    at.tv_nsec = until % kNanosPerSecond;
    limit = &at;
  }
  sleeping.store(true, std::memory_order_seq_cst);
  // SAFETY: as above. A change since `seen` was read makes the call return at once.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&changes), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen, limit, nullptr,
          FUTEX_BITSET_MATCH_ANY);
  sleeping.store(false, std::memory_order_seq_cst);
}

void TimerQueue::State::Loop() {
  while (!stop.load(std::memory_order_acquire)) {
    const uint32_t seen = changes.load(std::memory_order_seq_cst);
    std::shared_ptr<Timer::Node> due;
    Nanos until = kNanosMax;
    {
      absl::MutexLock lock(&mu);
      if (!armed.empty()) {
        const std::shared_ptr<Timer::Node>& first = *armed.begin();
        if (first->at <= MonotonicNow()) {
          due = first;
          due->armed = false;
          due->running = true;
          armed.erase(armed.begin());
        } else {
          until = first->at;
        }
      }
    }
    if (due == nullptr) {
      Wait(until, seen);
      continue;
    }
    due->callback();
    absl::MutexLock lock(&mu);
    due->running = false;
    idle.SignalAll();
  }
}

Timer::Timer(TimerQueue& queue, Callback callback, OnDestroy on_destroy)
    : queue_(queue), node_(std::make_shared<Node>(std::move(callback))), on_destroy_(on_destroy) {}

Timer::~Timer() { on_destroy_ == OnDestroy::kWait ? Disarm() : Arm(Deadline::Never()); }

void Timer::Arm(Deadline at) {
  TimerQueue::State& state = *queue_.state_;
  bool earliest = false;
  {
    absl::MutexLock lock(&state.mu);
    if (node_->armed) state.armed.erase(node_);
    node_->armed = !at.never();
    if (node_->armed) {
      node_->at = at.at() < 0 ? 0 : at.at();
      const auto position = state.armed.insert(node_).first;
      earliest = position == state.armed.begin();
    }
  }
  if (earliest) state.Kick();
}

void Timer::Disarm() {
  TimerQueue::State& state = *queue_.state_;
  absl::MutexLock lock(&state.mu);
  const auto remove = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (node_->armed) state.armed.erase(node_);
    node_->armed = false;
  };
  remove();
  if (state.started && pthread_equal(pthread_self(), state.thread) != 0) return;
  while (node_->running) state.idle.Wait(&state.mu);
  remove();  // the callback may have armed it again
}

}  // namespace rampart::time
