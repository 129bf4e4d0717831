// What TCP holds back: TCP_CORK, MSG_MORE.
#include <netinet/tcp.h>
#include <sys/ioctl.h>

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

}  // namespace
