#include "platform/kvm/machine.h"

#include <sys/ioctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/safe_math.h"
#include "platform/kvm/context.h"
#include "platform/kvm/entry.h"
#include "platform/kvm/ioctls.h"
#include "platform/kvm/layout.h"
#include "platform/kvm/needed.h"
#include "platform/kvm/page_table.h"

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kChunksGuestAddress = kPoolGuestAddress + kPoolSize;
constexpr uint64_t kVsyscall = 0xffffffffff600000;
// On Intel hosts KVM keeps a few pages of its own in the guest for real mode; below our memory.
constexpr uint64_t kIdentityMap = 0xfffbc000, kTssAddress = 0xfffbd000;
constexpr size_t kMaxCpuidEntries = 256;

constexpr uint64_t kCr4Base = 0x40620 | 0x10000;  // OSXSAVE OSXMMEXCPT OSFXSR PAE; FSGSBASE
constexpr uint64_t kCr4Umip = 0x800, kCr4Smep = 0x100000, kCr4Smap = 0x200000;

Errno Host() { return ErrnoFromHost(errno); }

// Descriptor numbers for processors: an aligned block, far above what the Sentry has open, where the limit allows.
int FirstVcpuFd() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const uint64_t below = std::min<uint64_t>(limit.rlim_cur, 32 * kVcpuFdBlock);
  const uint64_t first = below / kVcpuFdBlock;
  return static_cast<int>(first < 2 ? 0 : (first - 1) * kVcpuFdBlock);
}

void AdjustCpuid(kvm_cpuid_entry2& e, uint64_t features) {
  switch (e.function) {
    case 1:
      e.ecx &= ~(uint32_t{1} << 3 | uint32_t{1} << 15 | uint32_t{1} << 21 | uint32_t{1} << 24 | uint32_t{1} << 31);  // MONITOR PDCM x2APIC TSC-deadline hypervisor
      break;
    case 7:
      if (e.index != 0) break;
      e.ecx &= ~(uint32_t{1} << 3 | uint32_t{1} << 4 | uint32_t{1} << 7);                                   // PKU OSPKE SHSTK
      e.edx &= ~(uint32_t{1} << 20 | uint32_t{1} << 22 | uint32_t{1} << 24 | uint32_t{1} << 25);             // IBT AMX
      if ((features & 0xe0) == 0) e.ebx &= ~0xdc230000U;                                                    // AVX-512
      break;
    case 0xd:
      if (e.index == 0) e.eax = static_cast<uint32_t>(features), e.edx = static_cast<uint32_t>(features >> 32);
      if (e.index == 1) e.eax &= ~uint32_t{8}, e.ecx = e.edx = 0;  // no XSAVES
      if (e.index >= 2 && (e.index > 63 || (features >> e.index & 1) == 0)) e.eax = e.ebx = e.ecx = e.edx = 0;
      break;
    default: break;
  }
}

}  // namespace

Result<std::shared_ptr<Machine>> Machine::Create(UniqueFd kvm, const char** what) {
  std::shared_ptr<Machine> machine(new Machine);
  TRY(machine->Ask(kvm.get(), what));
  *what = "memory for the guest";
  TRY(machine->MakeMemory());
  TRY(machine->MakeRing0());
  return machine;
}

Machine::~Machine() { CHECK(contexts_.empty()); }

kvm_cpuid2* Machine::cpuid() const {
  // SAFETY: filled as such by Ask; KVM_SET_CPUID2 only reads it.
  return reinterpret_cast<kvm_cpuid2*>(const_cast<std::byte*>(cpuid_.data()));
}

Result<void> Machine::Ask(int kvm, const char** what) {
  *what = "KVM_GET_API_VERSION";
  if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return Errno::kENOTSUP;
  *what = "KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_XSAVE and other capabilities";
  for (const int needed : {KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_XSAVE, KVM_CAP_XCRS, KVM_CAP_USER_MEMORY, KVM_CAP_READONLY_MEM, KVM_CAP_EXT_CPUID}) {
    if (ioctl(kvm, KVM_CHECK_EXTENSION, static_cast<unsigned long>(needed)) <= 0) return Errno::kENOTSUP;
  }
  const int slots = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
  slots_ = static_cast<uint32_t>(std::max(slots, 32));
  *what = "KVM_GET_VCPU_MMAP_SIZE";
  const int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return Errno::kENOTSUP;
  run_size_ = static_cast<size_t>(run_size);
  *what = "KVM_GET_SUPPORTED_CPUID";
  cpuid_.resize(sizeof(kvm_cpuid2) + kMaxCpuidEntries * sizeof(kvm_cpuid_entry2));
  cpuid()->nent = kMaxCpuidEntries;
  if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid()) != 0) return Host();
  uint64_t xcr0 = 0;
  bool fsgsbase = false, long_mode = false;
  uint32_t kept = 0;
  cr4_ = kCr4Base;
  for (uint32_t i = 0; i < cpuid()->nent; ++i) {
    const kvm_cpuid_entry2 e = cpuid()->entries[i];
    if (e.function == 0xd && e.index == 0) xcr0 = e.eax | uint64_t{e.edx} << 32;
    if (e.function == 7 && e.index == 0) {
      fsgsbase = (e.ebx & 1) != 0;
      if ((e.ebx & uint32_t{1} << 7) != 0) cr4_ |= kCr4Smep;
      if ((e.ebx & uint32_t{1} << 20) != 0) cr4_ |= kCr4Smap;
      if ((e.ecx & uint32_t{1} << 2) != 0) cr4_ |= kCr4Umip;
    }
    if (e.function == 0x80000001) {
      has_rdtscp_ = (e.edx & uint32_t{1} << 27) != 0;
      long_mode = (e.edx & uint32_t{1} << 29) != 0;
    }
    if (e.function == 0x80000008) physical_bits_ = static_cast<int>(e.eax & 0xff);
    if (e.function >= 0x40000000 && e.function < 0x50000000) continue;  // the hypervisor's own leaves
    cpuid()->entries[kept++] = e;
  }
  cpuid()->nent = kept;
  *what = "processor features (64-bit mode, XSAVE, FSGSBASE)";
  if (xcr0 == 0 || !fsgsbase || !long_mode) return Errno::kENOTSUP;
  xstate_ = Xstate::Of(xcr0);
  for (uint32_t i = 0; i < kept; ++i) AdjustCpuid(cpuid()->entries[i], xstate_.features);
  *what = "KVM_CREATE_VM";
  vm_ = TRY(FdFromHost(ioctl(kvm, KVM_CREATE_VM, 0)));
  const int most = ioctl(vm_.get(), KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
  max_vcpus_ = std::min(static_cast<uint32_t>(std::max(most, 4)), kVcpuFdBlock - 8);
  first_vcpu_fd_ = FirstVcpuFd();
  // Both are refused where they are not needed (AMD).
  uint64_t identity = kIdentityMap;
  (void)ioctl(vm_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity);
  (void)ioctl(vm_.get(), KVM_SET_TSS_ADDR, kTssAddress);
  return Ok();
}

Result<void> Machine::MakeMemory() {
  const auto set = [this](uint32_t slot, uint64_t guest, std::byte* host, uint64_t length, bool writable) {
    return SetSlot(slot, guest, host, length, writable);
  };
  // AMD machines with 40 bits have a hole in the last 12 GiB.
  const uint64_t end = (uint64_t{1} << std::min(physical_bits_, 46)) - (uint64_t{16} << 30);
  memory_ = std::make_unique<GuestMemory>(set, kChunksGuestAddress, end, 0, slots_ - 8);
  const auto grow = [this](uint64_t guest, std::byte* host, uint64_t length) -> Result<void> {
    const uint32_t slot = TRY(memory_->TakeSlot());
    return SetSlot(slot, guest, host, length, true);
  };
  pool_ = TRY(PagePool::Create(grow));
  return Ok();
}

Result<void> Machine::SetSlot(uint32_t slot, uint64_t guest, std::byte* host, uint64_t length, bool writable) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = writable ? 0 : KVM_MEM_READONLY;
  region.guest_phys_addr = guest;
  region.memory_size = length;
  region.userspace_addr = reinterpret_cast<uintptr_t>(host);
  if (length == 0) region.flags = 0;
  if (ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) return Host();
  return Ok();
}

Result<void> Machine::MakeRing0() {
  // The root's last entry covers 512 GiB: ring 0's windows in its first GiB, the vsyscall page in its last.
  const GuestPage kernel = TRY(pool_->Allocate());
  kernel_entry_ = kernel | pte::kPresent | pte::kWrite | pte::kUser | pte::kAccessed;
  boot_root_ = TRY(pool_->Allocate());
  pool_->Table(boot_root_)[511] = kernel_entry_;
  text_ = TRY(pool_->Allocate());
  const auto size = static_cast<size_t>(rampart_kvm_text_end - rampart_kvm_text_begin);
  CHECK(size <= kPageSize);
  std::memcpy(pool_->At(text_), rampart_kvm_text_begin, size);
  const GuestPage vsyscall = TRY(pool_->Allocate());
  constexpr uint32_t kNumbers[] = {96, 201, 309};  // gettimeofday, time, getcpu
  const auto length = static_cast<size_t>(rampart_kvm_vsyscall_end - rampart_kvm_vsyscall);
  std::memset(pool_->At(vsyscall), 0xcc, kPageSize);
  for (size_t i = 0; i < 3; ++i) {
    std::byte* const at = pool_->At(vsyscall) + i * 0x400;
    std::memcpy(at, rampart_kvm_vsyscall, length);
    std::memcpy(at + 1, &kNumbers[i], sizeof(uint32_t));
  }
  return MapKernel(kVsyscall, vsyscall | pte::kPresent | pte::kUser | pte::kAccessed);
}

Result<void> Machine::MapKernel(uint64_t address, uint64_t entry) {
  absl::MutexLock lock(&kernel_mu_);
  uint64_t* table = pool_->Table(kernel_entry_ & pte::kAddress);
  for (const int shift : {30, 21}) {
    uint64_t& next = table[(address >> shift) & 511];
    if (next == 0) {
      const GuestPage made = TRY(pool_->Allocate());
      const uint64_t user = address >= kVsyscall ? pte::kUser : 0;  // no user right above any page of ring 0
      __atomic_store_n(&next, made | pte::kPresent | pte::kWrite | pte::kAccessed | user, __ATOMIC_RELEASE);
    }
    table = pool_->Table(next & pte::kAddress);
  }
  __atomic_store_n(&table[(address >> 12) & 511], entry, __ATOMIC_RELEASE);
  return Ok();
}

// --- Processors.

void Machine::Add(KvmContext* context) {
  absl::MutexLock lock(&vcpus_mu_);
  contexts_.insert(context);
}

void Machine::Remove(KvmContext* context) {
  absl::MutexLock lock(&vcpus_mu_);
  contexts_.erase(context);
  context->AddTo(gone_);
}

void Machine::ForEach(const std::function<void(const KvmContext&)>& f) const {
  absl::MutexLock lock(&vcpus_mu_);
  for (const KvmContext* context : contexts_) f(*context);
}

PlatformStats Machine::gone() const {
  absl::MutexLock lock(&vcpus_mu_);
  return gone_;
}

VCpu* Machine::StealLocked(const KvmContext& for_whom) {
  for (KvmContext* context : contexts_) {
    if (context == &for_whom) continue;
    if (VCpu* vcpu = context->Surrender()) return vcpu;
  }
  return nullptr;
}

Result<VCpu*> Machine::TakeVcpu(KvmContext& context) {
  constexpr absl::Duration kPatience = absl::Milliseconds(5);
  absl::MutexLock lock(&vcpus_mu_);
  for (;;) {
    if (!free_.empty()) {
      VCpu* const vcpu = free_.back();
      free_.pop_back();
      return vcpu;
    }
    if (vcpus_.size() < max_vcpus_) {
      Result<std::unique_ptr<VCpu>> made = VCpu::Create(*this, static_cast<uint32_t>(vcpus_.size()));
      if (made.ok()) {
        vcpus_.push_back(std::move(*made));
        return vcpus_.back().get();
      }
      if (vcpus_.empty()) return made.error();
      max_vcpus_ = static_cast<uint32_t>(vcpus_.size());  // the host has no more
    }
    if (VCpu* vcpu = StealLocked(context)) return vcpu;
    waiting_.fetch_add(1, std::memory_order_relaxed);
    if (vcpu_free_.WaitWithTimeout(&vcpus_mu_, kPatience) && free_.empty()) {
      // All of them run: one must go.
      size_t victim = next_victim_++ % contexts_.size();
      for (KvmContext* other : contexts_) {
        if (victim-- == 0) other->KickIfRunning();
      }
    }
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Machine::PutVcpu(VCpu* vcpu) {
  absl::MutexLock lock(&vcpus_mu_);
  free_.push_back(vcpu);
  vcpu_free_.Signal();
}

Machine::Counts Machine::counts() const {
  const GuestMemory::Counts memory = memory_->counts();
  absl::MutexLock lock(&vcpus_mu_);
  return {spaces_.load(std::memory_order_relaxed), contexts_.size(), vcpus_.size(), free_.size(), pool_->in_use(), memory};
}

}  // namespace rampart::platform::kvm
