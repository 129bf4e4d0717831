// Sockets that see packets on loopback: raw ones, ICMP's, AF_PACKET.
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cstring>
#include <optional>

#include "inet_support.h"

namespace {

using test::Bound;
using test::Loopback;
using test::Owned;
using test::PortOf;
using test::SetInt;

constexpr int kIcmpFilter = 1;  // linux/icmp.h cannot be included with netinet's

uint16_t Checksum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 8;
    if (i + 1 < bytes.size()) sum += static_cast<uint8_t>(bytes[i + 1]);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

std::string Echo(int family, uint16_t id, uint16_t sequence, const std::string& rest) {
  std::string m{static_cast<char>(family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST), 0, 0, 0, static_cast<char>(id >> 8), static_cast<char>(id & 255),
                static_cast<char>(sequence >> 8), static_cast<char>(sequence & 255)};
  m += rest;
  if (family == AF_INET) {
    const uint16_t sum = Checksum(m);
    m[2] = static_cast<char>(sum >> 8), m[3] = static_cast<char>(sum & 255);
  }
  return m;
}

ssize_t SendTo(const Owned& s, const std::string& bytes, const test::Address& to) {
  return sendto(s.get(), bytes.data(), bytes.size(), 0, to.get(), to.size());
}

struct Got {
  std::string bytes;
  sockaddr_storage from;
  socklen_t from_size;
};
// The next packet that `wanted` likes, within a second.
template <class F>
std::optional<Got> Next(const Owned& s, F wanted) {
  for (int i = 0; i < 100; ++i) {
    pollfd p{s.get(), POLLIN, 0};
    if (poll(&p, 1, 1000) != 1) return std::nullopt;
    std::string buffer(70000, '\0');
    Got got{{}, {}, sizeof(got.from)};
    const ssize_t n = recvfrom(s.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&got.from), &got.from_size);
    if (n < 0) return std::nullopt;
    got.bytes = buffer.substr(0, static_cast<size_t>(n));
    if (wanted(got)) return got;
  }
  return std::nullopt;
}

bool MayMakeRaw() {
  const Owned s(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  return s.get() >= 0;
}
#define NEEDS_NET_RAW() \
  if (!MayMakeRaw()) GTEST_SKIP() << "no CAP_NET_RAW here"

TEST(Raw, SocketChecksItsArguments) {
  NEEDS_NET_RAW();
  EXPECT_EQ(socket(AF_INET, SOCK_RAW, 0), -1);
  EXPECT_EQ(errno, EPROTONOSUPPORT);
  EXPECT_EQ(socket(AF_INET, SOCK_RAW, 263), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(socket(AF_INET, SOCK_RAW, -1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6), -1);
  EXPECT_EQ(errno, EPROTONOSUPPORT);
}

TEST(Raw, TheKernelAnswersAnEcho) {
  NEEDS_NET_RAW();
  const Owned s(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  const std::string echo = Echo(AF_INET, 4711, 1, "payload");
  ASSERT_EQ(SendTo(s, echo, Loopback(AF_INET, 0)), static_cast<ssize_t>(echo.size()));
  const auto reply = Next(s, [](const Got& g) { return g.bytes.size() == 35 && g.bytes[20] == ICMP_ECHOREPLY && g.bytes.substr(24, 2) == "\x12\x67"; });
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->bytes.substr(28), "payload");
  EXPECT_EQ(Checksum(reply->bytes.substr(0, 20)), 0);  // of the IP header
  EXPECT_EQ(Checksum(reply->bytes.substr(20)), 0);
  iphdr ip{};
  memcpy(&ip, reply->bytes.data(), sizeof(ip));
  EXPECT_EQ(ip.version, 4);
  EXPECT_EQ(ip.protocol, IPPROTO_ICMP);
  EXPECT_EQ(ip.ttl, 64);
  EXPECT_EQ(ntohs(ip.tot_len), 35);
  EXPECT_EQ(ip.saddr, htonl(INADDR_LOOPBACK));
  EXPECT_EQ(reply->from.ss_family, AF_INET);
  EXPECT_EQ(reinterpret_cast<const sockaddr_in&>(reply->from).sin_port, 0);
}

TEST(Raw, TheKernelAnswersAnEchoOfV6AndWritesItsChecksum) {
  NEEDS_NET_RAW();
  const Owned s(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
  icmp6_filter only_replies;
  ICMP6_FILTER_SETBLOCKALL(&only_replies);
  ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only_replies);
  ASSERT_EQ(setsockopt(s.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &only_replies, sizeof(only_replies)), 0);
  const std::string echo = Echo(AF_INET6, 4711, 2, "six");
  ASSERT_EQ(SendTo(s, echo, Loopback(AF_INET6, 0)), static_cast<ssize_t>(echo.size()));
  const auto reply = Next(s, [](const Got&) { return true; });  // the echo itself is filtered out
  ASSERT_TRUE(reply);
  EXPECT_EQ(static_cast<uint8_t>(reply->bytes[0]), ICMP6_ECHO_REPLY);  // no IPv6 header
  EXPECT_EQ(reply->bytes.substr(8), "six");
  EXPECT_NE(reply->bytes.substr(2, 2), std::string(2, '\0'));
}

TEST(Raw, IcmpFilterKeepsTypesOut) {
  NEEDS_NET_RAW();
  const Owned s(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), other(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  const uint32_t all_but_echo = ~(1u << ICMP_ECHO);
  ASSERT_EQ(setsockopt(s.get(), SOL_RAW, kIcmpFilter, &all_but_echo, sizeof(all_but_echo)), 0);
  uint32_t told = 0;
  socklen_t n = sizeof(told);
  ASSERT_EQ(getsockopt(s.get(), SOL_RAW, kIcmpFilter, &told, &n), 0);
  EXPECT_EQ(told, all_but_echo);
  ASSERT_GT(SendTo(other, Echo(AF_INET, 99, 1, ""), Loopback(AF_INET, 0)), 0);
  ASSERT_TRUE(Next(other, [](const Got& g) { return g.bytes[20] == ICMP_ECHOREPLY; }));
  const auto first = Next(s, [](const Got&) { return true; });
  ASSERT_TRUE(first);
  EXPECT_EQ(first->bytes[20], ICMP_ECHO);
  const Owned udp(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
  EXPECT_EQ(setsockopt(udp.get(), SOL_RAW, kIcmpFilter, &all_but_echo, sizeof(all_but_echo)), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
}

TEST(Raw, OwnHeaderIsCompleted) {
  NEEDS_NET_RAW();
  constexpr int kProtocol = 253;  // for experiments (RFC 3692)
  const Owned s(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), r(socket(AF_INET, SOCK_RAW, kProtocol));
  EXPECT_EQ(test::IntOption(s.get(), IPPROTO_IP, IP_HDRINCL), 1);
  EXPECT_EQ(test::IntOption(r.get(), IPPROTO_IP, IP_HDRINCL), 0);
  iphdr ip{};
  ip.version = 4, ip.ihl = 5, ip.ttl = 7, ip.tos = 0x10, ip.protocol = kProtocol;
  ip.daddr = htonl(INADDR_LOOPBACK);
  std::string packet(reinterpret_cast<const char*>(&ip), sizeof(ip));
  packet += "mine";
  ASSERT_EQ(SendTo(s, packet, Loopback(AF_INET, 0)), 24);
  const auto got = Next(r, [](const Got&) { return true; });
  ASSERT_TRUE(got);
  memcpy(&ip, got->bytes.data(), sizeof(ip));
  EXPECT_EQ(got->bytes.substr(20), "mine");
  EXPECT_EQ(ip.ttl, 7);
  EXPECT_EQ(ip.tos, 0x10);
  EXPECT_EQ(ntohs(ip.tot_len), 24);
  EXPECT_EQ(ip.saddr, htonl(INADDR_LOOPBACK));
  EXPECT_EQ(Checksum(got->bytes.substr(0, 20)), 0);
  EXPECT_EQ(SendTo(s, "short", Loopback(AF_INET, 0)), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Raw, BindAndConnectFilter) {
  NEEDS_NET_RAW();
  constexpr int kProtocol = 254;
  const Owned bound(socket(AF_INET, SOCK_RAW, kProtocol)), connected(socket(AF_INET, SOCK_RAW, kProtocol)), s(socket(AF_INET, SOCK_RAW, kProtocol));
  const test::Address two = test::Numeric(AF_INET, "127.0.0.2", 0), three = test::Numeric(AF_INET, "127.0.0.3", 5);
  ASSERT_EQ(bind(bound.get(), two.get(), two.size()), 0);
  EXPECT_EQ(test::NameOf(bound.get()).Text(), "127.0.0.2");
  EXPECT_EQ(test::NameOf(bound.get()).port(), kProtocol);
  ASSERT_EQ(connect(connected.get(), three.get(), three.size()), 0);
  EXPECT_EQ(test::NameOf(connected.get(), true), three);
  const test::Address elsewhere = test::Numeric(AF_INET, "192.0.2.1", 0);
  EXPECT_EQ(bind(s.get(), elsewhere.get(), elsewhere.size()), -1);
  EXPECT_EQ(errno, EADDRNOTAVAIL);
  EXPECT_EQ(send(s.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EDESTADDRREQ);
  ASSERT_EQ(SendTo(s, "one", Loopback(AF_INET, 0)), 3);
  ASSERT_EQ(SendTo(s, "two", two), 3);
  const auto got = Next(bound, [](const Got&) { return true; });
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes.substr(20), "two");
  // From 127.0.0.3 only.
  ASSERT_EQ(bind(s.get(), three.get(), three.size()), 0);
  ASSERT_EQ(SendTo(s, "three", Loopback(AF_INET, 0)), 5);
  const auto from_three = Next(connected, [](const Got&) { return true; });
  ASSERT_TRUE(from_three);
  EXPECT_EQ(from_three->bytes.substr(20), "three");
}

TEST(Raw, DatagramsOfUdpAreSeenAndCanBeSent) {
  NEEDS_NET_RAW();
  const Owned raw(socket(AF_INET, SOCK_RAW, IPPROTO_UDP)), r = Bound(AF_INET, SOCK_DGRAM), s = Bound(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(SendTo(s, "seen", Loopback(AF_INET, PortOf(r.get()))), 4);
  const auto mine = [&](const Got& g) {
    udphdr h{};
    if (g.bytes.size() < 28) return false;
    memcpy(&h, g.bytes.data() + 20, sizeof(h));
    return ntohs(h.source) == PortOf(s.get());
  };
  const auto got = Next(raw, mine);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes.substr(28), "seen");
  char buffer[16];
  EXPECT_EQ(recv(r.get(), buffer, sizeof(buffer), 0), 4);
  // The same by hand, without a checksum.
  udphdr h{};
  h.source = htons(PortOf(s.get())), h.dest = htons(PortOf(r.get())), h.len = htons(8 + 5);
  std::string message(reinterpret_cast<const char*>(&h), sizeof(h));
  message += "hand!";
  ASSERT_EQ(SendTo(raw, message, Loopback(AF_INET, 0)), 13);
  ASSERT_EQ(recv(r.get(), buffer, sizeof(buffer), 0), 5);
  EXPECT_EQ(std::string(buffer, 5), "hand!");
}

TEST(Raw, NobodyAtAPortIsTold) {
  NEEDS_NET_RAW();
  uint16_t port = 0;
  {
    const Owned gone = Bound(AF_INET, SOCK_DGRAM);
    port = PortOf(gone.get());
  }
  const Owned raw(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), s(socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_EQ(SendTo(s, "lost", Loopback(AF_INET, port)), 4);
  const auto got = Next(raw, [&](const Got& g) { return g.bytes.size() >= 56 && g.bytes[20] == ICMP_DEST_UNREACH && g.bytes.substr(56) == "lost"; });
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes[21], ICMP_PORT_UNREACH);
}

class Ping : public testing::TestWithParam<int> {
 protected:
  int family() const { return GetParam(); }
  Owned Make() const { return Owned(socket(family(), SOCK_DGRAM, family() == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6})); }
};
INSTANTIATE_TEST_SUITE_P(Families, Ping, testing::Values(AF_INET, AF_INET6), [](const auto& each) { return each.param == AF_INET ? "V4" : "V6"; });

TEST_P(Ping, EchoesComeBackToTheirSender) {
  const Owned a = Make(), b = Make();
  if (a.get() < 0 && errno == EACCES) GTEST_SKIP() << "net.ipv4.ping_group_range leaves nobody in";
  const auto to = Loopback(family(), 0);
  const std::string echo = Echo(family(), 0, 5, "hello");
  ASSERT_EQ(SendTo(a, echo, to), static_cast<ssize_t>(echo.size()));
  ASSERT_EQ(SendTo(b, Echo(family(), 0, 6, "other"), to), static_cast<ssize_t>(echo.size()));
  const auto got = Next(a, [](const Got&) { return true; });
  ASSERT_TRUE(got);
  EXPECT_EQ(static_cast<uint8_t>(got->bytes[0]), family() == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
  EXPECT_EQ(got->bytes.substr(8), "hello");
  const uint16_t id = test::NameOf(a.get()).port();
  EXPECT_NE(id, 0);
  EXPECT_EQ(static_cast<uint16_t>(static_cast<uint8_t>(got->bytes[4]) << 8 | static_cast<uint8_t>(got->bytes[5])), id);
  pollfd p{a.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 20), 0);  // the other's answer is the other's
  // An identifier is shared by those who have SO_REUSEADDR, as all have at first.
  EXPECT_EQ(test::IntOption(a.get(), SOL_SOCKET, SO_REUSEADDR), 1);
  const Owned c = Make(), d = Make();
  const auto taken = Loopback(family(), id);
  SetInt(c.get(), SOL_SOCKET, SO_REUSEADDR, 0);
  EXPECT_EQ(bind(c.get(), taken.get(), taken.size()), -1);
  EXPECT_EQ(errno, EADDRINUSE);
  EXPECT_EQ(bind(d.get(), taken.get(), taken.size()), 0);
}

TEST_P(Ping, OnlyEchoesMayBeSent) {
  const Owned s = Make();
  if (s.get() < 0 && errno == EACCES) GTEST_SKIP() << "net.ipv4.ping_group_range leaves nobody in";
  const auto to = Loopback(family(), 0);
  EXPECT_EQ(SendTo(s, "short", to), -1);
  EXPECT_EQ(errno, EINVAL);
  std::string wrong = Echo(family(), 0, 0, "");
  wrong[0] = 13;
  EXPECT_EQ(SendTo(s, wrong, to), -1);
  EXPECT_EQ(errno, EINVAL);
  const std::string echo = Echo(family(), 0, 0, "");
  EXPECT_EQ(send(s.get(), echo.data(), echo.size(), 0), -1);
  EXPECT_EQ(errno, EDESTADDRREQ);
  ASSERT_EQ(connect(s.get(), to.get(), to.size()), 0);
  EXPECT_EQ(send(s.get(), echo.data(), echo.size(), 0), static_cast<ssize_t>(echo.size()));
}

Owned PacketSocket(int type, uint16_t protocol) {
  Owned s(socket(AF_PACKET, type, htons(protocol)));
  sockaddr_ll a{};
  a.sll_family = AF_PACKET, a.sll_protocol = htons(protocol), a.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
  EXPECT_EQ(bind(s.get(), reinterpret_cast<const sockaddr*>(&a), sizeof(a)), 0);
  return s;
}

TEST(PacketSocket, SeesDatagramsLeaveAndArrive) {
  NEEDS_NET_RAW();
  const Owned all = PacketSocket(SOCK_RAW, ETH_P_ALL), ip = PacketSocket(SOCK_DGRAM, ETH_P_IP);
  const Owned r = Bound(AF_INET, SOCK_DGRAM), s = Bound(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(SendTo(s, "watched", Loopback(AF_INET, PortOf(r.get()))), 7);
  const auto mine = [&](size_t skip) {
    return [&, skip](const Got& g) { return g.bytes.size() == skip + 35 && g.bytes.substr(skip + 28) == "watched"; };
  };
  const auto out = Next(all, mine(14)), in = Next(all, mine(14)), cooked = Next(ip, mine(0));
  ASSERT_TRUE(out && in && cooked);
  const auto& first = reinterpret_cast<const sockaddr_ll&>(out->from);
  EXPECT_EQ(first.sll_pkttype, PACKET_OUTGOING);
  EXPECT_EQ(first.sll_protocol, htons(ETH_P_IP));
  EXPECT_EQ(first.sll_hatype, 772);  // ARPHRD_LOOPBACK
  EXPECT_EQ(first.sll_halen, 6);
  EXPECT_EQ(reinterpret_cast<const sockaddr_ll&>(in->from).sll_pkttype, PACKET_HOST);
  EXPECT_EQ(reinterpret_cast<const sockaddr_ll&>(cooked->from).sll_pkttype, PACKET_HOST);
  EXPECT_EQ(out->bytes.substr(0, 14), std::string(12, '\0') + std::string("\x08\0", 2));
}

TEST(PacketSocket, FramesCanBeSent) {
  NEEDS_NET_RAW();
  const Owned s = PacketSocket(SOCK_RAW, ETH_P_ALL), r = PacketSocket(SOCK_DGRAM, 0x88b5);  // for local experiments
  const std::string frame = std::string(12, '\0') + "\x88\xb5" + "a frame";
  ASSERT_EQ(send(s.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  const auto got = Next(r, [](const Got&) { return true; });
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes, "a frame");
  EXPECT_EQ(send(s.get(), "short", 5, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  // An echo over IPv6 in a frame of its own is answered; over IPv4 it is a martian.
  ip6_hdr ip{};
  ip.ip6_flow = htonl(6u << 28), ip.ip6_plen = htons(8), ip.ip6_nxt = IPPROTO_ICMPV6, ip.ip6_hlim = 64;
  ip.ip6_src = ip.ip6_dst = in6addr_loopback;
  std::string echo = Echo(AF_INET6, 815, 1, "");
  // The checksum covers the addresses, the length and the protocol.
  std::string covered(reinterpret_cast<const char*>(&ip.ip6_src), 32);
  covered += std::string("\0\0\0\x08\0\0\0\x3a", 8) + echo;
  const uint16_t sum = Checksum(covered);
  echo[2] = static_cast<char>(sum >> 8), echo[3] = static_cast<char>(sum & 255);
  const Owned raw(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
  const std::string six = std::string(12, '\0') + "\x86\xdd" + std::string(reinterpret_cast<const char*>(&ip), sizeof(ip)) + echo;
  ASSERT_EQ(send(s.get(), six.data(), six.size(), 0), static_cast<ssize_t>(six.size()));
  EXPECT_TRUE(Next(raw, [](const Got& g) { return static_cast<uint8_t>(g.bytes[0]) == ICMP6_ECHO_REPLY && g.bytes.substr(4, 2) == "\x03\x2f"; }));
}

TEST(PacketSocket, TheFamilyOfADestinationDoesNotMatter) {
  NEEDS_NET_RAW();
  const Owned s(socket(AF_PACKET, SOCK_RAW, 0)), r = PacketSocket(SOCK_RAW, 0x88b5);
  sockaddr_ll to{};
  to.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
  char frame[60] = {};
  frame[12] = '\x88', frame[13] = '\xb5';
  EXPECT_EQ(sendto(s.get(), frame, sizeof(frame), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)), static_cast<ssize_t>(sizeof(frame)));
  char got[100];
  EXPECT_EQ(recv(r.get(), got, sizeof(got), 0), static_cast<ssize_t>(sizeof(frame)));
  EXPECT_FAILS(bind(s.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), EINVAL);  // there it does
}

TEST(PacketSocket, TellsItsNameAndStatistics) {
  NEEDS_NET_RAW();
  const Owned s(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)));
  EXPECT_EQ(send(s.get(), std::string(40, '\0').data(), 40, 0), -1);  // bound to no interface
  EXPECT_EQ(errno, ENXIO);
  sockaddr_ll a{};
  a.sll_family = AF_PACKET, a.sll_protocol = htons(ETH_P_ALL), a.sll_ifindex = 9999;
  EXPECT_EQ(bind(s.get(), reinterpret_cast<const sockaddr*>(&a), sizeof(a)), -1);
  EXPECT_EQ(errno, ENODEV);
  a.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
  ASSERT_EQ(bind(s.get(), reinterpret_cast<const sockaddr*>(&a), sizeof(a)), 0);
  sockaddr_ll told{};
  socklen_t n = sizeof(told);
  ASSERT_EQ(getsockname(s.get(), reinterpret_cast<sockaddr*>(&told), &n), 0);
  EXPECT_EQ(n, 18u);
  EXPECT_EQ(told.sll_ifindex, a.sll_ifindex);
  EXPECT_EQ(told.sll_protocol, htons(ETH_P_ALL));
  EXPECT_EQ(told.sll_halen, 6);
  const Owned r = Bound(AF_INET, SOCK_DGRAM), out(socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_EQ(SendTo(out, "counted", Loopback(AF_INET, PortOf(r.get()))), 7);
  tpacket_stats stats{};
  n = sizeof(stats);
  ASSERT_EQ(getsockopt(s.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &n), 0);
  EXPECT_GE(stats.tp_packets, 2u);
  EXPECT_EQ(stats.tp_drops, 0u);
}

}  // namespace
