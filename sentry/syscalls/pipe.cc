#include "sentry/syscalls/pipe.h"

#include <array>

#include "sentry/fs/pipe/pipe_file.h"

namespace rampart::syscalls {

Result<Word> SysPipe(kernel::Task& task, UserOut<int32_t> fds) { return SysPipe2(task, fds, 0); }

Result<Word> SysPipe2(kernel::Task& task, UserOut<int32_t> fds, uint32_t flags) {
  constexpr uint32_t kNotificationPipe = abi::kOExcl;
  if ((flags & ~(abi::kOCloexec | abi::kONonblock | abi::kODirect | kNotificationPipe)) != 0) return Errno::kEINVAL;
  if ((flags & kNotificationPipe) != 0) return Errno::kENOPKG;  // as Linux without CONFIG_WATCH_QUEUE
  auto [reader, writer] = TRY(fs::NewPipe(task, flags));
  const auto [read_fd, write_fd] =
      TRY(task.fds().InstallPair(reader, writer, (flags & abi::kOCloexec) != 0, task.limit(abi::Resource::kNofile)));
  const std::array<int32_t, 2> numbers{static_cast<int32_t>(read_fd), static_cast<int32_t>(write_fd)};
  const Result<void> told = task.mm().CopyOutArray<int32_t>(fds, numbers);
  if (!told.ok()) {
    (void)task.fds().Remove(read_fd);
    (void)task.fds().Remove(write_fd);
    return told.error();
  }
  return Word{0};
}

}  // namespace rampart::syscalls
