#include "sentry/net/inet/error_queue.h"

#include <utility>

#include "sentry/net/inet/ip_packet.h"
#include "sentry/net/socket/packet_queue.h"

namespace rampart::net {
namespace {

constexpr uint8_t kOriginIcmp = 2, kOriginIcmp6 = 3;
// What an ICMP message carries of the datagram that it is about, without the headers of IP and UDP.
constexpr size_t kQuoted4 = 548 - 20 - 8, kQuoted6 = 1232 - 40 - 8;

size_t SizeOf(const ReturnedDatagram& datagram) { return datagram.bytes.size() + PacketQueue::kOverhead; }

}  // namespace

ReturnedDatagram ReturnedDatagram::PortUnreachable(const InetAddress& to, const InetAddress& from, std::string_view bytes) {
  const bool v4 = to.IsV4();
  ReturnedDatagram out;
  out.error = Errno::kECONNREFUSED;
  out.to = to;
  out.from = from;
  out.time = RealtimeNow();
  out.origin = v4 ? kOriginIcmp : kOriginIcmp6;
  out.type = v4 ? kUnreachable4 : kUnreachable6;
  out.code = v4 ? 3 : 4;
  out.bytes = bytes.substr(0, v4 ? kQuoted4 : kQuoted6);
  return out;
}

std::string ReturnedDatagram::Describe(int family) const {
  std::string out;
  const auto number = static_cast<uint32_t>(error);
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
  out += {static_cast<char>(origin), static_cast<char>(type), static_cast<char>(code), 0};
  out.append(8, '\0');  // ee_info, ee_data
  out += FormatInet(family, {to.ip, 0});
  return out;
}

void ErrorQueue::Put(ReturnedDatagram datagram, size_t capacity) {
  absl::MutexLock lock(&mu_);
  if (used_ + SizeOf(datagram) >= capacity) return;
  used_ += SizeOf(datagram);
  queue_.push_back(std::move(datagram));
  count_.store(queue_.size(), std::memory_order_release);
}

std::optional<ReturnedDatagram> ErrorQueue::Take(Errno& next) {
  absl::MutexLock lock(&mu_);
  next = Errno{};
  if (queue_.empty()) return std::nullopt;
  ReturnedDatagram first = std::move(queue_.front());
  queue_.pop_front();
  count_.store(queue_.size(), std::memory_order_release);
  used_ -= SizeOf(first);
  if (!queue_.empty()) next = queue_.front().error;
  return first;
}

void ErrorQueue::Purge() {
  absl::MutexLock lock(&mu_);
  queue_.clear();
  used_ = 0;
  count_.store(0, std::memory_order_release);
}

}  // namespace rampart::net
