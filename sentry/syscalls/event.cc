#include "sentry/syscalls/event.h"

#include "abi/epoll.h"
#include "sentry/fs/eventfd/eventfd.h"

namespace rampart::syscalls {

Result<Word> SysEventfd(kernel::Task& task, uint32_t initial) { return SysEventfd2(task, initial, 0); }

Result<Word> SysEventfd2(kernel::Task& task, uint32_t initial, uint32_t flags) {
  if ((flags & ~(abi::kEfdSemaphore | abi::kEfdNonblock | abi::kEfdCloexec)) != 0) return Errno::kEINVAL;
  const Ref<fs::EventFd> file = fs::EventFd::Create(task, initial, (flags & abi::kEfdSemaphore) != 0, flags & abi::kEfdNonblock);
  const Fd fd = TRY(task.fds().Install(file, (flags & abi::kEfdCloexec) != 0, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

}  // namespace rampart::syscalls
