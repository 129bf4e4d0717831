// The tracer's side: what it does with a tracee that is stopped (Linux kernel/ptrace.c: ptrace_check_attach, ptrace_request, ptrace_resume).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {
namespace {

constexpr int kExecStop = (abi::kPtraceEventExec << 8) | abi::kSigTrap;

}  // namespace

Result<HeldTracee> HeldTracee::Hold(Task& tracer, Ref<Task> tracee) {
  {
    absl::MutexLock lock(&tracee->group_->signal_mu_);
    TraceState& s = tracee->trace_;
    if (s.tracer != &tracer || !s.stopped || s.listening || tracee->killed_) return Errno::kESRCH;
    // Its number is another since exec, and the tracer has not been told: it means the thread that had the number before.
    if (s.wait_code == kExecStop && s.message != static_cast<uint64_t>(tracee->TidIn(tracer.pid_namespace()))) return Errno::kESRCH;
    s.frozen = true;
  }
  return HeldTracee(tracer, std::move(tracee));
}

HeldTracee::HeldTracee(HeldTracee&& other) noexcept : tracer_(other.tracer_), tracee_(std::exchange(other.tracee_, nullptr)) {}

HeldTracee::~HeldTracee() {
  if (tracee_) LetBe();
}

void HeldTracee::LetBe() {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  tracee_->trace_.frozen = false;
  if (!tracee_->trace_.stopped) tracee_->sleeper_.Wake();  // killed meanwhile
}

abi::UserRegs& HeldTracee::regs() const { return tracee_->context_->regs(); }

RefPtr<mm::MemoryManager> HeldTracee::mm() const { return tracee_->GetMm(); }

void HeldTracee::RunThere(absl::FunctionRef<void()> errand) const {
  {
    absl::MutexLock lock(&tracee_->group_->signal_mu_);
    tracee_->trace_.errand = &errand;
  }
  tracee_->sleeper_.Wake();
  while (true) {
    {
      absl::MutexLock lock(&tracee_->group_->signal_mu_);
      if (tracee_->trace_.errand == nullptr) return;
    }
    (void)tracer_->sleeper_.SleepUninterruptible(Deadline::Never());
  }
}

Result<void> HeldTracee::GetExtendedState(std::span<std::byte> out) const {
  Result<void> result = Ok();
  RunThere([&] { result = tracee_->context_->GetExtendedState(out); });
  return result;
}

Result<void> HeldTracee::SetExtendedState(std::span<const std::byte> in) const {
  Result<void> result = Ok();
  RunThere([&] { result = tracee_->context_->SetExtendedState(in); });
  return result;
}

uint64_t HeldTracee::message() const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  return tracee_->trace_.message;
}

uint32_t HeldTracee::options() const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  return tracee_->trace_.options;
}

void HeldTracee::SetOptions(uint32_t options) const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  tracee_->trace_.options = options;
}

Result<abi::SigInfo> HeldTracee::signal() const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  if (tracee_->trace_.info == nullptr) return Errno::kEINVAL;
  return *tracee_->trace_.info;
}

Result<void> HeldTracee::SetSignal(const abi::SigInfo& info) const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  if (tracee_->trace_.info == nullptr) return Errno::kEINVAL;
  *tracee_->trace_.info = info;
  return Ok();
}

abi::SigSet HeldTracee::mask() const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  return tracee_->restore_mask_ ? tracee_->saved_mask_ : tracee_->signal_mask();
}

void HeldTracee::SetMask(abi::SigSet mask) const {
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  tracee_->restore_mask_ = false;
  tracee_->SetMaskLocked(mask);
}

std::vector<abi::SigInfo> HeldTracee::PeekSignals(uint64_t offset, size_t count, bool shared) const {
  std::vector<abi::SigInfo> found;
  absl::MutexLock lock(&tracee_->group_->signal_mu_);
  const auto& queue = shared ? tracee_->group_->pending_.queue() : tracee_->pending_.queue();
  for (uint64_t i = offset; i < queue.size() && found.size() < count; ++i) found.push_back(queue[i]);
  return found;
}

Result<void> HeldTracee::Resume(TraceResume how, uint64_t signo) && {
  if (signo > abi::kSigMax) return Errno::kEIO;
  const RefPtr<Task> tracee = std::exchange(tracee_, nullptr);
  const wait::DeferWakes defer;
  absl::MutexLock lock(&tracee->group_->signal_mu_);
  TraceState& s = tracee->trace_;
  s.frozen = false;
  if (s.stopped) {
    s.stopped = false;
    s.wait_code = 0;
    s.answer = static_cast<int>(signo);
    s.resume = how;
  }
  tracee->sleeper_.Wake();
  return Ok();
}

Result<void> HeldTracee::Detach(uint64_t signo) && {
  if (signo > abi::kSigMax) return Errno::kEIO;
  const RefPtr<Task> tracee = std::exchange(tracee_, nullptr);
  const wait::DeferWakes defer;
  absl::MutexLock lock(&tracer_->kernel_.state().tree_mu);
  {
    absl::MutexLock signal_lock(&tracee->group_->signal_mu_);
    tracee->trace_.frozen = false;
    if (!tracee->trace_.stopped) tracee->sleeper_.Wake();
  }
  Tracing::UnlinkTreeLocked(*tracee, static_cast<int>(signo));
  return Ok();
}

Result<void> HeldTracee::Listen() && {
  const RefPtr<Task> tracee = std::exchange(tracee_, nullptr);
  absl::MutexLock lock(&tracee->group_->signal_mu_);
  TraceState& s = tracee->trace_;
  s.frozen = false;
  const bool right_stop = s.seized && s.info != nullptr && s.info->code >> 8 == abi::kPtraceEventStop;
  if (right_stop) s.listening = true;
  if (!s.stopped) tracee->sleeper_.Wake();
  if (!right_stop) return Errno::kEIO;
  if (s.trap_notify && s.stopped) Tracing::NotifyLocked(*tracee);
  return Ok();
}

}  // namespace rampart::kernel
