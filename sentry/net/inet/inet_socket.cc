#include "sentry/net/inet/inet_socket.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace rampart::net {
namespace {

constexpr uint16_t kFirstEphemeral = 32768, kLastEphemeral = 60999;
using Bytes16 = std::array<uint8_t, 16>;
constexpr Bytes16 kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// An address of either family; IPv4 as v4-mapped IPv6.
struct InetAddress {
  Bytes16 ip{};
  uint16_t port = 0;
  bool IsV4() const {
    static constexpr std::array<uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::equal(kPrefix.begin(), kPrefix.end(), ip.begin());
  }
  bool IsAny() const { return ip == Bytes16{} || (IsV4() && ip[12] == 0 && ip[13] == 0 && ip[14] == 0 && ip[15] == 0); }
  bool IsLoopback() const { return ip == kLoopback6 || (IsV4() && ip[12] == 127); }
};

InetAddress V4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, port};
}

// AF_UNSPEC is the caller's. EINVAL, EAFNOSUPPORT.
Result<InetAddress> Parse(int family, std::string_view address) {
  if (address.size() < 2) return Errno::kEINVAL;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(address[i]); };
  const int given = byte(0) | byte(1) << 8;
  if (given == abi::kAfInet && (family == abi::kAfInet || family == abi::kAfInet6)) {
    if (address.size() < 16) return Errno::kEINVAL;
    return V4(byte(4), byte(5), byte(6), byte(7), static_cast<uint16_t>(byte(2) << 8 | byte(3)));
  }
  if (given != family) return Errno::kEAFNOSUPPORT;
  if (address.size() < 24) return Errno::kEINVAL;
  InetAddress parsed;
  parsed.port = static_cast<uint16_t>(byte(2) << 8 | byte(3));
  std::memcpy(parsed.ip.data(), address.data() + 8, 16);
  return parsed;
}

std::string Format(int family, const InetAddress& a) {
  std::string text(family == abi::kAfInet ? 16 : 28, '\0');
  text[0] = static_cast<char>(family);
  text[2] = static_cast<char>(a.port >> 8);
  text[3] = static_cast<char>(a.port & 0xff);
  if (family == abi::kAfInet) {
    if (a.IsV4()) std::memcpy(text.data() + 4, a.ip.data() + 12, 4);
  } else {
    std::memcpy(text.data() + 8, a.ip.data(), 16);
  }
  return text;
}

class InetSocket;
// Bound sockets by protocol and port. Weak: a socket takes itself out.
struct Ports {
  absl::Mutex mu;
  std::vector<InetSocket*> bound ABSL_GUARDED_BY(mu);
  uint16_t next ABSL_GUARDED_BY(mu) = kFirstEphemeral;
};
Ports& ThePorts() {
  static Ports* const ports = new Ports;
  return *ports;
}

class InetSocket final : public Socket {
 public:
  InetSocket(const Caller& caller, int family, int type, uint32_t flags, abi::Ucred owner, Ref<Endpoint> end)
      : Socket(family, type, type == abi::kSockStream ? abi::kIpprotoTcp : abi::kIpprotoUdp, flags, std::move(end), caller), owner_(owner) {}

  Result<void> Bind(const vfs::Walk& walk, std::string_view text) override {
    const InetAddress address = TRY(Parse(family(), text));
    if (!address.IsAny() && !address.IsLoopback()) return Errno::kEADDRNOTAVAIL;
    if (address.port != 0 && address.port < 1024 && !walk.caller.creds().HasCapability(abi::Capability::kNetBindService)) return Errno::kEACCES;
    absl::MutexLock lock(&ThePorts().mu);
    if (bound_) return Errno::kEINVAL;
    return BindLocked(address);
  }
  Result<void> Listen(Caller&, int backlog) override {
    if (type() != abi::kSockStream) return Errno::kEOPNOTSUPP;
    TRY(EnsureBound());
    TRY(endpoint().Listen(backlog));
    return Ok();
  }
  Result<void> Connect(const vfs::Walk& walk, std::string_view text) override {
    if (type() == abi::kSockDgram && text.size() >= 2 && text[0] == 0 && text[1] == 0) {
      endpoint().SetDatagramPeer(nullptr, "");
      return Ok();
    }
    const InetAddress address = TRY(Resolve(text));
    TRY(EnsureBound());
    const Result<Ref<Endpoint>> target = Target(walk, text);
    if (type() == abi::kSockDgram) {
      if (target.ok()) endpoint().SetDatagramPeer(*target, Format(family(), address));
      return target.ok() ? Result<void>(Ok()) : target.error();
    }
    if (!target.ok()) return target.error();
    // The source is the loopback address of the destination's family.
    endpoint().SetName(Format(family(), SourceFor(address)));
    return endpoint().Connect(**target, Format(family(), address));
  }
  Result<Ref<Endpoint>> Target(const vfs::Walk&, std::string_view text) override {
    const InetAddress to = TRY(Resolve(text));
    TRY(EnsureBound());
    absl::MutexLock lock(&ThePorts().mu);
    if (type() == abi::kSockDgram) endpoint().SetName(Format(family(), SourceFor(to)));
    RefPtr<Endpoint> wildcard;
    for (InetSocket* s : ThePorts().bound) {
      if (s->type() != type() || s->address_.port != to.port) continue;
      if (type() == abi::kSockStream && !s->endpoint().listening()) continue;
      if (s->family() == abi::kAfInet && !to.IsV4()) continue;
      if (s->family() == abi::kAfInet6 && s->v6_only.load() && to.IsV4()) continue;
      if (s->address_.ip == to.ip) {
        if (RefPtr<Endpoint> found = TryRef(&s->endpoint())) return std::move(found).ToRef();
      } else if (s->address_.IsAny() && !wildcard) {
        wildcard = TryRef(&s->endpoint());
      }
    }
    if (!wildcard) return Errno::kECONNREFUSED;
    return std::move(wildcard).ToRef();
  }
  Ref<Socket> Accepted(const Caller& caller, Ref<Endpoint> end, uint32_t flags) override {
    // The accepted end is at the address that was asked for, which may be one of many under a wildcard.
    return MakeRef<InetSocket>(caller, family(), type(), flags, owner_, std::move(end));
  }
  std::string LocalName() const override {
    std::string name = endpoint().name();
    return name.empty() ? Format(family(), family() == abi::kAfInet ? V4(0, 0, 0, 0, 0) : InetAddress{}) : name;
  }
  bool lossy() const override { return type() == abi::kSockDgram; }

 protected:
  ~InetSocket() override {
    absl::MutexLock lock(&ThePorts().mu);
    std::erase(ThePorts().bound, this);
  }

 private:
  static bool Overlap(const InetSocket& s, const InetAddress& a, bool v6_any) {
    if (s.address_.ip == a.ip) return true;
    const bool s_any = s.address_.IsAny(), a_any = a.IsAny();
    if (!s_any && !a_any) return false;
    const bool s_both = s.address_.ip == Bytes16{} && !s.v6_only.load();
    return s.address_.IsV4() == a.IsV4() || (s_any && s_both) || (a_any && v6_any);
  }
  bool Free(const InetAddress& a) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(ThePorts().mu) {
    const bool v6_any = a.ip == Bytes16{} && !v6_only.load();
    for (const InetSocket* s : ThePorts().bound) {
      if (s->type() != type() || s->address_.port != a.port || !Overlap(*s, a, v6_any)) continue;
      if (reuse_port.load() && s->reuse_port.load()) continue;
      const bool may_share = type() == abi::kSockDgram || !s->endpoint().listening();
      if (reuse_address.load() && s->reuse_address.load() && may_share) continue;
      return false;
    }
    return true;
  }
  Result<void> BindLocked(InetAddress address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(ThePorts().mu) {
    if (address.port == 0) {
      for (int tries = kFirstEphemeral; tries <= kLastEphemeral && address.port == 0; ++tries) {
        InetAddress candidate = address;
        candidate.port = ThePorts().next;
        ThePorts().next = candidate.port == kLastEphemeral ? kFirstEphemeral : static_cast<uint16_t>(candidate.port + 1);
        if (Free(candidate)) address = candidate;
      }
      if (address.port == 0) return Errno::kEADDRINUSE;
    } else if (!Free(address)) {
      return Errno::kEADDRINUSE;
    }
    address_ = address;
    bound_ = true;
    ThePorts().bound.push_back(this);
    endpoint().SetName(Format(family(), address));
    return Ok();
  }
  Result<void> EnsureBound() {
    absl::MutexLock lock(&ThePorts().mu);
    if (bound_) return Ok();
    return BindLocked(family() == abi::kAfInet ? V4(0, 0, 0, 0, 0) : InetAddress{});
  }
  // Where a packet goes: the unspecified address means this host.
  Result<InetAddress> Resolve(std::string_view text) const {
    InetAddress to = TRY(Parse(family(), text));
    if (to.IsAny()) to = to.IsV4() ? V4(127, 0, 0, 1, to.port) : InetAddress{kLoopback6, to.port};
    if (!to.IsLoopback()) return Errno::kENETUNREACH;
    if (to.port == 0) return type() == abi::kSockStream ? Errno::kECONNREFUSED : Errno::kEINVAL;
    return to;
  }
  InetAddress SourceFor(const InetAddress& to) const {
    if (!address_.IsAny()) return address_;
    return to.IsV4() ? V4(127, 0, 0, 1, address_.port) : InetAddress{kLoopback6, address_.port};
  }

  const abi::Ucred owner_;
  InetAddress address_;   // this and the next: written once under the table's lock
  bool bound_ = false;
};

}  // namespace

Result<Ref<Socket>> NewInetSocket(const Caller& caller, abi::Ucred owner, int family, int type, int protocol, uint32_t flags) {
  const int own = type == abi::kSockStream ? abi::kIpprotoTcp : abi::kIpprotoUdp;
  if (type != abi::kSockStream && type != abi::kSockDgram) return Errno::kESOCKTNOSUPPORT;
  if (protocol != 0 && protocol != own) return Errno::kEPROTONOSUPPORT;
  return Ref<Socket>(MakeRef<InetSocket>(caller, family, type, flags, owner, MakeRef<Endpoint>(KindOf(type), owner)));
}

}  // namespace rampart::net
