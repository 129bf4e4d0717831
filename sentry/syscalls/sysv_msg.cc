#include "sentry/syscalls/sysv_msg.h"

#include <algorithm>

#include "sentry/ipc/namespace.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/syscalls/sysv_common.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using StatBy = ipc::MsgTable::StatBy;

ipc::MsgTable& Table(Task& task) { return task.namespaces().ipc->msg(); }

Result<Word> Stat(Task& task, int32_t id, StatBy by, UserAddr buffer) {
  auto [real, ds] = TRY(Table(task).Stat(task.creds(), id, by));
  ds.lspid = task.ToOwn(ds.lspid), ds.lrpid = task.ToOwn(ds.lrpid);
  TRY(task.CopyOut(UserOut<abi::MsqidDs>(buffer), ds));
  return by == StatBy::kId ? Word{0} : static_cast<Word>(real);
}

Result<Word> Info(Task& task, bool usage, UserAddr buffer) {
  const auto [highest, info] = Table(task).Info(usage);
  TRY(task.CopyOut(UserOut<abi::MsgUsage>(buffer), info));
  return static_cast<Word>(highest);
}

}  // namespace

Result<Word> SysMsgget(Task& task, int32_t key, uint32_t flags) {
  const int32_t id = TRY(Table(task).Get(task.creds(), key, flags));
  return static_cast<Word>(id);
}

Result<Word> SysMsgsnd(Task& task, int32_t id, UserAddr buffer, uint64_t size, uint32_t flags) {
  ipc::Message message;
  message.type = TRY(task.CopyIn(UserIn<int64_t>(buffer)));
  const auto most = static_cast<uint64_t>(std::max(Table(task).limits().message, 0));
  if (size > most || id < 0 || message.type < 1) return Errno::kEINVAL;
  message.text.resize(size);
  TRY(task.mm().CopyInBytes(buffer + sizeof(int64_t), std::as_writable_bytes(std::span(message.text))));
  const Ref<ipc::MsgQueue> queue = TRY(Table(task).Find(id));
  const TaskBlocker blocker(task);
  TRY(queue->Send(task.creds(), std::move(message), (flags & abi::kIpcNowait) != 0, *blocker));
  return Word{0};
}

Result<Word> SysMsgrcv(Task& task, int32_t id, UserAddr buffer, uint64_t size, int64_t type, uint32_t flags) {
  if (id < 0 || static_cast<int64_t>(size) < 0) return Errno::kEINVAL;
  if ((flags & abi::kMsgCopy) != 0 && ((flags & abi::kMsgExcept) != 0 || (flags & abi::kIpcNowait) == 0)) return Errno::kEINVAL;
  const Ref<ipc::MsgQueue> queue = TRY(Table(task).Find(id));
  const TaskBlocker blocker(task);
  const ipc::Message message = TRY(queue->Receive(task.creds(), ipc::MsgRequest::Of(type, size, flags), *blocker));
  TRY(task.CopyOut(UserOut<int64_t>(buffer), message.type));
  const size_t n = std::min<uint64_t>(size, message.text.size());
  TRY(task.mm().CopyOutBytes(buffer + sizeof(int64_t), std::as_bytes(std::span(message.text)).first(n)));
  return Word{n};
}

Result<Word> SysMsgctl(Task& task, int32_t id, int32_t command, UserAddr buffer) {
  if (id < 0 || command < 0) return Errno::kEINVAL;
  switch (command) {
    case abi::kIpcInfo: return Info(task, false, buffer);
    case abi::kMsgInfo: return Info(task, true, buffer);
    case abi::kIpcStat: return Stat(task, id, StatBy::kId, buffer);
    case abi::kMsgStat: return Stat(task, id, StatBy::kSlot, buffer);
    case abi::kMsgStatAny: return Stat(task, id, StatBy::kSlotUnchecked, buffer);
    case abi::kIpcSet: {
      const abi::MsqidDs ds = TRY(task.CopyIn(UserIn<abi::MsqidDs>(buffer)));
      TRY(Table(task).Set(task.creds(), id, ds));
      return Word{0};
    }
    case abi::kIpcRmid: TRY(Table(task).RemoveId(task.creds(), id)); return Word{0};
    default: return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
