// The queues by id and key: msgget(2), and what msgctl(2) does to a whole queue.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "sentry/ipc/msg.h"

namespace rampart::ipc {

Result<int32_t> MsgTable::CreateLocked(const auth::Credentials& creds, int32_t key, uint32_t flags) {
  const Ref<MsgQueue> queue = MakeRef<MsgQueue>(Permissions::For(creds, key, flags), totals_, static_cast<uint64_t>(limits_.queue));
  absl::MutexLock queue_lock(&queue->mu_);
  queue->ctime_ = NowSeconds();
  return ids_.Add(queue, limits_.queues);
}

Result<int32_t> MsgTable::Get(const auth::Credentials& creds, int32_t key, uint32_t flags) {
  absl::MutexLock lock(&mu_);
  if (key == abi::kIpcPrivate) return CreateLocked(creds, key, flags);
  MsgQueue* const found = ids_.FindKey(key);
  if (found == nullptr) {
    if ((flags & abi::kIpcCreat) == 0) return Errno::kENOENT;
    return CreateLocked(creds, key, flags);
  }
  if ((flags & abi::kIpcCreat) != 0 && (flags & abi::kIpcExcl) != 0) return Errno::kEEXIST;
  absl::MutexLock queue_lock(&found->mu_);
  TRY(found->permissions.Check(creds, flags));
  return found->permissions.id;
}

Result<Ref<MsgQueue>> MsgTable::Find(int32_t id) const {
  absl::ReaderMutexLock lock(&mu_);
  return ids_.Get(id);
}

Result<std::pair<int32_t, abi::MsqidDs>> MsgTable::Stat(const auth::Credentials& creds, int32_t id, StatBy by) const {
  absl::ReaderMutexLock lock(&mu_);
  const Ref<MsgQueue> queue = TRY(by == StatBy::kId ? ids_.Get(id) : ids_.AtSlot(id));
  absl::MutexLock queue_lock(&queue->mu_);
  if (by != StatBy::kSlotUnchecked) TRY(queue->permissions.Check(creds, kReadRight));
  return std::pair(queue->permissions.id, queue->DescribeLocked());
}

Result<void> MsgTable::Set(const auth::Credentials& creds, int32_t id, const abi::MsqidDs& to) {
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  const Ref<MsgQueue> queue = TRY(ids_.Get(id));
  absl::MutexLock queue_lock(&queue->mu_);
  TRY(queue->permissions.CheckOwner(creds));
  if (to.qbytes > static_cast<uint64_t>(limits_.queue) && !creds.HasCapability(abi::Capability::kSysResource)) return Errno::kEPERM;
  TRY(queue->permissions.Change(to.perm));
  queue->max_bytes_ = to.qbytes;
  queue->ctime_ = NowSeconds();
  // Receivers may have lost their right, senders may find room.
  while (!queue->receivers_.empty()) queue->LeaveLocked(*queue->receivers_.front(), MsgQueue::Receiver::State::kAgain, Errno{});
  queue->WakeSendersLocked(false);
  return Ok();
}

Result<void> MsgTable::RemoveId(const auth::Credentials& creds, int32_t id) {
  RefPtr<MsgQueue> gone;  // after the locks
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  const Ref<MsgQueue> queue = TRY(ids_.Get(id));
  absl::MutexLock queue_lock(&queue->mu_);
  TRY(queue->permissions.CheckOwner(creds));
  gone = queue;
  ids_.Remove(*queue);
  queue->RemoveLocked();
  return Ok();
}

std::pair<int32_t, abi::MsgUsage> MsgTable::Info(bool usage) const {
  absl::ReaderMutexLock lock(&mu_);
  constexpr int32_t kPool = 512000, kMap = 16384, kSegment = 16;
  abi::MsgUsage info{};
  info.msgmni = limits_.queues;
  info.msgmax = limits_.message;
  info.msgmnb = limits_.queue;
  info.msgssz = kSegment;
  info.msgseg = UINT16_MAX;
  const auto clamped = [](int64_t n) { return static_cast<int32_t>(std::clamp<int64_t>(n, 0, INT32_MAX)); };
  info.msgpool = usage ? ids_.size() : kPool;
  info.msgmap = usage ? clamped(totals_.messages.load()) : kMap;
  info.msgtql = usage ? clamped(totals_.bytes.load()) : kMap;
  return {ids_.MaxSlot(), info};
}

MsgLimits MsgTable::limits() const {
  absl::ReaderMutexLock lock(&mu_);
  return limits_;
}

void MsgTable::SetLimits(const MsgLimits& limits) {
  absl::MutexLock lock(&mu_);
  limits_ = limits;
}

std::string MsgTable::ProcText(absl::FunctionRef<abi::Pid(abi::Pid)> seen) const {
  std::string out =
      "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n";
  std::vector<std::pair<Permissions, abi::MsqidDs>> rows;
  {
    absl::ReaderMutexLock lock(&mu_);
    for (const auto& [slot, queue] : ids_) {
      absl::MutexLock queue_lock(&queue->mu_);
      rows.emplace_back(queue->permissions, queue->DescribeLocked());
    }
  }
  for (const auto& [p, ds] : rows) {
    absl::StrAppendFormat(&out, "%10d %10d  %4o  %10u %10u %5u %5u %5u %5u %5u %5u %10u %10u %10u\n", p.key, p.id, p.mode, ds.cbytes, ds.qnum,
                          seen(ds.lspid), seen(ds.lrpid), p.uid, p.gid, p.cuid, p.cgid, ds.stime, ds.rtime, ds.ctime);
  }
  return out;
}

}  // namespace rampart::ipc
