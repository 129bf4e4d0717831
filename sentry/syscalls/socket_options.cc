// setsockopt(2), getsockopt(2).
#include <algorithm>
#include <optional>

#include "sentry/syscalls/socket.h"
#include "sentry/syscalls/socket_common.h"

namespace rampart::syscalls {
namespace {

std::atomic<bool>* FlagOf(net::Socket& s, int32_t level, int32_t name) {
  if (level == abi::kSolSocket) {
    switch (name) {
      case abi::kSoReuseaddr: return &s.reuse_address;
      case abi::kSoReuseport: return &s.reuse_port;
      case abi::kSoKeepalive: return &s.keepalive;
      case abi::kSoBroadcast: return &s.broadcast;
      case abi::kSoPasscred: return &s.pass_credentials;
      default: return nullptr;
    }
  }
  if (level == abi::kIpprotoTcp && name == abi::kTcpNodelay && s.protocol() == abi::kIpprotoTcp) return &s.no_delay;
  if (level == abi::kIpprotoIpv6 && name == abi::kIpv6V6only && s.family() == abi::kAfInet6) return &s.v6_only;
  return nullptr;
}

std::atomic<Nanos>* TimeoutOf(net::Socket& s, int32_t level, int32_t name) {
  if (level != abi::kSolSocket) return nullptr;
  return name == abi::kSoRcvtimeo ? &s.receive_timeout : name == abi::kSoSndtimeo ? &s.send_timeout : nullptr;
}

// Options that loopback has no use for, with the value they have at first.
std::optional<int32_t> IdleOption(const net::Socket& s, int32_t level, int32_t name) {
  struct Option {
    int32_t level, name, initial;
  };
  static constexpr Option kOptions[] = {
      {abi::kSolSocket, 5, 0},    // SO_DONTROUTE
      {abi::kSolSocket, 10, 0},   // SO_OOBINLINE
      {abi::kSolSocket, 12, 0},   // SO_PRIORITY
      {abi::kSolSocket, 18, 1},   // SO_RCVLOWAT
      {abi::kIpprotoTcp, 4, 7200}, {abi::kIpprotoTcp, 5, 75}, {abi::kIpprotoTcp, 6, 9},  // TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
      {abi::kIpprotoTcp, 3, 0}, {abi::kIpprotoTcp, 9, 0}, {abi::kIpprotoTcp, 12, 1}, {abi::kIpprotoTcp, 18, 0},  // CORK, DEFER_ACCEPT, QUICKACK, USER_TIMEOUT
      {abi::kIpprotoTcp, 2, 65483},  // TCP_MAXSEG
      {abi::kIpprotoIp, 1, 0}, {abi::kIpprotoIp, 2, 64},  // IP_TOS, IP_TTL
      {abi::kIpprotoIpv6, 16, 64}, {abi::kIpprotoIpv6, 67, 0},  // IPV6_UNICAST_HOPS, IPV6_TCLASS
  };
  for (const Option& o : kOptions) {
    if (o.level != level || o.name != name) continue;
    if (level == abi::kIpprotoTcp && s.protocol() != abi::kIpprotoTcp) return std::nullopt;
    if (level != abi::kSolSocket && s.family() == abi::kAfUnix) return std::nullopt;
    return s.Remembered(level, name).value_or(o.initial);
  }
  return std::nullopt;
}

Result<int32_t> IntegerOf(net::Socket& s, int32_t name) {
  switch (name) {
    case abi::kSoType: return s.type();
    case abi::kSoDomain: return s.family();
    case abi::kSoProtocol: return s.protocol();
    case abi::kSoAcceptconn: return s.endpoint().listening() ? 1 : 0;
    case abi::kSoError: return static_cast<int32_t>(s.endpoint().TakeError());
    case abi::kSoSndbuf:
    case abi::kSoRcvbuf: return static_cast<int32_t>(net::kQueueLimit);
    default: return Errno::kENOPROTOOPT;
  }
}

template <class T>
Result<Word> Give(kernel::Task& task, UserBytes value, UserInOut<int32_t> length, const T& what) {
  const int32_t room = TRY(task.CopyIn(UserIn<int32_t>(length)));
  if (room < 0) return Errno::kEINVAL;
  const size_t n = std::min(static_cast<size_t>(room), sizeof(T));
  TRY(task.mm().CopyOutBytes(value, std::as_bytes(std::span(&what, 1)).first(n)));
  TRY(task.CopyOut(UserOut<int32_t>(length), static_cast<int32_t>(n)));
  return Word{0};
}

}  // namespace

Result<Word> SysSetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, int32_t length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  if (length < 0) return Errno::kEINVAL;
  if (std::atomic<Nanos>* timeout = TimeoutOf(*socket, level, name)) {
    if (length < static_cast<int32_t>(sizeof(abi::Timeval))) return Errno::kEINVAL;
    const abi::Timeval t = TRY(task.CopyIn(UserIn<abi::Timeval>(value)));
    if (t.tv_usec < 0 || t.tv_usec >= 1'000'000) return Errno::kEDOM;
    const bool never = t.tv_sec < 0 || t.tv_sec >= kNanosMax / kNanosPerSecond;
    timeout->store(never ? 0 : t.tv_sec * kNanosPerSecond + t.tv_usec * 1000);
    return Word{0};
  }
  if (length < 4) return Errno::kEINVAL;
  const int32_t number = TRY(task.CopyIn(UserIn<int32_t>(value)));
  if (std::atomic<bool>* flag = FlagOf(*socket, level, name)) {
    flag->store(number != 0);
    return Word{0};
  }
  // Queues have one size: the request is a wish, as on Linux.
  if (level == abi::kSolSocket && (name == abi::kSoSndbuf || name == abi::kSoRcvbuf)) return Word{0};
  if (level == abi::kSolSocket && name == abi::kSoLinger) {
    if (length < 8) return Errno::kEINVAL;
    socket->linger.store(TRY(task.CopyIn(UserIn<uint64_t>(value))));
    return Word{0};
  }
  if (IdleOption(*socket, level, name)) {
    socket->Remember(level, name, number);
    return Word{0};
  }
  return Errno::kENOPROTOOPT;
}

Result<Word> SysGetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, UserInOut<int32_t> length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  if (std::atomic<Nanos>* timeout = TimeoutOf(*socket, level, name)) {
    const Nanos t = timeout->load();
    return Give(task, value, length, abi::Timeval{t / kNanosPerSecond, t % kNanosPerSecond / 1000});
  }
  if (std::atomic<bool>* flag = FlagOf(*socket, level, name)) return Give(task, value, length, int32_t{flag->load() ? 1 : 0});
  if (const std::optional<int32_t> idle = IdleOption(*socket, level, name)) return Give(task, value, length, *idle);
  if (level != abi::kSolSocket) return Errno::kENOPROTOOPT;
  if (name == abi::kSoPeercred) return Give(task, value, length, socket->endpoint().peer_credentials());
  if (name == abi::kSoLinger) return Give(task, value, length, socket->linger.load());
  return Give(task, value, length, TRY(IntegerOf(*socket, name)));
}

}  // namespace rampart::syscalls
