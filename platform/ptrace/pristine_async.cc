#include "platform/ptrace/pristine_async.h"

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace rampart::platform::ptrace {
namespace {

[[noreturn]] void Fail(PristineStep step) {
  for (;;) syscall(SYS_exit_group, static_cast<int>(step));
}

// The parent's rseq area is about to be unmapped, and the kernel kills a process whose registered area is gone.
bool UnregisterRseq() {
  if (__rseq_size == 0) return true;
  void* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  constexpr unsigned kOriginalSize = 32;  // what glibc registers at least, whatever __rseq_size tells about features
  if (syscall(SYS_rseq, area, kOriginalSize, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0) return true;
  return syscall(SYS_rseq, area, __rseq_size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0;
}

void ResetSignals() {
  struct KernelSigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
  } action{SIG_DFL, 0, nullptr, 0};
  for (int signal = 1; signal <= 64; ++signal) syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof(uint64_t));
  const uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof(none));
  stack_t stack{};
  stack.ss_flags = SS_DISABLE;
  syscall(SYS_sigaltstack, &stack, nullptr);
}

// PTRACE_SEIZE needs the stubs' capabilities to be a subset of the Sentry's, which will drop its own.
bool DropCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  return syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

void RunPristine(const PristineStart& start) {
  syscall(SYS_prctl, PR_SET_PDEATHSIG, long{SIGKILL}, 0L, 0L, 0L);
  if (syscall(SYS_getppid) != start.sentry) Fail(PristineStep::kParent);
  if (!UnregisterRseq()) Fail(PristineStep::kRseq);
  ResetSignals();
  if (!DropCapabilities()) Fail(PristineStep::kCapabilities);
  // Changed credentials cleared it, and an undumpable process cannot be traced without CAP_SYS_PTRACE.
  if (syscall(SYS_prctl, PR_SET_DUMPABLE, 1L, 0L, 0L, 0L) != 0) Fail(PristineStep::kDumpable);
  syscall(SYS_prctl, PR_SET_NAME, "rampart-stub", 0L, 0L, 0L);
  if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0) Fail(PristineStep::kSeccomp);
  if (syscall(SYS_prctl, PR_SET_SECCOMP, long{SECCOMP_MODE_FILTER}, &start.filter, 0L, 0L) != 0) Fail(PristineStep::kSeccomp);

  // A temporary home, wherever the kernel finds room: the final place may be under our own stack.
  // All arguments are long: syscall() is variadic, and the upper half of an int that travels on the stack is undefined.
  const long code = syscall(SYS_mmap, nullptr, long{STUB_PAGE}, long{PROT_READ | PROT_EXEC}, long{MAP_PRIVATE},
                            static_cast<long>(start.memfd), long{STUB_FILE_CODE});
  if (code < 0) Fail(PristineStep::kCode);
  const uint64_t entry = static_cast<uint64_t>(code) + static_cast<uint64_t>(rampart_stub_enter - rampart_stub_begin);
  // SAFETY: leaves C++ for good; stub.S uses no stack and expects its own address in r12 and the memfd in r13.
  asm volatile(
      "movq %0, %%r12\n\t"
      "movq %1, %%r13\n\t"
      "jmp *%2"
      :
      : "r"(code), "r"(static_cast<long>(start.memfd)), "a"(entry)
      : "r12", "r13", "memory");
  __builtin_unreachable();
}

}  // namespace rampart::platform::ptrace
