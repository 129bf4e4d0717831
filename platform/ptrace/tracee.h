// The host's ptrace and wait calls on one stub thread, as raw calls: no cancellation points, no TLS beyond errno.
//
// Thread safety: as ptrace(2): all of it only on the thread that seized the tracee.
#pragma once

#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

#include "abi/regs.h"
#include "base/result.h"

namespace rampart::platform::ptrace {

// The signal that takes a stub thread out of application code. Ignored by default, so that one that comes late harms nobody;
// a tracer sees it all the same.
inline constexpr int kInterruptSignal = SIGURG;

// How a wait ended.
class WaitStatus {
 public:
  explicit WaitStatus(int status) : status_(status) {}
  bool dead() const { return WIFEXITED(status_) || WIFSIGNALED(status_); }
  // A SYSEMU stop (with PTRACE_O_TRACESYSGOOD).
  bool syscall() const { return WIFSTOPPED(status_) && status_ >> 8 == (SIGTRAP | 0x80); }
  // A signal-delivery stop for the returned signal; 0 when it is another kind of stop.
  int signal() const { return WIFSTOPPED(status_) && status_ >> 16 == 0 && !syscall() ? WSTOPSIG(status_) : 0; }
  // PTRACE_EVENT_STOP: PTRACE_INTERRUPT or a group stop.
  bool event_stop() const { return WIFSTOPPED(status_) && status_ >> 16 == PTRACE_EVENT_STOP; }
  int raw() const { return status_; }

 private:
  int status_;
};

// Errors of all: the host's, in practice ESRCH (the tracee was killed), EIO (registers that the CPU would refuse), EINVAL.
Result<void> Seize(pid_t tid);
Result<void> StopSeized(pid_t tid);  // PTRACE_INTERRUPT
Result<void> GetRegs(pid_t tid, abi::UserRegs& out);
Result<void> SetRegs(pid_t tid, const abi::UserRegs& in);
// SetRegs of rax alone: a quarter of its cost.
Result<void> PokeRax(pid_t tid, uint64_t value);
// Returns the bytes moved.
Result<size_t> GetXstate(pid_t tid, void* out, size_t size);
Result<void> SetXstate(pid_t tid, const void* in, size_t size);
Result<void> GetSigInfo(pid_t tid, siginfo_t& out);
// `request`: PTRACE_CONT, PTRACE_SYSEMU, PTRACE_SYSEMU_SINGLESTEP, PTRACE_DETACH. Pending signals are suppressed.
Result<void> Resume(pid_t tid, int request);
// Waits for the next stop or the death of the thread; a dead thread is reaped. ECHILD: there is no such tracee.
Result<WaitStatus> WaitFor(pid_t tid);

}  // namespace rampart::platform::ptrace
