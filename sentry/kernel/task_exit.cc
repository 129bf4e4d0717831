// The end of a task (Linux kernel/exit.c: do_exit, do_group_exit).
#include <algorithm>
#include <utility>

#include "sentry/kernel/core_dump.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/robust.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/vfork_gate.h"

namespace rampart::kernel {

void Task::PrepareExit(int status) {
  exit_requested_ = true;
  exit_status_ = status;
  sleeper_.Interrupt();  // so that the loop looks
}

void Task::PrepareGroupExit(int status) {
  {
    absl::MutexLock lock(&group_->signal_mu_);
    group_->BeginExitLocked(status, this);
    status = group_->exit_status_;
  }
  PrepareExit(status);
}

void Task::Exit() {
  CoreDump::Join(*this);
  Tracing::Exiting(*this);
  ExitSignals();
  ReleaseRobustFutexes();
  ReleaseVforkParent();
  DropSemUndo();
  namespaces_->ipc->shm().ThreadGone(tid());
  ReleaseFds();
  const uint64_t root_device = fs_->root().dentry->inode()->device();
  RefPtr<vfs::FsContext> fs;
  RefPtr<const Namespaces> namespaces;
  {
    absl::MutexLock lock(&mu_);
    fs = std::exchange(fs_, nullptr);
    namespaces = std::exchange(namespaces_, nullptr);
  }
  fs = nullptr;
  namespaces = nullptr;
  // Of threads that end together exactly one is the last.
  const bool last_of_init = group_->own_pid() == 1 && [this] {
    absl::MutexLock lock(&group_->signal_mu_);
    ending_ = true;
    return std::all_of(group_->tasks_.begin(), group_->tasks_.end(), [](const Task* task) { return task->ending_; });
  }();
  if (last_of_init) KillRemaining();
  clock_.Enter(TaskClock::State::kIdle);
  // The parent may go on while we take a small address space down of which nothing can be seen. The memory of a large one may be wanted by whoever hears of
  // our end, who may also count who maps a file, unmount it, or write the program's.
  constexpr uint64_t kLarge = uint64_t{16} << 20;
  const RefPtr<mm::MemoryManager> mm = mm_;
  platform::Context* context = context_;
  // Decided here and once: of threads that end together one is the last, and what it does comes before the end of the process is told.
  const bool last_user = mm && std::exchange(mm_users_, nullptr)->Leave();
  const mm::MemoryStats memory = last_user ? mm->stats() : mm::MemoryStats{};
  const bool first = last_user && (memory.resident_bytes > kLarge || mm->SeenFromOutside(root_device));
  if (last_user) {
    absl::MutexLock lock(&group_->signal_mu_);
    group_->dead_usage_.peak_resident_bytes = std::max(group_->dead_usage_.peak_resident_bytes, memory.peak_resident_bytes);
  }
  const auto leave = [&] {
    if (mm && context != nullptr) context->Leave(mm->space());
    DropMm();
    if (last_user) mm->Clear();
  };
  if (last_user) mm->SetExecutable(nullptr);
  if (first) leave();
  ExitNotify();
  if (!first) leave();
  if (last_of_init && group_->pid() == 1) {
    Kernel::State& state = kernel_.state();
    absl::MutexLock lock(&state.tree_mu);
    state.init_done = true;
  }
}

// From here on no signal is given to this task.
void Task::ExitSignals() {
  bool stop_complete = false;
  {
    absl::MutexLock lock(&group_->signal_mu_);
    exiting_.store(true, std::memory_order_release);
    group_->last_status_ = exit_status_;  // Linux: synchronize_group_exit
    const bool counts = std::exchange(trace_.counts_in_stop, false);
    if (std::exchange(stop_pending_, false) && counts) stop_complete = group_->CountStopLocked();
    stopped_ = false;
    // Signals for the process that we were told to take.
    const abi::SigSet shared = group_->pending_.set() & ~signal_mask();
    for (Task* other : group_->tasks_) {
      if (other != this && (shared & ~other->signal_mask()) != 0 && !other->exiting_.load(std::memory_order_relaxed)) other->InterruptLocked();
    }
  }
  if (stop_complete) group_->NotifyParentOfStop(abi::kCldStopped);
}

// What other threads learn through memory that we share with them. Linux: futex_exit_release, mm_release.
void Task::ReleaseRobustFutexes() {
  if (!mm_) return;
  FutexManager& futexes = kernel_.futexes();
  const auto wake = [&](UserAddr address) {
    const Result<mm::FutexKey> key = mm_->GetFutexKey(address, /*process_private=*/false);
    if (key.ok()) (void)futexes.Wake(*key, 1, kFutexBitsetAny);
  };
  ReleaseRobustList(*mm_, robust_list_.exchange(0), own_tid(), wake);
  futexes.OwnerExited(own_tid(), &pid_namespace());
  const UserAddr clear = std::exchange(clear_child_tid_, 0);
  if (clear != 0 && mm_users_->shared()) {
    (void)mm_->CopyOut(UserOut<int32_t>(clear), int32_t{0});
    wake(clear);
  }
}

void Task::DropSemUndo() {
  sem_undo_identity_ = nullptr;
  sem_undo_ = nullptr;
}

Ref<ipc::UndoList> Task::EnsureSemUndo() {
  if (!sem_undo_) {
    sem_undo_ = MakeRef<ipc::UndoList>();
    sem_undo_identity_ = sem_undo_.get();
  }
  return sem_undo_.ToRef();
}

void Task::ReleaseVforkParent() {
  if (const RefPtr<VforkGate> gate = std::exchange(vfork_gate_, nullptr)) gate->Open();
}

void Task::ReleaseFds() {
  if (!fds_) return;
  if (fds_users_->Leave()) {
    for (const Ref<vfs::FileDescription>& file : fds_->RemoveRange(0, ~uint32_t{0}, false)) (void)vfs::CloseDescriptor(*this, *fds_, file);
  }
  RefPtr<vfs::FdTable> table;
  absl::MutexLock lock(&mu_);
  table = std::exchange(fds_, nullptr);
  fds_users_ = nullptr;
}

void Task::ReleaseMm() {
  const RefPtr<UseCount> users = std::exchange(mm_users_, nullptr);
  const RefPtr<mm::MemoryManager> mm = DropMm();
  if (mm && users->Leave()) mm->Clear();
}

RefPtr<mm::MemoryManager> Task::DropMm() {
  absl::MutexLock lock(&mu_);
  return std::exchange(mm_, nullptr);
}

// Process 1 is going: everybody else in its PID namespace goes first. Whose parent is outside stays a zombie until that has waited for him.
// Linux: zap_pid_ns_processes.
void Task::KillRemaining() {
  Kernel::State& state = kernel_.state();
  PidNamespace& ns = pid_namespace();
  const auto inside = [this, &ns](const ThreadGroup& group) { return &group != group_.get() && group.PidIn(ns) != 0; };
  std::vector<Ref<ThreadGroup>> others;
  {
    absl::MutexLock lock(&state.tree_mu);
    ns.dying_ = true;
    if (ns.is_root()) state.dying.store(true);
    Tracing::ReleaseTraceesTreeLocked(*this);  // nobody waits for them any more
    for (const Ref<ThreadGroup>& group : state.pids.Groups()) {
      if (!inside(*group)) continue;
      if (!group->zombie_) {
        others.push_back(group);
      } else if (group->NobodyWaitsTreeLocked()) {
        group->ReleaseTreeLocked();
      }
    }
  }
  for (const Ref<ThreadGroup>& group : others) group->Kill(abi::KilledStatus(abi::kSigKill, false));
  others.clear();
  wait::SleeperEntry entry(sleeper_);
  state.task_gone.Register(entry, abi::kPollIn);
  const auto any_left = [this, &inside] {
    const std::vector<Ref<ThreadGroup>> groups = kernel_.Groups();
    return std::any_of(groups.begin(), groups.end(), [&inside](const Ref<ThreadGroup>& group) { return inside(*group); });
  };
  while (any_left()) (void)sleeper_.SleepUninterruptible(Deadline::Never());
  state.task_gone.Unregister(entry);
}

void Task::ExitNotify() {
  Kernel::State& state = kernel_.state();
  const wait::DeferWakes defer;  // whoever is told needs the lock
  {
    absl::MutexLock lock(&state.tree_mu);
    group_->ThreadLeavesTreeLocked(*this);
  }
  state.task_gone.Notify(abi::kPollIn);
}

}  // namespace rampart::kernel
