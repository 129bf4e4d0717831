#include "platform/ptrace/stub_filter.h"

#include <linux/audit.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

#include "platform/ptrace/stub_layout.h"

namespace rampart::platform::ptrace {
namespace {

constexpr StubCall kStubCalls[] = {
    {SYS_mmap, false, 0, "batch: map ranges of the memory file and of donated files"},
    {SYS_munmap, false, 0, "batch: unmap"},
    {SYS_mprotect, false, 0, "batch: change rights"},
    {SYS_pause, false, 0, "leaders and spare threads park"},
    {SYS_futex, false, 0, "the pristine stub waits for requests"},
    {SYS_clone, true, STUB_CLONE_PROCESS, "the pristine stub forks a stub process"},
    {SYS_clone, true, STUB_CLONE_FIRST_THREAD, "a new stub process makes its first thread"},
    {SYS_clone, true, STUB_CLONE_THREAD, "a thread for another application thread"},
    {SYS_prctl, true, PR_SET_PDEATHSIG, "a stub dies with the Sentry"},
    {SYS_getppid, false, 0, "a stub ends when the Sentry had died before that"},
    {SYS_exit, false, 0, "a thread that is no longer needed ends"},
};
constexpr int kVsyscalls[] = {SYS_gettimeofday, SYS_time, SYS_getcpu};

constexpr sock_filter Statement(uint16_t code, uint32_t k) { return {code, 0, 0, k}; }
// Skips `skip` instructions when the loaded word is not k.
constexpr sock_filter JumpUnlessEqual(uint32_t k, uint8_t skip) { return {BPF_JMP | BPF_JEQ | BPF_K, 0, skip, k}; }
constexpr sock_filter Load(size_t offset) { return Statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
constexpr sock_filter Return(uint32_t action) { return Statement(BPF_RET | BPF_K, action); }

}  // namespace

std::span<const StubCall> StubCalls() { return kStubCalls; }

std::vector<sock_filter> StubFilter() {
  std::vector<sock_filter> filter;
  filter.push_back(Load(offsetof(seccomp_data, arch)));
  filter.push_back({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64});
  filter.push_back(Return(SECCOMP_RET_KILL_PROCESS));
  filter.push_back(Load(offsetof(seccomp_data, nr)));
  for (const StubCall& call : kStubCalls) {
    const auto number = static_cast<uint32_t>(call.number);
    if (!call.check_argument0) {
      filter.push_back(JumpUnlessEqual(number, 1));
      filter.push_back(Return(SECCOMP_RET_ALLOW));
      continue;
    }
    filter.push_back(JumpUnlessEqual(number, 4));
    filter.push_back(Load(offsetof(seccomp_data, args)));
    filter.push_back(JumpUnlessEqual(call.argument0, 1));
    filter.push_back(Return(SECCOMP_RET_ALLOW));
    filter.push_back(Load(offsetof(seccomp_data, nr)));
  }
  for (const int number : kVsyscalls) {
    filter.push_back(JumpUnlessEqual(static_cast<uint32_t>(number), 1));
    filter.push_back(Return(SECCOMP_RET_TRAP));
  }
  filter.push_back(Return(SECCOMP_RET_KILL_PROCESS));
  return filter;
}

}  // namespace rampart::platform::ptrace
