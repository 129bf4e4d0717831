// PtraceContext: one thread of application code, run by the host thread that made the Context, which is the ptrace tracer of every
// stub thread that the Context ever has.
//
// Stub threads are kept: the Context's cache holds those of spaces that it left. A process that has become idle is taken again from the
// cache for the next space, a thread of a live process when the Context comes back to the same space (thread pools of applications).
//
// Interrupt() and Switch() meet in state_:
//   Switch sets kRunning, then looks at kPending and at the space's queue; Interrupt sets kPending, then looks at kRunning and if it is
//   set sends the interrupt signal to the stub thread. A signal sent to a stub thread that is stopped stays pending in the host and
//   stops it at once when it is resumed, so none is lost; one that comes late, when the request was already served, finds kPending
//   clear and is swallowed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "platform/platform.h"
#include "platform/ptrace/address_space.h"
#include "platform/ptrace/placement.h"
#include "platform/ptrace/stub_process.h"
#include "platform/ptrace/tracee.h"

namespace rampart::platform::ptrace {

class PtracePlatform;

class PtraceContext final : public Context {
 public:
  explicit PtraceContext(PtracePlatform& platform);
  ~PtraceContext() override;

  abi::UserRegs& regs() override { return regs_; }
  Result<Exit> Switch(AddressSpace& space, Step step) override;
  Result<void> Commit(AddressSpace& space) override;
  void Interrupt() override;
  Result<void> GetExtendedState(std::span<std::byte> out) override;
  Result<void> SetExtendedState(std::span<const std::byte> in) override;
  Result<void> PrepareSibling(AddressSpace& space) override;
  void Leave(AddressSpace& space) override;
  void SetAnswers(std::span<const KnownAnswer>) override {}  // every call stops anyway

  // For PtraceAddressSpace::Kick: Interrupt() when inside Switch. Any thread.
  void KickIfRunning();

  // Counters, written by the owner only.
  struct Counters {
    std::atomic<uint64_t> switches{0};
    std::atomic<uint64_t> host_calls{0};
    std::atomic<uint64_t> injected{0};
  };
  const Counters& counters() const { return counters_; }

  // Host ids of the stub process and of its thread that runs the code now; 0 when there is none. Any thread. For tests.
  struct HostIds {
    pid_t process, thread;
  };
  HostIds host_ids() const {
    const uint64_t target = target_.load(std::memory_order_acquire);
    return {static_cast<pid_t>(target >> 32), static_cast<pid_t>(target & 0xffffffff)};
  }

 private:
  static constexpr uint32_t kRunning = 1;
  static constexpr uint32_t kPending = 2;

  // Makes `space` the one that thread_ runs in.
  Result<void> Bind(PtraceAddressSpace& space);
  Result<std::unique_ptr<StubThread>> ThreadForNewSpace();
  Result<std::unique_ptr<StubThread>> ThreadInProcess(Ref<StubProcess> process);
  void Unbind();
  void Keep(std::unique_ptr<StubThread> thread);
  std::unique_ptr<StubThread> TakeKept(size_t index);

  Result<Exit> SwitchBound(PtraceAddressSpace& space, Step step);
  Result<void> FlushIfNeeded(PtraceAddressSpace& space);
  // Brings regs_ and the extended state to the stub thread.
  Result<void> Load();
  Result<void> LoadSanitized();
  Result<Exit> RunUntilExit(int request);
  // The stop was a signal: an exit to report, or none when the code just continues.
  Result<bool> DecodeSignal(int signal, Exit& exit);
  Exit DecodeSyscall();
  Errno ThreadDied();
  void AddCalls(uint64_t n);

  PtracePlatform& platform_;
  const pid_t owner_;  // host thread
  std::atomic<uint32_t> state_{0};
  std::atomic<uint64_t> target_{0};  // pid << 32 | tid of thread_, for Interrupt()

  Placement::Pair pair_;

  // Owner thread only.
  abi::UserRegs regs_{};
  abi::UserRegs in_stub_{};  // what the stub thread has, when in_stub_valid_
  bool in_stub_valid_ = false;
  bool xstate_due_ = true;          // the thread's extended state must be set before it runs: to xstate_ or, when empty, the initial one
  std::vector<std::byte> xstate_;
  RefPtr<PtraceAddressSpace> space_;
  std::unique_ptr<StubThread> thread_;
  std::vector<std::unique_ptr<StubThread>> cache_;  // oldest first
  Counters counters_;
};

}  // namespace rampart::platform::ptrace
