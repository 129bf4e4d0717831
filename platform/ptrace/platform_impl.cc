#include "platform/ptrace/platform_impl.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cstddef>
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

// It reaches only the processes of the Sentry's PID namespace: its own stubs.
std::vector<NeededSyscall> NeededSyscalls() {
  return {
      {SYS_ptrace,
       "ptrace: running, stopping and reading stub threads",
       {{{0, kIntArgument,
          {PTRACE_SYSEMU, PTRACE_SYSEMU_SINGLESTEP, PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_GETREGSET, PTRACE_SETREGSET,
           PTRACE_GETSIGINFO, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_GET_SYSCALL_INFO}}},
        {{0, kIntArgument, {PTRACE_POKEUSER}}, {2, kIntArgument, {offsetof(user_regs_struct, rax)}}}}},
      {SYS_wait4,
       "ptrace: waiting for a stub thread to stop, reaping stubs",
       {{{2, kIntArgument & ~uint64_t{WNOHANG | static_cast<uint32_t>(__WALL)}, {0}}}}},
      {SYS_tgkill, "ptrace: taking a stub thread out of application code, ending stubs", {{{2, kIntArgument, {SIGKILL, SIGURG}}}}},
      {SYS_futex, "ptrace: the pristine stub", {{{1, kIntArgument, {FUTEX_WAIT, FUTEX_WAKE}}}}},
      {SYS_sched_setaffinity, "ptrace: keeping a stub thread on its tracer's processor"},
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
