// What TCP holds back (TCP_CORK, MSG_MORE), and what it tells at once (SIGURG).
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <csignal>
#include <string>
#include <vector>

#include "inet_support.h"

namespace {

using test::Connected;
using test::NowMs;
using test::Owned;
using test::PollOne;
using test::ReadSome;
using test::SetInt;
using test::SleepMs;
using test::TcpPair;

int Waiting(const Owned& s, unsigned long request = FIONREAD) {
  int bytes = -1;
  EXPECT_EQ(ioctl(s.get(), request, &bytes), 0);
  return bytes;
}

class TcpHold : public testing::TestWithParam<int> {
 protected:
  int family() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, TcpHold, testing::Values(AF_INET, AF_INET6));

TEST_P(TcpHold, ACorkKeepsBytesUntilItIsPulled) {
  const TcpPair p = Connected(family());
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 1);
  ASSERT_EQ(write(p.client.get(), "head ", 5), 5);
  ASSERT_EQ(write(p.client.get(), "body", 4), 4);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 20), 0);
  EXPECT_EQ(Waiting(p.server), 0);
  EXPECT_EQ(Waiting(p.client, TIOCOUTQ), 9);
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 0);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 1000), POLLIN);
  EXPECT_EQ(ReadSome(p.server.get()), "head body");
}

TEST_P(TcpHold, ACorkHoldsForAFifthOfASecond) {
  const TcpPair p = Connected(family());
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 1);
  const auto begin = NowMs();
  ASSERT_EQ(write(p.client.get(), "late", 4), 4);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 5000), POLLIN);
  EXPECT_GE(NowMs() - begin, 150);
  EXPECT_EQ(ReadSome(p.server.get()), "late");
}

TEST_P(TcpHold, AReaderThatWaitsGetsItThen) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "late", 4, MSG_MORE), 4);
  EXPECT_EQ(ReadSome(p.server.get()), "late");  // blocks
}

TEST_P(TcpHold, MoreHoldsUntilSomethingComesWithoutIt) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "a", 1, MSG_MORE), 1);
  ASSERT_EQ(send(p.client.get(), "b", 1, MSG_MORE), 1);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 20), 0);
  char byte = 0;
  EXPECT_FAILS(recv(p.server.get(), &byte, 1, MSG_DONTWAIT), EAGAIN);
  EXPECT_FAILS(recv(p.server.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
  ASSERT_EQ(send(p.client.get(), "c", 1, 0), 1);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 1000), POLLIN);
  EXPECT_EQ(ReadSome(p.server.get()), "abc");
}

TEST_P(TcpHold, TheEndPushes) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "last", 4, MSG_MORE), 4);
  ASSERT_EQ(shutdown(p.client.get(), SHUT_WR), 0);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 100), POLLIN);
  EXPECT_EQ(ReadSome(p.server.get()), "last");
  EXPECT_EQ(ReadSome(p.server.get()), "");
}

TEST_P(TcpHold, ClosingPushes) {
  TcpPair p = Connected(family());
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 1);
  ASSERT_EQ(write(p.client.get(), "last", 4), 4);
  p.client.Close();
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 100), POLLIN);
  EXPECT_EQ(ReadSome(p.server.get()), "last");
}

TEST_P(TcpHold, NodelayPushesThroughACork) {
  const TcpPair p = Connected(family());
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 1);
  ASSERT_EQ(write(p.client.get(), "x", 1), 1);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 20), 0);
  SetInt(p.client.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 100), POLLIN);
  EXPECT_EQ(Waiting(p.server), 1);
  ASSERT_EQ(write(p.client.get(), "y", 1), 1);  // still corked
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 100), POLLIN);
  EXPECT_EQ(Waiting(p.server), 1);
}

TEST_P(TcpHold, WholeSegmentsAreSent) {
  const TcpPair p = Connected(family());
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 1);
  const std::vector<char> much(200'000, 'x');
  ASSERT_EQ(write(p.client.get(), much.data(), much.size()), static_cast<ssize_t>(much.size()));
  EXPECT_EQ(PollOne(p.server.get(), POLLIN, 1000), POLLIN);
  SetInt(p.client.get(), IPPROTO_TCP, TCP_CORK, 0);
  size_t got = 0;
  std::vector<char> buffer(much.size());
  while (got < much.size()) {
    const ssize_t n = read(p.server.get(), buffer.data(), buffer.size());
    ASSERT_GT(n, 0);
    got += static_cast<size_t>(n);
  }
}

TEST_P(TcpHold, UrgentDataPushes) {
  const TcpPair p = Connected(family());
  ASSERT_EQ(send(p.client.get(), "ab", 2, MSG_MORE), 2);
  ASSERT_EQ(send(p.client.get(), "U", 1, MSG_OOB), 1);
  EXPECT_EQ(PollOne(p.server.get(), POLLPRI, 1000), POLLPRI);
  EXPECT_EQ(ReadSome(p.server.get()), "ab");
}

volatile sig_atomic_t g_urgent = 0;
void CountUrgent(int) { g_urgent = g_urgent + 1; }

class Urgent : public testing::Test {
 protected:
  Urgent() {
    g_urgent = 0;
    old_ = signal(SIGURG, CountUrgent);
  }
  ~Urgent() override { signal(SIGURG, old_); }
  static int Counted(int wanted) {
    for (int i = 0; i < 200 && g_urgent < wanted; ++i) SleepMs(5);
    return g_urgent;
  }
  sighandler_t old_;
};

TEST_F(Urgent, IsSignalledToTheOwner) {
  const TcpPair p = Connected(AF_INET);
  ASSERT_EQ(send(p.client.get(), "1", 1, MSG_OOB), 1);
  SleepMs(20);
  EXPECT_EQ(g_urgent, 0);  // it has none yet
  ASSERT_EQ(fcntl(p.server.get(), F_SETOWN, getpid()), 0);
  ASSERT_EQ(send(p.client.get(), "2", 1, MSG_OOB), 1);
  EXPECT_EQ(Counted(1), 1);
  ASSERT_EQ(send(p.client.get(), "3", 1, 0), 1);
  SleepMs(20);
  EXPECT_EQ(g_urgent, 1);  // of urgent data only
  ASSERT_EQ(fcntl(p.server.get(), F_SETOWN, 0), 0);
  ASSERT_EQ(send(p.client.get(), "4", 1, MSG_OOB), 1);
  SleepMs(20);
  EXPECT_EQ(g_urgent, 1);
}

TEST_F(Urgent, TheSignalOfInputIsAnother) {
  const TcpPair p = Connected(AF_INET);
  ASSERT_EQ(fcntl(p.server.get(), F_SETOWN, getpid()), 0);
  ASSERT_EQ(fcntl(p.server.get(), F_SETSIG, SIGUSR1), 0);  // without O_ASYNC it is not sent
  ASSERT_EQ(send(p.client.get(), "1", 1, MSG_OOB), 1);
  EXPECT_EQ(Counted(1), 1);
}

TEST_F(Urgent, TheOwnerIsNamedByIoctlToo) {
  const TcpPair p = Connected(AF_INET);
  int pid = getpid(), told = -1;
  ASSERT_EQ(ioctl(p.server.get(), FIOSETOWN, &pid), 0);
  ASSERT_EQ(ioctl(p.server.get(), FIOGETOWN, &told), 0);
  EXPECT_EQ(told, pid);
  EXPECT_EQ(fcntl(p.server.get(), F_GETOWN), pid);
  ASSERT_EQ(send(p.client.get(), "1", 1, MSG_OOB), 1);
  EXPECT_EQ(Counted(1), 1);
  pid = -getpgrp();
  ASSERT_EQ(ioctl(p.server.get(), SIOCSPGRP, &pid), 0);
  ASSERT_EQ(ioctl(p.server.get(), SIOCGPGRP, &told), 0);
  EXPECT_EQ(told, pid);
  pid = 0x7ffffffe;
  EXPECT_FAILS(ioctl(p.server.get(), FIOSETOWN, &pid), ESRCH);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FAILS(ioctl(ends[0], FIOGETOWN, &told), ENOTTY);  // sockets only
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
