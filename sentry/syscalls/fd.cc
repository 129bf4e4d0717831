#include "sentry/syscalls/fd.h"

#include "absl/algorithm/container.h"
#include "abi/ioctl.h"
#include "sentry/kernel/blocking.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/syscalls/async_io.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/watches.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr int16_t kFRdLck = 0, kFWrLck = 1, kFUnLck = 2;
constexpr uint32_t kFdCloexec = 1;

struct UserFlock {
  int16_t type;
  int16_t whence;
  int32_t pad1;
  int64_t start;
  int64_t len;
  int32_t pid;
  int32_t pad2;
};
struct UserOwnerEx {
  int32_t type;
  int32_t pid;
};

uint64_t FdLimit(Task& task) { return task.limit(abi::Resource::kNofile); }

// Tries until a lock is free, sleeping on its queue.
Result<void> WaitForLock(Task& task, wait::WaitQueue& queue, absl::FunctionRef<Result<void>()> attempt) {
  wait::SleeperEntry entry(task.sleeper());
  queue.Register(entry, abi::kPollIn);
  Result<void> result = Errno::kEAGAIN;
  while (true) {
    result = attempt();
    if (result.ok() || result.error() != Errno::kEAGAIN) break;
    const Result<void> slept = task.Sleep(Deadline::Never());
    if (slept.ok()) continue;
    result = slept.error();
    break;
  }
  queue.Unregister(entry);
  return result;
}

Result<vfs::RecordLock> DecodeLock(Task& task, vfs::FileDescription& file, const UserFlock& user, bool ofd) {
  int64_t base = 0;
  if (user.whence == abi::kSeekCur) {
    base = static_cast<int64_t>(file.position());
  } else if (user.whence == abi::kSeekEnd) {
    base = static_cast<int64_t>(TRY(file.path().dentry->inode()->GetAttr(task)).size);
  } else if (user.whence != abi::kSeekSet) {
    return Errno::kEINVAL;
  }
  int64_t start = 0;
  if (__builtin_add_overflow(base, user.start, &start)) return Errno::kEOVERFLOW;
  vfs::RecordLock lock;
  int64_t end = 0;
  if (user.len < 0) {
    end = start;
    if (__builtin_add_overflow(start, user.len, &start)) return Errno::kEINVAL;
  } else if (__builtin_add_overflow(start, user.len, &end)) {
    return Errno::kEOVERFLOW;
  }
  if (start < 0) return Errno::kEINVAL;
  lock.start = static_cast<uint64_t>(start);
  lock.end = user.len == 0 ? UINT64_MAX : static_cast<uint64_t>(end);
  lock.type = user.type == kFRdLck ? vfs::LockType::kRead : vfs::LockType::kWrite;
  if (ofd) {
    lock.owner = {&file, -1, true};
  } else {
    lock.owner = {&task.fds(), task.group().pid(), false};
  }
  return lock;
}

Result<Word> SetLock(Task& task, Fd fd, vfs::FileDescription& file, UserAddr address, bool ofd, bool wait) {
  const UserFlock user = TRY(task.CopyIn(UserIn<UserFlock>(address)));
  const vfs::RecordLock lock = TRY(DecodeLock(task, file, user, ofd));
  const bool type_is_known = user.type == kFRdLck || user.type == kFWrLck;
  if (type_is_known && (user.type == kFRdLck ? !file.readable() : !file.writable())) return Errno::kEBADF;
  if (ofd && user.pid != 0) return Errno::kEINVAL;
  vfs::FileLocks& locks = file.path().dentry->inode()->extras().locks;
  if (user.type == kFUnLck) {
    locks.Clear(lock.owner, lock.start, lock.end);
    return Word{0};
  }
  if (!type_is_known) return Errno::kEINVAL;
  Result<void> result = locks.Set(lock, wait);
  if (!result.ok() && result.error() == Errno::kEAGAIN && wait) {
    result = WaitForLock(task, locks.queue(), [&] { return locks.Set(lock, true); });
    vfs::FileLocks::StopWaiting(lock.owner);
  }
  TRY(std::move(result));
  // The descriptor may have been closed by another thread meanwhile, whose release of our locks came too early.
  const Result<Ref<vfs::FileDescription>> still = task.fds().Get(fd);
  if (!ofd && (!still.ok() || still->get() != &file)) {
    locks.Clear(lock.owner, 0, UINT64_MAX);
    return Errno::kEBADF;
  }
  return Word{0};
}

Result<Word> GetLock(Task& task, vfs::FileDescription& file, UserAddr address, bool ofd) {
  UserFlock user = TRY(task.CopyIn(UserIn<UserFlock>(address)));
  if (user.type != kFRdLck && user.type != kFWrLck && !(ofd && user.type == kFUnLck)) return Errno::kEINVAL;
  if (ofd && user.pid != 0) return Errno::kEINVAL;
  const vfs::RecordLock wanted = TRY(DecodeLock(task, file, user, ofd));
  const vfs::FileLocks& locks = file.path().dentry->inode()->extras().locks;
  // F_UNLCK asks for the description's own locks (since Linux 6.5).
  const std::optional<vfs::RecordLock> held = user.type == kFUnLck ? locks.FindOwn(wanted) : locks.FindConflict(wanted);
  if (!held) {
    user.type = kFUnLck;
  } else {
    user.type = held->type == vfs::LockType::kRead ? kFRdLck : kFWrLck;
    user.whence = abi::kSeekSet;
    user.start = static_cast<int64_t>(held->start);
    user.len = held->end == UINT64_MAX ? 0 : static_cast<int64_t>(held->end - held->start);
    user.pid = held->owner.ofd ? -1 : task.ToOwn(held->owner.pid);
  }
  TRY(task.CopyOut(UserOut<UserFlock>(address), user));
  return Word{0};
}

// ESRCH: the task sees nothing of that number.
Result<abi::Pid> OwnerNumber(Task& task, abi::Pid given) {
  if (given == 0) return given;
  const abi::Pid pid = task.FromOwn(given);
  if (pid <= 0 || !task.kernel().IsTaken(pid)) return Errno::kESRCH;
  return pid;
}

Result<Word> SetOwner(Task& task, vfs::FileDescription& file, int32_t id) {
  using Owner = vfs::FileDescription::AsyncOwner;
  Owner owner = file.async_owner();
  if (id == INT32_MIN) return Errno::kEINVAL;
  owner.type = id == 0 ? Owner::kNone : id < 0 ? Owner::kGroup : Owner::kProcess;
  owner.pid = TRY(OwnerNumber(task, id < 0 ? -id : id));
  file.set_async_owner(owner);
  FollowOwner(task, file);
  return Word{0};
}

Result<Word> OwnerCommands(Task& task, vfs::FileDescription& file, uint32_t command, uint64_t argument) {
  using Owner = vfs::FileDescription::AsyncOwner;
  Owner owner = file.async_owner();
  switch (command) {
    case abi::kFSetOwn:
      return SetOwner(task, file, static_cast<int32_t>(argument));
    case abi::kFGetOwn: {
      const abi::Pid pid = task.kernel().IsTaken(owner.pid) ? task.ToOwn(owner.pid) : 0;
      return static_cast<Word>(static_cast<int64_t>(owner.type == Owner::kGroup ? -pid : pid));
    }
    case abi::kFSetSig:
      if (argument > static_cast<uint64_t>(abi::kSigMax)) return Errno::kEINVAL;
      owner.signal = static_cast<uint8_t>(argument);
      file.set_async_owner(owner);
      return Word{0};
    case abi::kFGetSig:
      return Word{owner.signal};
    case abi::kFSetOwnEx: {
      const UserOwnerEx user = TRY(task.CopyIn(UserIn<UserOwnerEx>(argument)));
      if (user.type < 0 || user.type > 2) return Errno::kEINVAL;
      owner.type = user.pid == 0 ? Owner::kNone : user.type == 0 ? Owner::kThread : user.type == 1 ? Owner::kProcess : Owner::kGroup;
      owner.pid = TRY(OwnerNumber(task, user.pid));
      file.set_async_owner(owner);
      FollowOwner(task, file);
      return Word{0};
    }
    default: {
      const int32_t type = owner.type == Owner::kThread ? 0 : owner.type == Owner::kGroup ? 2 : 1;
      TRY(task.CopyOut(UserOut<UserOwnerEx>(argument), UserOwnerEx{type, task.ToOwn(owner.pid)}));
      return Word{0};
    }
  }
}

Result<Word> Duplicate(Task& task, Ref<vfs::FileDescription> file, uint64_t minimum, bool close_on_exec) {
  if (minimum >= FdLimit(task) || minimum > INT32_MAX) return Errno::kEINVAL;
  const Fd fd = TRY(task.fds().Install(std::move(file), close_on_exec, FdLimit(task), static_cast<int32_t>(minimum)));
  return static_cast<Word>(fd);
}

Result<Word> ChangeFlags(Task& task, Fd fd, vfs::FileDescription& file, uint32_t flags) {
  const uint32_t before = file.flags();
  TRY(file.SetFlags(task, flags));
  if (((before ^ file.flags()) & abi::kOAsync) != 0) FollowAsyncFlag(task, file, fd);
  return Word{0};
}

bool WorksOnPathDescriptors(uint32_t command) {
  constexpr uint32_t kCommands[] = {abi::kFDupFd, abi::kFDupFdCloexec, abi::kFGetFd, abi::kFSetFd, abi::kFGetFl, abi::kFCreatedQuery};
  return absl::c_linear_search(kCommands, command);
}

}  // namespace

Result<Word> SysClose(Task& task, Fd fd) {
  Ref<vfs::FileDescription> file = TRY(task.fds().Remove(fd));
  if (vfs::AnyWatches() && file->path().dentry->inode() && file->path().dentry->inode()->IsDirectory()) EndDirectoryNotify(*file);
  TRY(vfs::CloseDescriptor(task, task.fds(), std::move(file)));
  return Word{0};
}

Result<Word> SysCloseRange(Task& task, uint32_t first, uint32_t last, uint32_t flags) {
  constexpr uint32_t kUnshare = 2, kCloexec = 4;
  if ((flags & ~(kUnshare | kCloexec)) != 0 || first > last) return Errno::kEINVAL;
  if ((flags & kUnshare) != 0) TRY(task.UnshareFds());
  if ((flags & kCloexec) != 0) {
    task.fds().SetCloseOnExecRange(first, last);
    return Word{0};
  }
  for (Ref<vfs::FileDescription>& file : task.fds().RemoveRange(first, last, false)) {
    (void)vfs::CloseDescriptor(task, task.fds(), std::move(file));
  }
  return Word{0};
}

Result<Ref<vfs::FileDescription>> OpenedFile(Task& task, Fd fd) {
  Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  if ((file->flags() & abi::kOPath) != 0) return Errno::kEBADF;
  return file;
}

Result<Word> SysDup(Task& task, Fd fd) {
  Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  return static_cast<Word>(TRY(task.fds().Install(std::move(file), false, FdLimit(task))));
}

Result<Word> SysDup2(Task& task, Fd from, Fd to) {
  if (from == to) {
    TRY(task.fds().Get(from));
    return static_cast<Word>(to);
  }
  return SysDup3(task, from, to, 0);
}

Result<Word> SysDup3(Task& task, Fd from, Fd to, uint32_t flags) {
  if ((flags & ~abi::kOCloexec) != 0 || from == to) return Errno::kEINVAL;
  Ref<vfs::FileDescription> file = TRY(task.fds().Get(from));
  RefPtr<vfs::FileDescription> old = TRY(task.fds().InstallAt(to, std::move(file), flags != 0, FdLimit(task)));
  if (old != nullptr) (void)vfs::CloseDescriptor(task, task.fds(), std::move(old).ToRef());
  return static_cast<Word>(to);
}

Result<Word> SysFcntl(Task& task, Fd fd, uint32_t command, uint64_t argument) {
  const vfs::FdTable::Entry entry = TRY(task.fds().GetEntry(fd));
  vfs::FileDescription& file = *entry.file;
  if ((file.flags() & abi::kOPath) != 0 && !WorksOnPathDescriptors(command)) return Errno::kEBADF;
  switch (command) {
    case abi::kFDupFd:
    case abi::kFDupFdCloexec:
      return Duplicate(task, entry.file.ToRef(), argument, command == abi::kFDupFdCloexec);
    case abi::kFGetFd:
      return Word{entry.close_on_exec ? kFdCloexec : 0};
    case abi::kFSetFd:
      TRY(task.fds().SetCloseOnExec(fd, (argument & kFdCloexec) != 0));
      return Word{0};
    case abi::kFGetFl:
      return static_cast<Word>(file.flags());
    case abi::kFSetFl:
      return ChangeFlags(task, fd, file, static_cast<uint32_t>(argument));
    case abi::kFGetLk:
    case abi::kFOfdGetLk:
      return GetLock(task, file, argument, command == abi::kFOfdGetLk);
    case abi::kFSetLk:
    case abi::kFSetLkw:
      return SetLock(task, fd, file, argument, false, command == abi::kFSetLkw);
    case abi::kFOfdSetLk:
    case abi::kFOfdSetLkw:
      return SetLock(task, fd, file, argument, true, command == abi::kFOfdSetLkw);
    case abi::kFSetOwn:
    case abi::kFGetOwn:
    case abi::kFSetSig:
    case abi::kFGetSig:
    case abi::kFSetOwnEx:
    case abi::kFGetOwnEx:
      return OwnerCommands(task, file, command, argument);
    case abi::kFSetLease:
      return SetLease(task, file, fd, argument);
    case abi::kFGetLease:
      return GetLease(file);
    case abi::kFNotify:
      return SetDirectoryNotify(task, file, fd, static_cast<uint32_t>(argument));
    case abi::kFCreatedQuery:
      return Word{file.created() ? 1u : 0u};
    default:
      return static_cast<Word>(TRY(file.Fcntl(task, command, argument)));
  }
}

Result<Word> SysFlock(Task& task, Fd fd, uint32_t operation) {
  constexpr uint32_t kShared = 1, kExclusive = 2, kNonblock = 4, kUnlock = 8;
  const uint32_t kind = operation & ~kNonblock;
  if (kind != kShared && kind != kExclusive && kind != kUnlock) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  vfs::FileLocks& locks = file->path().dentry->inode()->extras().locks;
  if (kind == kUnlock) {
    locks.Unflock(file.get());
    return Word{0};
  }
  if (!file->readable() && !file->writable()) return Errno::kEBADF;
  const vfs::LockType type = kind == kShared ? vfs::LockType::kRead : vfs::LockType::kWrite;
  const auto attempt = [&] { return locks.Flock(file.get(), type); };
  Result<void> result = attempt();
  if (!result.ok() && result.error() == Errno::kEAGAIN && (operation & kNonblock) == 0) result = WaitForLock(task, locks.queue(), attempt);
  TRY(std::move(result));
  return Word{0};
}

Result<Word> SysIoctl(Task& task, Fd fd, uint32_t command, uint64_t argument) {
  constexpr uint32_t kFionread = 0x541B, kFionbio = 0x5421, kFionclex = 0x5450, kFioclex = 0x5451, kFioasync = 0x5452;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  const auto set_flag = [&](uint32_t flag) -> Result<Word> {
    const int32_t on = TRY(task.CopyIn(UserIn<int32_t>(argument)));
    return ChangeFlags(task, fd, *file, on != 0 ? file->flags() | flag : file->flags() & ~flag);
  };
  switch (command) {
    case kFioclex:
    case kFionclex:
      TRY(task.fds().SetCloseOnExec(fd, command == kFioclex));
      return Word{0};
    case kFionbio:
      return set_flag(abi::kONonblock);
    case kFioasync:
      return set_flag(abi::kOAsync);
    case kFionread:
      if (file->path().dentry->inode()->type() == vfs::FileType::kRegular) {
        const vfs::Attr attr = TRY(file->path().dentry->inode()->GetAttr(task));
        if (attr.type != vfs::FileType::kRegular) break;  // a pidfd
        const int64_t left = static_cast<int64_t>(attr.size) - static_cast<int64_t>(file->position());
        TRY(task.CopyOut(UserOut<int32_t>(argument), static_cast<int32_t>(left)));
        return Word{0};
      }
      break;
    case abi::kFioSetown:
    case abi::kSiocSpgrp:
      if (file->inode()->type() != vfs::FileType::kSocket) break;
      return SetOwner(task, *file, TRY(task.CopyIn(UserIn<int32_t>(argument))));
    case abi::kFioGetown:
    case abi::kSiocGpgrp: {
      if (file->inode()->type() != vfs::FileType::kSocket) break;
      const Word owner = TRY(OwnerCommands(task, *file, abi::kFGetOwn, 0));
      TRY(task.CopyOut(UserOut<int32_t>(argument), static_cast<int32_t>(owner)));
      return Word{0};
    }
    default:
      break;
  }
  return static_cast<Word>(TRY(file->Ioctl(task, task.mm(), command, argument)));
}

}  // namespace rampart::syscalls
