#include "sentry/kernel/terminal_ioctl.h"

#include "abi/ioctl.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task.h"

namespace rampart::kernel {
namespace {

Result<uint64_t> PutPid(const Task& task, mm::UserMemory& memory, uint64_t argument, abi::Pid pid) {
  TRY(memory.CopyOut(UserOut<int32_t>(argument), task.ToOwn(pid)));
  return uint64_t{0};
}

}  // namespace

Result<uint64_t> TerminalSessionIoctl(Task& task, vfs::Terminal& terminal, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  switch (command) {
    case abi::kTiocSctty:
      TRY(AcquireTerminal(task, ShareRef<RefCounted>(&terminal), argument == 1));
      return uint64_t{0};
    case abi::kTiocNotty:
      TRY(ReleaseTerminal(task, terminal));
      return uint64_t{0};
    case abi::kTiocGpgrp: {
      const abi::Pid pgid = TRY(ForegroundGroup(task, terminal));
      return PutPid(task, memory, argument, pgid);
    }
    case abi::kTiocSpgrp: {
      const int32_t pgid = TRY(memory.CopyIn(UserIn<int32_t>(argument)));
      TRY(CheckTerminalAccess(task, terminal, TerminalAccess::kControl));
      TRY(SetForegroundGroup(task, terminal, pgid > 0 ? task.FromOwn(pgid) : pgid));
      return uint64_t{0};
    }
    case abi::kTiocGsid: {
      const abi::Pid sid = TRY(TerminalSession(task, terminal));
      return PutPid(task, memory, argument, sid);
    }
    case abi::kTiocSti:
      return Errno::kEIO;  // as with dev.tty.legacy_tiocsti = 0, the default of current kernels
    default:
      return Errno::kENOTTY;
  }
}

}  // namespace rampart::kernel
