#include "sentry/syscalls/epoll.h"

#include "sentry/fs/epoll/epoll.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {
namespace {

constexpr int32_t kMaxEvents = INT32_MAX / static_cast<int32_t>(sizeof(abi::EpollEvent));

Result<Word> Create(kernel::Task& task, bool close_on_exec) {
  const Fd fd = TRY(task.fds().Install(fs::Epoll::Create(), close_on_exec, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<void> WaitForEvents(kernel::Task& task, fs::Epoll& epoll, size_t max, Deadline deadline, fs::Epoll::Events& events, fs::Epoll::Collected& from) {
  epoll.Collect(max, events, from);
  if (!events.empty() || deadline.Passed()) return Ok();
  wait::SleeperEntry entry(task.sleeper());
  epoll.RegisterWaiter(entry);
  Result<void> result = Ok();
  while (true) {
    epoll.Collect(max, events, from);
    if (!events.empty()) break;
    result = task.Sleep(deadline);
    if (result.ok()) continue;
    if (result.error() == Errno::kETIMEDOUT) {
      result = Ok();
      epoll.Collect(max, events, from);
    }
    break;
  }
  epoll.EventUnregister(entry);
  return result;
}

Result<Word> Wait(kernel::Task& task, Fd fd, UserOut<abi::EpollEvent> user_events, int32_t max, Deadline deadline) {
  if (max <= 0 || max > kMaxEvents) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  auto* const epoll = dynamic_cast<fs::Epoll*>(file.get());
  if (epoll == nullptr) return Errno::kEINVAL;
  fs::Epoll::Events events;
  fs::Epoll::Collected from;
  const Result<void> waited = WaitForEvents(task, *epoll, static_cast<size_t>(max), deadline, events, from);
  if (!waited.ok()) return waited.error() == Errno::kERESTARTSYS ? Errno::kEINTR : waited.error();
  if (task.mm().CopyOutArray<abi::EpollEvent>(user_events, events).ok()) return events.size();
  // Not all of them fit: those that do are told, the others stay.
  size_t told = 0;
  while (told < events.size() && task.CopyOut(UserOut<abi::EpollEvent>(user_events.address() + told * sizeof(abi::EpollEvent)), events[told]).ok()) {
    ++told;
  }
  epoll->PutBack(std::span(from).subspan(told));
  if (told == 0) return Errno::kEFAULT;
  return told;
}

Result<Word> WaitMasked(kernel::Task& task, Fd fd, UserOut<abi::EpollEvent> events, int32_t max, Deadline deadline, UserIn<abi::SigSet> mask,
                        uint64_t mask_size) {
  CallMask applied = TRY(CallMask::Apply(task, mask, mask_size));
  const Result<Word> result = Wait(task, fd, events, max, deadline);
  applied.Finish(task, !result.ok() && result.error() == Errno::kEINTR);
  return result;
}

}  // namespace

Result<Word> SysEpollCreate(kernel::Task& task, int32_t size) {
  if (size <= 0) return Errno::kEINVAL;
  return Create(task, false);
}

Result<Word> SysEpollCreate1(kernel::Task& task, uint32_t flags) {
  if ((flags & ~abi::kEpollCloexec) != 0) return Errno::kEINVAL;
  return Create(task, (flags & abi::kEpollCloexec) != 0);
}

Result<Word> SysEpollCtl(kernel::Task& task, Fd epoll_fd, int32_t operation, Fd fd, UserIn<abi::EpollEvent> user_event) {
  abi::EpollEvent event{};
  if (operation != abi::kEpollCtlDel) event = TRY(task.CopyIn(user_event));
  const Ref<vfs::FileDescription> epoll_file = TRY(OpenedFile(task, epoll_fd));
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (!file->pollable()) return Errno::kEPERM;
  auto* const epoll = dynamic_cast<fs::Epoll*>(epoll_file.get());
  if (epoll == nullptr || epoll_file == file) return Errno::kEINVAL;
  event.events &= ~abi::kEpollWakeup;  // nothing here suspends
  Result<void> result = Errno::kEINVAL;
  switch (operation) {
    case abi::kEpollCtlAdd:
      result = epoll->Add(*file, fd, event);
      break;
    case abi::kEpollCtlMod:
      result = epoll->Modify(*file, fd, event);
      break;
    case abi::kEpollCtlDel:
      result = epoll->Remove(*file, fd);
      break;
    default:
      break;
  }
  TRY(result);
  return Word{0};
}

Result<Word> SysEpollWait(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, int32_t timeout_ms) {
  return Wait(task, epoll, events, max, MillisTimeout(timeout_ms));
}

Result<Word> SysEpollPwait(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, int32_t timeout_ms,
                           UserIn<abi::SigSet> mask, uint64_t mask_size) {
  return WaitMasked(task, epoll, events, max, MillisTimeout(timeout_ms), mask, mask_size);
}

Result<Word> SysEpollPwait2(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, UserIn<abi::Timespec> timeout,
                            UserIn<abi::SigSet> mask, uint64_t mask_size) {
  const Deadline deadline = TRY(ReadTimeout(task, timeout));
  return WaitMasked(task, epoll, events, max, deadline, mask, mask_size);
}

}  // namespace rampart::syscalls
