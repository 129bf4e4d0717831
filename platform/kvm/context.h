// KvmContext: one thread of application code, run by the host thread that made the Context, on a virtual processor that it holds while it is
// needed. Between Switches the processor may be taken away (Surrender) for another Context; the extended state then waits in xstate_.
//
// Interrupt() and Switch() meet in state_: Switch sets kRunning, then looks at kPending; Interrupt sets kPending, then looks at kRunning and if
// it is set pokes the processor (kvm_run::immediate_exit, for a KVM_RUN that is about to begin) and sends the signal (for one that has). Neither can
// be lost; a late one makes one needless round.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "platform/kvm/address_space.h"
#include "platform/kvm/vcpu.h"
#include "platform/platform.h"

namespace rampart::platform::kvm {

class Machine;

class KvmContext final : public Context {
 public:
  explicit KvmContext(std::shared_ptr<Machine> machine);
  ~KvmContext() override;

  abi::UserRegs& regs() override { return regs_; }
  Result<Exit> Switch(AddressSpace& space, Step step) override;
  Result<void> Commit(AddressSpace& space) override;
  void Interrupt() override;
  Result<void> GetExtendedState(std::span<std::byte> out) override;
  Result<void> SetExtendedState(std::span<const std::byte> in) override;
  Result<void> PrepareSibling(AddressSpace& /*space*/) override { return Ok(); }
  void Leave(AddressSpace& space) override;
  void SetAnswers(std::span<const KnownAnswer> answers) override;

  // For KvmAddressSpace; any thread, while the Context is in its list.
  uint64_t SeenWhileRunning() const;
  // Makes it leave the guest for a moment. The number of host calls.
  uint64_t Nudge();
  void KickIfRunning();

  // For Machine, under its lock: the processor, if the Context holds one that it does not use now.
  VCpu* Surrender();
  void AddTo(PlatformStats& stats) const;

  // The interrupt signal's handler is installed once for the process.
  static Result<void> InstallSignal();

 private:
  static constexpr uint32_t kRunning = 1;
  static constexpr uint32_t kPending = 2;
  enum class Hold : uint8_t { kNone, kIdle, kInUse, kLeaving };

  void Bind(KvmAddressSpace& space);
  void Unbind();
  // Holds the processor until Unclaim; false when there is none.
  bool Claim();
  void Unclaim();
  Result<void> TakeVcpu();

  // regs_ to the data page, made harmless; an exit instead when no processor would take them.
  bool LoadRegs(Step step, Exit& instead);
  void LoadSegments(VCpuData& data);
  void StoreRegs(Step step);
  void StoreAnswers();
  Result<Exit> RunUntilExit(KvmAddressSpace& space, Step step);
  // Marks as running, runs until the processor stands at ring 0's halt, unmarks. False: interrupted before.
  Result<bool> RunMarked(KvmAddressSpace& space);
  // KVM_RUN ended before the halt: deals with what the host lacked, gets the processor there.
  Result<void> EndedElsewhere(KvmAddressSpace& space, int error);
  Result<void> BringToHalt(int error);
  bool AtHalt(int error) const;
  // What ring 0 reports. False: go on.
  Result<bool> Decode(KvmAddressSpace& space, Exit& exit);
  Result<bool> DecodePageFault(KvmAddressSpace& space, Exit& exit);
  // The processor cannot be used as it is: logs why, makes it anew. What the application had in it is lost.
  Errno Broken(const char* why, int error);
  void Count(std::atomic<uint64_t>& counter, uint64_t n = 1) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  const std::shared_ptr<Machine> machine_;
  const pid_t process_, owner_;
  std::atomic<uint32_t> state_{0};
  std::atomic<uint64_t> seen_{0};  // the space's generation at the last entry
  std::atomic<Hold> hold_{Hold::kNone};
  std::atomic<VCpu*> vcpu_{nullptr};

  // Owner thread only.
  abi::UserRegs regs_{};
  RefPtr<KvmAddressSpace> space_;
  abi::UserRegs inside_{};     // selectors and bases that the processor has
  bool fresh_ = true;          // the processor has nothing of this Context yet
  bool after_syscall_ = false; // ring 0 was entered by SYSCALL last
  int refused_ = 0;            // consecutive KVM_RUNs for which the host had no memory
  std::vector<KnownAnswer> answers_;
  bool answers_due_ = false;

  // Owner thread, or whoever takes the processor away (hold_ is kLeaving).
  std::vector<std::byte> xstate_;  // empty: the initial one
  bool xstate_due_ = true;         // to be set before running

  std::atomic<uint64_t> switches_{0}, host_calls_{0}, inner_faults_{0}, answered_{0};
  uint64_t answered_before_ = 0;
};

}  // namespace rampart::platform::kvm
