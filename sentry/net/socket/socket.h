// Socket: the description of a socket of any family: what all share (options, time-outs, the loopback interface's ioctls); how bytes move and
// what names mean is the family's.
//
// No operation sleeps: EAGAIN (EINPROGRESS for connections) is returned and the system-call layer waits for the readiness.
// Thread safety: any thread; options are atomic.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "sentry/net/socket/message.h"
#include "sentry/net/socket/side.h"
#include "sentry/vfs/operations.h"

namespace rampart::net {

struct Packet;
struct SocketReport;

inline constexpr int32_t kDefaultBuffer = 212992;     // net.core.rmem_default, wmem_default
inline constexpr int32_t kMaximumBuffer = 4194304;    // rmem_max, wmem_max: what may be asked for; twice that is set
inline constexpr int kMaxBacklog = 4096;              // net.core.somaxconn

class Socket : public vfs::FileDescription {
 public:
  Socket(int family, int type, int protocol, uint32_t flags, Ref<Side> side, const Caller& caller);

  int family() const { return family_.load(std::memory_order_relaxed); }
  int type() const { return type_; }
  int protocol() const { return protocol_; }
  abi::Uid uid() const { return uid_; }  // who made it
  Side& side() const { return *side_; }

  // `address`: a sockaddr as the application gave it. EINVAL, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, …
  virtual Result<void> Bind(const vfs::Walk& walk, std::string_view address) = 0;
  virtual Result<void> Listen(Caller& caller, int backlog);                                      // default EOPNOTSUPP
  // EINPROGRESS: under way, see FinishConnect. EALREADY: still under way. EAGAIN: the listener's backlog is full (UNIX): try again.
  virtual Result<void> Connect(const vfs::Walk& walk, std::string_view address) = 0;
  virtual Result<void> FinishConnect() { return Ok(); }                                          // EAGAIN: not yet; the connection's error
  virtual Result<Ref<Socket>> Accept(const Caller& caller, uint32_t flags);                      // EAGAIN, EINVAL; default EOPNOTSUPP
  // What sendmsg(2) refuses before it looks at the control messages: default nothing.
  virtual Result<void> CheckBeforeControl() { return Ok(); }
  virtual Result<size_t> Send(const SendRequest& request) = 0;
  virtual Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) = 0;
  virtual Result<void> Shutdown(int how) = 0;                                                    // `how` is valid
  virtual std::string LocalName() const = 0;
  virtual Result<std::string> PeerName() const = 0;                                              // ENOTCONN
  virtual bool listening() const { return false; }
  virtual abi::Ucred peer_credentials() const { return {0, ~0u, ~0u}; }
  // Bytes to read (SIOCINQ), and sent and not yet read (SIOCOUTQ).
  virtual Result<size_t> Readable() const = 0;
  virtual size_t Unsent() const { return 0; }
  virtual Result<bool> AtMark() const { return Errno::kENOTTY; }
  // What sock_diag(7) and /proc/net tell of it; the default fills in what all sockets have (socket_list.h).
  virtual void Report(SocketReport& report) const;
  // A TCP listener: the connections that wait to be accepted, which are no sockets yet.
  virtual void ReportWaiting(std::vector<SocketReport>& /*reports*/) const {}
  // Called when SO_RCVBUF or SO_SNDBUF has changed.
  virtual void BuffersChanged() {}

  // setsockopt(2), getsockopt(2): first the family's, then what all have (socket_options.cc). ENOPROTOOPT. The time-outs are handled here.
  virtual Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value);
  // What the option has; the system-call layer cuts it. `room`: what the application offers, for those whose size depends on it.
  virtual Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room);

  // Descriptions in its queues: see in_flight.h.
  virtual void ForEachQueuedFile(absl::FunctionRef<void(vfs::FileDescription&)> f) ABSL_NO_THREAD_SAFETY_ANALYSIS { (void)f; }
  virtual void TakeQueuedFiles(Files& out) ABSL_NO_THREAD_SAFETY_ANALYSIS { (void)out; }

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags) override;
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kESPIPE; }
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { side_->queue().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { side_->queue().Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;

  // Options that something asks on a hot path.
  std::atomic<bool> reuse_address{false}, reuse_port{false}, broadcast{false}, pass_credentials{false}, urgent_inline{false};
  std::atomic<int32_t> receive_buffer{kDefaultBuffer}, send_buffer{kDefaultBuffer};  // as SO_RCVBUF tells them
  std::atomic<bool> receive_buffer_set{false}, send_buffer_set{false};               // by the application
  std::atomic<Nanos> receive_timeout{0}, send_timeout{0};  // 0: none
  // SO_LINGER as (time << 32) | on. On with time 0: the last close resets the connection; else what was sent is already there.
  std::atomic<uint64_t> linger{0};

 protected:
  ~Socket() override = default;
  void OnLastRef() override;  // leaves the list of sockets
  const Ref<Side>& shared_side() const { return side_; }
  // SO_TIMESTAMP, SO_TIMESTAMPNS.
  void AddTimestamp(const Packet& packet, RecvResult& result) const;
  // Integer options that are kept and told again, with no other effect. Unset: `initial`.
  void Remember(int level, int name, int32_t value);
  int32_t Remembered(int level, int name, int32_t initial) const;
  // All that `from` was told: what accept(2) makes has it too.
  void RememberAllOf(const Socket& from);
  void set_family(int family) { family_.store(family, std::memory_order_relaxed); }

 private:
  friend class SocketList;
  std::atomic<int> family_;  // AF_INET6 may become AF_INET (IPV6_ADDRFORM)
  const int type_, protocol_;
  const abi::Uid uid_;
  uint64_t list_key_ = 0;  // 0: not in the list; guarded by the list's lock
  const Ref<Side> side_;
  std::atomic<bool> has_remembered_{false};  // most sockets are asked for their options with every message and have been given none
  mutable absl::Mutex remembered_mu_;
  std::map<std::pair<int, int>, int32_t> remembered_ ABSL_GUARDED_BY(remembered_mu_);
};

// What options are made of. EINVAL: too short.
Result<int32_t> IntegerIn(std::string_view value);
template <class T>
std::string BytesOf(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));  // SAFETY: the bytes of a plain value
}

}  // namespace rampart::net
