// The application's seccomp filters of a task (Linux kernel/seccomp.c).
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/seccomp/filter.h"

namespace rampart::kernel {

RefPtr<const appfilter::Filter> Task::seccomp_filter() const {
  absl::MutexLock lock(&mu_);
  return seccomp_filter_;
}

Result<void> Task::EnterSeccompStrict() {
  if (seccomp_mode() == abi::kSeccompModeFilter) return Errno::kEINVAL;
  seccomp_mode_.store(abi::kSeccompModeStrict, std::memory_order_release);
  return Ok();
}

Result<abi::Pid> Task::AddSeccompFilter(std::vector<abi::SockFilter> program, bool all_threads) {
  if (seccomp_mode() == abi::kSeccompModeStrict) return Errno::kEINVAL;
  const RefPtr<const appfilter::Filter> before = seccomp_filter();
  const Ref<appfilter::Filter> filter = TRY(appfilter::Filter::Create(std::move(program), before));
  absl::MutexLock lock(&group_->signal_mu_);
  if (all_threads) {
    // Nobody may have gone another way than we have.
    for (const Task* other : group_->tasks_) {
      if (other == this) continue;
      const RefPtr<const appfilter::Filter> theirs = other->seccomp_filter();
      const bool ours = !theirs || (before && before->Includes(theirs.get()));
      if (other->seccomp_mode() == abi::kSeccompModeStrict || !ours) return other->own_tid();
    }
  }
  for (Task* task : group_->tasks_) {
    if (task != this && !all_threads) continue;
    task->SetSeccompFilter(filter);
    if (task != this) task->InterruptLocked();  // the platform answers no call of it any longer
  }
  return abi::Pid{0};
}

void Task::SetUserDispatch(const UserDispatch& dispatch) {
  user_dispatch_ = dispatch;
  answers_due_ = true;  // the platform answers no call that is to be seen here
}

void Task::SetSeccompFilter(RefPtr<const appfilter::Filter> filter) {
  {
    absl::MutexLock lock(&mu_);
    seccomp_filter_ = std::move(filter);
  }
  seccomp_mode_.store(abi::kSeccompModeFilter, std::memory_order_release);
}

void Task::InheritSeccomp(const Task& parent) {
  if (parent.seccomp_mode() == abi::kSeccompModeDisabled) return;
  if (parent.seccomp_mode() == abi::kSeccompModeFilter) SetSeccompFilter(parent.seccomp_filter());
  seccomp_mode_.store(parent.seccomp_mode(), std::memory_order_release);
}

}  // namespace rampart::kernel
