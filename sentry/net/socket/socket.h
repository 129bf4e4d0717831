// Socket: the description of a local socket of any family: bytes, readiness and options here, names in the family's subclass.
// Thread safety: any thread; options are atomic.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "sentry/net/socket/endpoint.h"
#include "sentry/vfs/operations.h"

namespace rampart::net {

class Socket : public vfs::FileDescription {
 public:
  Socket(int family, int type, int protocol, uint32_t flags, Ref<Endpoint> endpoint, const Caller& caller);

  int family() const { return family_; }
  int type() const { return type_; }
  int protocol() const { return protocol_; }
  Endpoint& endpoint() const { return *endpoint_; }

  // `address`: a sockaddr as the application gave it. EINVAL, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, …
  virtual Result<void> Bind(const vfs::Walk& walk, std::string_view address) = 0;
  virtual Result<void> Listen(Caller& caller, int backlog) = 0;
  virtual Result<void> Connect(const vfs::Walk& walk, std::string_view address) = 0;
  // The receiver that an address names, for sendto. ECONNREFUSED…
  virtual Result<Ref<Endpoint>> Target(const vfs::Walk& walk, std::string_view address) = 0;
  // A socket of the same family for an accepted end.
  virtual Ref<Socket> Accepted(const Caller& caller, Ref<Endpoint> end, uint32_t flags) = 0;
  virtual std::string LocalName() const { return endpoint_->name(); }
  virtual bool lossy() const { return false; }

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags) override;
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kESPIPE; }
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { endpoint_->queue().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { endpoint_->queue().Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;

  std::atomic<bool> reuse_address{false}, reuse_port{false}, keepalive{false}, broadcast{false}, pass_credentials{false}, no_delay{false};
  std::atomic<bool> v6_only{false};
  std::atomic<Nanos> receive_timeout{0}, send_timeout{0};  // 0: none
  // SO_LINGER as (time << 32) | on. On with time 0: the last close resets the connection; else what was sent is already there.
  std::atomic<uint64_t> linger{0};
  // Options that are accepted and told again, and change nothing on a loopback path (keepalive times, IP_TOS…).
  void Remember(int level, int name, int32_t value);
  std::optional<int32_t> Remembered(int level, int name) const;

 protected:
  ~Socket() override;

 private:
  const int family_, type_, protocol_;
  const Ref<Endpoint> endpoint_;
  mutable absl::Mutex remembered_mu_;
  std::map<std::pair<int, int>, int32_t> remembered_ ABSL_GUARDED_BY(remembered_mu_);
};

Endpoint::Kind KindOf(int type);

}  // namespace rampart::net
