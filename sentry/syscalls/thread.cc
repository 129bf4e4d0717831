#include "sentry/syscalls/thread.h"

#include "sentry/kernel/kernel.h"

namespace rampart::syscalls {

using kernel::Task;

namespace {
// The process that `pid` means for getpgid and getsid: 0 is the caller's.
Result<Ref<kernel::ThreadGroup>> GroupOf(Task& task, abi::Pid pid) {
  if (pid == 0) return ShareRef(&task.group());
  const RefPtr<Task> found = task.FindTask(pid);
  if (!found) return Errno::kESRCH;
  return ShareRef(&found->group());
}
}  // namespace

Result<Word> SysGetpid(Task& task) { return static_cast<Word>(task.group().own_pid()); }
Result<Word> SysGettid(Task& task) { return static_cast<Word>(task.own_tid()); }
Result<Word> SysGetppid(Task& task) { return static_cast<Word>(task.group().ParentPidIn(task.pid_namespace())); }
Result<Word> SysGetpgrp(Task& task) { return static_cast<Word>(task.group().ProcessGroupIdIn(task.pid_namespace())); }

Result<Word> SysGetpgid(Task& task, abi::Pid pid) {
  const Ref<kernel::ThreadGroup> group = TRY(GroupOf(task, pid));
  return static_cast<Word>(group->ProcessGroupIdIn(task.pid_namespace()));
}

Result<Word> SysGetsid(Task& task, abi::Pid pid) {
  const Ref<kernel::ThreadGroup> group = TRY(GroupOf(task, pid));
  return static_cast<Word>(group->SessionIdIn(task.pid_namespace()));
}

Result<Word> SysSetpgid(Task& task, abi::Pid pid, abi::Pid pgid) {
  if (pgid < 0) return Errno::kEINVAL;
  RefPtr<kernel::ThreadGroup> group = ShareRef(&task.group());
  if (pid != 0) group = task.FindGroup(pid);
  if (!group) return Errno::kESRCH;
  TRY(group->SetProcessGroup(task, pgid == 0 ? group->pid() : task.FromOwn(pgid)));
  return Word{0};
}

Result<Word> SysSetsid(Task& task) {
  TRY(task.group().NewSession());
  return static_cast<Word>(task.group().own_pid());
}

Result<Word> SysSetTidAddress(Task& task, uint64_t address) {
  task.SetClearChildTid(address);
  return static_cast<Word>(task.own_tid());
}

Result<Word> SysArchPrctl(Task& task, int32_t code, uint64_t address) {
  abi::UserRegs& regs = task.regs();
  switch (code) {
    case abi::kArchSetFs:
      if (address >= abi::kMaxUserAddress) return Errno::kEPERM;
      regs.fs_base = address;
      return Word{0};
    case abi::kArchSetGs:
      if (address >= abi::kMaxUserAddress) return Errno::kEPERM;
      regs.gs_base = address;
      return Word{0};
    case abi::kArchGetFs:
      TRY(task.CopyOut(UserOut<uint64_t>(address), regs.fs_base));
      return Word{0};
    case abi::kArchGetGs:
      TRY(task.CopyOut(UserOut<uint64_t>(address), regs.gs_base));
      return Word{0};
    case abi::kArchGetCpuid:
      return Word{1};  // CPUID is allowed
    case abi::kArchSetCpuid:
      return Errno::kENODEV;  // as where the processor cannot trap it
    default:
      return Errno::kEINVAL;
  }
}

Result<Word> SysPersonality(Task& task, uint32_t personality) {
  if (personality == 0xffffffff) return Word{task.group().personality.load()};
  return Word{task.group().personality.exchange(personality)};
}

}  // namespace rampart::syscalls
