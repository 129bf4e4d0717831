#include "platform/ptrace/platform_impl.h"

#include <signal.h>
#include <sys/syscall.h>

#include <utility>

#include "platform/ptrace/address_space.h"
#include "platform/ptrace/context.h"
#include "platform/ptrace/probe.h"
#include "platform/ptrace/ptrace_platform.h"
#include "platform/ptrace/xstate.h"

namespace rampart::platform::ptrace {
namespace {

constexpr Capabilities kCapabilities{
    .name = "ptrace",
    .min_user_address = kMinUserAddress,
    .max_user_address = kMaxUserAddress,
    .fault_access_known = false,
    .context_thread_is_costly = true,
    .max_contexts = kMaxSlots,
};

void Accumulate(PlatformStats& into, const PtraceContext::Counters& from) {
  into.switches += from.switches.load(std::memory_order_relaxed);
  into.host_calls += from.host_calls.load(std::memory_order_relaxed);
  into.injected_calls += from.injected.load(std::memory_order_relaxed);
}

// Of all Contexts together: runner/cgroup's limit of host tasks counts on it.
constexpr size_t kMaxKept = 64;

std::vector<NeededSyscall> NeededSyscalls() {
  return {
      {SYS_ptrace, "ptrace: run, stop and read the threads of stub processes"},
      {SYS_wait4, "ptrace: wait for a stub thread to stop; reap stubs"},
      {SYS_tgkill, "ptrace: take a stub thread out of application code; end stub processes"},
      {SYS_futex, "ptrace: ask the pristine stub for a process"},
      {SYS_sched_setaffinity, "ptrace: keep a stub thread on its tracer's CPU"},
  };
}

std::vector<NeededIoctl> NeededIoctls() { return {}; }

void Nothing() {}

}  // namespace

const PlatformInfo kPtracePlatform{"ptrace", WhyUnavailable, PtracePlatform::Create, NeededSyscalls, NeededIoctls, NoteHost, Nothing};

PtracePlatform::PtracePlatform(std::unique_ptr<Pristine> pristine) : pristine_(std::move(pristine)) {}

PtracePlatform::~PtracePlatform() {
  absl::MutexLock lock(&mu_);
  CHECK(contexts_.empty());
}

namespace {

// Every stop of a stub would otherwise be a SIGCHLD for this process. Waiting works as before.
void SilenceStops() {
  struct sigaction action {};
  if (sigaction(SIGCHLD, nullptr, &action) != 0 || (action.sa_flags & SA_NOCLDSTOP) != 0) return;
  action.sa_flags |= SA_NOCLDSTOP;
  sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace

Result<std::unique_ptr<Platform>> PtracePlatform::Create() {
  SilenceStops();
  std::unique_ptr<Pristine> pristine = TRY(Pristine::Create());
  (void)InitialXstate();  // computed once, before threads
  return std::unique_ptr<Platform>(new PtracePlatform(std::move(pristine)));
}

const Capabilities& PtracePlatform::capabilities() const { return kCapabilities; }

Result<Ref<AddressSpace>> PtracePlatform::NewAddressSpace() { return Ref<AddressSpace>(MakeRef<PtraceAddressSpace>()); }

Result<std::unique_ptr<Context>> PtracePlatform::NewContext() { return std::unique_ptr<Context>(std::make_unique<PtraceContext>(*this)); }

size_t PtracePlatform::xstate_size() const { return XstateSize(); }

uint64_t PtracePlatform::xstate_features() const { return XstateFeatures(); }

PlatformStats PtracePlatform::stats() const {
  absl::MutexLock lock(&mu_);
  PlatformStats stats = gone_;
  for (const PtraceContext* context : contexts_) Accumulate(stats, context->counters());
  stats.helper_processes = pristine_->SlotsInUse() + 1;
  return stats;
}

Result<Ref<StubProcess>> PtracePlatform::NewProcess() { return StubProcess::Spawn(*pristine_); }

bool PtracePlatform::MayKeepAnother() {
  if (kept_.fetch_add(1, std::memory_order_relaxed) < kMaxKept) return true;
  KeptOneLess();
  return false;
}

void PtracePlatform::Add(PtraceContext* context) {
  absl::MutexLock lock(&mu_);
  contexts_.insert(context);
}

void PtracePlatform::Remove(PtraceContext* context) {
  absl::MutexLock lock(&mu_);
  contexts_.erase(context);
  Accumulate(gone_, context->counters());
}

}  // namespace rampart::platform::ptrace
