// ErrorQueue: what IP_RECVERR and IPV6_RECVERR collect, for recvmsg(2) with MSG_ERRQUEUE: a datagram that came back, whither it had gone, and why.
// Linux: ip_icmp_error, sock_queue_err_skb, ip_recv_error.
// Thread safety: any thread. Its lock is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/errno.h"
#include "base/time.h"
#include "sentry/net/inet/inet_address.h"

namespace rampart::net {

struct ReturnedDatagram {
  Errno error{};
  uint8_t origin = 0;  // SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
  uint8_t type = 0, code = 0;
  InetAddress to;      // where it had been sent
  InetAddress from;    // its sender's address: where the message about it went
  std::string bytes;   // as much as an ICMP message quotes
  Nanos time = 0;

  // "Port unreachable" of whoever was to have had it.
  static ReturnedDatagram PortUnreachable(const InetAddress& to, const InetAddress& from, std::string_view bytes);
  // struct sock_extended_err and the address of who sent the message, as a socket of `family` gets them.
  std::string Describe(int family) const;
};

class ErrorQueue {
 public:
  // Dropped when `capacity` bytes are in use already.
  void Put(ReturnedDatagram datagram, size_t capacity);
  // The first; `next`: the error of the one after it, else 0. Null: there is none.
  std::optional<ReturnedDatagram> Take(Errno& next);
  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  void Purge();

 private:
  absl::Mutex mu_;
  std::deque<ReturnedDatagram> queue_ ABSL_GUARDED_BY(mu_);
  size_t used_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<size_t> count_{0};  // of queue_; written under mu_
};

}  // namespace rampart::net
