#include "platform/kvm/context.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "platform/kvm/ioctls.h"
#include "platform/kvm/machine.h"

namespace rampart::platform::kvm {
namespace {

// Takes a thread out of KVM_RUN. Its handler does nothing.
constexpr int kInterruptSignal = SIGURG;

void OnInterrupt(int) {}

pid_t ThisThread() {
  static thread_local const pid_t id = gettid();
  return id;
}

}  // namespace

Result<void> KvmContext::InstallSignal() {
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(kInterruptSignal, &action, nullptr) != 0) return ErrnoFromHost(errno);
  return Ok();
}

KvmContext::KvmContext(std::shared_ptr<Machine> machine) : machine_(std::move(machine)), process_(getpid()), owner_(ThisThread()) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kInterruptSignal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  machine_->Add(this);
}

KvmContext::~KvmContext() {
  CHECK(owner_ == ThisThread());
  Unbind();
  if (Claim()) {
    machine_->PutVcpu(vcpu_.exchange(nullptr));
    hold_.store(Hold::kNone);
  }
  machine_->Remove(this);
}

void KvmContext::AddTo(PlatformStats& stats) const {
  stats.switches += switches_.load(std::memory_order_relaxed);
  stats.host_calls += host_calls_.load(std::memory_order_relaxed);
  stats.inner_faults += inner_faults_.load(std::memory_order_relaxed);
  stats.answered_calls += answered_.load(std::memory_order_relaxed);
}

// --- The space.

void KvmContext::Bind(KvmAddressSpace& space) {
  CHECK(owner_ == ThisThread());
  if (space_) Unbind();
  space_ = ShareRef(&space);
  seen_.store(0, std::memory_order_seq_cst);
  space.AddContext(this);
}

void KvmContext::Unbind() {
  if (!space_) return;
  space_->RemoveContext(this);
  space_ = nullptr;
  answers_.clear();
  answers_due_ = true;
  const bool held = Claim();
  xstate_.clear();
  xstate_due_ = true;
  if (held) Unclaim();
}

void KvmContext::Leave(AddressSpace& space) {
  CHECK(owner_ == ThisThread());
  if (space_.get() == &space) Unbind();
}

Result<void> KvmContext::Commit(AddressSpace& space) {
  auto& own = static_cast<KvmAddressSpace&>(space);
  if (space_.get() != &own) Bind(own);
  if (own.NeedsShootdown()) Count(host_calls_, own.Shootdown(*this));
  own.ReleaseWhatIsDue();
  return Ok();
}

// --- The processor.

bool KvmContext::Claim() {
  for (;;) {
    Hold expected = Hold::kIdle;
    if (hold_.compare_exchange_strong(expected, Hold::kInUse, std::memory_order_acq_rel)) return true;
    if (expected == Hold::kNone) return false;
    CHECK(expected == Hold::kLeaving);
    sched_yield();
  }
}

void KvmContext::Unclaim() {
  hold_.store(Hold::kIdle, std::memory_order_release);
  if (!machine_->vcpu_wanted()) [[likely]] return;
  if (VCpu* vcpu = Surrender()) machine_->PutVcpu(vcpu);
}

VCpu* KvmContext::Surrender() {
  Hold expected = Hold::kIdle;
  if (!hold_.compare_exchange_strong(expected, Hold::kLeaving, std::memory_order_acq_rel)) return nullptr;
  VCpu* const vcpu = vcpu_.exchange(nullptr);
  if (!xstate_due_) {
    xstate_.resize(machine_->xstate().size);
    if (!vcpu->GetXstate(xstate_).ok()) xstate_.clear();
    xstate_due_ = true;
  }
  hold_.store(Hold::kNone, std::memory_order_release);
  return vcpu;
}

Result<void> KvmContext::TakeVcpu() {
  VCpu* const vcpu = TRY(machine_->TakeVcpu(*this));
  vcpu_.store(vcpu);
  hold_.store(Hold::kInUse, std::memory_order_release);
  fresh_ = true;
  after_syscall_ = false;
  answers_due_ = true;
  answered_before_ = vcpu->data().answered;
  return Ok();
}

// --- Interrupts.

uint64_t KvmContext::SeenWhileRunning() const {
  if ((state_.load(std::memory_order_seq_cst) & kRunning) == 0) return UINT64_MAX;
  return seen_.load(std::memory_order_seq_cst);
}

uint64_t KvmContext::Nudge() {
  // The processor may just have gone to another Context, which then leaves the guest in vain. It is never freed.
  VCpu* const vcpu = vcpu_.load();
  if (vcpu == nullptr) return 0;
  vcpu->Poke();
  syscall(SYS_tgkill, process_, owner_, kInterruptSignal);
  return 1;
}

void KvmContext::Interrupt() {
  const uint32_t before = state_.fetch_or(kPending, std::memory_order_seq_cst);
  if ((before & kRunning) != 0 && (before & kPending) == 0) (void)Nudge();
}

void KvmContext::KickIfRunning() {
  if ((state_.load(std::memory_order_seq_cst) & kRunning) != 0) Interrupt();
}

// --- Extended state, answers.

Result<void> KvmContext::GetExtendedState(std::span<std::byte> out) {
  if (out.size() != machine_->xstate().size) return Errno::kEINVAL;
  const bool held = Claim();
  Result<void> result = Ok();
  if (xstate_due_) {
    const std::vector<std::byte>& from = xstate_.empty() ? machine_->xstate().initial : xstate_;
    std::memcpy(out.data(), from.data(), out.size());
  } else {
    CHECK(held);
    Count(host_calls_);
    result = vcpu_.load()->GetXstate(out);
  }
  if (held) Unclaim();
  return result;
}

Result<void> KvmContext::SetExtendedState(std::span<const std::byte> in) {
  if (!machine_->xstate().Valid(in)) return Errno::kEINVAL;
  const bool held = Claim();
  xstate_.assign(in.begin(), in.end());
  xstate_due_ = true;
  if (held) Unclaim();
  return Ok();
}

void KvmContext::SetAnswers(std::span<const KnownAnswer> answers) {
  answers_.assign(answers.begin(), answers.end());
  answers_due_ = true;
}

void KvmContext::StoreAnswers() {
  VCpu& vcpu = *vcpu_.load();
  std::memset(vcpu.data().valid, 0, sizeof(vcpu.data().valid));
  for (const KnownAnswer& answer : answers_) {
    if (answer.number >= ANSWER_COUNT) continue;
    vcpu.answers()[answer.number] = answer.result;
    vcpu.data().valid[answer.number] = 1;
  }
  answers_due_ = false;
}

}  // namespace rampart::platform::kvm
