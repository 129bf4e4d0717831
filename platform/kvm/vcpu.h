// VCpu: one virtual processor: its KVM descriptor, its run area and its pages (layout.h). A Context runs application code on one that it
// holds at the time; processors are never given back to the host.
//
// Thread safety: the holder only, but Poke(): any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "abi/regs.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "platform/kvm/layout.h"
#include "platform/kvm/page_table.h"

struct kvm_run;

namespace rampart::platform::kvm {

class Machine;

// The data page, as far as the Sentry uses it. Ring 0 is ours, but what it saved came from the application: values, never trusted.
struct VCpuData {
  std::byte unused0[DATA_REGS];
  abi::UserRegs regs;
  uint32_t vector;
  uint32_t broken;
  uint64_t cr2;
  uint64_t resume;
  uint64_t cr3;
  uint64_t dr6;
  uint64_t scratch;
  uint32_t mxcsr;
  uint16_t fcw;
  uint16_t fsw;
  uint64_t answered;
  std::byte unused1[DATA_VALID - DATA_ANSWERED - 8];
  uint8_t valid[ANSWER_COUNT];
};
static_assert(offsetof(VCpuData, vector) == DATA_VECTOR && offsetof(VCpuData, broken) == DATA_BROKEN && offsetof(VCpuData, cr2) == DATA_CR2);
static_assert(offsetof(VCpuData, resume) == DATA_RESUME && offsetof(VCpuData, cr3) == DATA_CR3 && offsetof(VCpuData, dr6) == DATA_DR6);
static_assert(offsetof(VCpuData, scratch) == DATA_SCRATCH && offsetof(VCpuData, mxcsr) == DATA_MXCSR && offsetof(VCpuData, fcw) == DATA_FCW);
static_assert(offsetof(VCpuData, fsw) == DATA_FSW && offsetof(VCpuData, answered) == DATA_ANSWERED && offsetof(VCpuData, valid) == DATA_VALID);
static_assert(sizeof(VCpuData) <= DATA_STACKS && (DATA_FRAME_TOP % 16) == 0);
static_assert(offsetof(abi::UserRegs, rax) == REGS_RAX && offsetof(abi::UserRegs, orig_rax) == REGS_ORIG_RAX &&
              offsetof(abi::UserRegs, rip) == REGS_RIP && offsetof(abi::UserRegs, ss) == REGS_SS && offsetof(abi::UserRegs, fs_base) == REGS_FS_BASE &&
              offsetof(abi::UserRegs, gs) == REGS_GS);

class VCpu {
 public:
  // Errors: the host's.
  static Result<std::unique_ptr<VCpu>> Create(Machine& machine, uint32_t index);
  ~VCpu();

  // The page tables' root that CR3 has, or will have after the next RESUME_CR3. Held, because ring 0 runs on it until then.
  const std::shared_ptr<const RootPage>& root() const { return root_; }
  void SetRoot(std::shared_ptr<const RootPage> root);
  // Ring 3 was reached since: CR3 has root().
  void ForgetOldRoot() { old_root_ = nullptr; }

  VCpuData& data() const { return *data_; }
  uint64_t* answers() const { return answers_; }
  kvm_run& run() const { return *run_; }

  // KVM_RUN. 0, or the host's errno.
  int Run();
  // Queues the interrupt VECTOR_KICK. REQUIRES: ready for injection.
  Result<void> InjectKick();
  // To its first state, also after a guest broke it: the next Run() begins at the way back to ring 3.
  Result<void> Reset();
  // Standard format, Machine::xstate's size; checked already.
  Result<void> SetXstate(std::span<const std::byte> state);
  Result<void> GetXstate(std::span<std::byte> state);
  // Makes a Run() that is about to begin return at once (EINTR). Any thread.
  void Poke();

 private:
  VCpu(Machine& machine, uint32_t index) : machine_(machine), index_(index) {}
  Result<void> MakePages();
  Result<void> SetUpProcessor();
  uint64_t window() const { return KERNEL_BASE + uint64_t{index_} * VCPU_STRIDE; }

  Machine& machine_;
  const uint32_t index_;
  UniqueFd fd_;
  kvm_run* run_ = nullptr;
  std::shared_ptr<const RootPage> root_;      // null: the machine's boot_root
  std::shared_ptr<const RootPage> old_root_;  // what CR3 still has until the next Run
  VCpuData* data_ = nullptr;
  uint64_t* answers_ = nullptr;
};

}  // namespace rampart::platform::kvm
