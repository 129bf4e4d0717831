#include "sentry/ipc/msg.h"

#include <algorithm>

namespace rampart::ipc {

MsgRequest MsgRequest::Of(int64_t type, uint64_t room, uint32_t flags) {
  MsgRequest r;
  r.room = room;
  r.cut = (flags & abi::kMsgNoerror) != 0;
  r.copy = (flags & abi::kMsgCopy) != 0;
  r.nowait = (flags & abi::kIpcNowait) != 0;
  r.type = type;
  if (r.copy) {
    r.mode = Mode::kNumber;
  } else if (type == 0) {
    r.mode = Mode::kAny;
  } else if (type < 0) {
    r.mode = Mode::kAtMost;
    r.type = type == INT64_MIN ? INT64_MAX : -type;
  } else {
    r.mode = (flags & abi::kMsgExcept) != 0 ? Mode::kNotEqual : Mode::kEqual;
  }
  return r;
}

MsgQueue::~MsgQueue() {
  for (const Message& m : messages_) Count(m, -1);
}

void MsgQueue::Count(const Message& message, int sign) {
  totals_.bytes.fetch_add(sign * static_cast<int64_t>(message.text.size()), std::memory_order_relaxed);
  totals_.messages.fetch_add(sign, std::memory_order_relaxed);
}

bool MsgQueue::Wants(const MsgRequest& request, const Message& message) {
  switch (request.mode) {
    case MsgRequest::Mode::kAny:
    case MsgRequest::Mode::kNumber: return true;
    case MsgRequest::Mode::kEqual: return message.type == request.type;
    case MsgRequest::Mode::kNotEqual: return message.type != request.type;
    case MsgRequest::Mode::kAtMost: return message.type <= request.type;
  }
  return false;
}

std::list<Message>::iterator MsgQueue::FindLocked(const MsgRequest& request) {
  if (request.mode == MsgRequest::Mode::kNumber) {
    if (request.type < 0 || static_cast<uint64_t>(request.type) >= messages_.size()) return messages_.end();
    return std::next(messages_.begin(), static_cast<ptrdiff_t>(request.type));
  }
  auto best = messages_.end();
  for (auto it = messages_.begin(); it != messages_.end(); ++it) {
    if (!Wants(request, *it)) continue;
    if (request.mode != MsgRequest::Mode::kAtMost) return it;
    // The lowest type, and of that the oldest.
    if (best == messages_.end() || it->type < best->type) best = it;
    if (best->type == 1) break;
  }
  return best;
}

// Nothing: no message is wanted.
Result<std::optional<Message>> MsgQueue::TakeLocked(const MsgRequest& request) {
  const auto found = FindLocked(request);
  if (found == messages_.end()) return std::optional<Message>();
  if (found->text.size() > request.room && !request.cut) return Errno::kE2BIG;
  if (request.copy) {
    if (found->text.size() > request.room) return Errno::kEINVAL;
    return std::optional<Message>(*found);
  }
  std::optional<Message> taken(std::move(*found));
  messages_.erase(found);
  bytes_ -= taken->text.size();
  Count(*taken, -1);
  rtime_ = NowSeconds();
  last_receiver_ = CurrentProcess();
  WakeSendersLocked(false);
  return taken;
}

bool MsgQueue::HasRoomLocked(size_t size) const { return size + bytes_ <= max_bytes_ && messages_.size() + 1 <= max_bytes_; }

void MsgQueue::LeaveLocked(Receiver& receiver, Receiver::State state, Errno error) {
  receivers_.erase(receiver.place);
  receiver.state = state;
  receiver.error = error;
  receiver.sleeper->Wake();
}

bool MsgQueue::HandOverLocked(Message& message) {
  for (auto it = receivers_.begin(); it != receivers_.end();) {
    Receiver& receiver = **it++;
    if (!Wants(receiver.request, message)) continue;
    if (message.text.size() > receiver.request.room && !receiver.request.cut) {
      LeaveLocked(receiver, Receiver::State::kDone, Errno::kE2BIG);
      continue;
    }
    last_receiver_ = receiver.process;
    rtime_ = NowSeconds();
    receiver.message = std::move(message);
    LeaveLocked(receiver, Receiver::State::kDone, Errno{});
    return true;
  }
  return false;
}

// They stay in the list until they have run; the room is for whoever comes first.
void MsgQueue::WakeSendersLocked(bool all) {
  for (Sender* sender : senders_) {
    if (all || HasRoomLocked(sender->size)) sender->sleeper->Wake();
  }
}

void MsgQueue::RemoveLocked() {
  removed_ = true;
  while (!receivers_.empty()) LeaveLocked(*receivers_.front(), Receiver::State::kDone, Errno::kEIDRM);
  WakeSendersLocked(true);
}

Result<void> MsgQueue::Send(const auth::Credentials& creds, Message message, bool nowait, const Blocker& blocker) {
  while (true) {
    Sender sender{message.text.size(), &blocker.sleeper};
    {
      const wait::DeferWakes defer;
      absl::MutexLock lock(&mu_);
      TRY(permissions.Check(creds, kWriteRight));
      if (removed_) return Errno::kEIDRM;
      if (HasRoomLocked(sender.size)) {
        const int64_t held = totals_.bytes.load(std::memory_order_relaxed) + totals_.messages.load(std::memory_order_relaxed) * MsgTotals::kOverhead;
        if (held > MsgTotals::kMostBytes) return Errno::kENOMEM;
        last_sender_ = CurrentProcess();
        stime_ = NowSeconds();
        if (HandOverLocked(message)) return Ok();
        bytes_ += message.text.size();
        Count(message, 1);
        messages_.push_back(std::move(message));
        return Ok();
      }
      if (nowait) return Errno::kEAGAIN;
      sender.place = senders_.insert(senders_.end(), &sender);
    }
    const Result<void> slept = blocker.sleep(Deadline::Never());
    absl::MutexLock lock(&mu_);
    senders_.erase(sender.place);
    if (removed_) return Errno::kEIDRM;
    if (!slept.ok()) return Errno::kERESTARTNOHAND;
  }
}

Result<Message> MsgQueue::Receive(const auth::Credentials& creds, MsgRequest request, const Blocker& blocker) {
  while (true) {
    Receiver receiver{.request = request, .process = CurrentProcess(), .sleeper = &blocker.sleeper, .message = {}};
    {
      const wait::DeferWakes defer;
      absl::MutexLock lock(&mu_);
      TRY(permissions.Check(creds, kReadRight));
      if (removed_) return Errno::kEIDRM;
      std::optional<Message> taken = TRY(TakeLocked(request));
      if (taken) return std::move(*taken);
      if (request.nowait) return Errno::kENOMSG;
      receiver.place = receivers_.insert(receivers_.end(), &receiver);
    }
    while (true) {
      const Result<void> slept = blocker.sleep(Deadline::Never());
      absl::MutexLock lock(&mu_);
      if (receiver.state == Receiver::State::kAgain) break;
      if (receiver.state == Receiver::State::kDone) {
        if (receiver.error != Errno{}) return receiver.error;
        return std::move(receiver.message);
      }
      if (slept.ok()) continue;
      receivers_.erase(receiver.place);
      return Errno::kERESTARTNOHAND;
    }
  }
}

abi::MsqidDs MsgQueue::DescribeLocked() const {
  abi::MsqidDs ds{};
  ds.perm = permissions.ToAbi();
  ds.stime = stime_;
  ds.rtime = rtime_;
  ds.ctime = ctime_;
  ds.cbytes = bytes_;
  ds.qnum = messages_.size();
  ds.qbytes = max_bytes_;
  ds.lspid = last_sender_;
  ds.lrpid = last_receiver_;
  return ds;
}

}  // namespace rampart::ipc
