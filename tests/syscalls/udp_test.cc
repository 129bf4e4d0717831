// UDP over loopback, and what the one interface tells of itself: netlink, SIOCGIF….
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <linux/ethtool.h>
#include <linux/in6.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>

#include <array>
#include <vector>

#include "inet_support.h"

namespace {

using test::Any;
using test::Bound;
using test::IntOption;
using test::Later;
using test::Loopback;
using test::Owned;
using test::PollOne;
using test::PortOf;
using test::SetInt;
using test::SetNonblocking;

ssize_t SendTo(const Owned& s, std::string_view bytes, const test::Address& to, int flags = 0) {
  return sendto(s.get(), bytes.data(), bytes.size(), flags, to.get(), to.size());
}
struct Datagram {
  ssize_t size;
  std::string bytes;
  test::Address from;
};
Datagram RecvFrom(const Owned& s, size_t room = 65536, int flags = 0) {
  std::string buffer(room, '\0');
  sockaddr_storage a{};
  socklen_t n = sizeof(a);
  const ssize_t size = recvfrom(s.get(), buffer.data(), room, flags, reinterpret_cast<sockaddr*>(&a), &n);
  return {size, buffer.substr(0, size < 0 ? 0 : std::min(room, static_cast<size_t>(size))), test::Address::From(a, n)};
}

class Udp : public testing::TestWithParam<int> {
 protected:
  int family() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Udp, testing::Values(AF_INET, AF_INET6), [](const auto& each) { return each.param == AF_INET ? "V4" : "V6"; });

TEST_P(Udp, DatagramsCarryTheirSender) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  ASSERT_EQ(SendTo(s, "hello", Loopback(family(), PortOf(r.get()))), 5);
  const Datagram d = RecvFrom(r);
  EXPECT_EQ(d.bytes, "hello");
  EXPECT_EQ(d.from.port(), PortOf(s.get()));  // bound by sending
  EXPECT_TRUE(d.from.IsLoopback());
  ASSERT_EQ(SendTo(r, "back", d.from), 4);
  EXPECT_EQ(RecvFrom(s).bytes, "back");
}

TEST_P(Udp, ConnectFixesThePeerAndFilters) {
  const Owned r = Bound(family(), SOCK_DGRAM), s = Bound(family(), SOCK_DGRAM), stranger = Bound(family(), SOCK_DGRAM);
  const auto to = Loopback(family(), PortOf(r.get()));
  ASSERT_EQ(connect(s.get(), to.get(), to.size()), 0);
  ASSERT_EQ(send(s.get(), "x", 1, 0), 1);
  EXPECT_EQ(RecvFrom(r).bytes, "x");
  EXPECT_EQ(test::NameOf(s.get(), true), to);
  SetNonblocking(s.get());
  ASSERT_EQ(SendTo(stranger, "no", Loopback(family(), PortOf(s.get()))), 2);
  char c = 0;
  EXPECT_FAILS(recv(s.get(), &c, 1, 0), EAGAIN);
  ASSERT_EQ(SendTo(r, "yes", Loopback(family(), PortOf(s.get()))), 3);
  EXPECT_EQ(RecvFrom(s).bytes, "yes");
  const sockaddr none{AF_UNSPEC, {}};
  ASSERT_EQ(connect(s.get(), &none, sizeof(none)), 0);
  EXPECT_FAILS(send(s.get(), "x", 1, 0), EDESTADDRREQ);
  sockaddr_storage a{};
  socklen_t n = sizeof(a);
  EXPECT_FAILS(getpeername(s.get(), reinterpret_cast<sockaddr*>(&a), &n), ENOTCONN);
}

TEST_P(Udp, NobodyThereIsToldToTheConnected) {
  uint16_t port = 0;
  {
    const Owned gone = Bound(family(), SOCK_DGRAM);
    port = PortOf(gone.get());
  }
  const Owned s(socket(family(), SOCK_DGRAM, 0));
  const auto to = Loopback(family(), port);
  EXPECT_EQ(SendTo(s, "x", to), 1);
  EXPECT_EQ(SendTo(s, "x", to), 1);
  ASSERT_EQ(connect(s.get(), to.get(), to.size()), 0);  // needs nobody
  EXPECT_EQ(send(s.get(), "x", 1, 0), 1);
  EXPECT_EQ(PollOne(s.get(), POLLIN, 1000) & POLLERR, POLLERR);
  char c = 0;
  EXPECT_FAILS(recv(s.get(), &c, 1, MSG_DONTWAIT), ECONNREFUSED);
  EXPECT_EQ(send(s.get(), "x", 1, 0), 1);
  EXPECT_EQ(PollOne(s.get(), POLLIN, 1000) & POLLERR, POLLERR);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

TEST_P(Udp, TruncationIsTold) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  const auto to = Loopback(family(), PortOf(r.get()));
  ASSERT_EQ(SendTo(s, "0123456789", to), 10);
  ASSERT_EQ(SendTo(s, "next", to), 4);
  char buffer[4];
  iovec v{buffer, 4};
  msghdr m{};
  m.msg_iov = &v;
  m.msg_iovlen = 1;
  EXPECT_EQ(recvmsg(r.get(), &m, MSG_PEEK | MSG_TRUNC), 10);
  EXPECT_EQ(recvmsg(r.get(), &m, 0), 4);
  EXPECT_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
  int n = 0;
  ASSERT_EQ(ioctl(r.get(), FIONREAD, &n), 0);
  EXPECT_EQ(n, 4);
  EXPECT_EQ(RecvFrom(r).bytes, "next");
}

TEST_P(Udp, SizesAndEmptyOnes) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  const auto to = Loopback(family(), PortOf(r.get()));
  const std::string big(65507, 'x');
  EXPECT_EQ(SendTo(s, big, to), 65507);
  EXPECT_EQ(RecvFrom(r).size, 65507);
  EXPECT_FAILS(SendTo(s, big + std::string(100, 'y'), to), EMSGSIZE);
  EXPECT_EQ(SendTo(s, "", to), 0);
  EXPECT_EQ(PollOne(r.get(), POLLIN, 1000), POLLIN);
  EXPECT_EQ(RecvFrom(r).size, 0);
}

TEST_P(Udp, FullReceiverLoses) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  SetInt(r.get(), SOL_SOCKET, SO_RCVBUF, 4096);
  const auto to = Loopback(family(), PortOf(r.get()));
  for (int i = 0; i < 500; ++i) EXPECT_EQ(SendTo(s, std::string(200, 'x'), to), 200);
  SetNonblocking(r.get());
  int got = 0;
  while (RecvFrom(r).size > 0) ++got;
  EXPECT_GT(got, 0);
  EXPECT_LT(got, 500);
}

TEST_P(Udp, MoreHoldsADatagramBack) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  const test::Address to = Loopback(family(), PortOf(r.get()));
  ASSERT_EQ(SendTo(s, "one ", to, MSG_MORE), 4);
  EXPECT_EQ(RecvFrom(r, 100, MSG_DONTWAIT).size, -1);
  ASSERT_EQ(SendTo(s, "two ", to, MSG_MORE), 4);
  ASSERT_EQ(SendTo(s, "three", to), 5);
  EXPECT_EQ(RecvFrom(r).bytes, "one two three");
  EXPECT_EQ(RecvFrom(r, 100, MSG_DONTWAIT).size, -1);
  ASSERT_EQ(SendTo(s, "next", to), 4);
  EXPECT_EQ(RecvFrom(r).bytes, "next");
}

TEST_P(Udp, CorkHoldsUntilItIsPulled) {
  constexpr int kUdpCork = 1;
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  const test::Address to = Loopback(family(), PortOf(r.get()));
  SetInt(s.get(), IPPROTO_UDP, kUdpCork, 1);
  EXPECT_EQ(IntOption(s.get(), IPPROTO_UDP, kUdpCork), 1);
  ASSERT_EQ(SendTo(s, "ab", to), 2);
  ASSERT_EQ(SendTo(s, "cd", to), 2);
  EXPECT_EQ(RecvFrom(r, 100, MSG_DONTWAIT).size, -1);
  SetInt(s.get(), IPPROTO_UDP, kUdpCork, 0);
  EXPECT_EQ(RecvFrom(r).bytes, "abcd");
  const std::string big(40000, 'x');
  ASSERT_EQ(SendTo(s, big, to, MSG_MORE), 40000);
  EXPECT_FAILS(SendTo(s, big, to), EMSGSIZE);
  ASSERT_EQ(SendTo(s, "after", to), 5);  // what was held is lost
  EXPECT_EQ(RecvFrom(r).bytes, "after");
}

TEST_P(Udp, NobodyWaitsForTheErrorQueue) {
  const Owned s = Bound(family(), SOCK_DGRAM), t(socket(family(), SOCK_STREAM, 0));
  char c = 0;
  EXPECT_FAILS(recv(s.get(), &c, 1, MSG_ERRQUEUE), EAGAIN);
  EXPECT_FAILS(recv(t.get(), &c, 1, MSG_ERRQUEUE), EAGAIN);
}

// A port that nobody has.
uint16_t FreePort(int family) { return PortOf(Bound(family, SOCK_DGRAM).get()); }

struct Returned {
  ssize_t size = -1;
  std::string bytes;
  int flags = 0;
  test::Address to, from;
  sock_extended_err error{};
  int level = -1, type = -1;
};
Returned ReceiveReturned(const Owned& s, size_t room = 2000) {
  Returned out;
  std::string buffer(room, '\0');
  alignas(cmsghdr) char control[512];
  sockaddr_storage name{};
  iovec part{buffer.data(), room};
  msghdr m{&name, sizeof(name), &part, 1, control, sizeof(control), 0};
  out.size = recvmsg(s.get(), &m, MSG_ERRQUEUE);
  if (out.size < 0) return out;
  out.bytes = buffer.substr(0, static_cast<size_t>(out.size));
  out.flags = m.msg_flags;
  out.to = test::Address::From(name, m.msg_namelen);
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    out.level = c->cmsg_level, out.type = c->cmsg_type;
    if (c->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
    memcpy(&out.error, CMSG_DATA(c), sizeof(out.error));
    const size_t size = c->cmsg_len - CMSG_LEN(sizeof(out.error));
    sockaddr_storage from{};
    memcpy(&from, CMSG_DATA(c) + sizeof(out.error), size);
    out.from = test::Address::From(from, static_cast<socklen_t>(size));
  }
  return out;
}
int ErrorOf(const Owned& s) { return IntOption(s.get(), SOL_SOCKET, SO_ERROR); }

TEST_P(Udp, WhatCameBackIsInTheErrorQueue) {
  const bool v6 = family() == AF_INET6;
  const Owned s(socket(family(), SOCK_DGRAM, 0));
  SetInt(s.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, 1);
  const auto first = Loopback(family(), FreePort(family())), second = Loopback(family(), FreePort(family()));
  ASSERT_EQ(SendTo(s, "hello", first), 5);  // not connected, and it hears of it
  EXPECT_EQ(PollOne(s.get(), POLLIN | POLLPRI, 1000), POLLERR);
  EXPECT_EQ(ErrorOf(s), ECONNREFUSED);
  EXPECT_EQ(ErrorOf(s), 0);
  EXPECT_EQ(PollOne(s.get(), POLLIN, 0), POLLERR);  // it is in the queue still
  SetInt(s.get(), SOL_SOCKET, 45 /* SO_SELECT_ERR_QUEUE */, 1);
  EXPECT_EQ(PollOne(s.get(), POLLIN | POLLPRI, 0), POLLERR | POLLPRI);
  ASSERT_EQ(SendTo(s, "again", second), 5);
  EXPECT_EQ(ErrorOf(s), ECONNREFUSED);
  const Returned r = ReceiveReturned(s, 3);
  ASSERT_EQ(r.size, 3) << strerror(errno);
  EXPECT_EQ(r.bytes, "hel");
  EXPECT_EQ(r.flags, MSG_ERRQUEUE | MSG_TRUNC);
  EXPECT_EQ(r.to, first);
  EXPECT_EQ(r.level, v6 ? SOL_IPV6 : SOL_IP);
  EXPECT_EQ(r.type, v6 ? IPV6_RECVERR : IP_RECVERR);
  EXPECT_EQ(r.error.ee_errno, static_cast<uint32_t>(ECONNREFUSED));
  EXPECT_EQ(r.error.ee_origin, v6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP);
  EXPECT_EQ(r.error.ee_type, v6 ? 1 : 3);
  EXPECT_EQ(r.error.ee_code, v6 ? 4 : 3);
  EXPECT_EQ(r.error.ee_info, 0u);
  EXPECT_EQ(r.error.ee_data, 0u);
  EXPECT_EQ(r.from, Loopback(family(), 0));
  EXPECT_EQ(ErrorOf(s), ECONNREFUSED);  // the next one's
  ASSERT_EQ(SendTo(s, "x", first), 1);
  EXPECT_EQ(ReceiveReturned(s).to, second);
  EXPECT_EQ(ReceiveReturned(s).bytes, "x");
  EXPECT_EQ(ErrorOf(s), 0);  // reading the last takes it
  EXPECT_FAILS(ReceiveReturned(s).size, EAGAIN);
  EXPECT_EQ(PollOne(s.get(), POLLIN | POLLOUT, 0), POLLOUT);
}

TEST_P(Udp, TheErrorQueueGoesWithItsOption) {
  const bool v6 = family() == AF_INET6;
  const Owned s(socket(family(), SOCK_DGRAM, 0));
  const int level = v6 ? SOL_IPV6 : SOL_IP, name = v6 ? IPV6_RECVERR : IP_RECVERR;
  const auto nobody = Loopback(family(), FreePort(family()));
  ASSERT_EQ(SendTo(s, "a", nobody), 1);
  EXPECT_EQ(PollOne(s.get(), POLLIN, 0), 0);
  EXPECT_EQ(ErrorOf(s), 0);
  SetInt(s.get(), level, name, 1);
  ASSERT_EQ(SendTo(s, "a", nobody), 1);
  EXPECT_FAILS(SendTo(s, "b", nobody), ECONNREFUSED);  // the error comes first
  ASSERT_EQ(SendTo(s, "c", nobody), 1);
  SetInt(s.get(), level, name, 0);
  EXPECT_FAILS(ReceiveReturned(s).size, EAGAIN);
  EXPECT_EQ(ErrorOf(s), ECONNREFUSED);
}

TEST_P(Udp, AMessageQuotesTheBeginning) {
  const bool v6 = family() == AF_INET6;
  const Owned s(socket(family(), SOCK_DGRAM, 0));
  SetInt(s.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, 1);
  ASSERT_EQ(SendTo(s, std::string(1900, 'q'), Loopback(family(), FreePort(family()))), 1900);
  EXPECT_EQ(ReceiveReturned(s).size, v6 ? 1184 : 520);
}

// What a connected socket sends elsewhere is not its peer's doing.
TEST_P(Udp, OnlyThePeersErrorsReachTheConnected) {
  const bool v6 = family() == AF_INET6;
  const auto peer = Loopback(family(), FreePort(family())), other = Loopback(family(), FreePort(family()));
  for (const bool wants : {false, true}) {
    const Owned s(socket(family(), SOCK_DGRAM, 0));
    SetInt(s.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, wants ? 1 : 0);
    ASSERT_EQ(connect(s.get(), peer.get(), peer.size()), 0);
    ASSERT_EQ(SendTo(s, "a", other), 1);
    EXPECT_EQ(PollOne(s.get(), POLLIN, 0), 0);
    ASSERT_EQ(SendTo(s, "b", peer), 1);
    EXPECT_EQ(PollOne(s.get(), POLLIN, 1000), POLLERR);
    EXPECT_EQ(ErrorOf(s), ECONNREFUSED);
    EXPECT_EQ(ReceiveReturned(s).size, wants ? 1 : -1);
  }
}

TEST_P(Udp, ErrorsOfMappedAddresses) {
  if (family() != AF_INET6) return;  // they are IPv6's
  const Owned s(socket(AF_INET6, SOCK_DGRAM, 0));
  SetInt(s.get(), SOL_IP, IP_RECVERR, 1);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(FreePort(AF_INET));
  ASSERT_EQ(inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr), 1);
  ASSERT_EQ(sendto(s.get(), "m", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 1);
  const Returned r = ReceiveReturned(s);
  ASSERT_EQ(r.size, 1);
  EXPECT_EQ(r.level, SOL_IPV6);
  EXPECT_EQ(r.type, IPV6_RECVERR);
  EXPECT_EQ(r.error.ee_origin, SO_EE_ORIGIN_ICMP);
  EXPECT_EQ(memcmp(r.to.get(), &to, sizeof(to)), 0);
  to.sin6_port = 0;
  EXPECT_EQ(memcmp(r.from.get(), &to, sizeof(to)), 0);
}

TEST_P(Udp, TheAddressThatItWasSentTo) {
  const bool v6 = family() == AF_INET6;
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  SetInt(r.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVORIGDSTADDR : IP_RECVORIGDSTADDR, 1);
  const auto to = Loopback(family(), PortOf(r.get()));
  ASSERT_EQ(SendTo(s, "x", to), 1);
  char c = 0;
  alignas(cmsghdr) char control[128];
  iovec part{&c, 1};
  msghdr m{nullptr, 0, &part, 1, control, sizeof(control), 0};
  ASSERT_EQ(recvmsg(r.get(), &m, 0), 1);
  const cmsghdr* const head = CMSG_FIRSTHDR(&m);
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->cmsg_level, v6 ? SOL_IPV6 : SOL_IP);
  EXPECT_EQ(head->cmsg_type, v6 ? IPV6_ORIGDSTADDR : IP_ORIGDSTADDR);
  ASSERT_EQ(head->cmsg_len, CMSG_LEN(to.size()));
  EXPECT_EQ(memcmp(CMSG_DATA(head), to.get(), to.size()), 0);
}

TEST_P(Udp, ReuseRules) {
  const Owned a = Bound(family(), SOCK_DGRAM), b(socket(family(), SOCK_DGRAM, 0));
  const auto same = Loopback(family(), PortOf(a.get()));
  EXPECT_FAILS(bind(b.get(), same.get(), same.size()), EADDRINUSE);
  SetInt(a.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  SetInt(b.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  EXPECT_EQ(bind(b.get(), same.get(), same.size()), 0);
}

TEST_P(Udp, ReceiveTimesOut) {
  const Owned r = Bound(family(), SOCK_DGRAM);
  const timeval t{0, 50000};
  ASSERT_EQ(setsockopt(r.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
  char c = 0;
  EXPECT_FAILS(recv(r.get(), &c, 1, 0), EAGAIN);
}

TEST_P(Udp, ShutdownNeedsAPeer) {
  const Owned r = Bound(family(), SOCK_DGRAM);
  EXPECT_FAILS(shutdown(r.get(), SHUT_RD), ENOTCONN);
  const auto to = Loopback(family(), PortOf(r.get()));
  ASSERT_EQ(connect(r.get(), to.get(), to.size()), 0);
  const Later stop(30, [&] { shutdown(r.get(), SHUT_RD); });
  char c = 0;
  EXPECT_EQ(recv(r.get(), &c, 1, 0), 0);
}

TEST_P(Udp, ManyThreadsReceive) {
  const Owned r = Bound(family(), SOCK_DGRAM), s(socket(family(), SOCK_DGRAM, 0));
  const auto to = Loopback(family(), PortOf(r.get()));
  std::atomic<int> got{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (RecvFrom(r).bytes != "stop") ++got;
    });
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(SendTo(s, "work", to), 4);
    if (i % 20 == 0) test::SleepMs(2);
  }
  for (int i = 0; i < 4; ++i) ASSERT_EQ(SendTo(s, "stop", to), 4);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(got, 100);
}

TEST(UdpV4, BroadcastNeedsPermission) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0)), r(socket(AF_INET, SOCK_DGRAM, 0));
  const auto any = Any(AF_INET, 0);
  ASSERT_EQ(bind(r.get(), any.get(), any.size()), 0);
  const auto all = test::Numeric(AF_INET, "127.255.255.255", PortOf(r.get()));
  EXPECT_FAILS(SendTo(s, "x", all), EACCES);
  EXPECT_FAILS(connect(s.get(), all.get(), all.size()), EACCES);
  SetInt(s.get(), SOL_SOCKET, SO_BROADCAST, 1);
  EXPECT_EQ(SendTo(s, "x", all), 1);
  EXPECT_EQ(RecvFrom(r).bytes, "x");
}

TEST(UdpV4, PacketInfo) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0)), r(socket(AF_INET, SOCK_DGRAM, 0));
  const auto any = Any(AF_INET, 0);
  ASSERT_EQ(bind(r.get(), any.get(), any.size()), 0);
  SetInt(r.get(), IPPROTO_IP, IP_PKTINFO, 1);
  SetInt(r.get(), IPPROTO_IP, IP_RECVTTL, 1);
  ASSERT_EQ(SendTo(s, "x", test::Numeric(AF_INET, "127.0.0.7", PortOf(r.get()))), 1);
  char control[256], c = 0;
  iovec v{&c, 1};
  msghdr m{};
  m.msg_iov = &v;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof(control);
  ASSERT_EQ(recvmsg(r.get(), &m, 0), 1);
  bool info = false, ttl = false;
  for (cmsghdr* h = CMSG_FIRSTHDR(&m); h != nullptr; h = CMSG_NXTHDR(&m, h)) {
    if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
      in_pktinfo p{};
      memcpy(&p, CMSG_DATA(h), sizeof(p));
      info = p.ipi_addr.s_addr == htonl(0x7f000007);
    }
    if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_TTL) {
      int value = 0;
      memcpy(&value, CMSG_DATA(h), sizeof(value));
      ttl = value == 64;
    }
  }
  EXPECT_TRUE(info);
  EXPECT_TRUE(ttl);
}

TEST(UdpV4, MulticastOnLoopback) {
  const Owned r(socket(AF_INET, SOCK_DGRAM, 0)), s(socket(AF_INET, SOCK_DGRAM, 0));
  const auto any = Any(AF_INET, 0);
  ASSERT_EQ(bind(r.get(), any.get(), any.size()), 0);
  ip_mreq group{};
  group.imr_multiaddr.s_addr = htonl(0xe0000101);
  group.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(setsockopt(r.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
  EXPECT_FAILS(setsockopt(r.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)), EADDRINUSE);
  in_addr lo{htonl(INADDR_LOOPBACK)};
  ASSERT_EQ(setsockopt(s.get(), IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)), 0);
  ASSERT_EQ(SendTo(s, "all", test::Numeric(AF_INET, "224.0.1.1", PortOf(r.get()))), 3);
  EXPECT_EQ(RecvFrom(r).bytes, "all");
  ASSERT_EQ(setsockopt(r.get(), IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof(group)), 0);
  EXPECT_FAILS(setsockopt(r.get(), IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof(group)), EADDRNOTAVAIL);
  group.imr_multiaddr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_FAILS(setsockopt(r.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)), EINVAL);
}

TEST(UdpV4, DualStackReceivesMappedAddresses) {
  const Owned r(socket(AF_INET6, SOCK_DGRAM, 0)), s(socket(AF_INET, SOCK_DGRAM, 0));
  const auto any = Any(AF_INET6, 0);
  ASSERT_EQ(bind(r.get(), any.get(), any.size()), 0);
  ASSERT_EQ(SendTo(s, "x", Loopback(AF_INET, PortOf(r.get()))), 1);
  const Datagram d = RecvFrom(r);
  EXPECT_EQ(d.from.Text(), "::ffff:127.0.0.1");
  ASSERT_EQ(SendTo(r, "y", d.from), 1);
  EXPECT_EQ(RecvFrom(s).from.Text(), "127.0.0.1");
}

TEST(Interface, IoctlsTellOfLo) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq r{};
  memcpy(r.ifr_name, "lo", 3);
  ASSERT_EQ(ioctl(s.get(), SIOCGIFFLAGS, &r), 0);
  EXPECT_EQ(r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING), IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
  ASSERT_EQ(ioctl(s.get(), SIOCGIFINDEX, &r), 0);
  EXPECT_EQ(r.ifr_ifindex, 1);
  ASSERT_EQ(ioctl(s.get(), SIOCGIFMTU, &r), 0);
  EXPECT_EQ(r.ifr_mtu, 65536);
  ASSERT_EQ(ioctl(s.get(), SIOCGIFADDR, &r), 0);
  EXPECT_EQ(reinterpret_cast<sockaddr_in*>(&r.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
  ASSERT_EQ(ioctl(s.get(), SIOCGIFNETMASK, &r), 0);
  EXPECT_EQ(reinterpret_cast<sockaddr_in*>(&r.ifr_addr)->sin_addr.s_addr, htonl(0xff000000));
  ASSERT_EQ(ioctl(s.get(), SIOCGIFHWADDR, &r), 0);
  EXPECT_EQ(r.ifr_hwaddr.sa_family, 772);
  r.ifr_ifindex = 1;
  ASSERT_EQ(ioctl(s.get(), SIOCGIFNAME, &r), 0);
  EXPECT_STREQ(r.ifr_name, "lo");
  memcpy(r.ifr_name, "none7", 6);
  EXPECT_FAILS(ioctl(s.get(), SIOCGIFFLAGS, &r), ENODEV);
  std::array<ifreq, 32> all{};
  ifconf conf{};
  conf.ifc_len = sizeof(all);
  conf.ifc_req = all.data();
  ASSERT_EQ(ioctl(s.get(), SIOCGIFCONF, &conf), 0);
  ASSERT_GE(conf.ifc_len, static_cast<int>(sizeof(ifreq)));
  EXPECT_STREQ(all[0].ifr_name, "lo");
}

TEST(Interface, AddressesAreToldByInternetSocketsOnly) {
  ifreq r{};
  memcpy(r.ifr_name, "lo", 3);
  for (const int family : {AF_UNIX, AF_INET6}) {
    const Owned s(socket(family, SOCK_STREAM, 0));
    EXPECT_EQ(ioctl(s.get(), SIOCGIFFLAGS, &r), 0);
    for (const unsigned long command : {SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFDSTADDR}) EXPECT_FAILS(ioctl(s.get(), command, &r), ENOTTY);
  }
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  for (const unsigned long command : {SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFDSTADDR}) EXPECT_EQ(ioctl(s.get(), command, &r), 0);
  // No hardware there, and no neighbours.
  for (const unsigned long command : {SIOCGMIIPHY, SIOCGMIIREG}) EXPECT_FAILS(ioctl(s.get(), command, &r), EOPNOTSUPP);
  arpreq neighbour{};
  EXPECT_FAILS(ioctl(s.get(), SIOCGARP, &neighbour), EPFNOSUPPORT);
  neighbour.arp_pa.sa_family = AF_INET;
  reinterpret_cast<sockaddr_in*>(&neighbour.arp_pa)->sin_addr.s_addr = htonl(0x7f000005);
  memcpy(neighbour.arp_dev, "lo", 3);
  EXPECT_FAILS(ioctl(s.get(), SIOCGARP, &neighbour), ENXIO);
}

TEST(Interface, EthtoolKnowsThatTheLinkIsThere) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq r{};
  memcpy(r.ifr_name, "lo", 3);
  const auto ask = [&](uint32_t command) {
    ethtool_value value{command, 77};
    r.ifr_data = reinterpret_cast<char*>(&value);
    return ioctl(s.get(), SIOCETHTOOL, &r) == 0 ? static_cast<int>(value.data) : -errno;
  };
  EXPECT_EQ(ask(ETHTOOL_GLINK), 1);
  for (const uint32_t feature : {ETHTOOL_GRXCSUM, ETHTOOL_GTXCSUM, ETHTOOL_GSG, ETHTOOL_GTSO, ETHTOOL_GGSO, ETHTOOL_GGRO}) EXPECT_EQ(ask(feature), 1) << feature;
  EXPECT_EQ(ask(ETHTOOL_GFLAGS), 0);
  EXPECT_EQ(ask(ETHTOOL_GMSGLVL), -EOPNOTSUPP);
  EXPECT_EQ(ask(ETHTOOL_GWOL), -EOPNOTSUPP);
  EXPECT_EQ(ask(0x7777), -EOPNOTSUPP);
  ethtool_ts_info stamps{};
  stamps.cmd = ETHTOOL_GET_TS_INFO;
  r.ifr_data = reinterpret_cast<char*>(&stamps);
  ASSERT_EQ(ioctl(s.get(), SIOCETHTOOL, &r), 0);
  EXPECT_EQ(stamps.so_timestamping & 0x18u, 0x18u);  // by software: received, and told
  EXPECT_EQ(stamps.phc_index, -1);
  r.ifr_data = nullptr;
  EXPECT_FAILS(ioctl(s.get(), SIOCETHTOOL, &r), EFAULT);
}

TEST(Interface, NamesAndAddresses) {
  EXPECT_EQ(if_nametoindex("lo"), 1u);
  ifaddrs* list = nullptr;
  ASSERT_EQ(getifaddrs(&list), 0);
  bool v4 = false, v6 = false, link = false;
  for (const ifaddrs* a = list; a != nullptr; a = a->ifa_next) {
    if (std::string(a->ifa_name) != "lo" || a->ifa_addr == nullptr) continue;
    v4 = v4 || a->ifa_addr->sa_family == AF_INET;
    v6 = v6 || a->ifa_addr->sa_family == AF_INET6;
    link = link || a->ifa_addr->sa_family == AF_PACKET;
    EXPECT_NE(a->ifa_flags & IFF_LOOPBACK, 0u);
  }
  freeifaddrs(list);
  EXPECT_TRUE(v4 && v6 && link);
}

TEST(Interface, NetlinkAnswersOneLink) {
  const Owned s(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  struct {
    nlmsghdr head;
    ifinfomsg info;
  } request{};
  request.head = {sizeof(request), RTM_GETLINK, NLM_F_REQUEST, 42, 0};
  request.info.ifi_index = 1;
  ASSERT_EQ(send(s.get(), &request, sizeof(request), 0), static_cast<ssize_t>(sizeof(request)));
  alignas(nlmsghdr) char buffer[16384];
  ASSERT_GT(recv(s.get(), buffer, sizeof(buffer), 0), 0);
  const auto* head = reinterpret_cast<nlmsghdr*>(buffer);
  EXPECT_EQ(head->nlmsg_type, RTM_NEWLINK);
  EXPECT_EQ(head->nlmsg_seq, 42u);
  request.info.ifi_index = 7777;
  ASSERT_GT(send(s.get(), &request, sizeof(request), 0), 0);
  ASSERT_GT(recv(s.get(), buffer, sizeof(buffer), 0), 0);
  EXPECT_EQ(head->nlmsg_type, NLMSG_ERROR);
  EXPECT_EQ(reinterpret_cast<nlmsgerr*>(NLMSG_DATA(buffer))->error, -ENODEV);
  EXPECT_FAILS(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
  EXPECT_FAILS(recv(s.get(), buffer, sizeof(buffer), MSG_DONTWAIT), EAGAIN);
}

}  // namespace
