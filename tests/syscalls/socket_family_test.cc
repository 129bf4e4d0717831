// IPV6_ADDRFORM: a socket of AF_INET6 that talks IPv4 becomes one of AF_INET.
#include <netinet/tcp.h>

#include "inet_support.h"

namespace {

using test::Bound;
using test::IntOption;
using test::Listener;
using test::Loopback;
using test::NameOf;
using test::Numeric;
using test::Owned;
using test::PortOf;
using test::ReadSome;
using test::SetInt;

int Become(const Owned& s, int family) { return setsockopt(s.get(), IPPROTO_IPV6, IPV6_ADDRFORM, &family, sizeof(family)); }

// What a listener of both families has accepted from an IPv4 client.
struct Mixed {
  Owned listener, client, server;
};
Mixed MixedPair() {
  Mixed m;
  m.listener = Owned(socket(AF_INET6, SOCK_STREAM, 0));
  const test::Address any = test::Any(AF_INET6, 0);
  EXPECT_EQ(bind(m.listener.get(), any.get(), any.size()), 0);
  EXPECT_EQ(listen(m.listener.get(), 5), 0);
  m.client = test::Connect(AF_INET, PortOf(m.listener.get()));
  m.server = Owned(accept(m.listener.get(), nullptr, nullptr));
  EXPECT_TRUE(m.server.ok());
  return m;
}

TEST(SocketFamily, AConnectionOverIpv4BecomesOneOfIt) {
  const Mixed m = MixedPair();
  EXPECT_EQ(IntOption(m.server.get(), IPPROTO_IPV6, IPV6_ADDRFORM), AF_INET6);
  EXPECT_EQ(NameOf(m.server.get(), true).Text(), "::ffff:127.0.0.1");
  ASSERT_EQ(Become(m.server, AF_INET), 0);
  EXPECT_EQ(IntOption(m.server.get(), SOL_SOCKET, SO_DOMAIN), AF_INET);
  EXPECT_EQ(NameOf(m.server.get(), true), NameOf(m.client.get()));
  EXPECT_EQ(NameOf(m.server.get()), NameOf(m.client.get(), true));
  EXPECT_EQ(NameOf(m.server.get()).size(), sizeof(sockaddr_in));
  ASSERT_EQ(write(m.client.get(), "x", 1), 1);
  EXPECT_EQ(ReadSome(m.server.get()), "x");
  EXPECT_FAILS(Become(m.server, AF_INET), ENOPROTOOPT);  // there is no IPv6 there any more
}

TEST(SocketFamily, OnlyAConnectionMayChange) {
  const Mixed m = MixedPair();
  EXPECT_FAILS(Become(m.listener, AF_INET), ENOTCONN);
  EXPECT_FAILS(Become(m.listener, AF_INET6), EINVAL);
  int family = 0;
  socklen_t n = sizeof(family);
  EXPECT_FAILS(getsockopt(m.listener.get(), IPPROTO_IPV6, IPV6_ADDRFORM, &family, &n), ENOTCONN);
  const test::TcpPair v6 = test::Connected(AF_INET6);
  EXPECT_FAILS(Become(v6.client, AF_INET), EADDRNOTAVAIL);
  const Owned v4(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_FAILS(Become(v4, AF_INET), ENOPROTOOPT);
}

TEST(SocketFamily, ADatagramSocketToo) {
  const Owned r = Bound(AF_INET, SOCK_DGRAM), s(socket(AF_INET6, SOCK_DGRAM, 0));
  EXPECT_FAILS(Become(s, AF_INET), ENOTCONN);
  const test::Address to = Numeric(AF_INET6, "::ffff:127.0.0.1", PortOf(r.get()));
  ASSERT_EQ(connect(s.get(), to.get(), to.size()), 0);
  ASSERT_EQ(Become(s, AF_INET), 0);
  ASSERT_EQ(send(s.get(), "hello", 5, 0), 5);
  EXPECT_EQ(ReadSome(r.get()), "hello");
  EXPECT_EQ(NameOf(s.get(), true), NameOf(r.get()));
}

TEST(SocketFamily, ItMayBeUsedAnewAfterwards) {
  const Mixed m = MixedPair();
  ASSERT_EQ(Become(m.server, AF_INET), 0);
  sockaddr reset{};
  reset.sa_family = AF_UNSPEC;
  ASSERT_EQ(connect(m.server.get(), &reset, sizeof(reset)), 0);
  const test::Address any = test::Any(AF_INET, 0);
  ASSERT_EQ(bind(m.server.get(), any.get(), any.size()), 0) << errno;
  ASSERT_EQ(listen(m.server.get(), 5), 0);
  const Owned client = test::Connect(AF_INET, PortOf(m.server.get())), accepted(accept(m.server.get(), nullptr, nullptr));
  EXPECT_EQ(NameOf(accepted.get(), true), NameOf(client.get()));
}

TEST(SocketFamily, WhatIsAcceptedHasTheListenersOptions) {
  const Owned l(socket(AF_INET, SOCK_STREAM, 0));
  const struct {
    int level, name, value;
  } options[] = {{IPPROTO_TCP, TCP_KEEPIDLE, 77}, {IPPROTO_TCP, TCP_KEEPCNT, 5},   {IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 1234},
                 {IPPROTO_IP, IP_TTL, 33},        {SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_PRIORITY, 4},  {IPPROTO_IP, IP_TOS, 16}};
  const test::Address any = Loopback(AF_INET, 0);
  ASSERT_EQ(bind(l.get(), any.get(), any.size()), 0);
  for (const auto& o : options) SetInt(l.get(), o.level, o.name, o.value);
  ASSERT_EQ(listen(l.get(), 5), 0);
  const Owned c = test::Connect(AF_INET, PortOf(l.get())), s(accept(l.get(), nullptr, nullptr));
  for (const auto& o : options) {
    if (o.name == SO_PRIORITY && o.level == SOL_SOCKET) continue;  // IP_TOS has set it
    EXPECT_EQ(IntOption(s.get(), o.level, o.name), o.value) << o.level << "/" << o.name;
  }
}

}  // namespace
