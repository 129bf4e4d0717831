#include "platform/kvm/vcpu.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "platform/kvm/entry.h"
#include "platform/kvm/ioctls.h"
#include "platform/kvm/machine.h"
#include "platform/kvm/needed.h"
#include "platform/kvm/page_table.h"

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kCr0 = 0x80050033;  // PG AM WP NE ET MP PE
constexpr uint64_t kEfer = 0xd01;      // NXE LMA LME SCE
constexpr uint32_t kMsrStar = 0xc0000081, kMsrLstar = 0xc0000082, kMsrCstar = 0xc0000083, kMsrFmask = 0xc0000084;
constexpr uint32_t kMsrTsc = 0x10, kMsrSysenterCs = 0x174, kMsrTscAux = 0xc0000103;
constexpr uint64_t kAllFlags = 0x3f7fd5;

// struct kvm_msrs with room.
struct Msrs {
  uint32_t count, padding;
  std::array<kvm_msr_entry, 8> entries;
};
static_assert(offsetof(Msrs, entries) == sizeof(kvm_msrs));

kvm_segment Segment(uint16_t selector, uint8_t type, uint64_t base, uint32_t limit) {
  kvm_segment s{};
  s.selector = selector;
  s.type = type;
  s.base = base;
  s.limit = limit;
  s.present = 1;
  return s;
}

// A 16-byte gate to `handler` in ring 0.
void SetGate(std::byte* idt, uint32_t vector, uint64_t handler, uint8_t dpl, uint8_t stack) {
  constexpr uint64_t kInterruptGate = 0x8e00;
  const uint64_t low = (handler & 0xffff) | uint64_t{KERNEL_CS} << 16 | uint64_t{stack} << 32 | (kInterruptGate | uint64_t{dpl} << 13) << 32 |
                       ((handler >> 16) & 0xffff) << 48;
  const uint64_t high = handler >> 32;
  std::memcpy(idt + vector * 16, &low, 8);
  std::memcpy(idt + vector * 16 + 8, &high, 8);
}

void FillIdt(std::byte* idt, uint64_t text) {
  constexpr uint64_t kGateSize = 16;
  for (uint32_t vector = 0; vector < VECTOR_COUNT; ++vector) {
    const uint8_t stack = vector == 1 ? 1 : vector == 2 ? 2 : vector == 8 ? 3 : vector == 18 ? 4 : 0;
    const uint8_t dpl = vector == 3 || vector == 4 ? 3 : 0;
    SetGate(idt, vector, text + EntryOffset(rampart_kvm_gates) + vector * kGateSize, dpl, stack);
  }
}

void FillGdtAndTss(std::byte* data, uint64_t data_address) {
  const uint64_t tss = data_address + DATA_TSS;
  constexpr uint64_t kTssLimit = 0x67;
  const std::array<uint64_t, 10> gdt = {0,
                                        0,
                                        0x00af9b000000ffff,  // 0x10: ring 0, 64-bit code
                                        0x00cf93000000ffff,  // 0x18: ring 0, data
                                        0x00cffb000000ffff,  // 0x20: ring 3, 32-bit code
                                        0x00cff3000000ffff,  // 0x28: ring 3, data
                                        0x00affb000000ffff,  // 0x30: ring 3, 64-bit code
                                        0,
                                        kTssLimit | (tss & 0xffffff) << 16 | uint64_t{0x8b} << 40 | ((tss >> 24) & 0xff) << 56,  // 0x40
                                        tss >> 32};
  std::memcpy(data + DATA_GDT, gdt.data(), sizeof(gdt));
  const uint64_t rsp0 = data_address + DATA_FRAME_TOP;
  std::memcpy(data + DATA_TSS + 4, &rsp0, 8);
  for (uint64_t i = 1; i <= 4; ++i) {
    const uint64_t stack = data_address + DATA_STACKS + i * STACK_SIZE;
    std::memcpy(data + DATA_TSS + 36 + (i - 1) * 8, &stack, 8);
  }
  const uint16_t no_io_map = kTssLimit + 1;
  std::memcpy(data + DATA_TSS + 102, &no_io_map, 2);
}

uint64_t HostTsc() { return __builtin_ia32_rdtsc(); }

}  // namespace

Result<std::unique_ptr<VCpu>> VCpu::Create(Machine& machine, uint32_t index) {
  std::unique_ptr<VCpu> vcpu(new VCpu(machine, index));
  UniqueFd made = TRY(FdFromHost(ioctl(machine.vm_fd(), KVM_CREATE_VCPU, static_cast<unsigned long>(index))));
  vcpu->fd_ = TRY(FdFromHost(fcntl(made.get(), F_DUPFD_CLOEXEC, machine.first_vcpu_fd())));
  if (vcpu->fd_.get() >= machine.first_vcpu_fd() + static_cast<int>(kVcpuFdBlock)) return Errno::kEMFILE;
  void* const run = mmap(nullptr, machine.run_size(), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd_.get(), 0);
  if (run == MAP_FAILED) return ErrnoFromHost(errno);
  // SAFETY: KVM's run area, of the size that it told.
  vcpu->run_ = static_cast<kvm_run*>(run);
  TRY(vcpu->MakePages());
  TRY(vcpu->SetUpProcessor());
  TRY(vcpu->Reset());
  return vcpu;
}

VCpu::~VCpu() {
  if (run_ != nullptr) munmap(run_, machine_.run_size());
}

Result<void> VCpu::MakePages() {
  PagePool& pool = machine_.pool();
  const GuestPage data = TRY(pool.Allocate());
  const GuestPage idt = TRY(pool.Allocate());
  const GuestPage answers = TRY(pool.Allocate());
  FillGdtAndTss(pool.At(data), window() + DATA_OFFSET);
  FillIdt(pool.At(idt), window());
  constexpr uint64_t kReadOnly = pte::kPresent | pte::kAccessed | pte::kNoExecute;
  TRY(machine_.MapKernel(window(), machine_.text_page() | pte::kPresent | pte::kAccessed));
  TRY(machine_.MapKernel(window() + DATA_OFFSET, data | kReadOnly | pte::kWrite | pte::kDirty));
  TRY(machine_.MapKernel(window() + IDT_OFFSET, idt | kReadOnly));
  TRY(machine_.MapKernel(window() + ANSWERS_OFFSET, answers | kReadOnly));
  // SAFETY: a page of its own, laid out as layout.h says.
  data_ = reinterpret_cast<VCpuData*>(pool.At(data));
  answers_ = pool.Table(answers);
  return Ok();
}

Result<void> VCpu::SetUpProcessor() {
  if (ioctl(fd_.get(), KVM_SET_CPUID2, machine_.cpuid()) != 0) return ErrnoFromHost(errno);
  Msrs msrs{};
  const auto add = [&](uint32_t index, uint64_t value) {
    msrs.entries[msrs.count].index = index;
    msrs.entries[msrs.count++].data = value;
  };
  add(kMsrStar, uint64_t{KERNEL_CS} << 32 | uint64_t{USER_CS32} << 48);
  add(kMsrLstar, window() + EntryOffset(rampart_kvm_syscall));
  add(kMsrCstar, window() + EntryOffset(rampart_kvm_syscall32));
  add(kMsrFmask, kAllFlags);
  add(kMsrSysenterCs, 0);
  if (machine_.has_rdtscp()) add(kMsrTscAux, 0);
  // The time-stamp counter as the host's: exactly, or on hosts before 5.16 as nearly as it can be written.
  uint64_t no_offset = 0;
  kvm_device_attr attr{.flags = 0, .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = 0};
  attr.addr = reinterpret_cast<uintptr_t>(&no_offset);
  if (ioctl(fd_.get(), KVM_SET_DEVICE_ATTR, &attr) != 0) add(kMsrTsc, HostTsc());
  if (ioctl(fd_.get(), KVM_SET_MSRS, &msrs) != static_cast<int>(msrs.count)) return Errno::kEIO;
  return Ok();
}

Result<void> VCpu::Reset() {
  kvm_sregs s{};
  s.cs = Segment(KERNEL_CS, 11, 0, ~uint32_t{0});
  s.cs.s = s.cs.l = s.cs.g = 1;
  s.ds = Segment(USER_SS, 3, 0, ~uint32_t{0});
  s.ds.s = s.ds.db = s.ds.g = 1;
  s.ds.dpl = 3;
  s.es = s.fs = s.gs = s.ds;
  s.ss = Segment(KERNEL_SS, 3, 0, ~uint32_t{0});
  s.ss.s = s.ss.db = s.ss.g = 1;
  s.tr = Segment(TSS_SELECTOR, 11, window() + DATA_OFFSET + DATA_TSS, 0x67);
  s.ldt = Segment(0, 2, 0, 0);
  s.ldt.present = 0;
  s.ldt.unusable = 1;
  s.gdt.base = window() + DATA_OFFSET + DATA_GDT;
  s.gdt.limit = 10 * 8 - 1;
  s.idt.base = window() + IDT_OFFSET;
  s.idt.limit = VECTOR_COUNT * 16 - 1;
  s.cr0 = kCr0;
  s.cr3 = machine_.boot_root();
  s.cr4 = machine_.cr4();
  s.efer = kEfer;
  s.apic_base = 0xfee00000 | (index_ == 0 ? 0x900 : 0x800);
  if (ioctl(fd_.get(), KVM_SET_SREGS, &s) != 0) return ErrnoFromHost(errno);
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = machine_.xstate().features;
  if (ioctl(fd_.get(), KVM_SET_XCRS, &xcrs) != 0) return ErrnoFromHost(errno);
  kvm_regs r{};
  r.rip = window() + EntryOffset(rampart_kvm_resume);
  r.rflags = 2;
  if (ioctl(fd_.get(), KVM_SET_REGS, &r) != 0) return ErrnoFromHost(errno);
  root_ = old_root_ = nullptr;
  data_->broken = 0;
  run_->request_interrupt_window = 0;
  return Ok();
}

void VCpu::SetRoot(std::shared_ptr<const RootPage> root) {
  // Two changes without a Run() that got as far as ring 3 between them: the middle one was never in CR3.
  if (old_root_ == nullptr) old_root_ = root_;
  root_ = std::move(root);
  data_->cr3 = root_->page;
}

int VCpu::Run() { return ioctl(fd_.get(), KVM_RUN, 0) == 0 ? 0 : errno; }

Result<void> VCpu::InjectKick() {
  kvm_interrupt interrupt{VECTOR_KICK};
  if (ioctl(fd_.get(), KVM_INTERRUPT, &interrupt) != 0) return ErrnoFromHost(errno);
  return Ok();
}

void VCpu::Poke() { __atomic_store_n(&run_->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST); }

Result<void> VCpu::SetXstate(std::span<const std::byte> state) {
  kvm_xsave area{};
  if (state.size() > sizeof(area)) return Errno::kEINVAL;
  std::memcpy(&area, state.data(), state.size());
  if (ioctl(fd_.get(), KVM_SET_XSAVE, &area) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> VCpu::GetXstate(std::span<std::byte> state) {
  kvm_xsave area{};
  if (state.size() > sizeof(area)) return Errno::kEINVAL;
  if (ioctl(fd_.get(), KVM_GET_XSAVE, &area) != 0) return ErrnoFromHost(errno);
  std::memcpy(state.data(), &area, state.size());
  machine_.xstate().Normalize(state);
  return Ok();
}

}  // namespace rampart::platform::kvm
