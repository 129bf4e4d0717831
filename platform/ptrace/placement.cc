#include "platform/ptrace/placement.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/time/time.h"
#include "base/check.h"

namespace rampart::platform::ptrace {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(10);

}  // namespace

Placement::Placement() {
  CPU_ZERO(&allowed_);
  useful_ = sched_getaffinity(0, sizeof(allowed_), &allowed_) == 0 && CPU_COUNT(&allowed_) > 1;
}

Placement::~Placement() {
  pthread_t watchdog{};
  bool join = false;
  {
    absl::MutexLock lock(&mu_);
    CHECK(pairs_.empty());
    stop_ = true;
    watching_.store(true, std::memory_order_release);
    watchdog = watchdog_;
    join = has_watchdog_;
  }
  if (join) pthread_join(watchdog, nullptr);
}

bool Placement::Bind(pid_t thread, int cpu) const {
  cpu_set_t one;
  CPU_ZERO(&one);
  if (cpu >= 0) CPU_SET(static_cast<size_t>(cpu), &one);
  return syscall(SYS_sched_setaffinity, thread, sizeof(one), cpu >= 0 ? &one : &allowed_) == 0;
}

void Placement::Add(Pair& pair) {
  if (!useful_) return;
  const pid_t self = gettid();
  Bind(self, kEverywhere);
  {
    absl::MutexLock lock(&pair.mu_);
    pair.tracer_ = self;
  }
  absl::MutexLock lock(&mu_);
  pairs_.push_back(&pair);
}

void Placement::Remove(Pair& pair) {
  if (!useful_) return;
  {
    absl::MutexLock lock(&mu_);
    std::erase(pairs_, &pair);
  }
  absl::MutexLock lock(&pair.mu_);
  if (pair.cpu_.load(std::memory_order_relaxed) >= 0) UnpinLocked(pair);
}

int Placement::OwnerSetsStub(Pair& pair, pid_t stub, int stub_cpu) {
  if (!useful_) return kEverywhere;
  absl::MutexLock lock(&pair.mu_);
  const int former = pair.stub_cpu_;
  const int cpu = pair.cpu_.load(std::memory_order_relaxed);
  pair.stub_ = stub;
  pair.stub_cpu_ = stub_cpu;
  if (stub != 0 && stub_cpu != cpu && Bind(stub, cpu)) pair.stub_cpu_ = cpu;
  return former;
}

// The tracer's CPU, unless our own pairs are crowded there.
int Placement::ChooseCpu() const {
  const int here = sched_getcpu();
  if (here < 0 || here >= kMaxCpus || !CPU_ISSET(static_cast<size_t>(here), &allowed_)) return kEverywhere;
  int best = here;
  int fewest = pinned_[static_cast<size_t>(here)].load(std::memory_order_relaxed);
  for (int cpu = 0; cpu < kMaxCpus && fewest > 0; ++cpu) {
    if (!CPU_ISSET(static_cast<size_t>(cpu), &allowed_)) continue;
    const int count = pinned_[static_cast<size_t>(cpu)].load(std::memory_order_relaxed);
    if (count < fewest) {
      fewest = count;
      best = cpu;
    }
  }
  return best;
}

void Placement::OwnerPins(Pair& pair) {
  if (!useful_) return;
  const int cpu = ChooseCpu();
  {
    absl::MutexLock lock(&pair.mu_);
    if (cpu < 0 || pair.stub_ == 0 || !Bind(pair.stub_, cpu)) return;
    pair.stub_cpu_ = cpu;
    if (!Bind(pair.tracer_, cpu)) return;
    pair.cpu_.store(cpu, std::memory_order_relaxed);
    pinned_[static_cast<size_t>(cpu)].fetch_add(1, std::memory_order_relaxed);
  }
  if (watching_.load(std::memory_order_acquire)) return;
  absl::MutexLock lock(&mu_);
  watching_.store(true, std::memory_order_release);
  if (has_watchdog_) return;
  const auto run = +[](void* self) -> void* {
    static_cast<Placement*>(self)->Watch();
    return nullptr;
  };
  // A host without room for one more thread: pairs stay where they were pinned until the next pin tries again.
  has_watchdog_ = pthread_create(&watchdog_, nullptr, run, this) == 0;
  if (!has_watchdog_) watching_.store(false, std::memory_order_release);
}

void Placement::UnpinLocked(Pair& pair) {
  const int cpu = pair.cpu_.load(std::memory_order_relaxed);
  pinned_[static_cast<size_t>(cpu)].fetch_sub(1, std::memory_order_relaxed);
  if (pair.stub_ != 0 && Bind(pair.stub_, kEverywhere)) pair.stub_cpu_ = kEverywhere;
  Bind(pair.tracer_, kEverywhere);
  pair.unpinned_at_.store(pair.switches_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  pair.cpu_.store(kEverywhere, std::memory_order_relaxed);
}

bool Placement::Tick() {
  bool any = false;
  for (Pair* pair : pairs_) {
    if (pair->cpu_.load(std::memory_order_relaxed) < 0) continue;
    any = true;
    const uint64_t switches = pair->switches_.load(std::memory_order_relaxed);
    const bool cold = switches - pair->seen_ < kHotSwitches;
    pair->seen_ = switches;
    if (!cold && ++pair->ticks_ < kTicksPinned) continue;
    pair->ticks_ = 0;
    absl::MutexLock lock(&pair->mu_);
    if (pair->cpu_.load(std::memory_order_relaxed) >= 0) UnpinLocked(*pair);
  }
  return any;
}

void Placement::Watch() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  Bind(gettid(), kEverywhere);
  absl::MutexLock lock(&mu_);
  while (!stop_) {
    // Sleeps for good when nothing is pinned; the next pin wakes it.
    if (!Tick()) watching_.store(false, std::memory_order_release);
    if (watching_.load(std::memory_order_acquire)) {
      mu_.AwaitWithTimeout(absl::Condition(&stop_), kTick);
    } else {
      mu_.Await(absl::Condition(
          +[](std::atomic<bool>* watching) { return watching->load(std::memory_order_acquire); }, &watching_));
    }
  }
}

}  // namespace rampart::platform::ptrace
