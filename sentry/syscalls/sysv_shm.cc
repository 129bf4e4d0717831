#include "sentry/syscalls/sysv_shm.h"

#include "base/safe_math.h"
#include "sentry/ipc/namespace.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using platform::Prot;
using StatBy = ipc::ShmTable::StatBy;

ipc::ShmTable& Table(Task& task) { return task.namespaces().ipc->shm(); }

// Where shmat(2) is to put it: a page address, or 0 for anywhere.
Result<UserAddr> PlaceFor(UserAddr address, uint32_t flags) {
  const bool remap = (flags & abi::kShmRemap) != 0;
  if (address == 0) {
    if (remap) return Errno::kEINVAL;
    return address;
  }
  if (PageAligned(address)) return address;
  if ((flags & abi::kShmRnd) == 0) return Errno::kEINVAL;
  address &= ~kPageMask;
  if (address == 0 && remap) return Errno::kEINVAL;
  return address;
}

Result<Word> Stat(Task& task, int32_t id, StatBy by, UserAddr buffer) {
  auto [real, ds] = TRY(Table(task).Stat(task.creds(), id, by));
  ds.cpid = task.ToOwn(ds.cpid), ds.lpid = task.ToOwn(ds.lpid);
  TRY(task.CopyOut(UserOut<abi::ShmidDs>(buffer), ds));
  return by == StatBy::kId ? Word{0} : static_cast<Word>(real);
}

}  // namespace

Result<Word> SysShmget(Task& task, int32_t key, uint64_t size, uint32_t flags) {
  const int32_t id = TRY(Table(task).Get(task.creds(), task.tid(), key, size, flags));
  return static_cast<Word>(id);
}

Result<Word> SysShmat(Task& task, int32_t id, UserAddr address, uint32_t flags) {
  if (id < 0) return Errno::kEINVAL;
  const UserAddr place = TRY(PlaceFor(address, flags));
  const bool read_only = (flags & abi::kShmRdonly) != 0;
  const bool execute = (flags & abi::kShmExec) != 0;
  ipc::ShmTable& table = Table(task);
  const Ref<ipc::ShmSegment> segment = TRY(table.BeginAttach(
      task.creds(), id, ipc::kReadRight | (read_only ? 0 : ipc::kWriteRight) | (execute ? ipc::kExecuteRight : 0)));
  mm::MMapArgs args;
  args.address = place;
  args.length = segment->size;
  args.prot = (read_only ? Prot::kRead : Prot::kReadWrite) | (execute ? Prot::kExec : Prot::kNone);
  args.max_prot = read_only ? Prot::kRead | Prot::kExec : Prot::kAll;
  args.shared = true;
  args.fixed = address != 0 && (flags & abi::kShmRemap) != 0;
  args.fixed_noreplace = address != 0 && !args.fixed;
  args.file = segment;
  args.identity = MakeRef<ipc::ShmAttachment>(segment);
  Result<UserAddr> mapped = Errno::kEINVAL;
  if (!args.fixed_noreplace || place <= UINT64_MAX - segment->size) mapped = task.mm().MMap(task, std::move(args));
  table.EndAttach(*segment);
  if (!mapped.ok() && mapped.error() == Errno::kEEXIST) return Errno::kEINVAL;
  return mapped;
}

Result<Word> SysShmdt(Task& task, UserAddr address) {
  TRY(task.mm().DetachSegment(address));
  return Word{0};
}

Result<Word> SysShmctl(Task& task, int32_t id, int32_t command, UserAddr buffer) {
  if (id < 0 || command < 0) return Errno::kEINVAL;
  ipc::ShmTable& table = Table(task);
  switch (command) {
    case abi::kIpcInfo: {
      const auto [highest, info] = table.Info();
      TRY(task.CopyOut(UserOut<abi::ShmInfo64>(buffer), info));
      return static_cast<Word>(highest);
    }
    case abi::kShmInfo: {
      const auto [highest, usage] = table.Usage();
      TRY(task.CopyOut(UserOut<abi::ShmUsage>(buffer), usage));
      return static_cast<Word>(highest);
    }
    case abi::kIpcStat: return Stat(task, id, StatBy::kId, buffer);
    case abi::kShmStat: return Stat(task, id, StatBy::kSlot, buffer);
    case abi::kShmStatAny: return Stat(task, id, StatBy::kSlotUnchecked, buffer);
    case abi::kIpcSet: {
      const abi::ShmidDs ds = TRY(task.CopyIn(UserIn<abi::ShmidDs>(buffer)));
      TRY(table.Set(task.creds(), id, ds.perm));
      return Word{0};
    }
    case abi::kIpcRmid: TRY(table.RemoveId(task.creds(), id)); return Word{0};
    case abi::kShmLock:
    case abi::kShmUnlock:
      TRY(table.Lock(task.creds(), id, command == abi::kShmLock, task.limit(abi::Resource::kMemlock)));
      return Word{0};
    default: return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
