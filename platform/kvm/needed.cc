#include "platform/kvm/needed.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "platform/kvm/ioctls.h"

namespace rampart::platform::kvm {

std::vector<NeededSyscall> NeededSyscalls() {
  return {
      {SYS_ioctl, "kvm: running virtual processors; guest memory"},
      {SYS_tgkill, "kvm: taking a thread of our own out of KVM_RUN", {{{0, kIntArgument, {kSentryPid}}}}},
      {SYS_fcntl, "kvm: descriptors of virtual processors get numbers of their own range", {{{1, kIntArgument, {F_DUPFD_CLOEXEC}}}}},
  };
}

std::vector<NeededIoctl> NeededIoctls(int vm_fd, int first_vcpu_fd) {
  std::vector<NeededIoctl> needed;
  for (const UsedIoctl& used : kUsedIoctls) {
    const bool vm = used.kind == FdKind::kVm;
    needed.push_back({vm ? vm_fd : first_vcpu_fd, vm ? ~uint32_t{0} : ~uint32_t{kVcpuFdBlock - 1}, used.request, used.reason});
  }
  return needed;
}

}  // namespace rampart::platform::kvm
