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
    {44, 0, true},           // SO_LOCK_FILTER: of filters, which there are not
    {49, -1, false},         // SO_INCOMING_CPU
    {69, 0, true},           // SO_PREFER_BUSY_POLL
    {75, 0, true},           // SO_RCVMARK
    {41, 0, true},           // SO_WIFI_STATUS
    {43, 0, true},           // SO_NOFCS
    {45, 0, true},           // SO_SELECT_ERR_QUEUE
    {46, 0, false},          // SO_BUSY_POLL
};
const Idle* IdleOf(int name) {
  const auto* const it = std::find_if(std::begin(kIdle), std::end(kIdle), [&](const Idle& o) { return o.name == name; });
  return it == std::end(kIdle) ? nullptr : it;
}

// What is not carried out: off, which one may ask about and say again.
struct Off {
  int name;
  size_t size;
  int32_t value;  // repeated over `size`
};
constexpr Off kOff[] = {
    {14, 4, 0},                // SO_BSDCOMPAT: Linux forgets it too
    {26, 0, 0},                // SO_GET_FILTER: none is attached
    {37, 8, 0}, {65, 8, 0},    // SO_TIMESTAMPING
    {42, 4, -1},               // SO_PEEK_OFF
    {60, 4, 0},                // SO_ZEROCOPY
    {61, 8, 0},                // SO_TXTIME
    {63, 4, 0}, {64, 4, 0},    // SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW
    {73, 4, 0},                // SO_RESERVE_MEM
};
const Off* OffOf(const Socket& s, int name) {
  const auto* const it = std::find_if(std::begin(kOff), std::end(kOff), [&](const Off& o) { return o.name == name; });
  if (it == std::end(kOff)) return nullptr;
  const bool peeks = s.family() == abi::kAfUnix || ((s.family() == abi::kAfInet || s.family() == abi::kAfInet6) && s.type() != abi::kSockRaw);
  return name == 42 && !peeks ? nullptr : it;
}

constexpr int kSoPeername = 28, kSoMaxPacingRate = 47, kSoMeminfo = 55, kSoNetnsCookie = 71, kSoBufLock = 72, kSoTxrehash = 74, kPacingHigh = 1 << 16;

// struct sock's SK_MEMINFO_…
std::string MemoryInfo(const Socket& s, size_t waiting) {
  struct {
    uint32_t received, receive_buffer, sending, send_buffer, forward, queued, option, backlog, drops;
  } const info{static_cast<uint32_t>(waiting), static_cast<uint32_t>(s.receive_buffer.load()), 0, static_cast<uint32_t>(s.send_buffer.load()), 0, 0, 0, 0, 0};
  return BytesOf(info);
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
    if (name == 44 && number == 0 && Remembered(level, name, 0) != 0) return Errno::kEPERM;
    if (name == 69 && number != 0 && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
    if ((name == 36 || name == 75) && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
    if (name == 12 && (number < 0 || number > 6) && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
    const int32_t mark = number == 0 ? 1 : number < 0 ? INT_MAX : number;  // SO_RCVLOWAT
    Remember(level, name, idle->is_flag ? (number != 0 ? 1 : 0) : name == 18 ? mark : number);
    return Ok();
  }
  if (const Off* off = OffOf(*this, name); off != nullptr && off->size != 0) {
    return number == off->value || name == 14 ? Result<void>(Ok()) : Errno::kEOPNOTSUPP;
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
    case kSoMaxPacingRate: {  // there is no wire to be gentle to
      uint64_t rate = static_cast<uint32_t>(number);
      if (value.size() >= sizeof(rate)) std::memcpy(&rate, value.data(), sizeof(rate));
      if (value.size() < sizeof(rate) && number == -1) rate = UINT64_MAX;
      Remember(level, name, static_cast<int32_t>(rate));
      Remember(level, name | kPacingHigh, static_cast<int32_t>(rate >> 32));
      return Ok();
    }
    case kSoBufLock:
      if ((number & ~3) != 0) return Errno::kEINVAL;
      send_buffer_set.store((number & 1) != 0);
      receive_buffer_set.store((number & 2) != 0);
      return Ok();
    case kSoTxrehash:
      if (protocol_ != abi::kIpprotoTcp) return Errno::kEOPNOTSUPP;
      if (number < -1 || number > 1) return Errno::kEINVAL;
      Remember(level, name, number == -1 ? 1 : number);
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

Result<std::string> Socket::GetOption(const Caller&, int level, int name, size_t room) {
  if (level != abi::kSolSocket) return Errno::kENOPROTOOPT;
  if (std::atomic<bool>* flag = FlagOf(*this, name)) return BytesOf(int32_t{flag->load() ? 1 : 0});
  if (const Idle* idle = IdleOf(name)) return BytesOf(Remembered(level, name, idle->initial));
  if (const Off* off = OffOf(*this, name)) return std::string(off->size, static_cast<char>(off->value));
  switch (name) {
    case kSoPeername: {
      std::string peer = TRY(PeerName());
      if (peer.size() < room) return Errno::kEINVAL;  // Linux wants it the other way round
      return peer;
    }
    case kSoMaxPacingRate: {
      const auto low = static_cast<uint32_t>(Remembered(level, name, -1)), high = static_cast<uint32_t>(Remembered(level, name | kPacingHigh, -1));
      if (room >= sizeof(uint64_t)) return BytesOf(uint64_t{high} << 32 | low);
      return BytesOf(high != 0 ? UINT32_MAX : low);
    }
    case kSoMeminfo: {
      const Result<size_t> waiting = Readable();
      return MemoryInfo(*this, waiting.ok() ? *waiting : 0);
    }
    case kSoNetnsCookie:
      if (room != sizeof(uint64_t)) return Errno::kEINVAL;
      return BytesOf(uint64_t{1});
    case kSoBufLock: return BytesOf(int32_t{(send_buffer_set.load() ? 1 : 0) | (receive_buffer_set.load() ? 2 : 0)});
    case kSoTxrehash:
      if (protocol_ != abi::kIpprotoTcp) return Errno::kEOPNOTSUPP;
      return BytesOf(Remembered(level, name, 1));
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
