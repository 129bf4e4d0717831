#include "sentry/syscalls/sysv_sem.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sentry/ipc/namespace.h"
#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/syscalls/sysv_common.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using Ask = ipc::SemSet::Ask;
using StatBy = ipc::SemTable::StatBy;

ipc::SemTable& Table(Task& task) { return task.namespaces().ipc->sem(); }

Result<Word> Stat(Task& task, int32_t id, StatBy by, UserAddr buffer) {
  const auto [real, ds] = TRY(Table(task).Stat(task.creds(), id, by));
  TRY(task.CopyOut(UserOut<abi::SemidDs>(buffer), ds));
  return by == StatBy::kId ? Word{0} : static_cast<Word>(real);
}

Result<Word> Info(Task& task, bool usage, UserAddr buffer) {
  const auto [highest, info] = Table(task).Info(usage);
  TRY(task.CopyOut(UserOut<abi::SemUsage>(buffer), info));
  return static_cast<Word>(highest);
}

Result<Word> Query(Task& task, int32_t id, int32_t index, Ask what) {
  const Ref<ipc::SemSet> set = TRY(Table(task).Find(id));
  const int32_t answer = TRY(set->Query(task.creds(), index, what));
  return static_cast<Word>(what == Ask::kProcess ? task.ToOwn(answer) : answer);
}

Result<Word> GetAll(Task& task, int32_t id, UserAddr buffer) {
  const Ref<ipc::SemSet> set = TRY(Table(task).Find(id));
  const std::vector<uint16_t> values = TRY(set->Values(task.creds()));
  TRY(task.mm().CopyOutArray(UserOut<uint16_t>(buffer), std::span<const uint16_t>(values)));
  return Word{0};
}

Result<Word> SetAll(Task& task, int32_t id, UserAddr buffer) {
  const Ref<ipc::SemSet> set = TRY(Table(task).Find(id));
  TRY(set->CheckWrite(task.creds()));
  const std::vector<uint16_t> values = TRY(task.mm().CopyInArray(UserIn<uint16_t>(buffer), set->size(), set->size()));
  TRY(set->SetValues(task.creds(), values));
  return Word{0};
}

Result<Word> SetValue(Task& task, int32_t id, int32_t index, int32_t value) {
  if (value < 0 || value > abi::kSemValueMax) return Errno::kERANGE;
  const Ref<ipc::SemSet> set = TRY(Table(task).Find(id));
  TRY(set->SetValue(task.creds(), index, value));
  return Word{0};
}

Result<Word> Operate(Task& task, int32_t id, UserIn<abi::SemBuf> from, uint32_t count, const std::optional<abi::Timespec>& timeout) {
  ipc::SemTable& table = Table(task);
  const auto most = static_cast<uint32_t>(std::max(table.limits().per_operation, 0));
  if (count > most) return Errno::kE2BIG;
  if (count == 0) return Errno::kEINVAL;
  const std::vector<abi::SemBuf> ops = TRY(task.mm().CopyInArray(from, count, count));
  if (id < 0) return Errno::kEINVAL;
  ipc::SemOperation operation{.ops = ops, .undo = nullptr};
  if (timeout) {
    const Nanos limit = TRY(kernel::ToNanos(*timeout));
    operation.deadline = limit == kNanosMax ? Deadline::Never() : LimitOf(limit);
  }
  const Ref<ipc::SemSet> set = TRY(table.Find(id));
  if (std::any_of(ops.begin(), ops.end(), [](const abi::SemBuf& op) { return (op.flags & abi::kSemUndo) != 0; })) {
    const Ref<ipc::UndoList> undo = task.EnsureSemUndo();
    undo->Touch(set);
    operation.undo = undo;
  }
  const TaskBlocker blocker(task);
  TRY(set->Operate(task.creds(), operation, *blocker));
  return Word{0};
}

}  // namespace

Result<Word> SysSemget(Task& task, int32_t key, int32_t count, uint32_t flags) {
  const int32_t id = TRY(Table(task).Get(task.creds(), key, count, flags));
  return static_cast<Word>(id);
}

Result<Word> SysSemop(Task& task, int32_t id, UserIn<abi::SemBuf> ops, uint32_t count) { return Operate(task, id, ops, count, std::nullopt); }

Result<Word> SysSemtimedop(Task& task, int32_t id, UserIn<abi::SemBuf> ops, uint32_t count, UserIn<abi::Timespec> timeout) {
  if (!timeout) return Operate(task, id, ops, count, std::nullopt);
  const abi::Timespec limit = TRY(task.CopyIn(timeout));
  return Operate(task, id, ops, count, limit);
}

Result<Word> SysSemctl(Task& task, int32_t id, int32_t index, int32_t command, uint64_t argument) {
  if (id < 0) return Errno::kEINVAL;
  switch (command) {
    case abi::kIpcInfo: return Info(task, false, argument);
    case abi::kSemInfo: return Info(task, true, argument);
    case abi::kIpcStat: return Stat(task, id, StatBy::kId, argument);
    case abi::kSemStat: return Stat(task, id, StatBy::kSlot, argument);
    case abi::kSemStatAny: return Stat(task, id, StatBy::kSlotUnchecked, argument);
    case abi::kSemGetall: return GetAll(task, id, argument);
    case abi::kSemGetval: return Query(task, id, index, Ask::kValue);
    case abi::kSemGetpid: return Query(task, id, index, Ask::kProcess);
    case abi::kSemGetncnt: return Query(task, id, index, Ask::kIncreaseWaiters);
    case abi::kSemGetzcnt: return Query(task, id, index, Ask::kZeroWaiters);
    case abi::kSemSetall: return SetAll(task, id, argument);
    case abi::kSemSetval: return SetValue(task, id, index, static_cast<int32_t>(static_cast<uint32_t>(argument)));
    case abi::kIpcSet: {
      const abi::SemidDs ds = TRY(task.CopyIn(UserIn<abi::SemidDs>(argument)));
      TRY(Table(task).Set(task.creds(), id, ds.perm));
      return Word{0};
    }
    case abi::kIpcRmid: TRY(Table(task).RemoveId(task.creds(), id)); return Word{0};
    default: return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
