#include "platform/ptrace/tracee.h"

#include <elf.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include <cerrno>

namespace rampart::platform::ptrace {
namespace {

Result<void> Ptrace(long request, pid_t tid, unsigned long address, void* data) {
  if (syscall(SYS_ptrace, request, tid, address, data) < 0) return ErrnoFromHost(errno);
  return Ok();
}

}  // namespace

Result<void> Seize(pid_t tid) {
  // SAFETY: the data argument of SEIZE is a bit set, not an address.
  return Ptrace(PTRACE_SEIZE, tid, 0, reinterpret_cast<void*>(uintptr_t{PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD}));
}

Result<void> StopSeized(pid_t tid) { return Ptrace(PTRACE_INTERRUPT, tid, 0, nullptr); }

Result<void> GetRegs(pid_t tid, abi::UserRegs& out) { return Ptrace(PTRACE_GETREGS, tid, 0, &out); }

Result<void> SetRegs(pid_t tid, const abi::UserRegs& in) {
  return Ptrace(PTRACE_SETREGS, tid, 0, const_cast<abi::UserRegs*>(&in));
}

Result<void> PokeRax(pid_t tid, uint64_t value) {
  // SAFETY: the data argument of POKEUSER is a word, not an address.
  return Ptrace(PTRACE_POKEUSER, tid, offsetof(user_regs_struct, rax), reinterpret_cast<void*>(value));
}

Result<size_t> GetXstate(pid_t tid, void* out, size_t size) {
  iovec iov{out, size};
  TRY(Ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov));
  return iov.iov_len;
}

Result<void> SetXstate(pid_t tid, const void* in, size_t size) {
  iovec iov{const_cast<void*>(in), size};
  return Ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov);
}

Result<void> GetSigInfo(pid_t tid, siginfo_t& out) { return Ptrace(PTRACE_GETSIGINFO, tid, 0, &out); }

Result<void> Resume(pid_t tid, int request) { return Ptrace(request, tid, 0, nullptr); }

Result<WaitStatus> WaitFor(pid_t tid) {
  int status = 0;
  for (;;) {
    if (syscall(SYS_wait4, tid, &status, __WALL, nullptr) == tid) return WaitStatus(status);
    if (errno != EINTR) return ErrnoFromHost(errno);
  }
}

}  // namespace rampart::platform::ptrace
