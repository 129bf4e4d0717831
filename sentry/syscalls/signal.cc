#include "sentry/syscalls/signal.h"

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {

constexpr uint64_t kSigSetSize = sizeof(abi::SigSet);

abi::SigInfo UserInfo(const Task& task, int signo, int code) {
  abi::SigInfo info{.signo = signo, .code = code};
  info.SetSender(task.group().own_pid(), task.creds().ruid);
  return info;
}

Result<void> CheckNumber(int32_t signo) {
  if (signo < 0 || signo > abi::kSigMax) return Errno::kEINVAL;
  return Ok();
}

Result<Word> SendToThread(Task& task, abi::Pid pid, abi::Pid tid, const abi::SigInfo& info) {
  const RefPtr<Task> target = task.FindTask(tid);
  if (!target || (pid > 0 && target->group().PidIn(task.pid_namespace()) != pid)) return Errno::kESRCH;
  TRY(target->CheckKillPermission(task, info.signo));
  if (info.signo != 0) {
    const Result<void> sent = target->SendSignal(info, &task);
    // A thread that is just going counts as one that got it.
    if (!sent.ok() && sent.error() != Errno::kESRCH) return sent.error();
  }
  return Word{0};
}

Result<Word> SendToProcess(Task& task, kernel::ThreadGroup& group, const abi::SigInfo& info) {
  const RefPtr<Task> leader = group.leader();
  if (!leader) return Errno::kESRCH;
  TRY(leader->CheckKillPermission(task, info.signo));
  if (info.signo != 0) TRY(group.SendSignal(info, &task));
  return Word{0};
}

// A siginfo that a program made up: only codes that cannot be taken for the kernel's or kill's, unless sent to itself.
Result<abi::SigInfo> ReadInfo(Task& task, UserIn<abi::SigInfo> from, int32_t signo, bool to_self) {
  abi::SigInfo info = TRY(task.CopyIn(from));
  info.signo = signo;
  if ((info.code >= 0 || info.code == abi::kSiTkill) && !to_self) return Errno::kEPERM;
  return info;
}

}  // namespace

Result<Word> SysKill(Task& task, abi::Pid pid, int32_t signo) {
  TRY(CheckNumber(signo));
  const abi::SigInfo info = UserInfo(task, signo, abi::kSiUser);
  if (pid > 0) {
    const RefPtr<Task> target = task.FindTask(pid);
    if (!target) return Errno::kESRCH;
    return SendToProcess(task, target->group(), info);
  }
  if (pid == -1) {
    TRY(task.kernel().SignalAll(info, task));
  } else if (pid == INT32_MIN) {
    return Errno::kESRCH;
  } else {
    TRY(task.kernel().SignalProcessGroup(pid == 0 ? task.group().ProcessGroupId() : task.FromOwn(-pid), info, &task));
  }
  return Word{0};
}

Result<Word> SysTkill(Task& task, abi::Pid tid, int32_t signo) {
  TRY(CheckNumber(signo));
  if (tid <= 0) return Errno::kEINVAL;
  return SendToThread(task, 0, tid, UserInfo(task, signo, abi::kSiTkill));
}

Result<Word> SysTgkill(Task& task, abi::Pid pid, abi::Pid tid, int32_t signo) {
  TRY(CheckNumber(signo));
  if (pid <= 0 || tid <= 0) return Errno::kEINVAL;
  return SendToThread(task, pid, tid, UserInfo(task, signo, abi::kSiTkill));
}

Result<Word> SysRtSigqueueinfo(Task& task, abi::Pid pid, int32_t signo, UserIn<abi::SigInfo> from) {
  TRY(CheckNumber(signo));
  const abi::SigInfo info = TRY(ReadInfo(task, from, signo, pid == task.group().own_pid()));
  const RefPtr<Task> target = task.FindTask(pid);
  if (!target) return Errno::kESRCH;
  return SendToProcess(task, target->group(), info);
}

Result<Word> SysRtTgsigqueueinfo(Task& task, abi::Pid pid, abi::Pid tid, int32_t signo, UserIn<abi::SigInfo> from) {
  TRY(CheckNumber(signo));
  if (pid <= 0 || tid <= 0) return Errno::kEINVAL;
  const abi::SigInfo info = TRY(ReadInfo(task, from, signo, tid == task.own_tid()));
  return SendToThread(task, pid, tid, info);
}

Result<Word> SysPidfdSendSignal(Task& task, Fd pidfd, int32_t signo, UserIn<abi::SigInfo> from, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  TRY(CheckNumber(signo));
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(pidfd));
  const Ref<kernel::ThreadGroup> group = TRY(kernel::GroupToSignal(*file));
  if (!task.pid_namespace().Contains(group->pid_namespace())) return Errno::kEINVAL;  // one that we cannot see
  abi::SigInfo info = UserInfo(task, signo, abi::kSiUser);
  if (from) {
    const abi::SigInfo given = TRY(task.CopyIn(from));
    if (given.signo != signo) return Errno::kEINVAL;
    if ((given.code >= 0 || given.code == abi::kSiTkill) && group.get() != &task.group()) return Errno::kEPERM;
    info = given;
  }
  return SendToProcess(task, *group, info);
}

Result<Word> SysRtSigaction(Task& task, int32_t signo, UserIn<abi::SigAction> action, UserOut<abi::SigAction> old, uint64_t size) {
  if (size != kSigSetSize || !abi::ValidSignal(signo)) return Errno::kEINVAL;
  abi::SigAction before;
  if (action) {
    const abi::SigAction wanted = TRY(task.CopyIn(action));
    before = TRY(task.group().SetAction(signo, wanted));
  } else {
    before = task.group().Action(signo);
  }
  if (old) TRY(task.CopyOut(old, before));
  return Word{0};
}

Result<Word> SysRtSigprocmask(Task& task, int32_t how, UserIn<abi::SigSet> set, UserOut<abi::SigSet> old, uint64_t size) {
  if (size != kSigSetSize) return Errno::kEINVAL;
  const abi::SigSet before = task.signal_mask();
  if (set) {
    const abi::SigSet given = TRY(task.CopyIn(set));
    switch (how) {
      case 0:
        task.SetSignalMask(before | given);
        break;
      case 1:
        task.SetSignalMask(before & ~given);
        break;
      case 2:
        task.SetSignalMask(given);
        break;
      default:
        return Errno::kEINVAL;
    }
  }
  if (old) TRY(task.CopyOut(old, before));
  return Word{0};
}

Result<Word> SysRtSigpending(Task& task, UserOut<abi::SigSet> set, uint64_t size) {
  if (size > kSigSetSize) return Errno::kEINVAL;
  const abi::SigSet pending = task.PendingSet() & task.signal_mask();
  TRY(task.mm().CopyOutBytes(set.address(), std::as_bytes(std::span(&pending, 1)).first(size)));
  return Word{0};
}

Result<Word> SysRtSigtimedwait(Task& task, UserIn<abi::SigSet> set, UserOut<abi::SigInfo> info, UserIn<abi::Timespec> timeout,
                               uint64_t size) {
  if (size != kSigSetSize) return Errno::kEINVAL;
  const abi::SigSet wanted = TRY(task.CopyIn(set));
  const Deadline deadline = TRY(ReadTimeout(task, timeout));
  const abi::SigInfo taken = TRY(task.WaitForSignal(wanted, deadline));
  if (info) TRY(task.CopyOut(info, taken));
  return static_cast<Word>(taken.signo);
}

Result<Word> SysRtSigsuspend(Task& task, UserIn<abi::SigSet> mask, uint64_t size) {
  if (size != kSigSetSize) return Errno::kEINVAL;
  task.SetTemporaryMask(TRY(task.CopyIn(mask)));
  return SysPause(task);
}

Result<Word> SysPause(Task& task) {
  while (task.Sleep(Deadline::Never()).ok()) {
  }
  return Errno::kERESTARTNOHAND;
}

Result<Word> SysSigaltstack(Task& task, UserIn<abi::SigStack> stack, UserOut<abi::SigStack> old) {
  const abi::SigStack before = task.AltStack();
  if (stack) {
    const abi::SigStack wanted = TRY(task.CopyIn(stack));
    TRY(task.SetAltStack(wanted));
  }
  if (old) TRY(task.CopyOut(old, before));
  return Word{0};
}

Result<Word> SysRtSigreturn(Task& task) { return task.SignalReturn(); }

Result<Word> SysRestartSyscall(Task& task) { return task.Restart(); }

}  // namespace rampart::syscalls
