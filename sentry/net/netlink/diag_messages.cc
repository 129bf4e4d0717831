#include "sentry/net/netlink/diag_messages.h"

#include <algorithm>
#include <array>

#include "base/result.h"
#include "sentry/net/netlink/inet_filter.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr uint16_t kDiagByFamily = 20, kDiagDestroy = 21;
constexpr size_t kPacketBytes = 16384;  // of a dump: readers offer 32768
constexpr uint8_t kAnyRaw = 255;        // IPPROTO_RAW: raw sockets of the protocol that stands in the padding, or of any

// struct inet_diag_sockid, inet_diag_req_v2, inet_diag_msg. Ports and addresses are in network order.
struct SocketId {
  uint16_t source_port, target_port;
  std::array<uint8_t, 16> source, target;
  uint32_t interface;
  std::array<uint32_t, 2> cookie;
};
struct InetRequest {
  uint8_t family, protocol, extensions, raw_protocol;
  uint32_t states;
  SocketId id;
};
static_assert(sizeof(InetRequest) == 56);
struct InetAnswer {
  uint8_t family, state, timer, retransmits;
  SocketId id;
  uint32_t expires, receive_queue, send_queue, uid, inode;
};
static_assert(sizeof(InetAnswer) == 72);
// unix_diag_req, and with `states` as padding those of netlink and packet sockets, which are shorter.
struct UnixRequest {
  uint8_t family, protocol;
  uint16_t pad;
  uint32_t states, inode, show;
  std::array<uint32_t, 2> cookie;
};
static_assert(sizeof(UnixRequest) == 24);
struct UnixAnswer {
  uint8_t family, type, state, pad;
  uint32_t inode;
  std::array<uint32_t, 2> cookie;
};
struct OtherRequest {
  uint8_t family, protocol;
  uint16_t pad;
  uint32_t inode, show;
  std::array<uint32_t, 2> cookie;
};
static_assert(sizeof(OtherRequest) == 20);
struct NetlinkAnswer {
  uint8_t family, type, protocol, state;
  uint32_t port, target_port, target_group, inode;
  std::array<uint32_t, 2> cookie;
};
struct PacketAnswer {
  uint8_t family, type;
  uint16_t protocol;
  uint32_t inode;
  std::array<uint32_t, 2> cookie;
};

std::array<uint32_t, 2> CookieOf(const SocketReport& r) { return {static_cast<uint32_t>(r.inode), static_cast<uint32_t>(r.inode >> 32)}; }
// As a request means a socket: none, or this one.
bool CookieFits(const std::array<uint32_t, 2>& cookie, const SocketReport& r) {
  const std::array<uint32_t, 2> none{UINT32_MAX, UINT32_MAX};
  return cookie == none || cookie == CookieOf(r);
}
// SK_MEMINFO_…: what lies in its queues, and its limits.
std::array<uint32_t, 9> MemoryOf(const SocketReport& r) {
  return {static_cast<uint32_t>(r.state == SocketReport::kListen ? 0 : r.receive_queue), static_cast<uint32_t>(r.receive_buffer),
          static_cast<uint32_t>(r.state == SocketReport::kListen ? 0 : r.send_queue), static_cast<uint32_t>(r.send_buffer), 0, 0, 0, 0, 0};
}

// Reads a request's fixed part.
template <class T>
bool Parse(std::string_view body, T& out) {
  if (body.size() < sizeof(T)) return false;
  std::memcpy(&out, body.data(), sizeof(T));
  return true;
}

class Answer {
 public:
  Answer(const NetlinkHeader& request, uint32_t port) : request_(request), port_(port) {}
  Message Begin() const { return {kDiagByFamily, static_cast<uint16_t>(dump() ? kNlmFMulti : 0), request_, port_}; }
  bool dump() const { return (request_.flags & kNlmFDump) != 0; }
  void Add(Message& message) {
    std::string text = message.Finish();
    ++count_;
    if (packets_.empty() || packets_.back().size() + text.size() > kPacketBytes) packets_.emplace_back();
    packets_.back() += text;
  }
  bool empty() const { return count_ == 0; }
  std::vector<std::string> Take(std::string_view body) {
    if (dump()) {
      packets_.push_back(DoneMessage(request_, port_));
    } else if (count_ == 0) {
      packets_.push_back(ErrorMessage(request_, body, port_, Errno::kENOENT));
    } else if ((request_.flags & kNlmFAck) != 0) {
      packets_.push_back(ErrorMessage(request_, body, port_, Errno{}));
    }
    return std::move(packets_);
  }

 private:
  const NetlinkHeader request_;
  const uint32_t port_;
  std::vector<std::string> packets_;
  size_t count_ = 0;
};

// Port and address of a sockaddr_in or sockaddr_in6.
void FillEnd(const std::string& name, uint16_t& port, std::array<uint8_t, 16>& address) {
  if (name.size() < 8) return;
  std::memcpy(&port, name.data() + 2, sizeof(port));
  const bool v6 = static_cast<uint8_t>(name[0]) == abi::kAfInet6 && name.size() >= 24;
  std::memcpy(address.data(), name.data() + (v6 ? 8 : 4), v6 ? 16 : 4);
}

SocketId IdOf(const SocketReport& r) {
  SocketId id{};
  FillEnd(r.local, id.source_port, id.source);
  FillEnd(r.peer, id.target_port, id.target);
  id.cookie = CookieOf(r);
  return id;
}

void AddInet(Answer& answer, const InetRequest& request, const SocketReport& r) {
  const auto asked = [&](int extension) { return (request.extensions & (1 << (extension - 1))) != 0; };
  constexpr int kMeminfo = 1, kInfo = 2, kCongestion = 4, kTos = 5, kTclass = 6, kSkMeminfo = 7;
  constexpr uint16_t kShutdown = 8, kProtocol = 10, kV6only = 11;
  Message m = answer.Begin();
  m.Put(InetAnswer{static_cast<uint8_t>(r.family), r.state, 0, 0, IdOf(r), 0, static_cast<uint32_t>(r.receive_queue),
                   static_cast<uint32_t>(r.send_queue), r.uid, static_cast<uint32_t>(r.inode)});
  m.Number(kShutdown, r.shutdown);
  if (asked(kTos)) m.Number(kTos, uint8_t{0});
  if (r.family == abi::kAfInet6) {
    if (asked(kTclass)) m.Number(kTclass, uint8_t{0});
    if (r.state == SocketReport::kListen || r.state == SocketReport::kClose) m.Number(kV6only, static_cast<uint8_t>(r.v6_only ? 1 : 0));
  }
  const std::array<uint32_t, 9> memory = MemoryOf(r);
  if (asked(kMeminfo)) m.Number(kMeminfo, std::array<uint32_t, 4>{memory[0], 0, memory[2], 0});
  if (asked(kSkMeminfo)) m.Number(kSkMeminfo, memory);
  if (r.type == abi::kSockRaw) m.Number(kProtocol, static_cast<uint8_t>(r.protocol));
  if (asked(kInfo) && !r.tcp_info.empty()) m.Attribute(kInfo, r.tcp_info);
  if (asked(kCongestion) && !r.tcp_info.empty()) m.Attribute(kCongestion, std::string_view("cubic", 6));
  answer.Add(m);
}

// Whether a socket without a connection is not meant by TCP's requests: it is in no table.
bool Hidden(const SocketReport& r) {
  const bool bound = r.local.size() >= 4 && (r.local[2] != 0 || r.local[3] != 0);
  return r.type == abi::kSockRaw ? false : r.state == SocketReport::kClose && (r.protocol == abi::kIpprotoTcp || !bound);
}

Errno AnswerInet(Answer& answer, std::string_view body) {
  InetRequest request{};
  if (!Parse(body, request)) return Errno::kEINVAL;
  const bool raw = request.protocol == kAnyRaw;
  const bool known = raw || request.protocol == abi::kIpprotoTcp || request.protocol == abi::kIpprotoUdp || request.protocol == abi::kIpprotoUdplite;
  if (!known) return Errno::kENOENT;
  std::string_view program;
  constexpr uint16_t kBytecode = 1;
  if (!ForEachAttribute(body.substr(sizeof(request)), [&](uint16_t type, std::string_view value) {
        if (type == kBytecode) program = value;
      })) {
    return Errno::kEINVAL;
  }
  if (!program.empty() && !CheckInetFilter(program)) return Errno::kEINVAL;
  for (const SocketReport& r : SocketList::Get().Reports(request.family)) {
    if (raw != (r.type == abi::kSockRaw)) continue;
    if (raw ? request.raw_protocol != 0 && request.raw_protocol != r.protocol : r.protocol != request.protocol) continue;
    if (Hidden(r) || r.protocol == abi::kIpprotoIcmp || r.protocol == abi::kIpprotoIcmpv6) {
      if (!raw) continue;
    }
    const SocketId id = IdOf(r);
    if (!answer.dump()) {
      const SocketId& want = request.id;
      const bool listens = r.state == SocketReport::kListen || r.peer.empty();
      const bool same = want.source_port == id.source_port && want.source == id.source &&
                        (listens || (want.target_port == id.target_port && want.target == id.target));
      if (!same || !CookieFits(want.cookie, r) || !answer.empty()) continue;
    } else {
      if ((request.states & (1u << r.state)) == 0) continue;
      if (request.id.source_port != 0 && request.id.source_port != id.source_port) continue;
      if (request.id.target_port != 0 && request.id.target_port != id.target_port) continue;
      if (!program.empty() && !RunInetFilter(program, r)) continue;
    }
    AddInet(answer, request, r);
  }
  return Errno{};
}

void AddUnix(Answer& answer, uint32_t show, const SocketReport& r) {
  constexpr uint16_t kName = 0, kVfs = 1, kPeer = 2, kWaiting = 3, kQueues = 4, kMemory = 5, kShutdown = 6, kUid = 7;
  const auto asked = [&](uint16_t what) { return (show & (1u << what)) != 0; };
  Message m = answer.Begin();
  m.Put(UnixAnswer{abi::kAfUnix, static_cast<uint8_t>(r.type), r.state, 0, static_cast<uint32_t>(r.inode), CookieOf(r)});
  if (asked(kName) && r.local.size() > 2) {
    std::string_view name = std::string_view(r.local).substr(2);
    if (name[0] != '\0') name = name.substr(0, name.find('\0'));
    m.Attribute(kName, name);
  }
  if (asked(kVfs) && r.path_inode != 0) {
    m.Number(kVfs, std::array<uint32_t, 2>{static_cast<uint32_t>(r.path_inode), static_cast<uint32_t>(r.path_device)});
  }
  if (asked(kPeer) && r.peer_inode != 0) m.Number(kPeer, static_cast<uint32_t>(r.peer_inode));
  if (asked(kWaiting) && r.state == SocketReport::kListen) {
    std::string waiting;
    for (const uint32_t inode : r.waiting) waiting += BytesOf(inode);
    m.Attribute(kWaiting, waiting);
  }
  if (asked(kQueues)) m.Number(kQueues, std::array<uint32_t, 2>{static_cast<uint32_t>(r.receive_queue), static_cast<uint32_t>(r.send_queue)});
  if (asked(kMemory)) m.Number(kMemory, MemoryOf(r));
  if (asked(kUid)) m.Number(kUid, r.uid);
  m.Number(kShutdown, r.shutdown);
  answer.Add(m);
}

Errno AnswerUnix(Answer& answer, std::string_view body) {
  UnixRequest request{};
  if (!Parse(body, request)) return Errno::kEINVAL;
  if (!answer.dump() && request.inode == 0) return Errno::kEINVAL;
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfUnix)) {
    if (answer.dump() ? (request.states & (1u << r.state)) == 0 : request.inode != static_cast<uint32_t>(r.inode)) continue;
    if (!answer.dump() && !CookieFits(request.cookie, r)) return Errno::kESTALE;
    AddUnix(answer, request.show, r);
  }
  return Errno{};
}

Errno AnswerNetlink(Answer& answer, std::string_view body) {
  constexpr uint8_t kAllProtocols = 255;
  OtherRequest request{};
  if (!Parse(body, request)) return Errno::kEINVAL;
  if (!answer.dump()) return Errno::kEOPNOTSUPP;
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfNetlink)) {
    if (request.protocol != kAllProtocols && request.protocol != r.protocol) continue;
    uint32_t port = 0;
    if (r.local.size() >= 8) std::memcpy(&port, r.local.data() + 4, sizeof(port));
    if (port == 0) continue;  // it is in no table yet
    Message m = answer.Begin();
    m.Put(NetlinkAnswer{abi::kAfNetlink, static_cast<uint8_t>(r.type), static_cast<uint8_t>(r.protocol), SocketReport::kClose, port, 0, 0,
                        static_cast<uint32_t>(r.inode), CookieOf(r)});
    if ((request.show & 1) != 0) m.Number(0, MemoryOf(r));
    if ((request.show & 2) != 0 && r.groups != 0) m.Number(1, r.groups);
    answer.Add(m);
  }
  return Errno{};
}

Errno AnswerPacket(Answer& answer, std::string_view body) {
  OtherRequest request{};
  if (!Parse(body, request) || request.protocol != 0) return Errno::kEINVAL;
  if (!answer.dump()) return Errno::kEOPNOTSUPP;
  constexpr uint16_t kInfo = 0, kUid = 4, kMemory = 5;
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfPacket)) {
    int32_t index = 0;
    uint16_t protocol = 0;
    if (r.local.size() >= 8) {
      std::memcpy(&protocol, r.local.data() + 2, sizeof(protocol));
      std::memcpy(&index, r.local.data() + 4, sizeof(index));
    }
    Message m = answer.Begin();
    m.Put(PacketAnswer{abi::kAfPacket, static_cast<uint8_t>(r.type), __builtin_bswap16(protocol), static_cast<uint32_t>(r.inode), CookieOf(r)});
    if ((request.show & 1) != 0) {
      m.Number(kInfo, std::array<uint32_t, 6>{static_cast<uint32_t>(index), 0, 0, 0, 0, 1});
      m.Number(kUid, r.uid);
    }
    if ((request.show & 0x10) != 0) m.Number(kMemory, MemoryOf(r));
    answer.Add(m);
  }
  return Errno{};
}

}  // namespace

std::vector<std::string> AnswerDiag(std::string_view request, uint32_t port) {
  NetlinkHeader header{};
  std::memcpy(&header, request.data(), sizeof(header));
  const std::string_view body = request.substr(sizeof(header));
  const auto error = [&](Errno e) { return std::vector<std::string>{ErrorMessage(header, body, port, e)}; };
  if (header.type < 16) return (header.flags & kNlmFAck) != 0 ? error(Errno{}) : std::vector<std::string>{};
  if (header.type == kDiagDestroy) return error(Errno::kEOPNOTSUPP);
  if (header.type != kDiagByFamily || body.size() < 2) return error(Errno::kEINVAL);
  constexpr uint8_t kFamilies = 46;  // AF_MAX
  if (static_cast<uint8_t>(body[0]) >= kFamilies) return error(Errno::kEINVAL);
  Answer answer(header, port);
  Errno result = Errno::kENOENT;
  switch (static_cast<uint8_t>(body[0])) {
    case abi::kAfInet:
    case abi::kAfInet6: result = AnswerInet(answer, body); break;
    case abi::kAfUnix: result = AnswerUnix(answer, body); break;
    case abi::kAfNetlink: result = AnswerNetlink(answer, body); break;
    case abi::kAfPacket: result = AnswerPacket(answer, body); break;
    default: break;
  }
  if (result != Errno{}) return error(result);
  return answer.Take(body);
}

}  // namespace rampart::net
