// The options that all sockets have: SOL_SOCKET.
#include <algorithm>
#include <climits>
#include <cstring>
#include <span>

#include "sentry/net/socket/socket.h"

namespace rampart::net {
namespace {

constexpr int32_t kSmallestReceive = 2304, kSmallestSend = 4608;  // SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF

std::atomic<bool>* FlagOf(Socket& s, int name) {
  switch (name) {
    case abi::kSoReuseaddr: return &s.reuse_address;
    case abi::kSoReuseport: return &s.reuse_port;
    case abi::kSoBroadcast: return &s.broadcast;
    case abi::kSoPasscred: return s.family() == abi::kAfUnix || s.family() == abi::kAfNetlink ? &s.pass_credentials : nullptr;
    case abi::kSoOobinline: return &s.urgent_inline;
    default: return nullptr;
  }
}

// Integers that are kept and told again: there is no wire that they would change anything on.
struct Idle {
  int name;
  int32_t initial;
  bool is_flag;
};
constexpr Idle kIdle[] = {
    {1, 0, true},            // SO_DEBUG
    {5, 0, true},            // SO_DONTROUTE
    {abi::kSoKeepalive, 0, true},
    {11, 0, true},           // SO_NO_CHECK
    {12, 0, false},          // SO_PRIORITY
    {18, 1, false},          // SO_RCVLOWAT
    {29, 0, true}, {35, 0, true},  // SO_TIMESTAMP, SO_TIMESTAMPNS
    {36, 0, false},          // SO_MARK
    {40, 0, true},           // SO_RXQ_OVFL
    {41, 0, true},           // SO_WIFI_STATUS
    {43, 0, true},           // SO_NOFCS
    {46, 0, false},          // SO_BUSY_POLL
};
const Idle* IdleOf(int name) {
  const auto* const it = std::find_if(std::begin(kIdle), std::end(kIdle), [&](const Idle& o) { return o.name == name; });
  return it == std::end(kIdle) ? nullptr : it;
}

struct LongTime {
  int64_t seconds, micros;
};

Result<void> SetTimeout(std::atomic<Nanos>& timeout, std::string_view value) {
  LongTime t{};
  if (value.size() < sizeof(t)) return Errno::kEINVAL;
  std::memcpy(&t, value.data(), sizeof(t));
  if (t.micros < 0 || t.micros >= 1'000'000) return Errno::kEDOM;
  if (t.seconds < 0) {  // Linux: a call then fails at once; nobody means it
    timeout.store(0);
    return Ok();
  }
  const bool never = t.seconds >= kNanosMax / kNanosPerSecond - 1;
  timeout.store(never ? 0 : t.seconds * kNanosPerSecond + t.micros * 1000);
  return Ok();
}

std::string TimeoutBytes(Nanos t) { return BytesOf(LongTime{t / kNanosPerSecond, t % kNanosPerSecond / 1000}); }

int32_t BufferFor(int32_t asked, int32_t smallest, int32_t maximum) {
  const int32_t wanted = std::clamp(asked, 0, maximum);
  return std::max(wanted * 2, smallest);
}

}  // namespace

Result<void> Socket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  if (level != abi::kSolSocket) return Errno::kENOPROTOOPT;
  if (name == abi::kSoRcvtimeo || name == abi::kSoRcvtimeoNew) return SetTimeout(receive_timeout, value);
  if (name == abi::kSoSndtimeo || name == abi::kSoSndtimeoNew) return SetTimeout(send_timeout, value);
  if (name == abi::kSoBindtodevice) {
    const std::string_view device = value.substr(0, value.find('\0'));
    return device.empty() || device == "lo" ? Result<void>(Ok()) : Errno::kENODEV;
  }
  const int32_t number = TRY(IntegerIn(value));
  const bool inet = family() == abi::kAfInet || family() == abi::kAfInet6;
  if (name == abi::kSoReuseport && number != 0 && !inet) return Errno::kEOPNOTSUPP;
  if (std::atomic<bool>* flag = FlagOf(*this, name)) {
    flag->store(number != 0);
    return Ok();
  }
  if (const Idle* idle = IdleOf(name)) {
    if (name == 36 && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
    if (name == 12 && (number < 0 || number > 6) && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
    const int32_t mark = number == 0 ? 1 : number < 0 ? INT_MAX : number;  // SO_RCVLOWAT
    Remember(level, name, idle->is_flag ? (number != 0 ? 1 : 0) : name == 18 ? mark : number);
    return Ok();
  }
  const bool forced = name == abi::kSoSndbufforce || name == abi::kSoRcvbufforce;
  if (forced && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
  switch (name) {
    case abi::kSoSndbuf:
    case abi::kSoSndbufforce:
      send_buffer.store(BufferFor(number, kSmallestSend, kMaximumBuffer));
      send_buffer_set.store(true);
      BuffersChanged();
      return Ok();
    case abi::kSoRcvbuf:
    case abi::kSoRcvbufforce:
      receive_buffer.store(BufferFor(number, kSmallestReceive, kMaximumBuffer));
      receive_buffer_set.store(true);
      BuffersChanged();
      return Ok();
    case abi::kSoLinger: {
      uint64_t both = 0;
      if (value.size() < sizeof(both)) return Errno::kEINVAL;
      std::memcpy(&both, value.data(), sizeof(both));
      const bool on = static_cast<uint32_t>(both) != 0;
      linger.store((both & ~uint64_t{UINT32_MAX}) | (on ? 1 : 0));
      return Ok();
    }
    default: return Errno::kENOPROTOOPT;
  }
}

Result<std::string> Socket::GetOption(const Caller&, int level, int name, size_t) {
  if (level != abi::kSolSocket) return Errno::kENOPROTOOPT;
  if (std::atomic<bool>* flag = FlagOf(*this, name)) return BytesOf(int32_t{flag->load() ? 1 : 0});
  if (const Idle* idle = IdleOf(name)) return BytesOf(Remembered(level, name, idle->initial));
  switch (name) {
    case abi::kSoType: return BytesOf(int32_t{type_});
    case abi::kSoDomain: return BytesOf(int32_t{family()});
    case abi::kSoProtocol: return BytesOf(int32_t{protocol_});
    case abi::kSoAcceptconn: return BytesOf(int32_t{listening() ? 1 : 0});
    case abi::kSoError: return BytesOf(static_cast<int32_t>(side_->TakeError()));
    case abi::kSoSndbuf: return BytesOf(send_buffer.load());
    case abi::kSoRcvbuf: return BytesOf(receive_buffer.load());
    case abi::kSoSndlowat: return BytesOf(int32_t{1});
    case abi::kSoLinger: return BytesOf(linger.load());
    case abi::kSoRcvtimeo:
    case abi::kSoRcvtimeoNew: return TimeoutBytes(receive_timeout.load());
    case abi::kSoSndtimeo:
    case abi::kSoSndtimeoNew: return TimeoutBytes(send_timeout.load());
    case abi::kSoPeercred: return BytesOf(peer_credentials());
    case abi::kSoBindtodevice: return std::string();
    case abi::kSoCookie: return BytesOf(uint64_t{inode_number()});
    default: return Errno::kENOPROTOOPT;
  }
}

}  // namespace rampart::net
