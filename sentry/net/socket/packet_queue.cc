#include "sentry/net/socket/packet_queue.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/time.h"
#include "sentry/net/socket/buffer_cost.h"
#include "sentry/net/socket/in_flight.h"

namespace rampart::net {

PacketQueue::~PacketQueue() {
  if (with_files_.load(std::memory_order_acquire) == 0) return;
  Files dropped;
  absl::MutexLock in_flight(&InFlightMutex());
  TakeFiles(dropped);  // normally none; `dropped` goes after the lock, declared before it
}

size_t PacketQueue::CostOf(const Packet& packet) const {
  return count_ == Count::kLocal ? PacketCost(packet.bytes.size()) : packet.bytes.size() + kOverhead;
}

void PacketQueue::RememberLocked(const RefPtr<Side>& sender) {
  if (!sender) return;
  for (const Ref<Side>& s : waiting_) {
    if (s.get() == sender.get()) return;
  }
  waiting_.push_back(sender.ToRef());
}

Result<void> PacketQueue::CheckPutLocked(size_t maximum, const RefPtr<Side>& sender) {
  if (writer_done_ || reader_shut_ || reader_gone_) return Errno::kEPIPE;
  if (HasRoomLocked(maximum)) return Ok();
  RememberLocked(sender);
  return Errno::kEAGAIN;
}

Result<void> PacketQueue::CheckPut(size_t maximum, const RefPtr<Side>& sender) {
  absl::MutexLock lock(&mu_);
  return CheckPutLocked(maximum, sender);
}

Result<void> PacketQueue::Put(Packet& packet, size_t maximum, const RefPtr<Side>& sender, uint64_t file_limit) {
  const bool with_files = !packet.ancillary.files.empty();
  {
    const MaybeInFlightLock in_flight(with_files);
    absl::MutexLock lock(&mu_);
    TRY(CheckPutLocked(maximum, sender));
    if (with_files) {
      InFlightMutex().AssertHeld();
      TRY(CheckInFlight(packet.ancillary, file_limit));
      CountIn(packet.ancillary);
      with_files_.fetch_add(1, std::memory_order_release);
    }
    used_ += CostOf(packet);
    bytes_ += packet.bytes.size();
    packet.time = RealtimeNow();
    packets_.push_back(std::move(packet));
    packet = Packet{};
  }
  reader_->Notify(kIn);
  return Ok();
}

Result<Packet> PacketQueue::Take(bool peek, bool& end) {
  bool with_lock = with_files_.load(std::memory_order_acquire) != 0;
  Packet packet;
  bool nobody_waits = false;
  while (true) {
    const MaybeInFlightLock in_flight(with_lock);
    absl::MutexLock lock(&mu_);
    if (const Errno error = reader_->TakeError(); error != Errno{}) return error;
    if (packets_.empty()) {
      end = writer_done_ || reader_shut_;
      if (end) return packet;
      return Errno::kEAGAIN;
    }
    Packet& first = packets_.front();
    if (!first.ancillary.files.empty() && !with_lock) {
      with_lock = true;
      continue;
    }
    if (peek) return first;
    if (!first.ancillary.files.empty()) {
      InFlightMutex().AssertHeld();
      CountOut(first.ancillary);
      with_files_.fetch_sub(1, std::memory_order_release);
    }
    packet = std::move(first);
    packets_.pop_front();
    used_ -= CostOf(packet);
    bytes_ -= packet.bytes.size();
    nobody_waits = waiting_.empty();
    break;
  }
  if (!nobody_waits) TellSenders();
  return packet;
}

void PacketQueue::TellSenders() {
  std::vector<Ref<Side>> told;
  {
    absl::MutexLock lock(&mu_);
    told.swap(waiting_);
  }
  for (const Ref<Side>& side : told) side->Notify(kOut);
}

bool PacketQueue::HasRoom(size_t maximum, const RefPtr<Side>& sender) {
  absl::MutexLock lock(&mu_);
  if (HasRoomLocked(maximum) || writer_done_ || reader_shut_ || reader_gone_) return true;
  RememberLocked(sender);
  return false;
}

bool PacketQueue::Writable(size_t maximum, const RefPtr<Side>& sender) {
  absl::MutexLock lock(&mu_);
  if (writer_done_ || reader_shut_ || reader_gone_ || (HasRoomLocked(maximum) && used_ * 4 <= capacity_)) return true;
  RememberLocked(sender);
  return false;
}

void PacketQueue::SetCapacity(size_t capacity) {
  {
    absl::MutexLock lock(&mu_);
    capacity_ = capacity;
  }
  TellSenders();
}

void PacketQueue::CloseWriter() {
  {
    absl::MutexLock lock(&mu_);
    writer_done_ = true;
  }
  reader_->Notify(kIn | abi::kPollRdHup | abi::kPollHup);
}

void PacketQueue::ShutReader() {
  {
    absl::MutexLock lock(&mu_);
    reader_shut_ = true;
  }
  reader_->Notify(kIn | abi::kPollRdHup | abi::kPollHup);
  TellSenders();
}

bool PacketQueue::CloseReader() {
  Files dropped;
  std::deque<Packet> unread;
  {
    absl::MutexLock lock(&mu_);
    reader_gone_ = true;
  }
  if (with_files_.load(std::memory_order_acquire) != 0) {  // no new ones come
    absl::MutexLock in_flight(&InFlightMutex());
    TakeFiles(dropped);
  }
  {
    absl::MutexLock lock(&mu_);
    unread.swap(packets_);
    used_ = bytes_ = 0;
  }
  TellSenders();
  return std::any_of(unread.begin(), unread.end(), [](const Packet& packet) { return !packet.bytes.empty(); });
}

bool PacketQueue::Purge() {
  std::deque<Packet> unread;  // goes after the locks
  {
    absl::MutexLock in_flight(&InFlightMutex());
    absl::MutexLock lock(&mu_);
    unread.swap(packets_);
    used_ = bytes_ = 0;
    for (Packet& packet : unread) {
      if (!packet.ancillary.files.empty()) CountOut(packet.ancillary);
    }
    with_files_.store(0, std::memory_order_release);
  }
  TellSenders();
  return !unread.empty();
}

PacketQueue::State PacketQueue::state() const {
  absl::MutexLock lock(&mu_);
  return {packets_.size(), packets_.empty() ? 0 : packets_.front().bytes.size(), bytes_, used_,
          writer_done_,    reader_shut_, reader_gone_};
}

void PacketQueue::ForEachFile(absl::FunctionRef<void(vfs::FileDescription&)> f) const {
  absl::MutexLock lock(&mu_);
  for (const Packet& packet : packets_) {
    for (const Ref<vfs::FileDescription>& file : packet.ancillary.files) f(*file);
  }
}

void PacketQueue::TakeFiles(Files& out) {
  absl::MutexLock lock(&mu_);
  for (Packet& packet : packets_) {
    if (packet.ancillary.files.empty()) continue;
    CountOut(packet.ancillary);
    for (Ref<vfs::FileDescription>& file : packet.ancillary.files) out.push_back(std::move(file));
    packet.ancillary.files.clear();
  }
  with_files_.store(0, std::memory_order_release);
}

Result<std::string> GatherPacket(mm::IoSrc& src) {
  std::string bytes(src.remaining(), '\0');
  if (bytes.empty()) return bytes;
  const size_t n = TRY(src.Read(std::as_writable_bytes(std::span(bytes))));
  if (n != bytes.size()) return Errno::kEFAULT;
  return bytes;
}

Result<void> GivePacket(Packet packet, mm::IoDst& dst, RecvResult& result) {
  result.full_length = packet.bytes.size();
  const size_t n = std::min(dst.remaining(), packet.bytes.size());
  if (n < packet.bytes.size()) result.flags |= abi::kMsgTrunc;
  if (n > 0) {
    result.copied = TRY(dst.Write(std::as_bytes(std::span(packet.bytes)).first(n)));
    if (result.copied != n) return Errno::kEFAULT;
  }
  result.ancillary = std::move(packet.ancillary);
  return Ok();
}

}  // namespace rampart::net
