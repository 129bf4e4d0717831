// What getsockopt(2) tells of options that nobody has set, and what setting them again to that does.
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <array>
#include <cstring>
#include <vector>

#include "inet_support.h"

namespace {

using test::Connected;
using test::IntOption;
using test::Owned;
using test::SetInt;
using test::TcpPair;

struct Kind {
  int family, type;
  bool tcp() const { return family != AF_UNIX && type == SOCK_STREAM; }
};
constexpr Kind kKinds[] = {{AF_INET, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}, {AF_INET6, SOCK_STREAM}, {AF_INET6, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM}, {AF_UNIX, SOCK_DGRAM}};

struct Option {
  int level, name;
  socklen_t size;
  int value;
};
// `value` in each integer of the answer.
void ExpectDefault(const Owned& s, const Option& o) {
  SCOPED_TRACE(std::to_string(o.level) + "/" + std::to_string(o.name));
  std::array<int, 16> got;
  got.fill(0x5a5a5a5a);
  socklen_t n = sizeof(got);
  ASSERT_EQ(getsockopt(s.get(), o.level, o.name, got.data(), &n), 0) << strerror(errno);
  EXPECT_EQ(n, o.size);
  for (socklen_t i = 0; i < n / sizeof(int); ++i) EXPECT_EQ(got[i], o.value);
}

constexpr int kBsdCompat = 14, kGetFilter = 26, kLockFilter = 44, kSelectErrQueue = 45, kMaxPacingRate = 47, kIncomingCpu = 49, kZerocopy = 60, kTxtime = 61,
              kTimestampNew = 63, kPreferBusyPoll = 69, kNetnsCookie = 71, kBufLock = 72, kReserveMem = 73, kTxrehash = 74, kRcvmark = 75;

TEST(SocketDefaults, OfEverySocket) {
  const Option options[] = {
      {SOL_SOCKET, kBsdCompat, 4, 0},     {SOL_SOCKET, kGetFilter, 0, 0},  {SOL_SOCKET, SO_TIMESTAMPING, 8, 0}, {SOL_SOCKET, SO_PEEK_OFF, 4, -1},
      {SOL_SOCKET, kLockFilter, 4, 0},    {SOL_SOCKET, kTxtime, 8, 0},     {SOL_SOCKET, kSelectErrQueue, 4, 0}, {SOL_SOCKET, kMaxPacingRate, 8, -1},
      {SOL_SOCKET, kIncomingCpu, 4, -1},  {SOL_SOCKET, kZerocopy, 4, 0},   {SOL_SOCKET, kTimestampNew, 4, 0},   {SOL_SOCKET, kPreferBusyPoll, 4, 0},
      {SOL_SOCKET, kReserveMem, 4, 0},    {SOL_SOCKET, kRcvmark, 4, 0},    {SOL_SOCKET, kBufLock, 4, 0},
  };
  for (const Kind& kind : kKinds) {
    const Owned s(socket(kind.family, kind.type, 0));
    for (const Option& o : options) ExpectDefault(s, o);
  }
}

TEST(SocketDefaults, OfIp) {
  const Option options[] = {{IPPROTO_IP, IP_ROUTER_ALERT, 4, 0}, {IPPROTO_IP, IP_PASSSEC, 4, 0},      {IPPROTO_IP, IP_TRANSPARENT, 4, 0},
                            {IPPROTO_IP, IP_NODEFRAG, 4, 0},     {IPPROTO_IP, IP_CHECKSUM, 4, 0},     {IPPROTO_IP, IP_RECVFRAGSIZE, 4, 0},
                            {IPPROTO_IP, 26, 4, 0},              {IPPROTO_IP, 51, 4, 0},              {IPPROTO_IP, 52, 4, 0}};
  for (const Kind& kind : kKinds) {
    if (kind.family == AF_UNIX) continue;
    const Owned s(socket(kind.family, kind.type, 0));
    for (const Option& o : options) ExpectDefault(s, o);
    EXPECT_EQ(IntOption(s.get(), IPPROTO_IP, IP_MULTICAST_ALL), kind.family == AF_INET ? 1 : 0);
    EXPECT_EQ(setsockopt(s.get(), IPPROTO_IP, IP_TOS, nullptr, 0), 0);  // nothing is 0 there
    EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, SO_PRIORITY, nullptr, 0), EINVAL);
  }
}

TEST(SocketDefaults, OfIpv6) {
  const Option options[] = {{IPPROTO_IPV6, 2, 4, 0},  {IPPROTO_IPV6, 3, 4, 0},  {IPPROTO_IPV6, 8, 4, 0},  {IPPROTO_IPV6, 11, 4, 0}, {IPPROTO_IPV6, 22, 4, 0},
                            {IPPROTO_IPV6, 30, 4, 0}, {IPPROTO_IPV6, 31, 4, 0}, {IPPROTO_IPV6, 33, 4, 0}, {IPPROTO_IPV6, IPV6_HOPOPTS, 0, 0},
                            {IPPROTO_IPV6, IPV6_RTHDR, 0, 0},                   {IPPROTO_IPV6, IPV6_DSTOPTS, 0, 0},                   {IPPROTO_IPV6, IPV6_RECVPATHMTU, 4, 0},
                            {IPPROTO_IPV6, 70, 4, 1}, {IPPROTO_IPV6, 72, 4, 0x500},                       {IPPROTO_IPV6, 73, 4, 0},   {IPPROTO_IPV6, IPV6_TRANSPARENT, 4, 0}};
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const Owned s(socket(AF_INET6, type, 0));
    for (const Option& o : options) ExpectDefault(s, o);
  }
}

TEST(SocketDefaults, OfTcp) {
  const Option options[] = {{IPPROTO_TCP, 16, 4, 0}, {IPPROTO_TCP, 17, 4, 0},       {IPPROTO_TCP, TCP_REPAIR, 4, 0}, {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4, 0},
                            {IPPROTO_TCP, 27, 4, 0}, {IPPROTO_TCP, TCP_SAVED_SYN, 0, 0}, {IPPROTO_TCP, TCP_ULP, 0, 0},   {IPPROTO_TCP, TCP_FASTOPEN_KEY, 0, 0},
                            {IPPROTO_TCP, 34, 4, 0}, {IPPROTO_TCP, TCP_INQ, 4, 0},  {IPPROTO_TCP, TCP_TX_DELAY, 4, 0},  {SOL_SOCKET, kTxrehash, 4, 1}};
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  for (const Option& o : options) ExpectDefault(s, o);
  std::array<char, 512> info{};
  socklen_t n = sizeof(info);
  ASSERT_EQ(getsockopt(s.get(), IPPROTO_TCP, TCP_INFO, info.data(), &n), 0);
  EXPECT_GE(n, 248u);
  const Owned udp(socket(AF_INET, SOCK_DGRAM, 0));
  int value = 0;
  n = sizeof(value);
  EXPECT_FAILS(getsockopt(udp.get(), SOL_SOCKET, kTxrehash, &value, &n), EOPNOTSUPP);
}

TEST(SocketDefaults, ThePeersNameIsAnOptionToo) {
  const TcpPair p = Connected(AF_INET);
  sockaddr_storage name{};
  socklen_t n = sizeof(sockaddr_in);
  ASSERT_EQ(getsockopt(p.client.get(), SOL_SOCKET, SO_PEERNAME, &name, &n), 0);
  EXPECT_EQ(n, sizeof(sockaddr_in));
  EXPECT_EQ(test::Address::From(name, n), test::NameOf(p.server.get()));
  n = sizeof(name);
  EXPECT_FAILS(getsockopt(p.client.get(), SOL_SOCKET, SO_PEERNAME, &name, &n), EINVAL);  // more than there is
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  n = sizeof(sockaddr_in);
  EXPECT_FAILS(getsockopt(s.get(), SOL_SOCKET, SO_PEERNAME, &name, &n), ENOTCONN);
}

TEST(SocketDefaults, MemoryAndItsLocks) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0));
  std::array<uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t n = sizeof(info);
  ASSERT_EQ(getsockopt(s.get(), SOL_SOCKET, SO_MEMINFO, info.data(), &n), 0);
  EXPECT_EQ(n, sizeof(info));
  EXPECT_EQ(info[SK_MEMINFO_RCVBUF], static_cast<uint32_t>(IntOption(s.get(), SOL_SOCKET, SO_RCVBUF)));
  EXPECT_EQ(info[SK_MEMINFO_SNDBUF], static_cast<uint32_t>(IntOption(s.get(), SOL_SOCKET, SO_SNDBUF)));
  SetInt(s.get(), SOL_SOCKET, SO_RCVBUF, 10000);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, kBufLock), 2);
  SetInt(s.get(), SOL_SOCKET, kBufLock, 1);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, kBufLock), 1);
  const int bad = 4;
  EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, kBufLock, &bad, sizeof(bad)), EINVAL);
}

TEST(SocketDefaults, APacingRateIsKept) {
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  uint64_t rate = 0x123456789a;
  ASSERT_EQ(setsockopt(s.get(), SOL_SOCKET, kMaxPacingRate, &rate, sizeof(rate)), 0);
  rate = 0;
  socklen_t n = sizeof(rate);
  ASSERT_EQ(getsockopt(s.get(), SOL_SOCKET, kMaxPacingRate, &rate, &n), 0);
  EXPECT_EQ(rate, 0x123456789au);
  EXPECT_EQ(static_cast<uint32_t>(IntOption(s.get(), SOL_SOCKET, kMaxPacingRate)), UINT32_MAX);
  SetInt(s.get(), SOL_SOCKET, kMaxPacingRate, 4711);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, kMaxPacingRate), 4711);
}

TEST(SocketDefaults, TheNamespacesCookieIsEightBytes) {
  const Owned a(socket(AF_INET, SOCK_STREAM, 0)), b(socket(AF_UNIX, SOCK_DGRAM, 0));
  uint64_t one = 0, other = 1;
  socklen_t n = sizeof(one);
  ASSERT_EQ(getsockopt(a.get(), SOL_SOCKET, kNetnsCookie, &one, &n), 0);
  ASSERT_EQ(getsockopt(b.get(), SOL_SOCKET, kNetnsCookie, &other, &n), 0);
  EXPECT_EQ(one, other);
  n = 4;
  EXPECT_FAILS(getsockopt(a.get(), SOL_SOCKET, kNetnsCookie, &one, &n), EINVAL);
}

TEST(SocketDefaults, AFilterLockStays) {
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  SetInt(s.get(), SOL_SOCKET, kLockFilter, 0);
  SetInt(s.get(), SOL_SOCKET, kLockFilter, 1);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, kLockFilter), 1);
  const int off = 0;
  EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, kLockFilter, &off, sizeof(off)), EPERM);
}

}  // namespace
