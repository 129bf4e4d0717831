// What somebody outside does with a running sandbox: a further process in it, and a pause of all.
#include <ctime>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

Result<abi::Pid> Kernel::ReservePid(const RefPtr<PidNamespace>& ns) {
  absl::MutexLock lock(&state_->tree_mu);
  return TRY(state_->pids.Take(ns ? ns.ToRef() : state_->pid_namespace, {}, false)).pid;
}

void Kernel::UnreservePid(abi::Pid pid) {
  absl::MutexLock lock(&state_->tree_mu);
  state_->pids.Unreserve(pid);
}

Result<Ref<ThreadGroup>> Kernel::StartProcess(InitArgs args) {
  State& state = *state_;
  PidName name;
  {
    absl::MutexLock lock(&state.tree_mu);
    if ((!state.init && !args.before_init) || state.dying.load()) return Errno::kESRCH;
    const uint64_t most = state.max_tasks.load(std::memory_order_relaxed);
    if ((most != 0 && state.pids.tasks() >= most) || state.pids.tasks() >= platform().capabilities().max_contexts) return Errno::kEAGAIN;
    const Result<PidName> taken = NumberForTreeLocked(args);
    if (!taken.ok()) return taken.error() == Errno::kENOMEM ? Errno::kESRCH : taken.error();
    name = *taken;
  }
  state.timers.Start();
  Result<Ref<Task>> task = MakeFirstTask(args, name);
  {
    absl::MutexLock lock(&state.tree_mu);
    if (task.ok() && state.dying.load()) task = Errno::kESRCH;
    if (task.ok() && (*task)->group_->NobodyIsBornTreeLocked()) task = Errno::kESRCH;
    if (!task.ok()) {
      state.pids.Unreserve(name.pid);
      return task.error();
    }
    PublishTreeLocked(*task, args);
    state.forks.fetch_add(1, std::memory_order_relaxed);
  }
  const Ref<ThreadGroup> group = (*task)->group_;
  const Result<void> started = state.workers.Start(platform(), *task, &(*task)->mm().space());
  if (started.ok()) return group;
  // As a clone that got no thread: the process ends without having run.
  (*task)->exit_status_ = abi::KilledStatus(abi::kSigKill, false);
  (*task)->exiting_.store(true);
  {
    absl::MutexLock lock(&state.tree_mu);
    {
      absl::MutexLock signal_lock(&group->signal_mu_);
      group->tasks_.clear();
    }
    group->zombie_ = true;
    group->exited_.store(true);
    group->ReleaseTreeLocked();
  }
  (*task)->ReleaseFds();
  (*task)->ReleaseMm();
  return started.error();
}

bool Kernel::Reap(ThreadGroup& group) {
  State& state = *state_;
  {
    absl::MutexLock lock(&state.tree_mu);
    if (!group.zombie_) return group.released_;
    group.ReleaseTreeLocked();
  }
  state.task_gone.Notify(abi::kPollIn);
  return true;
}

bool Kernel::KillContainer(uint32_t container) {
  constexpr int kLooks = 10'000;  // one a millisecond; who was about to fork at one look is there at the next
  for (int look = 0; look < kLooks; ++look) {
    bool alive = false;
    for (const Ref<ThreadGroup>& group : Groups()) {
      if (group->container() != container || group->exited()) continue;
      alive = true;
      group->Kill(abi::KilledStatus(abi::kSigKill, false));
    }
    if (!alive) return true;
    const timespec pause{0, 1'000'000};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  return false;
}

bool Kernel::Pause() {
  paused_.store(true, std::memory_order_seq_cst);
  constexpr int kLooks = 1000;  // one a millisecond
  for (int look = 0; look < kLooks; ++look) {
    bool running = false;
    for (const Ref<ThreadGroup>& group : Groups()) {
      absl::MutexLock lock(&group->signal_mu_);
      for (Task* task : group->tasks_) {
        platform::Context* context = task->running_.load(std::memory_order_seq_cst);
        if (context == nullptr) continue;
        running = true;
        context->Interrupt();
      }
    }
    if (!running || !paused()) return true;
    const timespec pause{0, 1'000'000};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  return false;
}

void Kernel::Resume() {
  paused_.store(false, std::memory_order_seq_cst);
  state_->resumed.Notify(abi::kPollIn);
}

void Kernel::WaitWhilePaused(wait::Sleeper& sleeper) {
  wait::SleeperEntry entry(sleeper);
  state_->resumed.Register(entry, abi::kPollIn);
  while (paused()) (void)sleeper.SleepUninterruptible(Deadline::Never());
  state_->resumed.Unregister(entry);
}

}  // namespace rampart::kernel
