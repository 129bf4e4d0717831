#include "sentry/syscalls/event.h"

#include "abi/epoll.h"
#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/fs/signalfd/signalfd.h"
#include "sentry/syscalls/fd.h"

namespace rampart::syscalls {

Result<Word> SysEventfd(kernel::Task& task, uint32_t initial) { return SysEventfd2(task, initial, 0); }

Result<Word> SysEventfd2(kernel::Task& task, uint32_t initial, uint32_t flags) {
  if ((flags & ~(abi::kEfdSemaphore | abi::kEfdNonblock | abi::kEfdCloexec)) != 0) return Errno::kEINVAL;
  const Ref<fs::EventFd> file = fs::EventFd::Create(initial, (flags & abi::kEfdSemaphore) != 0, flags & abi::kEfdNonblock);
  const Fd fd = TRY(task.fds().Install(file, (flags & abi::kEfdCloexec) != 0, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<Word> SysSignalfd(kernel::Task& task, Fd fd, UserIn<abi::SigSet> mask, uint64_t size) { return SysSignalfd4(task, fd, mask, size, 0); }

Result<Word> SysSignalfd4(kernel::Task& task, Fd fd, UserIn<abi::SigSet> mask, uint64_t size, uint32_t flags) {
  if (size != sizeof(abi::SigSet) || (flags & ~(abi::kOCloexec | abi::kONonblock)) != 0) return Errno::kEINVAL;
  const abi::SigSet signals = TRY(task.CopyIn(mask));
  if (static_cast<int32_t>(fd) != -1) {
    const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
    auto* const existing = dynamic_cast<fs::SignalFd*>(file.get());
    if (existing == nullptr) return Errno::kEINVAL;
    existing->SetSignals(signals);
    return static_cast<Word>(fd);
  }
  const Ref<fs::SignalFd> file = fs::SignalFd::Create(task, signals, flags);
  const Fd made = TRY(task.fds().Install(file, (flags & abi::kOCloexec) != 0, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(made);
}

}  // namespace rampart::syscalls
