#include "sentry/syscalls/wait.h"

#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/task_ops.h"

namespace rampart::syscalls {

using kernel::Task;

Result<Word> SysWait4(Task& task, abi::Pid pid, UserOut<int32_t> status, uint32_t options, UserOut<abi::Rusage> usage) {
  constexpr uint32_t kKnown = abi::kWnohang | abi::kWuntraced | abi::kWcontinued | abi::kWnothread | abi::kWclone | abi::kWall;
  if ((options & ~kKnown) != 0) return Errno::kEINVAL;
  if (pid == INT32_MIN) return Errno::kESRCH;
  kernel::WaitRequest request;
  request.options = options | abi::kWexited;
  if (pid > 0) {
    request.type = abi::kPPid;
    request.id = task.FromOwn(pid);
  } else if (pid != -1) {
    request.type = abi::kPPgid;
    request.id = pid == 0 ? task.group().ProcessGroupId() : task.FromOwn(-pid);
  }
  const kernel::WaitAnswer answer = TRY(task.Wait(request));
  if (answer.pid == 0) return Word{0};
  if (status) TRY(task.CopyOut(status, static_cast<int32_t>(answer.status)));
  if (usage) TRY(task.CopyOut(usage, answer.rusage));
  return static_cast<Word>(answer.pid);
}

Result<Word> SysWaitid(Task& task, int32_t type, int32_t id, UserOut<abi::SigInfo> info, uint32_t options, UserOut<abi::Rusage> usage) {
  constexpr uint32_t kKnown = abi::kWnohang | abi::kWnowait | abi::kWexited | abi::kWstopped | abi::kWcontinued | abi::kWnothread |
                              abi::kWclone | abi::kWall;
  if ((options & ~kKnown) != 0 || (options & (abi::kWexited | abi::kWstopped | abi::kWcontinued)) == 0) return Errno::kEINVAL;
  kernel::WaitRequest request;
  request.type = type;
  request.options = options;
  switch (type) {
    case abi::kPAll:
      break;
    case abi::kPPid:
      if (id <= 0) return Errno::kEINVAL;
      request.id = task.FromOwn(id);
      break;
    case abi::kPPgid:
      if (id < 0) return Errno::kEINVAL;
      request.id = id == 0 ? task.group().ProcessGroupId() : task.FromOwn(id);
      break;
    case abi::kPPidfd: {
      if (id < 0) return Errno::kEINVAL;
      const Ref<vfs::FileDescription> file = TRY(task.fds().Get(Fd{id}));
      request.group = TRY(kernel::GroupOfPidfd(*file));
      if (file->nonblocking()) request.options |= abi::kWnohang;
      break;
    }
    default:
      return Errno::kEINVAL;
  }
  const kernel::WaitAnswer answer = TRY(task.Wait(request));
  if (answer.pid == 0 && (options & abi::kWnohang) == 0) return Errno::kEAGAIN;  // a non-blocking pidfd
  if (answer.pid != 0 && usage) TRY(task.CopyOut(usage, answer.rusage));
  if (info) TRY(task.CopyOut(info, answer.info));
  return Word{0};
}

}  // namespace rampart::syscalls
