#include "sentry/ipc/mqueue.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/safe_math.h"

namespace rampart::ipc {
namespace {
constexpr wait::EventMask kIn = abi::kPollIn | abi::kPollRdNorm, kOut = abi::kPollOut | abi::kPollWrNorm;
constexpr int64_t kOverhead = 64;  // of a message on the heap
// What Linux counts for a message and for a node of its tree of priorities.
constexpr uint64_t kMessageBytes = 48, kNodeBytes = 48;

int64_t Held(const std::string& text) { return static_cast<int64_t>(text.size()) + kOverhead; }
}  // namespace

MqLimits MqAccounts::limits() const {
  absl::ReaderMutexLock lock(&mu_);
  return limits_;
}

void MqAccounts::SetLimits(const MqLimits& limits) {
  absl::MutexLock lock(&mu_);
  limits_ = limits;
}

Result<void> MqAccounts::AddQueue(const auth::Credentials& creds) {
  absl::MutexLock lock(&mu_);
  if (queues_ >= kMostQueues) return Errno::kENOSPC;
  if (queues_ >= limits_.queues && !creds.HasCapability(abi::Capability::kSysResource)) return Errno::kENOSPC;
  ++queues_;
  return Ok();
}

void MqAccounts::RemoveQueue() {
  absl::MutexLock lock(&mu_);
  --queues_;
}

Result<void> MqAccounts::Charge(abi::Uid user, uint64_t bytes, uint64_t limit) {
  absl::MutexLock lock(&mu_);
  const auto it = users_.find(user);
  const uint64_t now = it == users_.end() ? 0 : it->second;
  const uint64_t sum = TRY(CheckedAdd(now, bytes, Errno::kEMFILE));
  if (sum > limit) return Errno::kEMFILE;
  users_[user] = sum;
  return Ok();
}

void MqAccounts::Uncharge(abi::Uid user, uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  const auto it = users_.find(user);
  if ((it->second -= bytes) == 0) users_.erase(it);
}

Result<void> MqAccounts::AddBytes(int64_t bytes) {
  if (held_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= kMostBytes) return Ok();
  RemoveBytes(bytes);
  return Errno::kENOMEM;
}

Result<MqQueue::Shape> MqQueue::Decide(const abi::MqAttr* asked, const MqLimits& limits, const auth::Credentials& creds) {
  Shape shape{std::min(limits.messages, limits.default_messages), std::min(limits.message_size, limits.default_size)};
  if (asked != nullptr) shape = {asked->maxmsg, asked->msgsize};
  if (shape.messages <= 0 || shape.message_size <= 0) return Errno::kEINVAL;
  const bool capable = creds.HasCapability(abi::Capability::kSysResource);
  if (shape.messages > (capable ? kMqHardMessages : limits.messages)) return Errno::kEINVAL;
  if (shape.message_size > (capable ? kMqHardSize : limits.message_size)) return Errno::kEINVAL;
  return shape;  // neither product nor sum can overflow below the hard limits
}

uint64_t MqQueue::BytesOf(Shape shape) {
  const auto messages = static_cast<uint64_t>(shape.messages);
  return messages * static_cast<uint64_t>(shape.message_size) + messages * kMessageBytes +
         std::min<uint64_t>(messages, abi::kMqPriorities) * kNodeBytes;
}

MqQueue::~MqQueue() {
  for (const auto& [priority, texts] : messages_) {
    for (const std::string& text : texts) accounts_->RemoveBytes(Held(text));
  }
}

void MqQueue::InsertLocked(MqMessage message) {
  ++count_;
  bytes_ += message.text.size();
  messages_[message.priority].push_back(std::move(message.text));
}

MqMessage MqQueue::TakeLocked() {
  const auto first = messages_.begin();
  MqMessage message{first->first, std::move(first->second.front())};
  first->second.pop_front();
  if (first->second.empty()) messages_.erase(first);
  --count_;
  bytes_ -= message.text.size();
  return message;
}

Result<void> MqQueue::SleepAmong(Side side, Waiter& waiter, Deadline deadline, const Blocker& blocker) {
  while (true) {
    const Result<void> slept = blocker.sleep(deadline);
    absl::MutexLock lock(&mu_);
    if (waiter.done) return Ok();
    if (slept.ok()) continue;
    (side == Side::kSenders ? senders_ : receivers_).erase(waiter.place);
    return slept.error();  // ETIMEDOUT, kERESTARTSYS
  }
}

Result<void> MqQueue::Send(const auth::Credentials& creds, SendArgs args, const Blocker& blocker) {
  const int64_t held = Held(args.message.text);
  TRY(accounts_->AddBytes(held));
  const auto give_back = [&](Errno error) {
    accounts_->RemoveBytes(held);
    return error;
  };
  RefPtr<MqNotice> notice;
  bool waits = false;
  Waiter waiter{.message = {}, .sleeper = &blocker.sleeper};
  {
    const wait::DeferWakes defer;
    absl::MutexLock lock(&mu_);
    if (count_ < shape_.messages) {
      if (!receivers_.empty()) {
        Waiter& receiver = *receivers_.front();
        receivers_.pop_front();
        receiver.message = std::move(args.message);
        receiver.done = true;
        receiver.sleeper->Wake();
        accounts_->RemoveBytes(held);
        return Ok();
      }
      InsertLocked(std::move(args.message));
      if (count_ == 1) notice = std::exchange(notice_, nullptr);
    } else {
      if (args.nonblocking) return give_back(Errno::kEAGAIN);
      waiter.message = std::move(args.message);
      waiter.place = senders_.insert(senders_.end(), &waiter);
      waits = true;
    }
  }
  if (waits) {
    const Result<void> sent = SleepAmong(Side::kSenders, waiter, args.deadline, blocker);
    return sent.ok() ? sent : give_back(sent.error());
  }
  if (notice) notice->Give(creds);
  events_.Notify(kIn);
  return Ok();
}

Result<MqMessage> MqQueue::Receive(bool nonblocking, Deadline deadline, const Blocker& blocker) {
  Waiter waiter{.message = {}, .sleeper = &blocker.sleeper};
  {
    const wait::DeferWakes defer;
    absl::MutexLock lock(&mu_);
    if (count_ > 0) {
      MqMessage message = TakeLocked();
      accounts_->RemoveBytes(Held(message.text));
      if (senders_.empty()) {
        events_.Notify(kOut);
      } else {
        Waiter& sender = *senders_.front();
        senders_.pop_front();
        InsertLocked(std::move(sender.message));
        sender.done = true;
        sender.sleeper->Wake();
      }
      return message;
    }
    if (nonblocking) return Errno::kEAGAIN;
    waiter.place = receivers_.insert(receivers_.end(), &waiter);
  }
  TRY(SleepAmong(Side::kReceivers, waiter, deadline, blocker));
  return std::move(waiter.message);
}

int64_t MqQueue::count() const {
  absl::ReaderMutexLock lock(&mu_);
  return count_;
}

Result<void> MqQueue::Register(Ref<MqNotice> notice) {
  absl::MutexLock lock(&mu_);
  if (notice_) return Errno::kEBUSY;
  notice_ = std::move(notice);
  return Ok();
}

void MqQueue::Unregister(abi::Pid process) {
  RefPtr<MqNotice> notice;
  {
    absl::MutexLock lock(&mu_);
    if (!notice_ || notice_->process != process) return;
    notice = std::exchange(notice_, nullptr);
  }
  notice->Withdraw();
}

std::string MqQueue::StatusText(Caller& reader) const {
  uint64_t bytes = 0;
  RefPtr<const MqNotice> notice;
  {
    absl::ReaderMutexLock lock(&mu_);
    bytes = bytes_;
    notice = notice_;
  }
  const bool signal = notice && notice->kind == MqNotice::Kind::kSignal;
  char text[96];
  std::snprintf(text, sizeof(text), "QSIZE:%-10llu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", static_cast<unsigned long long>(bytes),
                notice ? static_cast<int>(notice->kind) : 0, signal ? notice->signo : 0, notice ? notice->ProcessFor(reader) : 0);
  return text;
}

wait::EventMask MqQueue::Readiness() const {
  absl::ReaderMutexLock lock(&mu_);
  return (count_ > 0 ? kIn : 0u) | (count_ < shape_.messages ? kOut : 0u);
}

}  // namespace rampart::ipc
