#include "sentry/net/netlink/route_messages.h"

#include <array>
#include <cstring>

#include "abi/socket.h"
#include "base/errno.h"
#include "sentry/net/socket/interface.h"

namespace rampart::net {
namespace {

constexpr uint16_t kNewLink = 16, kGetLink = 18, kNewAddr = 20, kGetAddr = 22, kNewRoute = 24, kGetRoute = 26, kGetNeigh = 30, kGetRule = 34,
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

// A message under construction: attributes are 4-aligned.
class Message {
 public:
  Message(uint16_t type, uint16_t flags, const NetlinkHeader& request, uint32_t port) {
    header_ = {0, type, flags, request.sequence, port};
    bytes_.resize(sizeof(header_));
  }
  template <class T>
  Message& Put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));  // SAFETY: the bytes of a plain value
    Align();
    return *this;
  }
  Message& Attribute(uint16_t type, std::string_view value) {
    const uint16_t head[2] = {static_cast<uint16_t>(4 + value.size()), type};
    bytes_.append(reinterpret_cast<const char*>(head), sizeof(head));  // SAFETY: as above
    bytes_.append(value);
    Align();
    return *this;
  }
  template <class T>
  Message& Number(uint16_t type, T value) {
    return Attribute(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));  // SAFETY: as above
  }
  std::string Finish() {
    header_.length = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &header_, sizeof(header_));
    return std::move(bytes_);
  }

 private:
  void Align() { bytes_.resize((bytes_.size() + 3) & ~size_t{3}); }
  NetlinkHeader header_;
  std::string bytes_;
};

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
  // Table local: 127.0.0.0/8, 127.0.0.1 and ::1 are here.
  std::string LocalRoute(uint8_t family, uint8_t prefix) const {
    constexpr uint8_t kTableLocal = 255, kByKernel = 2, kScopeHost = 254, kTypeLocal = 2;
    Message m(kNewRoute, Multi(), request_, port_);
    const bool v4 = family == abi::kAfInet;
    m.Put(RouteInfo{family, prefix, 0, 0, kTableLocal, kByKernel, v4 ? kScopeHost : uint8_t{0}, kTypeLocal, 0});
    m.Number(15, uint32_t{kTableLocal});
    m.Attribute(1, v4 ? (prefix == 8 ? std::string("\x7f\0\0\0", 4) : kV4Loopback) : kV6Loopback);
    if (v4) m.Attribute(7, kV4Loopback);
    if (!v4) m.Number(6, uint32_t{0});
    m.Number(4, uint32_t{kLoopbackIndex});
    return m.Finish();
  }
  std::string Done() const {
    Message m(kNlmsgDone, kNlmFMulti, request_, port_);
    return m.Put(int32_t{0}).Finish();
  }
  std::string Error(Errno error) const {
    Message m(kNlmsgError, 0, request_, port_);
    m.Put(-static_cast<int32_t>(error)).Put(request_);
    if (error != Errno{}) {
      std::string text = m.Finish();
      text.append(body_.substr(0, 1024));  // the request comes back with an error
      text.resize((text.size() + 3) & ~size_t{3});
      const auto length = static_cast<uint32_t>(text.size());
      std::memcpy(text.data(), &length, sizeof(length));
      return text;
    }
    return m.Finish();
  }
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
  if (type == kGetLink) text = route.Link();
  if (type == kGetAddr) text = (v4 ? route.Address4() : "") + (v6 ? route.Address6() : "");
  if (type == kGetRoute) {
    if (v4) text += route.LocalRoute(abi::kAfInet, 8) + route.LocalRoute(abi::kAfInet, 32);
    if (v6) text += route.LocalRoute(abi::kAfInet6, 128);
  }
  return text;
}

}  // namespace

std::vector<std::string> AnswerRoute(std::string_view request, uint32_t port, bool privileged) {
  NetlinkHeader header{};
  std::memcpy(&header, request.data(), sizeof(header));
  const Route route(header, request.substr(sizeof(header)), port);
  const auto acknowledge = [&](Errno error) { return std::vector<std::string>{route.Error(error)}; };
  if (header.type < kFirstRoute) return (header.flags & kNlmFAck) != 0 ? acknowledge(Errno{}) : std::vector<std::string>{};
  if (header.type > kLastRoute) return acknowledge(Errno::kEOPNOTSUPP);
  const bool asks = (header.type & 3) == 2;
  if (!asks) return acknowledge(privileged ? Errno::kEOPNOTSUPP : Errno::kEPERM);
  const bool known = header.type == kGetLink || header.type == kGetAddr || header.type == kGetRoute || header.type == kGetNeigh || header.type == kGetRule;
  if (route.dump()) {
    if (!known) return acknowledge(Errno::kEOPNOTSUPP);
    std::vector<std::string> packets;
    if (std::string text = Dump(route, header.type); !text.empty()) packets.push_back(std::move(text));
    packets.push_back(route.Done());
    return packets;
  }
  if (header.type != kGetLink) return acknowledge(Errno::kEOPNOTSUPP);
  if (const Errno error = route.MeansLoopback(); error != Errno{}) return acknowledge(error);
  std::vector<std::string> packets{route.Link()};
  if ((header.flags & kNlmFAck) != 0) packets.push_back(route.Error(Errno{}));
  return packets;
}

}  // namespace rampart::net
