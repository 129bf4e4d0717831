#include "platform/ptrace/context.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "platform/ptrace/platform_impl.h"
#include "platform/ptrace/xstate.h"

namespace rampart::platform::ptrace {
namespace {

// Stub threads that a Context keeps for later: enough for a shell's rhythm of fork, exec and exit; each idle process costs the host
// some 60 KiB.
constexpr size_t kMaxCached = 4;

// gettid(2), asked once a thread.
pid_t ThisThread() {
  static thread_local const pid_t id = gettid();
  return id;
}

}  // namespace

PtraceContext::PtraceContext(PtracePlatform& platform) : platform_(platform), owner_(ThisThread()) {
  platform_.Add(this);
  platform_.placement().Add(pair_);
}

PtraceContext::~PtraceContext() {
  // A tracer that ends before its Context takes its stubs with it (EXITKILL); here their ends must still be seen by their tracer.
  CHECK(owner_ == ThisThread());
  Unbind();
  while (!cache_.empty()) TakeKept(cache_.size() - 1);
  platform_.placement().Remove(pair_);
  platform_.Remove(this);
}

void PtraceContext::AddCalls(uint64_t n) {
  counters_.host_calls.store(counters_.host_calls.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

// --- Which stub thread runs the space.

Result<void> PtraceContext::Bind(PtraceAddressSpace& space) {
  CHECK(owner_ == ThisThread());
  if (space_) Unbind();
  std::unique_ptr<StubThread> thread;
  for (RefPtr<StubProcess> process = space.process(); thread == nullptr; process = space.process()) {
    if (process) {
      thread = TRY(ThreadInProcess(process.ToRef()));
      process->SiblingArrived();
      break;
    }
    thread = TRY(ThreadForNewSpace());
    if (space.SetProcess(ShareRef(&thread->process()))) break;
    thread->process().Release();  // another thread was first
    Keep(std::move(thread));
  }
  thread_ = std::move(thread);
  space_ = ShareRef(&space);
  in_stub_valid_ = false;
  xstate_due_ = true;
  target_.store(static_cast<uint64_t>(thread_->process().pid()) << 32 | static_cast<uint32_t>(thread_->tid()), std::memory_order_release);
  platform_.placement().OwnerSetsStub(pair_, thread_->tid(), thread_->cpu());
  space.AddContext(this);
  return Ok();
}

Result<std::unique_ptr<StubThread>> PtraceContext::ThreadForNewSpace() {
  for (size_t i = cache_.size(); i-- > 0;) {
    StubProcess& process = cache_[i]->process();
    if (process.Acquire()) {
      std::unique_ptr<StubThread> thread = TakeKept(i);
      if (thread->Alive()) return thread;
      thread->ReapAfterKill();  // the host's out-of-memory killer prefers what idles
      continue;
    }
    if (process.dead()) TakeKept(i);
  }
  Ref<StubProcess> process = TRY(platform_.NewProcess());
  const pid_t tid = process->TakeParked();
  AddCalls(5);
  return StubThread::SeizeParked(std::move(process), tid);
}

Result<std::unique_ptr<StubThread>> PtraceContext::ThreadInProcess(Ref<StubProcess> process) {
  if (process->dead()) return Errno::kESRCH;
  for (size_t i = 0; i < cache_.size(); ++i) {
    if (&cache_[i]->process() == process.get()) return TakeKept(i);
  }
  const pid_t tid = process->TakeParked();
  if (tid == 0) return Errno::kEAGAIN;  // PrepareSibling was not called
  AddCalls(3);
  return StubThread::SeizeParked(std::move(process), tid);
}

void PtraceContext::Keep(std::unique_ptr<StubThread> thread) {
  if (!platform_.MayKeepAnother()) {
    if (cache_.empty()) return;  // lets go of it
    TakeKept(0);
    if (!platform_.MayKeepAnother()) return;
  }
  cache_.push_back(std::move(thread));
  if (cache_.size() > kMaxCached) TakeKept(0);
}

std::unique_ptr<StubThread> PtraceContext::TakeKept(size_t index) {
  std::unique_ptr<StubThread> thread = std::move(cache_[index]);
  cache_.erase(cache_.begin() + static_cast<ptrdiff_t>(index));
  platform_.KeptOneLess();
  return thread;
}

void PtraceContext::Unbind() {
  if (!space_) return;
  space_->RemoveContext(this);
  target_.store(0, std::memory_order_release);
  const int cpu = platform_.placement().OwnerSetsStub(pair_, 0, Placement::kUnknown);
  if (thread_) {
    thread_->set_cpu(cpu);
    Keep(std::move(thread_));
  }
  xstate_due_ = true;
  xstate_.clear();
  space_ = nullptr;
}

void PtraceContext::Leave(AddressSpace& space) {
  CHECK(owner_ == ThisThread());
  if (space_.get() == &space) Unbind();
}

Errno PtraceContext::ThreadDied() {
  target_.store(0, std::memory_order_release);
  platform_.placement().OwnerSetsStub(pair_, 0, Placement::kUnknown);
  thread_->ReapAfterKill();
  thread_ = nullptr;
  return Errno::kESRCH;
}

// --- Mapping changes and siblings.

Result<void> PtraceContext::FlushIfNeeded(PtraceAddressSpace& space) {
  if (!space.NeedsFlush()) [[likely]] return Ok();
  if (thread_ == nullptr) return Errno::kESRCH;
  uint64_t injected = 0;
  const Result<void> result = space.Flush(*thread_, injected);
  if (injected != 0) {
    in_stub_valid_ = false;
    counters_.injected.store(counters_.injected.load(std::memory_order_relaxed) + injected, std::memory_order_relaxed);
    AddCalls(injected + 4);
  }
  if (!result.ok() && thread_->process().dead()) return ThreadDied();
  return result;
}

Result<void> PtraceContext::Commit(AddressSpace& space) {
  auto& own = static_cast<PtraceAddressSpace&>(space);
  if (space_.get() != &own) TRY(Bind(own));
  return FlushIfNeeded(own);
}

Result<void> PtraceContext::PrepareSibling(AddressSpace& space) {
  auto& own = static_cast<PtraceAddressSpace&>(space);
  if (space_.get() != &own) TRY(Bind(own));
  if (thread_ == nullptr) return Errno::kESRCH;
  StubProcess& process = thread_->process();
  if (!process.PromiseSibling()) return Ok();
  in_stub_valid_ = false;
  AddCalls(5);
  const Result<pid_t> tid = thread_->CloneSibling();
  if (tid.ok()) {
    process.AddParked(*tid);
    return Ok();
  }
  process.SiblingArrived();
  if (process.dead()) return ThreadDied();
  return tid.error();
}

// --- Interrupts.

void PtraceContext::Interrupt() {
  const uint32_t before = state_.fetch_or(kPending, std::memory_order_seq_cst);
  if ((before & kRunning) == 0 || (before & kPending) != 0) return;
  const uint64_t target = target_.load(std::memory_order_acquire);
  if (target == 0) return;
  syscall(SYS_tgkill, static_cast<pid_t>(target >> 32), static_cast<pid_t>(target & 0xffffffff), kInterruptSignal);
}

void PtraceContext::KickIfRunning() {
  if ((state_.load(std::memory_order_seq_cst) & kRunning) != 0) Interrupt();
}

// --- Extended state.

Result<void> PtraceContext::GetExtendedState(std::span<std::byte> out) {
  if (out.size() != XstateSize()) return Errno::kEINVAL;
  if (xstate_due_ || thread_ == nullptr) {
    const std::span<const std::byte> from = xstate_.empty() ? InitialXstate() : std::span<const std::byte>(xstate_);
    std::memcpy(out.data(), from.data(), out.size());
    return Ok();
  }
  AddCalls(1);
  const Result<size_t> got = GetXstate(thread_->tid(), out.data(), out.size());
  if (!got.ok()) return got.error() == Errno::kESRCH ? ThreadDied() : got.error();
  return *got == out.size() ? Ok() : Result<void>(Errno::kEIO);
}

Result<void> PtraceContext::SetExtendedState(std::span<const std::byte> in) {
  if (!ValidXstate(in)) return Errno::kEINVAL;
  xstate_.assign(in.begin(), in.end());
  xstate_due_ = true;
  return Ok();
}

}  // namespace rampart::platform::ptrace
