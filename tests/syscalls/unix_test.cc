// unix(7).
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <vector>

#include "net_support.h"

namespace {

using test::Handled;
using test::Later;
using test::MakePipe;
using test::MakeSocketPair;
using test::NowMs;
using test::Owned;
using test::Pair;
using test::PollOne;
using test::ReadSome;
using test::SetNonblocking;
using test::SleepMs;

struct Name {
  sockaddr_un address{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};
Name Abstract(const std::string& text) {
  Name n;
  n.address.sun_family = AF_UNIX;
  memcpy(n.address.sun_path + 1, text.data(), text.size());
  n.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return n;
}
Name OnPath(const std::string& path) {
  Name n;
  n.address.sun_family = AF_UNIX;
  memcpy(n.address.sun_path, path.c_str(), path.size() + 1);
  n.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return n;
}
Name Unique() {
  static int next = 0;
  return Abstract("unix_test." + std::to_string(getpid()) + "." + std::to_string(++next));
}
std::string BytesOf(const Name& n) { return std::string(reinterpret_cast<const char*>(&n.address), n.size); }
std::string NameOf(int fd, bool peer = false) {
  sockaddr_un a{};
  socklen_t size = sizeof(a);
  if ((peer ? getpeername(fd, reinterpret_cast<sockaddr*>(&a), &size) : getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size)) != 0) return "error";
  return std::string(reinterpret_cast<const char*>(&a), std::min<size_t>(size, sizeof(a)));
}
const std::string kUnnamed("\1\0", 2);

// sendmsg with descriptors.
ssize_t SendFds(int socket, std::string_view bytes, const std::vector<int>& fds, int flags = 0) {
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec v{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr m{};
  m.msg_iov = &v;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  cmsghdr* const c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  return sendmsg(socket, &m, flags);
}
struct Received {
  ssize_t size = -1;
  std::string bytes;
  std::vector<Owned> fds;
  int flags = 0;
  bool has_credentials = false;
  ucred credentials{};
};
Received Recv(int socket, size_t room = 4096, int flags = 0, size_t control_room = 2048) {
  Received r;
  std::vector<char> control(control_room);
  std::string buffer(room, '\0');
  iovec v{buffer.data(), buffer.size()};
  msghdr m{};
  m.msg_iov = &v;
  m.msg_iovlen = 1;
  m.msg_control = control_room > 0 ? control.data() : nullptr;
  m.msg_controllen = control_room;
  r.size = recvmsg(socket, &m, flags);
  if (r.size < 0) return r;
  r.bytes = buffer.substr(0, static_cast<size_t>(std::min<ssize_t>(r.size, static_cast<ssize_t>(room))));
  r.flags = m.msg_flags;
  for (cmsghdr* c = control_room > 0 ? CMSG_FIRSTHDR(&m) : nullptr; c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_type == SCM_RIGHTS) {
      const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < n; ++i) {
        int fd = -1;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        r.fds.emplace_back(fd);
      }
    } else if (c->cmsg_type == SCM_CREDENTIALS) {
      r.has_credentials = true;
      memcpy(&r.credentials, CMSG_DATA(c), sizeof(ucred));
    }
  }
  return r;
}

struct Connection {
  Owned listener, client, server;
};
Connection Connected(int type, const Name& name) {
  Connection c;
  c.listener = Owned(socket(AF_UNIX, type, 0));
  EXPECT_EQ(bind(c.listener.get(), name.get(), name.size), 0);
  EXPECT_EQ(listen(c.listener.get(), 5), 0);
  c.client = Owned(socket(AF_UNIX, type, 0));
  EXPECT_EQ(connect(c.client.get(), name.get(), name.size), 0);
  c.server = Owned(accept(c.listener.get(), nullptr, nullptr));
  EXPECT_TRUE(c.server.ok());
  return c;
}

class UnixConnection : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Types, UnixConnection, testing::Values(SOCK_STREAM, SOCK_SEQPACKET),
                         [](const auto& each) { return each.param == SOCK_STREAM ? "Stream" : "Seqpacket"; });

TEST_P(UnixConnection, AbstractNamesConnect) {
  const Name name = Unique();
  const Connection c = Connected(GetParam(), name);
  EXPECT_EQ(NameOf(c.listener.get()), BytesOf(name));
  EXPECT_EQ(NameOf(c.client.get(), true), BytesOf(name));
  EXPECT_EQ(NameOf(c.server.get()), BytesOf(name));
  EXPECT_EQ(NameOf(c.client.get()), kUnnamed);
  EXPECT_EQ(NameOf(c.server.get(), true), kUnnamed);
  ASSERT_EQ(send(c.client.get(), "hello", 5, 0), 5);
  EXPECT_EQ(ReadSome(c.server.get()), "hello");
}

TEST_P(UnixConnection, AcceptTellsABoundPeer) {
  const Name name = Unique(), own = Unique();
  const Owned l(socket(AF_UNIX, GetParam(), 0)), c(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(bind(l.get(), name.get(), name.size), 0);
  ASSERT_EQ(listen(l.get(), 1), 0);
  ASSERT_EQ(bind(c.get(), own.get(), own.size), 0);
  ASSERT_EQ(connect(c.get(), name.get(), name.size), 0);
  sockaddr_un a{};
  socklen_t n = sizeof(a);
  const Owned s(accept(l.get(), reinterpret_cast<sockaddr*>(&a), &n));
  EXPECT_EQ(std::string(reinterpret_cast<char*>(&a), n), BytesOf(own));
}

TEST_P(UnixConnection, Errors) {
  const Name name = Unique();
  const Owned c(socket(AF_UNIX, GetParam(), 0));
  EXPECT_FAILS(connect(c.get(), name.get(), name.size), ECONNREFUSED);
  EXPECT_FAILS(listen(c.get(), 1), EINVAL);  // has no name
  EXPECT_FAILS(accept(c.get(), nullptr, nullptr), EINVAL);
  EXPECT_FAILS(send(c.get(), "x", 1, MSG_NOSIGNAL), ENOTCONN);
  char ch = 0;
  EXPECT_FAILS(recv(c.get(), &ch, 1, 0), GetParam() == SOCK_STREAM ? EINVAL : ENOTCONN);
  const Connection k = Connected(GetParam(), name);
  EXPECT_FAILS(connect(k.client.get(), name.get(), name.size), EISCONN);
  const Owned other(socket(AF_UNIX, GetParam() == SOCK_STREAM ? SOCK_SEQPACKET : SOCK_STREAM, 0));
  EXPECT_FAILS(connect(other.get(), name.get(), name.size), ECONNREFUSED);  // abstract names are apart for each type
  const Owned twice(socket(AF_UNIX, GetParam(), 0));
  EXPECT_FAILS(bind(twice.get(), name.get(), name.size), EADDRINUSE);
  EXPECT_FAILS(bind(k.listener.get(), name.get(), name.size), EINVAL);
  sockaddr_un a{};
  socklen_t n = sizeof(a);
  EXPECT_FAILS(getpeername(twice.get(), reinterpret_cast<sockaddr*>(&a), &n), ENOTCONN);
}

TEST_P(UnixConnection, FullBacklogBlocksOrIsEagain) {
  const Name name = Unique();
  const Owned l(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(bind(l.get(), name.get(), name.size), 0);
  ASSERT_EQ(listen(l.get(), 0), 0);
  const Owned first(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(connect(first.get(), name.get(), name.size), 0);
  const Owned second(socket(AF_UNIX, GetParam() | SOCK_NONBLOCK, 0));
  EXPECT_FAILS(connect(second.get(), name.get(), name.size), EAGAIN);
  const Owned third(socket(AF_UNIX, GetParam(), 0));
  const Later taker(40, [&] { Owned(accept(l.get(), nullptr, nullptr)); });
  const int64_t start = NowMs();
  EXPECT_EQ(connect(third.get(), name.get(), name.size), 0);
  EXPECT_GE(NowMs() - start, 30);
}

TEST_P(UnixConnection, BlockedConnectFailsWhenTheListenerCloses) {
  const Name name = Unique();
  Owned l(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(bind(l.get(), name.get(), name.size), 0);
  ASSERT_EQ(listen(l.get(), 0), 0);
  const Owned first(socket(AF_UNIX, GetParam(), 0)), second(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(connect(first.get(), name.get(), name.size), 0);
  const Later closer(40, [&] { l.Close(); });
  EXPECT_FAILS(connect(second.get(), name.get(), name.size), ECONNREFUSED);
  char c = 0;
  EXPECT_FAILS(recv(first.get(), &c, 1, 0), ECONNRESET);
}

TEST_P(UnixConnection, PeerCloseIsEndOfFileAndBrokenPipe) {
  Pair p = MakeSocketPair(GetParam());
  ASSERT_EQ(send(p.b.get(), "bye", 3, 0), 3);
  p.b.Close();
  EXPECT_EQ(ReadSome(p.a.get()), "bye");
  EXPECT_EQ(ReadSome(p.a.get()), "");
  EXPECT_FAILS(send(p.a.get(), "x", 1, MSG_NOSIGNAL), EPIPE);
  const Handled pipe(SIGPIPE);
  EXPECT_FAILS(write(p.a.get(), "x", 1), EPIPE);
  EXPECT_EQ(Handled::Count(), GetParam() == SOCK_STREAM ? 1 : 0);
}

TEST_P(UnixConnection, UnreadBytesResetThePeer) {
  Pair p = MakeSocketPair(GetParam());
  ASSERT_EQ(send(p.a.get(), "unread", 6, 0), 6);
  p.b.Close();
  EXPECT_EQ(PollOne(p.a.get(), POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
  char c = 0;
  EXPECT_FAILS(recv(p.a.get(), &c, 1, 0), ECONNRESET);
  EXPECT_EQ(recv(p.a.get(), &c, 1, 0), 0);
}

TEST_P(UnixConnection, ShutdownHalves) {
  const Pair p = MakeSocketPair(GetParam());
  ASSERT_EQ(shutdown(p.a.get(), SHUT_WR), 0);
  EXPECT_FAILS(send(p.a.get(), "x", 1, MSG_NOSIGNAL), EPIPE);
  EXPECT_EQ(ReadSome(p.b.get()), "");
  ASSERT_EQ(send(p.b.get(), "still", 5, 0), 5);
  EXPECT_EQ(ReadSome(p.a.get()), "still");
  ASSERT_EQ(shutdown(p.a.get(), SHUT_RD), 0);
  EXPECT_FAILS(send(p.b.get(), "x", 1, MSG_NOSIGNAL), EPIPE);
  EXPECT_FAILS(shutdown(p.a.get(), 9), EINVAL);
  const Owned fresh(socket(AF_UNIX, GetParam(), 0));
  EXPECT_EQ(shutdown(fresh.get(), SHUT_RDWR), 0);
}

TEST_P(UnixConnection, ShutdownOfTheListenerWakesAccept) {
  const Name name = Unique();
  const Owned l(socket(AF_UNIX, GetParam(), 0));
  ASSERT_EQ(bind(l.get(), name.get(), name.size), 0);
  ASSERT_EQ(listen(l.get(), 1), 0);
  const Later stop(40, [&] { shutdown(l.get(), SHUT_RDWR); });
  EXPECT_FAILS(accept(l.get(), nullptr, nullptr), EINVAL);
}

TEST_P(UnixConnection, PeerCredentials) {
  const Name name = Unique();
  const Connection c = Connected(GetParam(), name);
  for (const Owned* s : {&c.client, &c.server}) {
    ucred u{};
    socklen_t n = sizeof(u);
    ASSERT_EQ(getsockopt(s->get(), SOL_SOCKET, SO_PEERCRED, &u, &n), 0);
    EXPECT_EQ(u.pid, getpid());
    EXPECT_EQ(u.uid, geteuid());
    EXPECT_EQ(u.gid, getegid());
  }
  const Owned fresh(socket(AF_UNIX, GetParam(), 0));
  ucred u{};
  socklen_t n = sizeof(u);
  ASSERT_EQ(getsockopt(fresh.get(), SOL_SOCKET, SO_PEERCRED, &u, &n), 0);
  EXPECT_EQ(u.pid, 0);
  EXPECT_EQ(u.uid, static_cast<uid_t>(-1));
}

TEST_P(UnixConnection, DescriptorsArePassed) {
  const Pair s = MakeSocketPair(GetParam()), pipe = MakePipe();
  ASSERT_EQ(SendFds(s.a.get(), "fd", {pipe.b.get(), pipe.a.get()}), 2);
  Received r = Recv(s.b.get(), 100, MSG_CMSG_CLOEXEC);
  EXPECT_EQ(r.bytes, "fd");
  ASSERT_EQ(r.fds.size(), 2u);
  EXPECT_EQ(fcntl(r.fds[0].get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(write(r.fds[0].get(), "through", 7), 7);
  EXPECT_EQ(ReadSome(pipe.a.get()), "through");
}

TEST_P(UnixConnection, DescriptorsArriveInAnotherProcess) {
  const Pair s = MakeSocketPair(GetParam());
  EXPECT_EQ(test::RunChild([&] {
              const Pair pipe = MakePipe();
              (void)!write(pipe.b.get(), "from the child", 14);
              return SendFds(s.a.get(), "x", {pipe.a.get()}) == 1 ? 0 : 1;
            }),
            0);
  const Received r = Recv(s.b.get());
  ASSERT_EQ(r.fds.size(), 1u);
  EXPECT_EQ(ReadSome(r.fds[0].get()), "from the child");
}

TEST_P(UnixConnection, PeekedDescriptorsAreCopies) {
  const Pair s = MakeSocketPair(GetParam()), pipe = MakePipe();
  ASSERT_EQ(SendFds(s.a.get(), "fd", {pipe.b.get()}), 2);
  EXPECT_EQ(Recv(s.b.get(), 100, MSG_PEEK).fds.size(), 1u);
  EXPECT_EQ(Recv(s.b.get(), 100).fds.size(), 1u);
}

TEST_P(UnixConnection, DescriptorsThatDoNotFitAreDropped) {
  const Pair s = MakeSocketPair(GetParam()), pipe = MakePipe();
  ASSERT_EQ(SendFds(s.a.get(), "fd", {pipe.a.get(), pipe.a.get(), pipe.a.get()}), 2);
  const Received r = Recv(s.b.get(), 100, 0, CMSG_SPACE(2 * sizeof(int)) - 1);
  EXPECT_LE(r.fds.size(), 2u);
  EXPECT_EQ(r.flags & MSG_CTRUNC, MSG_CTRUNC);
  ASSERT_EQ(SendFds(s.a.get(), "fd", {pipe.a.get()}), 2);
  EXPECT_EQ(Recv(s.b.get(), 100, 0, 0).flags & MSG_CTRUNC, MSG_CTRUNC);
  ASSERT_EQ(SendFds(s.a.get(), "fd", {pipe.b.get()}), 2);
  EXPECT_EQ(ReadSome(s.b.get()), "fd");  // read(2) drops them
}

TEST_P(UnixConnection, LastDescriptorInFlightKeepsTheFile) {
  const Pair s = MakeSocketPair(GetParam());
  {
    const Pair pipe = MakePipe();
    ASSERT_EQ(write(pipe.b.get(), "kept", 4), 4);
    ASSERT_EQ(SendFds(s.a.get(), "x", {pipe.a.get()}), 1);
  }
  const Received r = Recv(s.b.get());
  ASSERT_EQ(r.fds.size(), 1u);
  EXPECT_EQ(ReadSome(r.fds[0].get()), "kept");
}

TEST_P(UnixConnection, DroppedQueueClosesItsDescriptors) {
  const Pair pipe = MakePipe();
  {
    Pair s = MakeSocketPair(GetParam());
    Owned writer(dup(pipe.b.get()));
    ASSERT_EQ(SendFds(s.a.get(), "x", {writer.get()}), 1);
  }
  close(pipe.b.get());
  EXPECT_EQ(PollOne(pipe.a.get(), POLLIN), POLLHUP);
}

TEST_P(UnixConnection, SocketsThroughSockets) {
  const Pair s = MakeSocketPair(GetParam());
  Pair inner = MakeSocketPair(SOCK_STREAM);
  ASSERT_EQ(SendFds(s.a.get(), "x", {inner.a.get()}), 1);
  inner.a.Close();
  const Received r = Recv(s.b.get());
  ASSERT_EQ(r.fds.size(), 1u);
  ASSERT_EQ(write(r.fds[0].get(), "inner", 5), 5);
  EXPECT_EQ(ReadSome(inner.b.get()), "inner");
}

// A socket in its own queue: when everybody has closed it, whatever else is in that queue is freed.
TEST_P(UnixConnection, CirclesAreCollected) {
  const Pair pipe = MakePipe();
  {
    Owned writer(dup(pipe.b.get()));
    for (int i = 0; i < 20; ++i) {
      Pair s = MakeSocketPair(GetParam());
      ASSERT_EQ(SendFds(s.a.get(), "x", {s.b.get(), writer.get()}), 1);
      ASSERT_EQ(SendFds(s.b.get(), "x", {s.a.get(), writer.get()}), 1);
    }
  }
  close(pipe.b.get());
  MakeSocketPair(SOCK_STREAM);  // closing any socket looks for circles
  EXPECT_EQ(PollOne(pipe.a.get(), POLLIN, 5000), POLLHUP);
}

TEST_P(UnixConnection, CircleThatCanBeReachedStays) {
  Pair keeper = MakeSocketPair(GetParam());
  {
    Pair s = MakeSocketPair(GetParam());
    ASSERT_EQ(SendFds(s.a.get(), "self", {s.b.get()}), 4);
    ASSERT_EQ(SendFds(keeper.a.get(), "k", {s.b.get()}), 1);
  }
  MakeSocketPair(SOCK_STREAM);
  const Received outer = Recv(keeper.b.get());
  ASSERT_EQ(outer.fds.size(), 1u);
  const Received inner = Recv(outer.fds[0].get());
  EXPECT_EQ(inner.bytes, "self");
  EXPECT_EQ(inner.fds.size(), 1u);
}

TEST_P(UnixConnection, CirclesUnderRace) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 60; ++i) {
        Pair s = MakeSocketPair(GetParam()), q = MakeSocketPair(GetParam());
        SendFds(s.a.get(), "x", {q.b.get(), s.b.get()});
        SendFds(q.a.get(), "x", {s.b.get(), q.b.get()});
        if (i % 3 == 0) Recv(s.b.get());
        if (i % 3 == 1) Recv(q.b.get(), 10, MSG_PEEK);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST_P(UnixConnection, BadControlMessages) {
  const Pair s = MakeSocketPair(GetParam());
  EXPECT_FAILS(SendFds(s.a.get(), "x", {9999}), EBADF);
  EXPECT_FAILS(SendFds(s.a.get(), "x", std::vector<int>(254, s.a.get())), EINVAL);
  char control[CMSG_SPACE(4)] = {};
  char byte = 'x';
  iovec v{&byte, 1};
  msghdr m{};
  m.msg_iov = &v;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof(control);
  cmsghdr* const c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = 5000;
  EXPECT_FAILS(sendmsg(s.a.get(), &m, 0), EINVAL);
  c->cmsg_len = CMSG_LEN(4);
  c->cmsg_type = 77;
  EXPECT_FAILS(sendmsg(s.a.get(), &m, 0), EINVAL);
}

TEST_P(UnixConnection, CredentialsTravel) {
  const Pair s = MakeSocketPair(GetParam());
  const int on = 1;
  ASSERT_EQ(setsockopt(s.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ASSERT_EQ(send(s.a.get(), "plain", 5, 0), 5);
  const Received r = Recv(s.b.get());
  ASSERT_TRUE(r.has_credentials);
  EXPECT_EQ(r.credentials.pid, getpid());
  EXPECT_EQ(r.credentials.uid, getuid());
  EXPECT_EQ(r.credentials.gid, getgid());
  // Of a child, it is the child's.
  const pid_t child = fork();
  if (child == 0) _exit(write(s.a.get(), "child", 5) == 5 ? 0 : 1);
  const Received of_child = Recv(s.b.get());
  EXPECT_EQ(of_child.credentials.pid, child);
  waitpid(child, nullptr, 0);
}

TEST_P(UnixConnection, ForgedCredentialsNeedPrivilege) {
  const Pair s = MakeSocketPair(GetParam());
  const auto send_as = [&](pid_t pid, uid_t uid) {
    char control[CMSG_SPACE(sizeof(ucred))] = {};
    char byte = 'x';
    iovec v{&byte, 1};
    msghdr m{};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof(control);
    cmsghdr* const c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    c->cmsg_len = CMSG_LEN(sizeof(ucred));
    const ucred u{pid, uid, getgid()};
    memcpy(CMSG_DATA(c), &u, sizeof(u));
    return sendmsg(s.a.get(), &m, 0);
  };
  EXPECT_EQ(send_as(getpid(), getuid()), 1);
  EXPECT_EQ(test::RunChild([&] {
              if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0) return 77;
              return send_as(getpid(), 0) == -1 && errno == EPERM && send_as(1, 12345) == -1 && errno == EPERM ? 0 : 1;
            }) % 77,
            0);
}

TEST_P(UnixConnection, TooManyInFlight) {
  // Without privilege, one may have no more in flight than the limit of descriptors.
  const int status = test::RunChild([] {
    const rlimit limit{40, 40};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || setresuid(23456, 23456, 23456) != 0) return 77;
    const Pair s = MakeSocketPair(GetParam());
    SetNonblocking(s.a.get());
    for (int i = 0; i < 100; ++i) {
      if (SendFds(s.a.get(), "x", std::vector<int>(20, 0)) < 0) return errno == ETOOMANYREFS ? 0 : 1;
    }
    return 2;
  });
  EXPECT_EQ(status % 77, 0);
}

TEST_P(UnixConnection, BlockedReceiveIsInterruptedOrTimesOut) {
  const Pair s = MakeSocketPair(GetParam());
  char c = 0;
  {
    const pthread_t self = pthread_self();
    const Handled usr(SIGUSR1, 0);
    const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
    EXPECT_FAILS(recv(s.a.get(), &c, 1, 0), EINTR);
  }
  const timeval t{0, 50000};
  ASSERT_EQ(setsockopt(s.a.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
  EXPECT_FAILS(read(s.a.get(), &c, 1), EAGAIN);
}

TEST(UnixStream, BytesJoinButDescriptorsEndARead) {
  const Pair s = MakeSocketPair(SOCK_STREAM), pipe = MakePipe();
  ASSERT_EQ(send(s.a.get(), "ab", 2, 0), 2);
  ASSERT_EQ(send(s.a.get(), "cd", 2, 0), 2);
  ASSERT_EQ(SendFds(s.a.get(), "ef", {pipe.a.get()}), 2);
  ASSERT_EQ(send(s.a.get(), "gh", 2, 0), 2);
  const Received first = Recv(s.b.get());
  EXPECT_EQ(first.bytes, "abcdef");
  EXPECT_EQ(first.fds.size(), 1u);
  EXPECT_EQ(Recv(s.b.get()).bytes, "gh");
}

TEST(UnixStream, DescriptorsComeWithTheFirstByte) {
  const Pair s = MakeSocketPair(SOCK_STREAM), pipe = MakePipe();
  ASSERT_EQ(SendFds(s.a.get(), "abc", {pipe.a.get()}), 3);
  EXPECT_EQ(Recv(s.b.get(), 1).fds.size(), 1u);
  EXPECT_EQ(Recv(s.b.get(), 1).fds.size(), 0u);
}

TEST(UnixStream, DifferentWritersDoNotJoin) {
  const Pair s = MakeSocketPair(SOCK_STREAM);
  const int on = 1;
  ASSERT_EQ(setsockopt(s.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ASSERT_EQ(send(s.a.get(), "parent", 6, 0), 6);
  EXPECT_EQ(test::RunChild([&] { return write(s.a.get(), "child", 5) == 5 ? 0 : 1; }), 0);
  EXPECT_EQ(Recv(s.b.get()).bytes, "parent");
  EXPECT_EQ(Recv(s.b.get()).bytes, "child");
}

TEST(UnixStream, LargeTransferThroughASmallBuffer) {
  const Pair s = MakeSocketPair(SOCK_STREAM);
  const int small = 4096;
  ASSERT_EQ(setsockopt(s.a.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
  const std::string bytes(1 << 20, 'q');
  std::thread writer([&] { EXPECT_EQ(send(s.a.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size())); });
  EXPECT_EQ(test::ReadExactly(s.b.get(), bytes.size()), bytes);
  writer.join();
}

TEST(UnixStream, FullSocketIsWritableAgainWhenRead) {
  const Pair s = MakeSocketPair(SOCK_STREAM);
  SetNonblocking(s.a.get());
  const std::string chunk(4096, 'x');
  size_t total = 0;
  while (send(s.a.get(), chunk.data(), chunk.size(), 0) > 0) total += chunk.size();
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(PollOne(s.a.get(), POLLOUT), 0);
  const Owned e(epoll_create1(0));
  epoll_event event{};
  event.events = EPOLLOUT | EPOLLET;
  ASSERT_EQ(epoll_ctl(e.get(), EPOLL_CTL_ADD, s.a.get(), &event), 0);
  EXPECT_EQ(epoll_wait(e.get(), &event, 1, 0), 0);
  test::ReadExactly(s.b.get(), total);
  EXPECT_EQ(epoll_wait(e.get(), &event, 1, 1000), 1);
  int n = -1;
  EXPECT_EQ(ioctl(s.a.get(), TIOCOUTQ, &n), 0);
  EXPECT_LE(n, 4096 * 2);
}

TEST(UnixStream, PathNames) {
  const std::string path = "/tmp/unix_test." + std::to_string(getpid());
  unlink(path.c_str());
  const Name name = OnPath(path);
  {
    const Connection c = Connected(SOCK_STREAM, name);
    struct stat st {};
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    EXPECT_TRUE(S_ISSOCK(st.st_mode));
    EXPECT_EQ(NameOf(c.client.get(), true), BytesOf(name));
    EXPECT_FAILS(open(path.c_str(), O_RDWR), ENXIO);
    const Owned second(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_FAILS(bind(second.get(), name.get(), name.size), EADDRINUSE);
  }
  {
    const Owned l(socket(AF_UNIX, SOCK_STREAM, 0)), other(socket(AF_UNIX, SOCK_DGRAM, 0));
    const Name second = OnPath(path + ".2");
    ASSERT_EQ(bind(l.get(), second.get(), second.size), 0);
    EXPECT_FAILS(connect(other.get(), second.get(), second.size), EPROTOTYPE);
    unlink((path + ".2").c_str());
  }
  const Owned late(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_FAILS(connect(late.get(), name.get(), name.size), ECONNREFUSED);  // the node stays
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_FAILS(connect(late.get(), name.get(), name.size), ENOENT);
}

TEST(UnixStream, PathOfTheFullLengthAndTooLong) {
  const Owned s(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un a{};
  EXPECT_FAILS(bind(s.get(), reinterpret_cast<sockaddr*>(&a), 1), EINVAL);
  a.sun_family = AF_INET;
  EXPECT_FAILS(bind(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof(a)), EINVAL);
  std::string path = "/tmp/unix_long." + std::to_string(getpid()) + ".";
  path.resize(107, 'y');
  const Name name = OnPath(path);
  EXPECT_EQ(bind(s.get(), name.get(), name.size), 0);
  EXPECT_EQ(NameOf(s.get()), BytesOf(name));
  unlink(path.c_str());
}

TEST(UnixStream, AutomaticNames) {
  const Owned a(socket(AF_UNIX, SOCK_STREAM, 0)), b(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un none{};
  none.sun_family = AF_UNIX;
  ASSERT_EQ(bind(a.get(), reinterpret_cast<sockaddr*>(&none), 2), 0);
  ASSERT_EQ(bind(b.get(), reinterpret_cast<sockaddr*>(&none), 2), 0);
  EXPECT_EQ(NameOf(a.get()).size(), 8u);
  EXPECT_NE(NameOf(a.get()), NameOf(b.get()));
}

TEST(UnixStream, OptionsAreRemembered) {
  const Owned s(socket(AF_UNIX, SOCK_STREAM, 0));
  int v = 10000;
  socklen_t n = sizeof(v);
  ASSERT_EQ(setsockopt(s.get(), SOL_SOCKET, SO_SNDBUF, &v, n), 0);
  ASSERT_EQ(getsockopt(s.get(), SOL_SOCKET, SO_SNDBUF, &v, &n), 0);
  EXPECT_EQ(v, 20000);
  EXPECT_FAILS(setsockopt(s.get(), IPPROTO_TCP, 1, &v, n), EOPNOTSUPP);
  EXPECT_FAILS(getsockopt(s.get(), IPPROTO_TCP, 1, &v, &n), EOPNOTSUPP);
  EXPECT_FAILS(socket(AF_UNIX, SOCK_STREAM, 77), EPROTONOSUPPORT);
  EXPECT_FAILS(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
}

TEST(UnixSeqpacket, KeepsBoundariesAndTruncates) {
  const Pair s = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_EQ(send(s.a.get(), "first", 5, 0), 5);
  ASSERT_EQ(send(s.a.get(), "second", 6, 0), 6);
  const Received r = Recv(s.b.get(), 3);
  EXPECT_EQ(r.bytes, "fir");
  EXPECT_EQ(r.flags & MSG_TRUNC, MSG_TRUNC);
  EXPECT_EQ(Recv(s.b.get(), 3, MSG_TRUNC).size, 6);
}

TEST(UnixDatagram, SendsToNames) {
  const Name name = Unique(), own = Unique();
  const Owned r(socket(AF_UNIX, SOCK_DGRAM, 0)), s(socket(AF_UNIX, SOCK_DGRAM, 0));
  ASSERT_EQ(bind(r.get(), name.get(), name.size), 0);
  EXPECT_FAILS(send(s.get(), "x", 1, 0), ENOTCONN);
  ASSERT_EQ(sendto(s.get(), "anonymous", 9, 0, name.get(), name.size), 9);
  sockaddr_un a{};
  socklen_t n = sizeof(a);
  char buffer[20];
  ASSERT_EQ(recvfrom(r.get(), buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&a), &n), 9);
  EXPECT_EQ(n, 0u);
  ASSERT_EQ(bind(s.get(), own.get(), own.size), 0);
  ASSERT_EQ(sendto(s.get(), "named", 5, 0, name.get(), name.size), 5);
  n = sizeof(a);
  ASSERT_EQ(recvfrom(r.get(), buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&a), &n), 5);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(&a), n), BytesOf(own));
}

TEST(UnixDatagram, ConnectedOnesHearTheirPeerOnly) {
  const Name name = Unique(), own = Unique();
  const Owned r(socket(AF_UNIX, SOCK_DGRAM, 0)), s(socket(AF_UNIX, SOCK_DGRAM, 0)), stranger(socket(AF_UNIX, SOCK_DGRAM, 0));
  ASSERT_EQ(bind(r.get(), name.get(), name.size), 0);
  ASSERT_EQ(bind(s.get(), own.get(), own.size), 0);
  ASSERT_EQ(connect(s.get(), name.get(), name.size), 0);
  ASSERT_EQ(connect(r.get(), own.get(), own.size), 0);
  ASSERT_EQ(send(s.get(), "hi", 2, 0), 2);
  EXPECT_FAILS(sendto(stranger.get(), "x", 1, 0, name.get(), name.size), EPERM);
  EXPECT_FAILS(connect(stranger.get(), name.get(), name.size), EPERM);
  const sockaddr none{AF_UNSPEC, {}};
  ASSERT_EQ(connect(r.get(), &none, sizeof(none)), 0);
  EXPECT_EQ(sendto(stranger.get(), "x", 1, 0, name.get(), name.size), 1);
}

TEST(UnixDatagram, PeerThatHasGoneRefuses) {
  Pair p = MakeSocketPair(SOCK_DGRAM);
  p.b.Close();
  EXPECT_FAILS(send(p.a.get(), "x", 1, 0), ECONNREFUSED);
  EXPECT_FAILS(send(p.a.get(), "x", 1, 0), ENOTCONN);
  SetNonblocking(p.a.get());
  char c = 0;
  EXPECT_FAILS(recv(p.a.get(), &c, 1, 0), EAGAIN);
}

TEST(UnixDatagram, TooLongIsEmsgsize) {
  const Pair p = MakeSocketPair(SOCK_DGRAM);
  const std::string big(1 << 20, 'x');
  EXPECT_FAILS(send(p.a.get(), big.data(), big.size(), 0), EMSGSIZE);
  EXPECT_EQ(send(p.a.get(), big.data(), 100000, 0), 100000);
  EXPECT_EQ(recv(p.b.get(), nullptr, 0, MSG_TRUNC), 100000);
}

TEST(UnixDatagram, EmptyMessages) {
  const Pair p = MakeSocketPair(SOCK_DGRAM);
  ASSERT_EQ(send(p.a.get(), "", 0, 0), 0);
  EXPECT_EQ(PollOne(p.b.get(), POLLIN), POLLIN);
  char c = 0;
  EXPECT_EQ(recv(p.b.get(), &c, 1, 0), 0);
  EXPECT_EQ(PollOne(p.b.get(), POLLIN), 0);
}

TEST(UnixDatagram, FullReceiverBlocksItsSenders) {
  const Name name = Unique();
  const Owned r(socket(AF_UNIX, SOCK_DGRAM, 0)), s(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  ASSERT_EQ(bind(r.get(), name.get(), name.size), 0);
  ASSERT_EQ(connect(s.get(), name.get(), name.size), 0);
  int n = 0;
  while (send(s.get(), "x", 1, 0) == 1) ++n;
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(n, 11);  // net.unix.max_dgram_qlen, and one
  EXPECT_EQ(PollOne(s.get(), POLLOUT), 0);
  char c = 0;
  const Later reader(40, [&] {
    for (int i = 0; i < n; ++i) (void)!recv(r.get(), &c, 1, 0);
  });
  EXPECT_EQ(PollOne(s.get(), POLLOUT, 3000), POLLOUT);
  SetNonblocking(s.get(), false);
  EXPECT_EQ(send(s.get(), "y", 1, 0), 1);
}

TEST(UnixDatagram, DescriptorsAndCredentials) {
  const Pair p = MakeSocketPair(SOCK_DGRAM), pipe = MakePipe();
  const int on = 1;
  ASSERT_EQ(setsockopt(p.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ASSERT_EQ(SendFds(p.a.get(), "both", {pipe.a.get()}), 4);
  const Received r = Recv(p.b.get());
  EXPECT_EQ(r.fds.size(), 1u);
  EXPECT_TRUE(r.has_credentials);
  EXPECT_EQ(r.credentials.pid, getpid());
}

TEST(UnixDatagram, ManyMessagesAtOnce) {
  const Pair p = MakeSocketPair(SOCK_DGRAM);
  char bytes[4][2] = {"a", "b", "c", "d"};
  iovec v[4];
  mmsghdr m[4] = {};
  for (int i = 0; i < 4; ++i) {
    v[i] = {bytes[i], 1};
    m[i].msg_hdr.msg_iov = &v[i];
    m[i].msg_hdr.msg_iovlen = 1;
  }
  ASSERT_EQ(sendmmsg(p.a.get(), m, 4, 0), 4);
  EXPECT_EQ(m[2].msg_len, 1u);
  char room[8][4];
  iovec w[8];
  mmsghdr r[8] = {};
  for (int i = 0; i < 8; ++i) {
    w[i] = {room[i], 4};
    r[i].msg_hdr.msg_iov = &w[i];
    r[i].msg_hdr.msg_iovlen = 1;
  }
  ASSERT_EQ(recvmmsg(p.b.get(), r, 8, MSG_WAITFORONE, nullptr), 4);
  EXPECT_EQ(r[3].msg_len, 1u);
  EXPECT_EQ(room[3][0], 'd');
  EXPECT_FAILS(recvmmsg(p.b.get(), r, 8, MSG_DONTWAIT, nullptr), EAGAIN);
}

}  // namespace
