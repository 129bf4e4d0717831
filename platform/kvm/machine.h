// Machine: the one virtual machine of the Sentry: its memory, the ring-0 half of every address space, its processors.
//
// Processors are handed to Contexts. There are at most max_vcpus; when all are held, one is taken from a Context that is not running
// (KvmContext::Surrender), and when all run, whoever waits makes one of them leave the guest, every few milliseconds.
// Thread safety: any thread. Lock order: vcpus_mu_ → (PagePool, GuestMemory); kernel_mu_ → PagePool. Owned by the platform and by its spaces and
// Contexts together.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "platform/kvm/guest_memory.h"
#include "platform/kvm/page_pool.h"
#include "platform/kvm/vcpu.h"
#include "platform/kvm/xstate.h"
#include "platform/platform.h"

struct kvm_cpuid2;

namespace rampart::platform::kvm {

class KvmContext;

class Machine : public std::enable_shared_from_this<Machine> {
 public:
  // `kvm`: /dev/kvm, open. On failure *what names what was tried. Errors: the host's; ENOTSUP when the host's KVM lacks something.
  static Result<std::shared_ptr<Machine>> Create(UniqueFd kvm, const char** what);
  ~Machine();

  PagePool& pool() { return *pool_; }
  GuestMemory& memory() { return *memory_; }
  const Xstate& xstate() const { return xstate_; }
  int vm_fd() const { return vm_.get(); }
  int first_vcpu_fd() const { return first_vcpu_fd_; }
  size_t run_size() const { return run_size_; }
  kvm_cpuid2* cpuid() const;
  uint64_t cr4() const { return cr4_; }
  bool has_rdtscp() const { return has_rdtscp_; }
  GuestPage text_page() const { return text_; }
  GuestPage boot_root() const { return boot_root_; }  // page tables with nothing but ring 0
  uint64_t kernel_entry() const { return kernel_entry_; }
  uint32_t max_vcpus() const { return max_vcpus_; }
  // To try the sharing of few processors. Before the first Context.
  void LimitVcpusForTesting(uint32_t most) { max_vcpus_ = most; }

  // A page of ring 0's half, once and for all.
  Result<void> MapKernel(uint64_t address, uint64_t entry);

  // A processor for `context`, which is not marked as running. May wait for another Context to leave the guest.
  Result<VCpu*> TakeVcpu(KvmContext& context);
  void PutVcpu(VCpu* vcpu);
  // True when somebody waits in TakeVcpu: whoever does not run gives its processor up.
  bool vcpu_wanted() const { return waiting_.load(std::memory_order_relaxed) != 0; }

  void Add(KvmContext* context);
  void Remove(KvmContext* context);
  // Calls f for each Context that exists.
  void ForEach(const std::function<void(const KvmContext&)>& f) const;
  PlatformStats gone() const;

  void SpaceMade() { spaces_.fetch_add(1, std::memory_order_relaxed); }
  void SpaceGone() { spaces_.fetch_sub(1, std::memory_order_relaxed); }
  struct Counts {
    size_t spaces, contexts, vcpus, free_vcpus, pages;
    GuestMemory::Counts memory;
  };
  Counts counts() const;

 private:
  Machine() = default;
  Result<void> Ask(int kvm, const char** what);
  Result<void> MakeMemory();
  Result<void> MakeRing0();
  Result<void> SetSlot(uint32_t slot, uint64_t guest, std::byte* host, uint64_t length, bool writable);
  VCpu* StealLocked(const KvmContext& for_whom) ABSL_EXCLUSIVE_LOCKS_REQUIRED(vcpus_mu_);

  UniqueFd vm_;
  int first_vcpu_fd_ = 0;
  size_t run_size_ = 0;
  uint32_t max_vcpus_ = 0, slots_ = 0;
  int physical_bits_ = 36;
  uint64_t cr4_ = 0;
  bool has_rdtscp_ = false;
  std::vector<std::byte> cpuid_;
  Xstate xstate_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<GuestMemory> memory_;
  GuestPage text_ = 0, boot_root_ = 0;
  uint64_t kernel_entry_ = 0;
  std::atomic<size_t> spaces_{0};
  std::atomic<uint32_t> waiting_{0};
  absl::Mutex kernel_mu_;
  mutable absl::Mutex vcpus_mu_;
  absl::CondVar vcpu_free_;
  std::vector<std::unique_ptr<VCpu>> vcpus_ ABSL_GUARDED_BY(vcpus_mu_);
  std::vector<VCpu*> free_ ABSL_GUARDED_BY(vcpus_mu_);
  absl::flat_hash_set<KvmContext*> contexts_ ABSL_GUARDED_BY(vcpus_mu_);
  size_t next_victim_ ABSL_GUARDED_BY(vcpus_mu_) = 0;
  PlatformStats gone_ ABSL_GUARDED_BY(vcpus_mu_);
};

}  // namespace rampart::platform::kvm
