// AF_INET and AF_INET6 sockets over loopback: TCP.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <array>
#include <vector>

#include "inet_support.h"

namespace {

using test::Any;
using test::Connect;
using test::Connected;
using test::Handled;
using test::IntOption;
using test::Later;
using test::Listener;
using test::Loopback;
using test::NowMs;
using test::Owned;
using test::PollOne;
using test::PortOf;
using test::ReadSome;
using test::SetInt;
using test::SetNonblocking;
using test::SleepMs;
using test::TcpPair;

class Tcp : public testing::TestWithParam<int> {
 protected:
  int family() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Tcp, testing::Values(AF_INET, AF_INET6), [](const auto& each) { return each.param == AF_INET ? "V4" : "V6"; });

TEST_P(Tcp, CarriesBytesBothWays) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "question", 8, 0), 8);
  EXPECT_EQ(ReadSome(p.server.get()), "question");
  ASSERT_EQ(write(p.server.get(), "answer", 6), 6);
  EXPECT_EQ(ReadSome(p.client.get()), "answer");
}

TEST_P(Tcp, NamesAgree) {
  const TcpPair p = Connected(family());
  const auto own = test::NameOf(p.client.get()), peer = test::NameOf(p.server.get(), true);
  EXPECT_EQ(own, peer);
  EXPECT_EQ(test::NameOf(p.server.get()), test::NameOf(p.client.get(), true));
  EXPECT_TRUE(own.IsLoopback());
  const Owned fresh(socket(family(), SOCK_STREAM, 0));
  EXPECT_EQ(test::NameOf(fresh.get()), Any(family(), 0));
  sockaddr_storage s{};
  socklen_t n = sizeof(s);
  EXPECT_FAILS(getpeername(fresh.get(), reinterpret_cast<sockaddr*>(&s), &n), ENOTCONN);
  n = 4;
  EXPECT_EQ(getsockname(fresh.get(), reinterpret_cast<sockaddr*>(&s), &n), 0);
  EXPECT_EQ(n, family() == AF_INET ? 16u : 28u);  // the true length
}

TEST_P(Tcp, AcceptTellsThePeer) {
  const Owned l = Listener(family());
  const Owned c = Connect(family(), PortOf(l.get()));
  sockaddr_storage s{};
  socklen_t n = sizeof(s);
  const Owned a(accept4(l.get(), reinterpret_cast<sockaddr*>(&s), &n, SOCK_NONBLOCK | SOCK_CLOEXEC));
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(test::Address::From(s, n), test::NameOf(c.get()));
  EXPECT_NE(fcntl(a.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(fcntl(a.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_FAILS(accept4(l.get(), nullptr, nullptr, 1), EINVAL);
}

TEST_P(Tcp, NonblockingAcceptWithoutAnyoneIsEagain) {
  const Owned l = Listener(family());
  SetNonblocking(l.get());
  EXPECT_FAILS(accept(l.get(), nullptr, nullptr), EAGAIN);
  EXPECT_EQ(PollOne(l.get(), POLLIN | POLLOUT), 0);
  const Owned c = Connect(family(), PortOf(l.get()));
  EXPECT_EQ(PollOne(l.get(), POLLIN, 1000), POLLIN);
  const Owned a(accept(l.get(), nullptr, nullptr));
  EXPECT_TRUE(a.ok());
  EXPECT_EQ(fcntl(a.get(), F_GETFL) & O_NONBLOCK, 0);  // not inherited
}

TEST_P(Tcp, ConnectToNobodyIsRefused) {
  uint16_t port = 0;
  {
    const Owned l = Listener(family());
    port = PortOf(l.get());
  }
  const Owned c(socket(family(), SOCK_STREAM, 0));
  const auto to = Loopback(family(), port);
  EXPECT_FAILS(connect(c.get(), to.get(), to.size()), ECONNREFUSED);
  EXPECT_FAILS(connect(c.get(), to.get(), to.size()), ECONNREFUSED);
}

TEST_P(Tcp, NonblockingConnectIsInProgress) {
  const Owned l = Listener(family());
  const Owned c(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  const auto to = Loopback(family(), PortOf(l.get()));
  EXPECT_FAILS(connect(c.get(), to.get(), to.size()), EINPROGRESS);
  EXPECT_EQ(PollOne(c.get(), POLLOUT, 2000), POLLOUT);
  EXPECT_EQ(IntOption(c.get(), SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(connect(c.get(), to.get(), to.size()), 0);  // says once that it is done
  EXPECT_FAILS(connect(c.get(), to.get(), to.size()), EISCONN);
}

TEST_P(Tcp, NonblockingConnectThatFails) {
  uint16_t port = 0;
  {
    const Owned l = Listener(family());
    port = PortOf(l.get());
  }
  const Owned c(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  const auto to = Loopback(family(), port);
  EXPECT_FAILS(connect(c.get(), to.get(), to.size()), EINPROGRESS);
  EXPECT_EQ(PollOne(c.get(), POLLIN | POLLOUT | POLLRDHUP, 2000), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
  EXPECT_EQ(IntOption(c.get(), SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_EQ(IntOption(c.get(), SOL_SOCKET, SO_ERROR), 0);
}

TEST_P(Tcp, FullBacklogKeepsTheClientWaiting) {
  const Owned l = Listener(family(), 0);
  const auto to = Loopback(family(), PortOf(l.get()));
  const Owned first = Connect(family(), PortOf(l.get()));
  std::vector<Owned> more;
  int waiting = 0;
  for (int i = 0; i < 3; ++i) {
    more.emplace_back(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_FAILS(connect(more.back().get(), to.get(), to.size()), EINPROGRESS);
    if (PollOne(more.back().get(), POLLOUT, 50) == 0) ++waiting;
  }
  EXPECT_GE(waiting, 2);
  EXPECT_FAILS(connect(more.back().get(), to.get(), to.size()), EALREADY);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Owned(accept(l.get(), nullptr, nullptr)).ok());
}

TEST_P(Tcp, ManyClientsAreAllServed) {
  const Owned l = Listener(family());
  constexpr int kClients = 40;
  std::atomic<int> served{0};
  std::thread server([&] {
    for (int i = 0; i < kClients; ++i) {
      const Owned a(accept(l.get(), nullptr, nullptr));
      const std::string text = ReadSome(a.get(), 100);
      test::SendAll(a.get(), text);
      ++served;
    }
  });
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < kClients / 4; ++i) {
        const Owned c = Connect(family(), PortOf(l.get()));
        const std::string text = "client " + std::to_string(t * 100 + i);
        test::SendAll(c.get(), text);
        EXPECT_EQ(ReadSome(c.get()), text);
      }
    });
  }
  for (std::thread& t : clients) t.join();
  server.join();
  EXPECT_EQ(served, kClients);
}

TEST_P(Tcp, HalfCloseLetsTheOtherWaySpeak) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "last", 4, 0), 4);
  ASSERT_EQ(shutdown(p.client.get(), SHUT_WR), 0);
  EXPECT_EQ(ReadSome(p.server.get()), "last");
  EXPECT_EQ(ReadSome(p.server.get()), "");
  EXPECT_EQ(PollOne(p.server.get(), POLLIN | POLLOUT | POLLRDHUP, 1000), POLLIN | POLLOUT | POLLRDHUP);
  EXPECT_FAILS(send(p.client.get(), "x", 1, MSG_NOSIGNAL), EPIPE);
  ASSERT_EQ(send(p.server.get(), "reply", 5, 0), 5);
  EXPECT_EQ(ReadSome(p.client.get()), "reply");
  ASSERT_EQ(shutdown(p.server.get(), SHUT_WR), 0);
  EXPECT_EQ(ReadSome(p.client.get()), "");
  EXPECT_EQ(PollOne(p.client.get(), POLLIN | POLLOUT | POLLRDHUP, 1000), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

TEST_P(Tcp, ShutdownOfReadingGivesEndOfFile) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(shutdown(p.client.get(), SHUT_RD), 0);
  EXPECT_EQ(ReadSome(p.client.get()), "");
  EXPECT_EQ(PollOne(p.client.get(), POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
  EXPECT_EQ(send(p.client.get(), "x", 1, 0), 1);
  EXPECT_FAILS(shutdown(p.client.get(), 3), EINVAL);
  const Owned fresh(socket(family(), SOCK_STREAM, 0));
  EXPECT_FAILS(shutdown(fresh.get(), SHUT_RDWR), ENOTCONN);
}

TEST_P(Tcp, WritingToAClosedPeerBreaksThePipe) {
  TcpPair p = Connected(family());
  p.server.Close();
  SleepMs(5);
  EXPECT_EQ(send(p.client.get(), "first", 5, MSG_NOSIGNAL), 5);  // answered by a reset
  SleepMs(5);
  EXPECT_FAILS(send(p.client.get(), "second", 6, MSG_NOSIGNAL), EPIPE);
  const Handled pipe(SIGPIPE);
  EXPECT_FAILS(send(p.client.get(), "third", 5, 0), EPIPE);
  EXPECT_EQ(Handled::Count(), 1);
  EXPECT_FAILS(write(p.client.get(), "fourth", 6), EPIPE);
  EXPECT_EQ(Handled::Count(), 2);
  EXPECT_EQ(ReadSome(p.client.get()), "");
}

TEST_P(Tcp, ClosingWithUnreadBytesResets) {
  TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "never read", 10, 0), 10);
  SleepMs(5);
  p.server.Close();
  EXPECT_EQ(PollOne(p.client.get(), POLLIN | POLLOUT | POLLRDHUP, 1000), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
  char c = 0;
  EXPECT_FAILS(recv(p.client.get(), &c, 1, 0), ECONNRESET);
  EXPECT_EQ(recv(p.client.get(), &c, 1, 0), 0);
  EXPECT_FAILS(send(p.client.get(), "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST_P(Tcp, LingerOfZeroResets) {
  TcpPair p = Connected(family());
  const linger hard{1, 0};
  ASSERT_EQ(setsockopt(p.server.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
  p.server.Close();
  SleepMs(5);
  char c = 0;
  EXPECT_FAILS(recv(p.client.get(), &c, 1, 0), ECONNRESET);
  linger got{};
  socklen_t n = sizeof(got);
  const linger soft{5, 7};
  ASSERT_EQ(setsockopt(p.client.get(), SOL_SOCKET, SO_LINGER, &soft, sizeof(soft)), 0);
  ASSERT_EQ(getsockopt(p.client.get(), SOL_SOCKET, SO_LINGER, &got, &n), 0);
  EXPECT_EQ(got.l_onoff, 1);
  EXPECT_EQ(got.l_linger, 7);
}

TEST_P(Tcp, ListenerThatClosesResetsThoseItHasNotAccepted) {
  Owned l = Listener(family());
  const Owned c = Connect(family(), PortOf(l.get()));
  ASSERT_EQ(send(c.get(), "hello?", 6, 0), 6);
  l.Close();
  char ch = 0;
  EXPECT_FAILS(recv(c.get(), &ch, 1, 0), ECONNRESET);
}

TEST_P(Tcp, UnconnectedErrors) {
  const Owned s(socket(family(), SOCK_STREAM, 0));
  char c = 0;
  EXPECT_FAILS(recv(s.get(), &c, 1, 0), ENOTCONN);
  EXPECT_FAILS(send(s.get(), &c, 1, MSG_NOSIGNAL), EPIPE);
  EXPECT_FAILS(accept(s.get(), nullptr, nullptr), EINVAL);
  const Owned udp(socket(family(), SOCK_DGRAM, 0));
  EXPECT_FAILS(accept(udp.get(), nullptr, nullptr), EOPNOTSUPP);
  EXPECT_FAILS(listen(udp.get(), 1), EOPNOTSUPP);
  const TcpPair p = Connected(family());
  EXPECT_FAILS(listen(p.client.get(), 1), EINVAL);
  const Owned l = Listener(family());
  const auto to = Loopback(family(), PortOf(l.get()));
  EXPECT_FAILS(connect(p.client.get(), to.get(), to.size()), EISCONN);
  EXPECT_FAILS(bind(l.get(), to.get(), to.size()), EINVAL);
}

TEST_P(Tcp, BadAddressesAreRefused) {
  const Owned s(socket(family(), SOCK_STREAM, 0));
  const auto ok = Any(family(), 0);
  EXPECT_FAILS(bind(s.get(), ok.get(), 4), EINVAL);
  EXPECT_FAILS(bind(s.get(), reinterpret_cast<sockaddr*>(test::BadAddress()), 28), EFAULT);
  EXPECT_FAILS(bind(s.get(), ok.get(), 4096), EINVAL);
  sockaddr_storage wrong{};
  wrong.ss_family = AF_UNIX;
  EXPECT_FAILS(bind(s.get(), reinterpret_cast<sockaddr*>(&wrong), 28), EAFNOSUPPORT);
  EXPECT_FAILS(connect(s.get(), reinterpret_cast<sockaddr*>(&wrong), 28), EAFNOSUPPORT);
  auto far = test::Numeric(family(), family() == AF_INET ? "192.0.2.1" : "2001:db8::1", 0);
  EXPECT_FAILS(bind(s.get(), far.get(), far.size()), EADDRNOTAVAIL);
  EXPECT_FAILS(bind(0, ok.get(), ok.size()), ENOTSOCK);
  EXPECT_FAILS(bind(-1, ok.get(), ok.size()), EBADF);
}

TEST_P(Tcp, BoundPortIsInUse) {
  const Owned l = Listener(family());
  const Owned s(socket(family(), SOCK_STREAM, 0));
  const auto same = Loopback(family(), PortOf(l.get())), wild = Any(family(), PortOf(l.get()));
  EXPECT_FAILS(bind(s.get(), same.get(), same.size()), EADDRINUSE);
  EXPECT_FAILS(bind(s.get(), wild.get(), wild.size()), EADDRINUSE);
  SetInt(s.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  EXPECT_FAILS(bind(s.get(), same.get(), same.size()), EADDRINUSE);  // it listens
}

TEST_P(Tcp, ReuseAddressLetsTwoBindAndOneListen) {
  Owned a(socket(family(), SOCK_STREAM, 0)), b(socket(family(), SOCK_STREAM, 0));
  SetInt(a.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  SetInt(b.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  const auto any = Loopback(family(), 0);
  ASSERT_EQ(bind(a.get(), any.get(), any.size()), 0);
  const auto same = Loopback(family(), PortOf(a.get()));
  ASSERT_EQ(bind(b.get(), same.get(), same.size()), 0);
  ASSERT_EQ(listen(a.get(), 5), 0);
  EXPECT_FAILS(listen(b.get(), 5), EADDRINUSE);
  a.Close();
  EXPECT_EQ(listen(b.get(), 5), 0);
}

TEST_P(Tcp, ConnectionHoldsThePortAfterItsListener) {
  Owned l(socket(family(), SOCK_STREAM, 0));
  SetInt(l.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  const auto any = Loopback(family(), 0);
  ASSERT_EQ(bind(l.get(), any.get(), any.size()), 0);
  ASSERT_EQ(listen(l.get(), 5), 0);
  const uint16_t port = PortOf(l.get());
  const Owned c = Connect(family(), port);
  const Owned a(accept(l.get(), nullptr, nullptr));
  l.Close();
  const auto same = Loopback(family(), port);
  const Owned strict(socket(family(), SOCK_STREAM, 0));
  EXPECT_FAILS(bind(strict.get(), same.get(), same.size()), EADDRINUSE);
  const Owned reusing(socket(family(), SOCK_STREAM, 0));
  SetInt(reusing.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  EXPECT_EQ(bind(reusing.get(), same.get(), same.size()), 0);
  EXPECT_EQ(listen(reusing.get(), 5), 0);
}

TEST_P(Tcp, ReusePortSharesConnections) {
  std::vector<Owned> listeners;
  uint16_t port = 0;
  for (int i = 0; i < 3; ++i) {
    Owned l(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
    SetInt(l.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    const auto at = Loopback(family(), port);
    ASSERT_EQ(bind(l.get(), at.get(), at.size()), 0);
    ASSERT_EQ(listen(l.get(), 128), 0);
    port = PortOf(l.get());
    listeners.push_back(std::move(l));
  }
  std::vector<Owned> clients;
  for (int i = 0; i < 60; ++i) clients.push_back(Connect(family(), port));
  SleepMs(10);
  int total = 0, used = 0;
  for (const Owned& l : listeners) {
    int n = 0;
    while (Owned(accept(l.get(), nullptr, nullptr)).ok()) ++n;
    total += n;
    used += n > 0 ? 1 : 0;
  }
  EXPECT_EQ(total, 60);
  EXPECT_GE(used, 2);
}

TEST_P(Tcp, PeekDoesNotTake) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "abc", 3, 0), 3);
  char buffer[8] = {};
  ASSERT_EQ(recv(p.server.get(), buffer, 8, MSG_PEEK), 3);
  ASSERT_EQ(recv(p.server.get(), buffer, 2, MSG_PEEK), 2);
  int n = 0;
  ASSERT_EQ(ioctl(p.server.get(), FIONREAD, &n), 0);
  EXPECT_EQ(n, 3);
  EXPECT_EQ(ReadSome(p.server.get()), "abc");
}

TEST_P(Tcp, WaitallWaitsForAll) {
  const TcpPair p = Connected(family());
  const Later rest(40, [&] { test::SendAll(p.client.get(), "67890"); });
  ASSERT_EQ(send(p.client.get(), "12345", 5, 0), 5);
  char buffer[10] = {};
  EXPECT_EQ(recv(p.server.get(), buffer, 10, MSG_WAITALL), 10);
  EXPECT_EQ(std::string(buffer, 10), "1234567890");
}

TEST_P(Tcp, WaitallStopsAtTheEnd) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "123", 3, 0), 3);
  ASSERT_EQ(shutdown(p.client.get(), SHUT_WR), 0);
  char buffer[10] = {};
  EXPECT_EQ(recv(p.server.get(), buffer, 10, MSG_WAITALL), 3);
}

TEST_P(Tcp, DontwaitIsForTheCall) {
  const TcpPair p = Connected(family());
  char c = 0;
  EXPECT_FAILS(recv(p.server.get(), &c, 1, MSG_DONTWAIT), EAGAIN);
  EXPECT_EQ(fcntl(p.server.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_P(Tcp, TruncDiscards) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "abcdef", 6, 0), 6);
  SleepMs(5);
  EXPECT_EQ(recv(p.server.get(), nullptr, 4, MSG_TRUNC), 4);
  EXPECT_EQ(ReadSome(p.server.get()), "ef");
}

TEST_P(Tcp, ReceiveTimesOut) {
  const TcpPair p = Connected(family());
  const timeval t{0, 60000};
  ASSERT_EQ(setsockopt(p.server.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
  char c = 0;
  const int64_t start = NowMs();
  EXPECT_FAILS(recv(p.server.get(), &c, 1, 0), EAGAIN);
  EXPECT_GE(NowMs() - start, 55);
  EXPECT_FAILS(read(p.server.get(), &c, 1), EAGAIN);
  EXPECT_GE(NowMs() - start, 110);
  const Owned l = Listener(family());
  ASSERT_EQ(setsockopt(l.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
  EXPECT_FAILS(accept(l.get(), nullptr, nullptr), EAGAIN);
  const timeval bad{0, 1000000};
  EXPECT_FAILS(setsockopt(l.get(), SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof(bad)), EDOM);
  EXPECT_FAILS(setsockopt(l.get(), SOL_SOCKET, SO_RCVTIMEO, &bad, 4), EINVAL);
}

TEST_P(Tcp, SendTimesOutWhenNobodyReads) {
  const TcpPair p = Connected(family());
  const timeval t{0, 60000};
  ASSERT_EQ(setsockopt(p.client.get(), SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)), 0);
  const std::string chunk(1 << 20, 'x');
  ssize_t n = 0;
  for (int i = 0; i < 100 && n >= 0; ++i) n = send(p.client.get(), chunk.data(), chunk.size(), 0);
  EXPECT_EQ(n, -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_P(Tcp, BlockedSenderGoesOnWhenTheReaderReads) {
  const TcpPair p = Connected(family());
  const std::string all(8 << 20, 'z');
  std::thread sender([&] { EXPECT_EQ(send(p.client.get(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size())); });
  EXPECT_EQ(test::ReadExactly(p.server.get(), all.size()).size(), all.size());
  sender.join();
}

TEST_P(Tcp, FullSocketIsNotWritableUntilRead) {
  const TcpPair p = Connected(family());
  SetNonblocking(p.client.get());
  const std::string chunk(65536, 'f');
  size_t total = 0;
  ssize_t n = 0;
  while ((n = send(p.client.get(), chunk.data(), chunk.size(), 0)) > 0) total += static_cast<size_t>(n);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(PollOne(p.client.get(), POLLOUT), 0);
  EXPECT_EQ(test::ReadExactly(p.server.get(), total).size(), total);
  EXPECT_EQ(PollOne(p.client.get(), POLLOUT, 2000), POLLOUT);
}

TEST_P(Tcp, InterruptedReceive) {
  const TcpPair p = Connected(family());
  const pthread_t self = pthread_self();
  char c = 0;
  {
    const Handled usr(SIGUSR1, 0);
    const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
    EXPECT_FAILS(recv(p.server.get(), &c, 1, 0), EINTR);
  }
  const timeval t{5, 0};
  ASSERT_EQ(setsockopt(p.server.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
  const Handled usr(SIGUSR1, SA_RESTART);
  const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
  EXPECT_FAILS(recv(p.server.get(), &c, 1, 0), EINTR);  // with a time-out nothing restarts
}

TEST_P(Tcp, UrgentByteGoesBeside) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "ab", 2, 0), 2);
  ASSERT_EQ(send(p.client.get(), "cU", 2, MSG_OOB), 2);
  ASSERT_EQ(send(p.client.get(), "de", 2, 0), 2);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN | POLLPRI, 1000), POLLIN | POLLPRI);
  char u = 0;
  ASSERT_EQ(recv(p.server.get(), &u, 1, MSG_OOB), 1);
  EXPECT_EQ(u, 'U');
  EXPECT_FAILS(recv(p.server.get(), &u, 1, MSG_OOB), EINVAL);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN | POLLPRI), POLLIN);
  int mark = -1;
  EXPECT_EQ(ioctl(p.server.get(), SIOCATMARK, &mark), 0);
  EXPECT_EQ(mark, 0);
  EXPECT_EQ(ReadSome(p.server.get()), "abc");  // up to the mark
  EXPECT_EQ(ioctl(p.server.get(), SIOCATMARK, &mark), 0);
  EXPECT_EQ(mark, 1);
  EXPECT_EQ(ReadSome(p.server.get()), "de");
}

TEST_P(Tcp, UrgentByteInline) {
  const TcpPair p = Connected(family());
  SetInt(p.server.get(), SOL_SOCKET, SO_OOBINLINE, 1);
  ASSERT_EQ(send(p.client.get(), "aU", 2, MSG_OOB), 2);
  char u = 0;
  EXPECT_EQ(PollOne(p.server.get(), POLLPRI, 1000), POLLPRI);
  EXPECT_FAILS(recv(p.server.get(), &u, 1, MSG_OOB), EINVAL);
  EXPECT_EQ(ReadSome(p.server.get()), "a");
  EXPECT_EQ(ReadSome(p.server.get()), "U");
}

TEST_P(Tcp, InfoTellsTheState) {
  const TcpPair p = Connected(family());
  const auto state = [](const Owned& s) {
    tcp_info info{};
    socklen_t n = sizeof(info);
    EXPECT_EQ(getsockopt(s.get(), IPPROTO_TCP, TCP_INFO, &info, &n), 0);
    return static_cast<int>(info.tcpi_state);
  };
  EXPECT_EQ(state(p.client), TCP_ESTABLISHED);
  const Owned l = Listener(family());
  EXPECT_EQ(state(l), TCP_LISTEN);
  EXPECT_EQ(state(Owned(socket(family(), SOCK_STREAM, 0))), TCP_CLOSE);
  ASSERT_EQ(shutdown(p.client.get(), SHUT_WR), 0);
  // The acknowledgement of the end may come late (a delayed one: 40 ms).
  for (int i = 0; i < 400 && (state(p.server) != TCP_CLOSE_WAIT || state(p.client) != TCP_FIN_WAIT2); ++i) SleepMs(5);
  EXPECT_EQ(state(p.server), TCP_CLOSE_WAIT);
  EXPECT_EQ(state(p.client), TCP_FIN_WAIT2);
}

TEST_P(Tcp, DisconnectedSocketConnectsAgain) {
  const Owned l = Listener(family());
  const Owned c = Connect(family(), PortOf(l.get()));
  const sockaddr none{AF_UNSPEC, {}};
  EXPECT_EQ(connect(c.get(), &none, sizeof(none)), 0);
  sockaddr_storage s{};
  socklen_t n = sizeof(s);
  EXPECT_FAILS(getpeername(c.get(), reinterpret_cast<sockaddr*>(&s), &n), ENOTCONN);
  const auto to = Loopback(family(), PortOf(l.get()));
  EXPECT_EQ(connect(c.get(), to.get(), to.size()), 0);
  Owned(accept(l.get(), nullptr, nullptr));
  const Owned second(accept(l.get(), nullptr, nullptr));
  ASSERT_EQ(send(c.get(), "again", 5, 0), 5);
  EXPECT_EQ(ReadSome(second.get()), "again");
}

TEST_P(Tcp, ShutdownWakesAWaitingAccept) {
  const Owned l = Listener(family());
  const Later stop(40, [&] { shutdown(l.get(), SHUT_RD); });
  EXPECT_FAILS(accept(l.get(), nullptr, nullptr), EINVAL);
}

TEST_P(Tcp, ShutdownWakesAWaitingReader) {
  const TcpPair p = Connected(family());
  const Later stop(40, [&] { shutdown(p.server.get(), SHUT_RDWR); });
  EXPECT_EQ(ReadSome(p.server.get()), "");
}

TEST_P(Tcp, OptionsAreRemembered) {
  const Owned s(socket(family(), SOCK_STREAM, 0));
  for (const auto& [level, name] : {std::pair{SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_KEEPALIVE}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_CORK}}) {
    EXPECT_EQ(IntOption(s.get(), level, name), 0);
    SetInt(s.get(), level, name, 5);
    EXPECT_EQ(IntOption(s.get(), level, name), 1) << name;
    SetInt(s.get(), level, name, 0);
    EXPECT_EQ(IntOption(s.get(), level, name), 0);
  }
  SetInt(s.get(), IPPROTO_TCP, TCP_KEEPIDLE, 33);
  EXPECT_EQ(IntOption(s.get(), IPPROTO_TCP, TCP_KEEPIDLE), 33);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_DOMAIN), family());
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_ACCEPTCONN), 0);
  SetInt(s.get(), SOL_SOCKET, SO_RCVBUF, 10000);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_RCVBUF), 20000);
  SetInt(s.get(), SOL_SOCKET, SO_SNDBUF, 1);
  EXPECT_EQ(IntOption(s.get(), SOL_SOCKET, SO_SNDBUF), 4608);
  int v = 0;
  socklen_t n = sizeof(v);
  EXPECT_FAILS(getsockopt(s.get(), SOL_SOCKET, 9999, &v, &n), ENOPROTOOPT);
  EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, SO_KEEPALIVE, &v, 2), EINVAL);
  EXPECT_FAILS(getsockopt(s.get(), 500, 1, &v, &n), family() == AF_INET ? EOPNOTSUPP : ENOPROTOOPT);
  EXPECT_FAILS(setsockopt(s.get(), 500, 1, &v, n), ENOPROTOOPT);
  EXPECT_FAILS(setsockopt(s.get(), IPPROTO_TCP, 9999, &v, n), ENOPROTOOPT);
  EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, SO_TYPE, &v, n), ENOPROTOOPT);
  EXPECT_FAILS(setsockopt(s.get(), SOL_SOCKET, SO_KEEPALIVE, test::BadAddress(), 4), EFAULT);
  v = 0;
  EXPECT_FAILS(setsockopt(s.get(), IPPROTO_TCP, TCP_KEEPIDLE, &v, n), EINVAL);
}

TEST_P(Tcp, SmallBuffersHoldLittle) {
  const TcpPair p = Connected(family());
  SetInt(p.client.get(), SOL_SOCKET, SO_SNDBUF, 4096);
  SetInt(p.server.get(), SOL_SOCKET, SO_RCVBUF, 4096);
  SetNonblocking(p.client.get());
  const std::string chunk(1 << 20, 'x');
  size_t total = 0;
  ssize_t n = 0;
  while ((n = send(p.client.get(), chunk.data(), chunk.size(), 0)) > 0) total += static_cast<size_t>(n);
  EXPECT_LT(total, 1u << 20);
}

TEST_P(Tcp, SocketFlagsAndErrors) {
  const Owned s(socket(family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  EXPECT_EQ(fcntl(s.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(s.get(), F_GETFL), O_RDWR | O_NONBLOCK);
  EXPECT_FAILS(socket(family(), SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
  EXPECT_FAILS(socket(family(), SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
  EXPECT_FAILS(socket(family(), 77, 0), EINVAL);
  EXPECT_FAILS(socket(family(), SOCK_STREAM | 0x100, 0), EINVAL);
  EXPECT_FAILS(socket(12345, SOCK_STREAM, 0), EAFNOSUPPORT);
  int fds[2];
  EXPECT_FAILS(socketpair(family(), SOCK_STREAM, 0, fds), EOPNOTSUPP);
  EXPECT_FAILS(lseek(s.get(), 0, SEEK_SET), ESPIPE);
}

TEST_P(Tcp, VectorsAndMessages) {
  const TcpPair p = Connected(family());
  char a[] = "one", b[] = "two";
  std::array<iovec, 2> v{iovec{a, 3}, iovec{b, 3}};
  msghdr m{};
  m.msg_iov = v.data();
  m.msg_iovlen = 2;
  ASSERT_EQ(sendmsg(p.client.get(), &m, 0), 6);
  char c[2], d[8];
  std::array<iovec, 2> in{iovec{c, 2}, iovec{d, 8}};
  sockaddr_storage from{};
  msghdr r{};
  r.msg_name = &from;
  r.msg_namelen = sizeof(from);
  r.msg_iov = in.data();
  r.msg_iovlen = 2;
  r.msg_flags = 77;
  ASSERT_EQ(recvmsg(p.server.get(), &r, 0), 6);
  EXPECT_EQ(r.msg_namelen, 0u);  // a stream has no sender
  EXPECT_EQ(r.msg_flags, 0);
  EXPECT_EQ(std::string(c, 2) + std::string(d, 4), "onetwo");
  m.msg_iovlen = 2000;
  EXPECT_FAILS(sendmsg(p.client.get(), &m, 0), EMSGSIZE);
  EXPECT_FAILS(sendmsg(p.client.get(), reinterpret_cast<msghdr*>(test::BadAddress()), 0), EFAULT);
}

TEST_P(Tcp, ResetWhileBlockedInReceive) {
  TcpPair p = Connected(family());
  const Later reset(40, [&] {
    const linger hard{1, 0};
    setsockopt(p.server.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    p.server.Close();
  });
  char c = 0;
  EXPECT_FAILS(recv(p.client.get(), &c, 1, 0), ECONNRESET);
}

TEST_P(Tcp, CloseAndSendRace) {
  const Handled pipe(SIGPIPE);
  for (int i = 0; i < 100; ++i) {
    TcpPair p = Connected(family());
    std::thread closer([&] { p.server.Close(); });
    for (int k = 0; k < 20; ++k) {
      if (send(p.client.get(), "0123456789", 10, MSG_NOSIGNAL) < 0) break;
    }
    closer.join();
  }
}

TEST(TcpDual, WildcardV6TakesV4) {
  const Owned l(socket(AF_INET6, SOCK_STREAM, 0));
  const auto any = Any(AF_INET6, 0);
  ASSERT_EQ(bind(l.get(), any.get(), any.size()), 0);
  ASSERT_EQ(listen(l.get(), 5), 0);
  const Owned c = Connect(AF_INET, PortOf(l.get()));
  const Owned a(accept(l.get(), nullptr, nullptr));
  EXPECT_EQ(test::NameOf(a.get(), true).Text(), "::ffff:127.0.0.1");
  ASSERT_EQ(send(c.get(), "x", 1, 0), 1);
  EXPECT_EQ(ReadSome(a.get()), "x");
}

TEST(TcpDual, V6OnlyLeavesV4Alone) {
  const Owned l(socket(AF_INET6, SOCK_STREAM, 0));
  SetInt(l.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const auto any = Any(AF_INET6, 0);
  ASSERT_EQ(bind(l.get(), any.get(), any.size()), 0);
  ASSERT_EQ(listen(l.get(), 5), 0);
  const uint16_t port = PortOf(l.get());
  const Owned v4(socket(AF_INET, SOCK_STREAM, 0));
  const auto to = Loopback(AF_INET, port);
  EXPECT_FAILS(connect(v4.get(), to.get(), to.size()), ECONNREFUSED);
  const Owned l4(socket(AF_INET, SOCK_STREAM, 0));
  const auto any4 = Any(AF_INET, port);
  EXPECT_EQ(bind(l4.get(), any4.get(), any4.size()), 0);
  const int on = 0;
  EXPECT_FAILS(setsockopt(l.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), EINVAL);
}

TEST(TcpDual, PrivilegedPortsAndLoopbackNet) {
  const Owned l(socket(AF_INET, SOCK_STREAM, 0));
  const auto five = test::Numeric(AF_INET, "127.0.0.5", 0);
  ASSERT_EQ(bind(l.get(), five.get(), five.size()), 0);
  ASSERT_EQ(listen(l.get(), 1), 0);
  const Owned c(socket(AF_INET, SOCK_STREAM, 0));
  const auto to = test::Numeric(AF_INET, "127.0.0.5", PortOf(l.get()));
  ASSERT_EQ(connect(c.get(), to.get(), to.size()), 0);
  EXPECT_EQ(test::NameOf(c.get(), true).Text(), "127.0.0.5");
  EXPECT_EQ(test::NameOf(c.get()).Text(), "127.0.0.1");
}

TEST(TcpDual, SelfConnect) {
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  const auto any = Loopback(AF_INET, 0);
  ASSERT_EQ(bind(s.get(), any.get(), any.size()), 0);
  const auto own = Loopback(AF_INET, PortOf(s.get()));
  ASSERT_EQ(connect(s.get(), own.get(), own.size()), 0);
  ASSERT_EQ(send(s.get(), "me", 2, 0), 2);
  EXPECT_EQ(ReadSome(s.get()), "me");
}

}  // namespace
