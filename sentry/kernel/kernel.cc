#include "sentry/kernel/kernel.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/keys/registry.h"
#include "sentry/seccomp/filter.h"
#include "sentry/vfs/terminal.h"
#include "sentry/wait/run_queue.h"

namespace rampart::kernel {

Kernel::Kernel() = default;
Kernel::~Kernel() {
  // Nobody waits for init, so its zombie is let go of here.
  absl::MutexLock lock(&state_->tree_mu);
  if (state_->init_done && state_->init) state_->init->ReleaseTreeLocked();
}

Result<std::unique_ptr<Kernel>> Kernel::Create(KernelConfig config) {
  StartTickClock();
  cpu_set_t set;
  const bool known = sched_getaffinity(0, sizeof(set), &set) == 0;
  const uint32_t host_cpus = known ? static_cast<uint32_t>(std::max(1, CPU_COUNT(&set))) : 1;
  if (config.limits.cpus == 0) config.limits.cpus = host_cpus;
  auto kernel = std::unique_ptr<Kernel>(new Kernel());
  kernel->state_ = std::make_unique<State>(std::move(config));
  kernel->state_->host_cpus = host_cpus;
  wait::Runner::SetProcessors(std::min(kernel->cpus(), host_cpus));
  return kernel;
}

platform::Platform& Kernel::platform() const { return *state_->config.platform; }
const Ref<mm::MemoryFile>& Kernel::memory_file() const { return state_->config.memory_file; }
const KernelConfig& Kernel::config() const { return state_->config; }

Result<PidName> Kernel::NumberForTreeLocked(const InitArgs& args) {
  State& state = *state_;
  state.tree_mu.AssertHeld();
  if (args.pid == 0) return state.pids.Take(args.pid_namespace ? args.pid_namespace.ToRef() : state.pid_namespace, {}, false);
  return PidName{.pid = args.pid, .numbers = state.pids.At(args.pid).numbers};
}

// A process with one task that has its program and no thread yet.
Result<Ref<Task>> Kernel::MakeFirstTask(InitArgs& args, const PidName& name) {
  const Ref<SignalActions> actions = MakeRef<SignalActions>();
  for (int signo = 1; signo <= abi::kSigMax; ++signo) {
    if ((args.ignored_signals & ~abi::kUnblockable & abi::SigBit(signo)) != 0) {
      (void)actions->Exchange(signo, abi::SigAction{.handler = abi::kSigIgn});
    }
  }
  const Ref<ThreadGroup> group = MakeRef<ThreadGroup>(*this, name, actions);
  group->container_.store(args.container, std::memory_order_relaxed);
  group->personality.store(args.personality);
  group->oom_score_adj.store(args.oom_score_adj);
  group->oom_score_adj_min.store(args.oom_score_adj);
  for (size_t i = 0; i < args.limits.size(); ++i) group->SetLimit(static_cast<abi::Resource>(i), args.limits[i]);
  const Ref<Task> task = MakeRef<Task>(*this, group, name);
  task->SetNice(args.nice);
  Task::Scheduling scheduling;
  scheduling.policy = args.sched_policy;
  scheduling.reset_on_fork = args.reset_on_fork;
  if (args.io_priority != 0) scheduling.io = MakeRef<Task::IoContext>(args.io_priority);
  task->SetScheduling(std::move(scheduling));
  {
    absl::MutexLock lock(&task->mu_);
    task->fds_ = args.fds;
    task->fs_ = args.fs;
    const Namespaces& first = *state_->namespaces;
    task->namespaces_ = state_->namespaces;
    if (name.numbers) task->namespaces_ = MakeRef<Namespaces>(first.uts, first.ipc, name.numbers->ns());
    task->creds_ = args.creds;
    task->fds_users_ = MakeRef<UseCount>();
    task->signal_mask_.store(args.blocked_signals & ~abi::kUnblockable, std::memory_order_relaxed);
  }
  if (!args.filter.empty()) task->SetSeccompFilter(TRY(appfilter::Filter::Create(std::move(args.filter), nullptr)));
  TRY(task->LoadFirstProgram(args));
  return task;
}

// It can be found from here on, as the leader of a session of its own.
void Kernel::PublishTreeLocked(const Ref<Task>& task, const InitArgs& args) {
  State& state = *state_;
  state.tree_mu.AssertHeld();
  const abi::Pid pid = task->tid();
  const Ref<ThreadGroup>& group = task->group_;
  state.pids.AddTask(task);
  state.pids.At(pid).group = group;
  if (group->own_pid_ == 1) group->pid_ns_->init_ = group.get();
  const Ref<Session> session = MakeRef<Session>(pid);
  state.pids.At(pid).session = session;
  const Ref<ProcessGroup> process_group = MakeRef<ProcessGroup>(pid, session);
  ++session->groups_;
  state.pids.At(pid).process_group = process_group;
  group->JoinProcessGroupTreeLocked(process_group);
  if (args.terminal) GiveTerminalTreeLocked(state, *session, args.terminal.ToRef(), pid);
  absl::MutexLock signal_lock(&group->signal_mu_);
  group->tasks_.push_back(task.get());
  group->leader_ = task;
}

Result<Ref<ThreadGroup>> Kernel::StartInit(InitArgs args) {
  State& state = *state_;
  PidName name;
  {
    absl::MutexLock lock(&state.tree_mu);
    CHECK(!state.init);
    name = TRY(NumberForTreeLocked(args));
  }
  const Result<Ref<Task>> made = MakeFirstTask(args, name);
  if (!made.ok()) {
    if (args.pid == 0) UnreservePid(name.pid);
    return made.error();
  }
  const Ref<Task>& task = *made;
  {
    absl::MutexLock lock(&state.tree_mu);
    state.init = task->group_;
    PublishTreeLocked(task, args);
  }
  state.timers.Start();
  TRY(state.workers.Start(platform(), task, &task->mm().space()));
  return task->group_;
}

int Kernel::WaitForInit() {
  State& state = *state_;
  absl::MutexLock lock(&state.tree_mu);
  state.tree_mu.Await(absl::Condition(&state.init_done));
  return state.init->exit_status();
}

void Kernel::SetStopObserver(std::function<void(int)> observer) {
  absl::MutexLock lock(&state_->observer_mu);
  state_->stop_observer = std::move(observer);
}

void Kernel::ReportInitStop(int signo) {
  std::function<void(int)> observer;
  {
    absl::MutexLock lock(&state_->observer_mu);
    observer = state_->stop_observer;
  }
  if (observer) observer(signo);
}

void Kernel::SignalInit(int signo) {
  if (!abi::ValidSignal(signo)) return;
  RefPtr<ThreadGroup> init;
  {
    absl::MutexLock lock(&state_->tree_mu);
    init = state_->init;
  }
  if (init) SignalFromOutside(*init, signo);
}

void Kernel::SignalFromOutside(ThreadGroup& group, int signo) {
  if (!abi::ValidSignal(signo)) return;
  abi::SigInfo info{.signo = signo, .code = abi::kSiUser};
  if (signo == abi::kSigCont && SignalProcessGroup(group.ProcessGroupId(), info, nullptr).ok()) return;
  absl::MutexLock lock(&group.signal_mu_);
  (void)group.SendLocked(info, nullptr, /*force=*/true);
}

void Kernel::KillAll() {
  for (const Ref<ThreadGroup>& group : Groups()) group->Kill(abi::KilledStatus(abi::kSigKill, false));
}

RefPtr<Task> Kernel::FindTask(abi::Pid tid) const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  const PidTable::Entry* entry = std::as_const(state_->pids).Find(tid);
  return entry == nullptr ? nullptr : entry->task;
}

RefPtr<ThreadGroup> Kernel::FindGroup(abi::Pid pid) const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  const PidTable::Entry* entry = std::as_const(state_->pids).Find(pid);
  return entry == nullptr ? nullptr : entry->group;
}

std::vector<Ref<ThreadGroup>> Kernel::Groups() const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return state_->pids.Groups();
}

abi::Pid Kernel::NumberIn(const PidNamespace& ns, abi::Pid pid) const {
  if (ns.is_root()) return pid;
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return std::as_const(state_->pids).In(ns, pid);
}

abi::Pid Kernel::NumberOf(const PidNamespace& ns, abi::Pid number) const {
  if (ns.is_root()) return number;
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return PidTable::Of(ns, number);
}

bool Kernel::IsTaken(abi::Pid pid) const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return std::as_const(state_->pids).Find(pid) != nullptr;
}

bool Kernel::HasInit(const PidNamespace& ns) const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return ns.init_ != nullptr || ns.dying_;
}

size_t Kernel::task_count() const {
  absl::ReaderMutexLock lock(&state_->tree_mu);
  return state_->pids.tasks();
}

Result<void> Kernel::SignalProcessGroup(abi::Pid pgid, const abi::SigInfo& info, const Task* sender) {
  std::vector<Ref<ThreadGroup>> members;
  {
    absl::ReaderMutexLock lock(&state_->tree_mu);
    const PidTable::Entry* entry = std::as_const(state_->pids).Find(pgid);
    if (entry == nullptr || !entry->process_group) return Errno::kESRCH;
    for (ThreadGroup* member : entry->process_group->members_) members.push_back(ShareRef(member));
  }
  return SignalEach(members, info, sender);
}

Result<void> Kernel::SignalAll(const abi::SigInfo& info, const Task& sender) {
  std::vector<Ref<ThreadGroup>> targets = Groups();
  std::erase_if(targets, [&sender](const Ref<ThreadGroup>& g) { return g->PidIn(sender.pid_namespace()) <= 1 || g.get() == &sender.group(); });
  return SignalEach(targets, info, &sender);
}

// Linux's rule for several targets: success if one got it; otherwise the last error; ESRCH if there was none.
Result<void> Kernel::SignalEach(const std::vector<Ref<ThreadGroup>>& targets, const abi::SigInfo& info, const Task* sender) {
  bool success = false;
  Errno error = Errno::kESRCH;
  for (const Ref<ThreadGroup>& group : targets) {
    const RefPtr<Task> leader = group->leader();
    if (!leader) continue;
    if (sender != nullptr) {
      const Result<void> allowed = leader->CheckKillPermission(*sender, info.signo);
      if (!allowed.ok()) {
        error = allowed.error();
        continue;
      }
    }
    const Result<void> sent = info.signo == 0 ? Ok() : group->SendSignal(info, sender);
    if (sent.ok()) {
      success = true;
    } else {
      error = sent.error();
    }
  }
  if (success) return Ok();
  return error;
}

const Namespaces& Kernel::namespaces() const { return *state_->namespaces; }
const Ref<PidNamespace>& Kernel::pid_namespace() const { return state_->pid_namespace; }

FutexManager& Kernel::futexes() const { return state_->futexes; }
time::TimerQueue& Kernel::timers() const { return state_->timers; }
loader::Vdso& Kernel::vdso() const { return *state_->config.vdso; }
Kernel::State::State(KernelConfig c) : config(std::move(c)), keys(std::make_unique<keys::Registry>()) {}
Kernel::State::~State() = default;

keys::Registry& Kernel::keys() const { return *state_->keys; }
Kernel::AioLimits& Kernel::aio_limits() const { return state_->aio_limits; }

uint64_t Kernel::max_tasks() const { return state_->max_tasks.load(std::memory_order_relaxed); }
void Kernel::SetMaxTasks(uint64_t most) { state_->max_tasks.store(most, std::memory_order_relaxed); }
uint32_t Kernel::cpus() const { return state_->cpus.load(std::memory_order_relaxed); }
void Kernel::SetCpus(uint32_t count) {
  const uint32_t cpus = count == 0 ? state_->host_cpus : count;
  state_->cpus.store(cpus, std::memory_order_relaxed);
  wait::Runner::SetProcessors(std::min(cpus, state_->host_cpus));
}
Nanos Kernel::boot_time() const { return state_->boot_time; }
uint64_t Kernel::out_of_memory_kills() const { return state_->out_of_memory_kills.load(std::memory_order_relaxed); }
uint64_t Kernel::forks() const { return state_->forks.load(std::memory_order_relaxed); }

}  // namespace rampart::kernel
