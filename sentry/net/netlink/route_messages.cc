#include "sentry/net/netlink/route_messages.h"

#include <array>
#include <cstring>
#include <utility>

#include "abi/socket.h"
#include "base/errno.h"
#include "sentry/net/socket/interface.h"

namespace rampart::net {
namespace {

constexpr uint16_t kNewLink = 16, kGetLink = 18, kNewAddr = 20, kGetAddr = 22, kNewRoute = 24, kGetRoute = 26, kGetNeigh = 30, kNewRule = 32, kGetRule = 34, kNewQdisc = 36, kGetQdisc = 38,
                   kFirstRoute = 16, kLastRoute = 123;

struct LinkInfo {
  uint8_t family, pad;
  uint16_t type;
  int32_t index;
  uint32_t flags, change;
};
struct AddressInfo {
  uint8_t family, prefix, flags, scope;
  uint32_t index;
};
struct RouteInfo {
  uint8_t family, destination_length, source_length, tos, table, protocol, scope, type;
  uint32_t flags;
};

struct QueueInfo {
  uint8_t family, pad1;
  uint16_t pad2;
  int32_t index;
  uint32_t handle, parent, info;
};

constexpr uint8_t kFamilyBridge = 7, kTableLocal = 255, kTableMain = 254, kTableDefault = 253;

const std::string kV4Loopback("\x7f\0\0\1", 4);
const std::string kV6Loopback("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
const std::string kNoHardwareAddress(6, '\0');

class Route {
 public:
  Route(const NetlinkHeader& request, std::string_view body, uint32_t port) : request_(request), body_(body), port_(port) {}

  bool dump() const { return (request_.flags & kNlmFDump) != 0; }
  std::string Link() const {
    Message m(kNewLink, Multi(), request_, port_);
    m.Put(LinkInfo{0, 0, kHardwareLoopback, kLoopbackIndex, kLoopbackFlags | kLoopbackLowerUp, 0});
    m.Attribute(3, std::string_view(kLoopbackName, sizeof(kLoopbackName)));   // IFLA_IFNAME
    m.Number(13, uint32_t{kLoopbackQueueLength}).Number(16, uint8_t{0}).Number(17, uint8_t{0});  // TXQLEN, OPERSTATE unknown, LINKMODE
    m.Number(4, uint32_t{kLoopbackMtu}).Number(27, uint32_t{0}).Number(30, uint32_t{0});         // MTU, GROUP, PROMISCUITY
    m.Number(31, uint32_t{1}).Number(32, uint32_t{1}).Number(33, uint8_t{1});                    // queues; CARRIER
    m.Attribute(6, std::string_view("noqueue", 8));                                              // IFLA_QDISC
    m.Attribute(1, kNoHardwareAddress).Attribute(2, kNoHardwareAddress);                         // IFLA_ADDRESS, IFLA_BROADCAST
    m.Attribute(7, std::string(96, '\0')).Attribute(23, std::string(200, '\0'));                 // IFLA_STATS, IFLA_STATS64
    return m.Finish();
  }
  std::string Address4() const {
    Message m(kNewAddr, Multi(), request_, port_);
    m.Put(AddressInfo{abi::kAfInet, 8, 0x80, 254, kLoopbackIndex});
    m.Attribute(1, kV4Loopback).Attribute(2, kV4Loopback).Attribute(3, std::string_view(kLoopbackName, sizeof(kLoopbackName)));
    m.Number(8, uint32_t{0x80});
    return Lifetimes(m).Finish();
  }
  std::string Address6() const {
    Message m(kNewAddr, Multi(), request_, port_);
    m.Put(AddressInfo{abi::kAfInet6, 128, 0x80, 254, kLoopbackIndex});
    m.Attribute(1, kV6Loopback);
    Lifetimes(m);
    return m.Number(8, uint32_t{0x80}).Finish();
  }
  // Table local: 127.0.0.0/8, 127.0.0.1, its broadcast address and ::1 are here.
  std::string LocalRoute(uint8_t family, uint8_t prefix, std::string_view target, bool broadcast = false) const {
    constexpr uint8_t kByKernel = 2, kScopeHost = 254, kScopeLink = 253, kTypeLocal = 2, kTypeBroadcast = 3;
    Message m(kNewRoute, Multi(), request_, port_);
    const bool v4 = family == abi::kAfInet;
    m.Put(RouteInfo{family, prefix, 0, 0, kTableLocal, kByKernel, !v4 ? uint8_t{0} : broadcast ? kScopeLink : kScopeHost,
                    broadcast ? kTypeBroadcast : kTypeLocal, 0});
    m.Number(15, uint32_t{kTableLocal});
    m.Attribute(1, target);
    if (v4) m.Attribute(7, kV4Loopback);
    if (!v4) m.Number(6, uint32_t{0});
    m.Number(4, uint32_t{kLoopbackIndex});
    if (!v4) m.Number(20, uint8_t{0});  // RTA_PREF: medium
    return m.Finish();
  }
  // How one address is reached; ENETUNREACH, EINVAL. `answer`: the message.
  Errno RouteTo(uint32_t uid, std::string& answer) const {
    RouteInfo info{};
    if (body_.size() < sizeof(info)) return Errno::kEINVAL;
    std::memcpy(&info, body_.data(), sizeof(info));
    const bool v4 = info.family == abi::kAfInet;
    if (!v4 && info.family != abi::kAfInet6) return Errno::kEOPNOTSUPP;
    std::string target, source;
    const bool whole = ForEachAttribute(body_.substr(sizeof(info)), [&](uint16_t type, std::string_view value) {
      if (type == 1) target = value;
      if (type == 2) source = value;
    });
    const size_t bytes = v4 ? 4 : 16;
    if (!whole || (!target.empty() && target.size() != bytes) || (!source.empty() && source.size() != bytes)) return Errno::kEINVAL;
    if (target.empty()) target.assign(bytes, '\0');
    const bool here = v4 ? target[0] == 127 || target == std::string(4, '\0') : target == kV6Loopback || target == std::string(16, '\0');
    if (!here) return Errno::kENETUNREACH;
    if (!v4) {
      answer = LocalRoute(abi::kAfInet6, 128, kV6Loopback);
      return Errno{};
    }
    constexpr uint8_t kTypeLocal = 2;
    constexpr uint32_t kCloned = 0x200, kCacheLocal = 0x80000000;
    Message m(kNewRoute, 0, request_, port_);
    m.Put(RouteInfo{abi::kAfInet, 32, static_cast<uint8_t>(source.empty() ? 0 : 32), 0, kTableMain, 0, 0, kTypeLocal, kCloned | kCacheLocal});
    m.Number(15, uint32_t{kTableMain}).Attribute(1, target);
    if (!source.empty()) m.Attribute(2, source);
    m.Number(4, uint32_t{kLoopbackIndex});
    if (source.empty()) m.Attribute(7, kV4Loopback);
    m.Number(25, uid).Number(12, std::array<uint32_t, 8>{});  // RTA_UID, RTA_CACHEINFO
    answer = m.Finish();
    return Errno{};
  }
  std::string Rule(uint8_t family, uint8_t table, uint32_t priority) const {
    constexpr uint8_t kToTable = 1, kByKernel = 2;
    Message m(kNewRule, Multi(), request_, port_);
    m.Put(std::array<uint8_t, 12>{family, 0, 0, 0, table, 0, 0, kToTable, 0, 0, 0, 0});  // struct fib_rule_hdr
    m.Number(15, uint32_t{table}).Number(14, UINT32_MAX).Number(21, kByKernel);
    if (priority != 0) m.Number(6, priority);
    return m.Finish();
  }
  std::string QueueOfLoopback() const {
    Message m(kNewQdisc, Multi(), request_, port_);
    m.Put(QueueInfo{0, 0, 0, kLoopbackIndex, 0, UINT32_MAX, 2});
    m.Attribute(1, std::string_view("noqueue", 8)).Number(12, uint8_t{0});
    std::array<uint32_t, 4> basic{};
    std::array<uint32_t, 5> queue{};
    std::string stats;
    for (const auto& [type, bytes] : {std::pair<uint16_t, std::string_view>{1, {reinterpret_cast<const char*>(basic.data()), 16}},  // SAFETY: bytes
                                      std::pair<uint16_t, std::string_view>{3, {reinterpret_cast<const char*>(queue.data()), 20}}}) {
      const uint16_t head[2] = {static_cast<uint16_t>(4 + bytes.size()), type};
      stats.append(reinterpret_cast<const char*>(head), 4).append(bytes);  // SAFETY: as above
    }
    return m.Attribute(7, stats).Attribute(3, std::string(40, '\0')).Finish();
  }
  std::string Done() const { return DoneMessage(request_, port_); }
  std::string Error(Errno error) const { return ErrorMessage(request_, body_, port_, error); }
  // Whether a single RTM_GETLINK means lo: by index or by IFLA_IFNAME; neither: EINVAL.
  Errno MeansLoopback() const {
    LinkInfo info{};
    if (body_.size() < sizeof(info)) return Errno::kEINVAL;
    std::memcpy(&info, body_.data(), sizeof(info));
    if (info.index != 0) return info.index == kLoopbackIndex ? Errno{} : Errno::kENODEV;
    for (size_t at = sizeof(info); at + 4 <= body_.size();) {
      uint16_t head[2];
      std::memcpy(head, body_.data() + at, sizeof(head));
      if (head[0] < 4 || head[0] > body_.size() - at) return Errno::kEINVAL;
      std::string_view value = body_.substr(at + 4, head[0] - size_t{4});
      value = value.substr(0, value.find('\0'));
      if (head[1] == 3 || head[1] == 53) return value == kLoopbackName ? Errno{} : Errno::kENODEV;  // IFLA_IFNAME, IFLA_ALT_IFNAME
      at += (head[0] + size_t{3}) & ~size_t{3};
    }
    return Errno::kEINVAL;
  }
  uint8_t family() const { return body_.empty() ? 0 : static_cast<uint8_t>(body_[0]); }

 private:
  uint16_t Multi() const { return dump() ? kNlmFMulti : uint16_t{0}; }
  static Message& Lifetimes(Message& m) {
    const std::array<uint32_t, 4> info{UINT32_MAX, UINT32_MAX, 0, 0};
    return m.Number(6, info);  // IFA_CACHEINFO: for ever
  }

  const NetlinkHeader request_;
  const std::string_view body_;
  const uint32_t port_;
};

std::string Dump(const Route& route, uint16_t type) {
  const bool v4 = route.family() != abi::kAfInet6, v6 = route.family() != abi::kAfInet;
  std::string text;
  if (type == kGetLink && route.family() != kFamilyBridge) text = route.Link();
  if (type == kGetAddr) text = (v4 ? route.Address4() : "") + (v6 ? route.Address6() : "");
  if (type == kGetRoute) {
    if (v4) {
      text += route.LocalRoute(abi::kAfInet, 8, std::string_view("\x7f\0\0\0", 4)) + route.LocalRoute(abi::kAfInet, 32, kV4Loopback) +
              route.LocalRoute(abi::kAfInet, 32, "\x7f\xff\xff\xff", true);
    }
    if (v6) text += route.LocalRoute(abi::kAfInet6, 128, kV6Loopback);
  }
  if (type == kGetRule) {
    if (v4) text += route.Rule(abi::kAfInet, kTableLocal, 0) + route.Rule(abi::kAfInet, kTableMain, 32766) + route.Rule(abi::kAfInet, kTableDefault, 32767);
    if (v6) text += route.Rule(abi::kAfInet6, kTableLocal, 0) + route.Rule(abi::kAfInet6, kTableMain, 32766);
  }
  if (type == kGetQdisc) text = route.QueueOfLoopback();
  return text;
}

}  // namespace

std::vector<std::string> AnswerRoute(std::string_view request, uint32_t port, uint32_t uid) {
  NetlinkHeader header{};
  std::memcpy(&header, request.data(), sizeof(header));
  const Route route(header, request.substr(sizeof(header)), port);
  const auto acknowledge = [&](Errno error) { return std::vector<std::string>{route.Error(error)}; };
  if (header.type < kFirstRoute) return (header.flags & kNlmFAck) != 0 ? acknowledge(Errno{}) : std::vector<std::string>{};
  if (header.type > kLastRoute) return acknowledge(Errno::kEOPNOTSUPP);
  const bool asks = (header.type & 3) == 2;
  if (!asks) return acknowledge(uid == 0 ? Errno::kEOPNOTSUPP : Errno::kEPERM);
  const bool known = header.type == kGetLink || header.type == kGetAddr || header.type == kGetRoute || header.type == kGetNeigh || header.type == kGetRule ||
                     header.type == kGetQdisc;
  if (route.dump()) {
    if (!known) return acknowledge(Errno::kEOPNOTSUPP);
    std::vector<std::string> packets;
    if (std::string text = Dump(route, header.type); !text.empty()) packets.push_back(std::move(text));
    packets.push_back(route.Done());
    return packets;
  }
  if (header.type == kGetRoute) {
    std::string answer;
    if (const Errno error = route.RouteTo(uid, answer); error != Errno{}) return acknowledge(error);
    return {answer};
  }
  if (header.type != kGetLink) return acknowledge(Errno::kEOPNOTSUPP);
  if (const Errno error = route.MeansLoopback(); error != Errno{}) return acknowledge(error);
  std::vector<std::string> packets{route.Link()};
  if ((header.flags & kNlmFAck) != 0) packets.push_back(route.Error(Errno{}));
  return packets;
}

}  // namespace rampart::net
