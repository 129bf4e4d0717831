#include "sentry/syscalls/seccomp.h"

#include <algorithm>
#include <vector>

#include "abi/seccomp.h"
#include "abi/sysno.h"
#include "base/log.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/seccomp/filter.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint32_t kMaxErrno = 4095;

Result<Word> SetFilter(Task& task, uint64_t flags, uint64_t address) {
  // A listener (SECCOMP_RET_USER_NOTIF) is not to be had: as on a Linux that does not know it.
  constexpr uint64_t kKnown = abi::kSeccompFilterFlagTsync | abi::kSeccompFilterFlagLog | abi::kSeccompFilterFlagSpecAllow | abi::kSeccompFilterFlagTsyncEsrch;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  const abi::SockFprog program = TRY(task.CopyIn(UserIn<abi::SockFprog>(address)));
  if (program.length == 0 || program.length > abi::kBpfMaxInstructions) return Errno::kEINVAL;
  if (!task.creds().no_new_privs && !task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEACCES;
  std::vector<abi::SockFilter> instructions =
      TRY(task.mm().CopyInArray(UserIn<abi::SockFilter>(program.filter), program.length, abi::kBpfMaxInstructions));
  const abi::Pid astray = TRY(task.AddSeccompFilter(std::move(instructions), (flags & abi::kSeccompFilterFlagTsync) != 0));
  if (astray != 0 && (flags & abi::kSeccompFilterFlagTsyncEsrch) != 0) return Errno::kESRCH;
  return static_cast<Word>(astray);
}

Result<Word> ActionAvailable(Task& task, uint64_t address) {
  const uint32_t action = TRY(task.CopyIn(UserIn<uint32_t>(address)));
  switch (action) {
    case abi::kSeccompRetKillProcess: case abi::kSeccompRetKillThread: case abi::kSeccompRetTrap: case abi::kSeccompRetErrno:
    case abi::kSeccompRetTrace: case abi::kSeccompRetLog: case abi::kSeccompRetAllow:
      return Word{0};
    default:
      return Errno::kEOPNOTSUPP;
  }
}

void Kill(Task& task, int signo, bool process) {
  const int status = abi::KilledStatus(signo, false);
  Log(LogLevel::kInfo, "[%d] %s: killed by its own seccomp filter", task.tid(), task.name().c_str());
  if (process || task.group().Tasks().size() == 1) {
    task.PrepareGroupExit(status);
  } else {
    task.PrepareExit(status);
  }
}

void Trap(Task& task, uint32_t number, uint32_t data) {
  abi::SigInfo info{.signo = abi::kSigSys, .err = static_cast<int32_t>(data), .code = abi::kSysSeccomp};
  info.SetSyscall(task.regs().rip, static_cast<int32_t>(number), abi::kAuditArchX86_64);
  task.ForceSignal(info);
}

}  // namespace

Result<Word> SysSeccomp(Task& task, uint32_t operation, uint32_t flags, uint64_t arguments) {
  switch (operation) {
    case abi::kSeccompSetModeStrict:
      if (flags != 0 || arguments != 0) return Errno::kEINVAL;
      TRY(task.EnterSeccompStrict());
      return Word{0};
    case abi::kSeccompSetModeFilter:
      return SetFilter(task, flags, arguments);
    case abi::kSeccompGetActionAvail:
      if (flags != 0) return Errno::kEINVAL;
      return ActionAvailable(task, arguments);
    default:
      return Errno::kEINVAL;
  }
}

Result<Word> SetSeccomp(Task& task, uint64_t mode, uint64_t program) {
  if (mode == abi::kSeccompModeStrict) return SysSeccomp(task, abi::kSeccompSetModeStrict, 0, 0);
  if (mode == abi::kSeccompModeFilter) return SysSeccomp(task, abi::kSeccompSetModeFilter, 0, program);
  return Errno::kEINVAL;
}

std::optional<Word> RefusedBySeccomp(Task& task, uint32_t number, bool traced) {
  if (task.seccomp_mode() == abi::kSeccompModeStrict) {
    constexpr abi::Sysno kAllowed[] = {abi::Sysno::read, abi::Sysno::write, abi::Sysno::exit, abi::Sysno::rt_sigreturn};
    if (std::find(std::begin(kAllowed), std::end(kAllowed), static_cast<abi::Sysno>(number)) != std::end(kAllowed)) return std::nullopt;
    Kill(task, abi::kSigKill, false);
    return Word{0};
  }
  abi::UserRegs& regs = task.regs();
  abi::SeccompData call{static_cast<int32_t>(number), abi::kAuditArchX86_64, regs.rip, {}};
  for (int i = 0; i < 6; ++i) call.args[i] = abi::SyscallArg(regs, i);
  const uint32_t answer = task.seccomp_filter()->Evaluate(call);
  const uint32_t data = answer & abi::kSeccompRetData;
  switch (answer & abi::kSeccompRetActionFull) {
    case abi::kSeccompRetLog:
      Log(LogLevel::kInfo, "[%d] seccomp: call %u", task.tid(), number);
      return std::nullopt;
    case abi::kSeccompRetAllow:
      return std::nullopt;
    case abi::kSeccompRetErrno:
      return Word{0} - std::min(data, kMaxErrno);
    case abi::kSeccompRetTrap:
      Trap(task, number, data);
      return regs.orig_rax;
    case abi::kSeccompRetTrace:
      if (traced) return std::nullopt;  // the tracer has had its say
      regs.rax = Word{0} - static_cast<Word>(Errno::kENOSYS);
      if (!kernel::Tracing::Wants(task, abi::kPtraceOTraceSeccomp)) return regs.rax;
      if (!kernel::Tracing::Seccomp(task, data)) return regs.rax;
      return RefusedBySeccomp(task, static_cast<uint32_t>(regs.orig_rax), true);
    case abi::kSeccompRetUserNotif:  // nobody listens
      return Word{0} - static_cast<Word>(Errno::kENOSYS);
    case abi::kSeccompRetKillThread:
      Kill(task, abi::kSigSys, false);
      return Word{0};
    default:
      Kill(task, abi::kSigSys, true);
      return Word{0};
  }
}

}  // namespace rampart::syscalls
