// Whether KVM really works here: a short program in a machine of its own, which create() then takes over.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/errno.h"
#include "base/safe_math.h"
#include "platform/kvm/context.h"
#include "platform/kvm/platform_impl.h"

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kCodeAddress = 0x400000, kDataAddress = 0x600000;
constexpr uint64_t kFileSize = 4 * kPageSize;

// Four pages: code, two of data.
class ProbeFile final : public BackingFile {
 public:
  ProbeFile() : fd_(memfd_create("rampart-probe", MFD_CLOEXEC)) {
    if (!fd_.valid() || ftruncate(fd_.get(), kFileSize) != 0) return;
    void* const view = mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (view != MAP_FAILED) view_ = static_cast<std::byte*>(view);
  }
  int fd() const override { return fd_.get(); }
  Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool) override {
    if (view_ == nullptr) return Errno::kENOMEM;
    if (offset > kFileSize || length > kFileSize - offset) return Errno::kEINVAL;
    return std::span<std::byte>(view_ + offset, length);
  }
  bool stable() const override { return true; }
  std::byte* view() const { return view_; }

 private:
  ~ProbeFile() override {
    if (view_ != nullptr) munmap(view_, kFileSize);
  }
  UniqueFd fd_;
  std::byte* view_ = nullptr;
};

// mov (%rbx),%rdi; syscall; jmp back
constexpr unsigned char kProgram[] = {0x48, 0x8b, 0x3b, 0x0f, 0x05, 0xeb, 0xf9};

// A host whose KVM interprets the guest, or runs it wrongly, must not keep us: from then on no KVM_RUN lasts long.
class Impatience {
 public:
  Impatience() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGALRM, &action, &before_);
    const itimerval timer{{0, 2000}, {1, 0}};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
  ~Impatience() {
    const itimerval none{};
    setitimer(ITIMER_REAL, &none, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  Impatience(const Impatience&) = delete;
  Impatience& operator=(const Impatience&) = delete;

 private:
  struct sigaction before_ {};
};

Result<void> RunOnce(KvmContext& context, KvmAddressSpace& space, uint64_t expected) {
  abi::UserRegs& regs = context.regs();
  regs = {};
  regs.rip = kCodeAddress;
  regs.rbx = kDataAddress;
  for (int i = 0; i < 100; ++i) {
    const Exit exit = TRY(context.Switch(space, Step::kRun));
    if (exit.reason == ExitReason::kInterrupted) continue;
    if (exit.reason != ExitReason::kSyscall || regs.rdi != expected) return Errno::kENOTSUP;
    return Ok();
  }
  return Errno::kETIMEDOUT;
}

// A system call from ring 3; and page tables that are changed by us, not by the guest: KVM without nested paging does not see that.
Result<void> TryProgram(const std::shared_ptr<Machine>& machine) {
  TRY(KvmContext::InstallSignal());
  const Impatience impatience;
  const auto file = MakeRef<ProbeFile>();
  if (file->view() == nullptr) return Errno::kENOMEM;
  std::memcpy(file->view(), kProgram, sizeof(kProgram));
  file->view()[kPageSize] = std::byte{1};
  file->view()[2 * kPageSize] = std::byte{2};
  const Ref<KvmAddressSpace> space = TRY(KvmAddressSpace::Create(machine));
  space->Map(kCodeAddress, kPageSize, file, 0, Prot::kReadExec, Populate::kOnFault);
  space->Map(kDataAddress, kPageSize, file, kPageSize, Prot::kRead, Populate::kNow);
  KvmContext context(machine);
  TRY(RunOnce(context, *space, 1));
  space->Map(kDataAddress, kPageSize, file, 2 * kPageSize, Prot::kRead, Populate::kNow);
  return RunOnce(context, *space, 2);
}

std::string ExplainOpen(Errno error) {
  constexpr const char* kOther = "; or choose another platform (--platform=ptrace)";
  switch (error) {
    case Errno::kENOENT:
    case Errno::kENODEV:
    case Errno::kENXIO:
      return absl::StrCat("this machine has no /dev/kvm: load kvm_intel or kvm_amd, or turn virtualization on in the firmware (in a virtual machine: "
                          "nested virtualization)", kOther);
    case Errno::kEACCES:
    case Errno::kEPERM:
      return absl::StrCat("/dev/kvm may not be opened: add the user to the group that owns it (usermod -aG kvm USER, then log in again), or give the "
                          "container the device (--device /dev/kvm)", kOther);
    default: return absl::StrCat("/dev/kvm cannot be opened: ", ErrnoText(error), kOther);
  }
}

}  // namespace

std::string WhyUnavailable() {
  if (TakeProbed(/*keep=*/true) != nullptr) return "";
  Result<UniqueFd> device = OpenDevice();
  if (!device.ok()) return ExplainOpen(device.error());
  const char* what = "";
  Result<std::shared_ptr<Machine>> machine = Machine::Create(std::move(*device), &what);
  if (!machine.ok()) {
    return absl::StrCat("KVM is there, but refuses ", what, " (", ErrnoText(machine.error()),
                        "); use a newer kernel, or choose another platform (--platform=ptrace)");
  }
  const Result<void> tried = TryProgram(*machine);
  if (!tried.ok()) {
    return absl::StrCat("KVM is there, but does not run a test program (", ErrnoText(tried.error()),
                        "): it needs hardware virtualization with nested paging (kvm_intel.ept=1, kvm_amd.npt=1); "
                        "or choose another platform (--platform=ptrace)");
  }
  (*machine)->memory().Trim();
  KeepProbed(std::move(*machine));
  return "";
}

}  // namespace rampart::platform::kvm
