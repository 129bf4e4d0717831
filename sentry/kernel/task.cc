#include "sentry/kernel/task.h"

#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/vfork_gate.h"
#include "sentry/keys/key.h"
#include "sentry/seccomp/filter.h"

namespace rampart::kernel {

Task::Task(Kernel& kernel, Ref<ThreadGroup> group, const PidName& name)
    : kernel_(kernel), group_(std::move(group)), tid_(name.pid), own_tid_(name.own()), numbers_(name.numbers), start_time_(MonotonicNow()) {}

Task::~Task() = default;

abi::Pid Task::TidIn(const PidNamespace& ns) const { return ns.is_root() ? tid() : pid_name().In(ns); }
PidName Task::pid_name() const {
  const abi::Pid now = tid();
  return now == group_->pid() ? group_->name() : PidName{now, numbers_};
}
PidNamespace& Task::pid_namespace() const { return group_->pid_namespace(); }

RefPtr<Task> Task::FindTask(abi::Pid tid) const { return kernel_.FindTask(FromOwn(tid)); }
RefPtr<ThreadGroup> Task::FindGroup(abi::Pid pid) const { return kernel_.FindGroup(FromOwn(pid)); }
abi::Pid Task::ToOwn(abi::Pid pid) const { return kernel_.NumberIn(pid_namespace(), pid); }
abi::Pid Task::FromOwn(abi::Pid pid) const { return kernel_.NumberOf(pid_namespace(), pid); }

uint64_t Task::limit(abi::Resource resource) const { return group_->limit(resource); }

uint32_t Task::umask() const { return fs_ ? fs_->umask() : 0; }

RefPtr<mm::MemoryManager> Task::GetMm() const {
  absl::MutexLock lock(&mu_);
  return mm_;
}
RefPtr<vfs::FdTable> Task::GetFds() const {
  absl::MutexLock lock(&mu_);
  return fds_;
}
RefPtr<vfs::FsContext> Task::GetFs() const {
  absl::MutexLock lock(&mu_);
  return fs_;
}
Ref<const auth::Credentials> Task::GetCreds() const {
  absl::MutexLock lock(&mu_);
  return creds_.ToRef();
}

void Task::SetCreds(Ref<const auth::Credentials> creds) {
  answers_due_ = true;
  RefPtr<const auth::Credentials> old(std::move(creds));
  absl::MutexLock lock(&mu_);
  std::swap(creds_, old);
}

void Task::SetFds(Ref<vfs::FdTable> fds) {
  ReleaseFds();
  absl::MutexLock lock(&mu_);
  fds_ = std::move(fds);
  fds_users_ = MakeRef<UseCount>();
}

void Task::SetFs(Ref<vfs::FsContext> fs) {
  RefPtr<vfs::FsContext> old(std::move(fs));
  absl::MutexLock lock(&mu_);
  std::swap(fs_, old);
}

Result<void> Task::UnshareFds() {
  if (fds_users_->shared()) SetFds(fds_->Clone());
  return Ok();
}

RefPtr<keys::Key> Task::thread_keyring() const {
  absl::MutexLock lock(&mu_);
  return thread_keyring_;
}
RefPtr<keys::Key> Task::session_keyring() const {
  absl::MutexLock lock(&mu_);
  return session_keyring_;
}
void Task::SetThreadKeyring(RefPtr<keys::Key> keyring) {
  absl::MutexLock lock(&mu_);
  std::swap(thread_keyring_, keyring);
}
void Task::SetSessionKeyring(RefPtr<keys::Key> keyring) {
  absl::MutexLock lock(&mu_);
  std::swap(session_keyring_, keyring);
}

mm::NumaPolicy Task::numa_policy() const {
  absl::MutexLock lock(&mu_);
  return numa_policy_;
}
void Task::SetNumaPolicy(const mm::NumaPolicy& policy) {
  absl::MutexLock lock(&mu_);
  numa_policy_ = policy;
}

void Task::Recall() {
  absl::MutexLock lock(&group_->signal_mu_);
  if (platform::Context* const context = running_.load(std::memory_order_seq_cst); context != nullptr) context->Interrupt();
}

Result<void> Task::Sleep(Deadline deadline) {
  sleeps_.fetch_add(1, std::memory_order_relaxed);
  clock_.Enter(TaskClock::State::kAsleep);
  const wait::Sleeper::Outcome outcome = sleeper_.Sleep(deadline);
  clock_.Enter(TaskClock::State::kSentry);
  switch (outcome) {
    case wait::Sleeper::Outcome::kWoken:
      return Ok();
    case wait::Sleeper::Outcome::kInterrupted:
      return Errno::kERESTARTSYS;
    case wait::Sleeper::Outcome::kTimedOut:
      return Errno::kETIMEDOUT;
  }
  UNREACHABLE();
}

Result<Word> Task::Restart() {
  const std::function<Result<Word>(Task&)> restart = std::exchange(restart_, nullptr);
  if (!restart) return Errno::kEINTR;
  return restart(*this);
}

std::string Task::name() const {
  absl::MutexLock lock(&mu_);
  return name_;
}

void Task::SetName(std::string name) {
  name.resize(std::min<size_t>(name.size(), 15));
  absl::MutexLock lock(&mu_);
  name_ = std::move(name);
}

Task::Scheduling Task::scheduling() const {
  absl::MutexLock lock(&mu_);
  return scheduling_;
}

void Task::SetScheduling(Scheduling scheduling) {
  absl::MutexLock lock(&mu_);
  scheduling_ = std::move(scheduling);
}

std::vector<uint64_t> Task::AllowedProcessors() const {
  const uint32_t cpus = kernel_.cpus();
  const std::vector<uint64_t> wanted = scheduling().allowed;
  std::vector<uint64_t> all((cpus + 63) / 64), out(all.size());
  bool any = false;
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
    const uint64_t bit = uint64_t{1} << (cpu % 64);
    all[cpu / 64] |= bit;
    if (cpu / 64 < wanted.size()) out[cpu / 64] |= wanted[cpu / 64] & bit;
    any = any || out[cpu / 64] != 0;
  }
  return any ? out : all;
}

char Task::StateLetter() const {
  if (!alive()) return 'Z';
  {
    absl::MutexLock lock(&group_->signal_mu_);
    if (trace_.stopped) return 't';
    if (stopped_) return 'T';
  }
  return clock_.state() == TaskClock::State::kAsleep ? 'S' : 'R';
}

ResourceTotals Task::Usage() const {
  ResourceTotals totals{.user_time = user_time(), .system_time = system_time()};
  totals.minor_faults = minor_faults_.load(std::memory_order_relaxed);
  totals.bytes_read = bytes_read_.load(std::memory_order_relaxed), totals.read_calls = read_calls_.load(std::memory_order_relaxed);
  totals.bytes_written = bytes_written_.load(std::memory_order_relaxed), totals.write_calls = write_calls_.load(std::memory_order_relaxed);
  totals.voluntary_switches = sleeps_.load(std::memory_order_relaxed);
  return totals;
}

}  // namespace rampart::kernel
