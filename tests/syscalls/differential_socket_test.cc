// Sockets that random programs (tests/differential) found to be otherwise inside: each case a finding, named by what is so on Linux.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "tests/syscalls/found_support.h"

namespace {

using found::Ends;
using found::Local;
using found::Nowhere;
using found::Pair;
using test::Owned;

using FoundSocket = found::Found;

// A byte and a descriptor, to be sent, or room for them.
struct WithDescriptor {
  explicit WithDescriptor(int fd) {
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  WithDescriptor(const WithDescriptor&) = delete;
  WithDescriptor& operator=(const WithDescriptor&) = delete;
  int descriptor() const {
    int fd = -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return fd;
  }
  iovec piece{const_cast<char*>("x"), 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
};

TEST_F(FoundSocket, DatagramsLookAtTheBytesBeforeThePeer) {
  const Owned one(socket(AF_UNIX, SOCK_DGRAM, 0));
  EXPECT_FAILS(send(one.get(), Nowhere(), 10, 0), EFAULT);
  EXPECT_FAILS(send(one.get(), "x", 1, 0), ENOTCONN);
  socklen_t length = 0;
  const sockaddr_un nobody = Local("none", &length);
  EXPECT_FAILS(sendto(one.get(), Nowhere(), 10, 0, reinterpret_cast<const sockaddr*>(&nobody), length), EFAULT);
}

TEST_F(FoundSocket, BrokenStreamsAreToldBeforeTheBytesAreLookedAt) {
  Ends ends = Pair(SOCK_STREAM);
  ends.b.Close();
  EXPECT_FAILS(send(ends.a.get(), Nowhere(), 10, MSG_NOSIGNAL), EPIPE);
}

TEST_F(FoundSocket, UnconnectedSeqpacketIsToldBeforeItsDescriptorsAreLookedAt) {
  const Owned one(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  WithDescriptor with(1000);  // there is none
  EXPECT_FAILS(sendmsg(one.get(), &with.message, 0), ENOTCONN);
  const Owned stream(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_FAILS(sendmsg(stream.get(), &with.message, 0), EBADF);
}

TEST_F(FoundSocket, BindingTwice) {
  const Owned one(socket(AF_UNIX, SOCK_STREAM, 0)), two(socket(AF_UNIX, SOCK_STREAM, 0));
  socklen_t s = 0, t = 0, unnamed = 0;
  const sockaddr_un at_s = Local("s", &s), at_t = Local("t", &t), nothing = Local("", &unnamed);
  ASSERT_WORKS(bind(one.get(), reinterpret_cast<const sockaddr*>(&at_s), s));
  EXPECT_FAILS(bind(one.get(), reinterpret_cast<const sockaddr*>(&at_s), s), EADDRINUSE);
  EXPECT_FAILS(bind(one.get(), reinterpret_cast<const sockaddr*>(&at_t), t), EINVAL);
  EXPECT_FAILS(access("t", F_OK), ENOENT);
  EXPECT_WORKS(bind(one.get(), reinterpret_cast<const sockaddr*>(&nothing), unnamed));
}

TEST_F(FoundSocket, OnlyWhoWaitsIsToldTheEndOfADatagramSocket) {
  Ends ends = Pair(SOCK_DGRAM);
  ASSERT_WORKS(shutdown(ends.a.get(), SHUT_RD));
  char byte = 0;
  EXPECT_FAILS(recv(ends.a.get(), &byte, 1, 0), EAGAIN);
  ASSERT_WORKS(fcntl(ends.a.get(), F_SETFL, 0));
  EXPECT_EQ(recv(ends.a.get(), &byte, 1, 0), 0);
}

TEST_F(FoundSocket, StreamsTellTheirPeersName) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Ends ends = Pair(type);
    socklen_t s = 0;
    const sockaddr_un at_s = Local("s", &s);
    ASSERT_WORKS(bind(ends.a.get(), reinterpret_cast<const sockaddr*>(&at_s), s));
    ASSERT_EQ(write(ends.a.get(), "x", 1), 1);
    sockaddr_un from{};
    socklen_t length = sizeof(from);
    ASSERT_WORKS(getpeername(ends.b.get(), reinterpret_cast<sockaddr*>(&from), &length));
    EXPECT_STREQ(from.sun_path, "s");
    ends.a.Close();
    from = {};
    length = sizeof(from);
    char byte = 0;
    ASSERT_EQ(recvfrom(ends.b.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &length), 1);
    EXPECT_STREQ(from.sun_path, "s");
    unlink("s");
  }
}

TEST_F(FoundSocket, ADatagramHasTheNameThatItsSenderHasWhenItIsRead) {
  Ends ends = Pair(SOCK_DGRAM);
  ASSERT_EQ(send(ends.a.get(), "x", 1, 0), 1);
  socklen_t s = 0;
  const sockaddr_un at_s = Local("s", &s);
  ASSERT_WORKS(bind(ends.a.get(), reinterpret_cast<const sockaddr*>(&at_s), s));
  sockaddr_un from{};
  socklen_t length = sizeof(from);
  char byte = 0;
  ASSERT_EQ(recvfrom(ends.b.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &length), 1);
  EXPECT_STREQ(from.sun_path, "s");
}

TEST_F(FoundSocket, SeqpacketsThatPassCredentialsNameThemselves) {
  Ends ends = Pair(SOCK_SEQPACKET);
  const int on = 1;
  ASSERT_WORKS(setsockopt(ends.a.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  ASSERT_EQ(send(ends.a.get(), "x", 1, 0), 1);
  sockaddr_un own{};
  socklen_t length = sizeof(own);
  ASSERT_WORKS(getsockname(ends.a.get(), reinterpret_cast<sockaddr*>(&own), &length));
  EXPECT_EQ(length, offsetof(sockaddr_un, sun_path) + 6);
}

TEST_F(FoundSocket, ALostDatagramPeerTakesWhatItSentWithIt) {
  Ends ends = Pair(SOCK_DGRAM);
  ASSERT_EQ(send(ends.b.get(), "x", 1, 0), 1);
  ends.b.Close();
  EXPECT_FAILS(send(ends.a.get(), "x", 1, 0), ECONNREFUSED);
  char byte = 0;
  EXPECT_FAILS(recv(ends.a.get(), &byte, 1, 0), EAGAIN);
}

TEST_F(FoundSocket, AQuarterFullIsNotWritable) {
  Ends ends = Pair(SOCK_SEQPACKET);
  const std::string bytes(65536, 'x');
  ASSERT_EQ(send(ends.a.get(), bytes.data(), bytes.size(), 0), 65536);
  pollfd asked{ends.a.get(), POLLOUT, 0};
  EXPECT_EQ(poll(&asked, 1, 0), 0);
}

TEST_F(FoundSocket, WhatIsSentCountsWithItsBuffer) {
  const std::string bytes(1000000, 'x');
  const auto sent = [](const Ends& ends) {
    int n = -1;
    EXPECT_WORKS(ioctl(ends.a.get(), TIOCOUTQ, &n));
    return n;
  };
  struct Case {
    int type;
    size_t size;
    int cost, times;
  };
  for (const Case& one : {Case{SOCK_STREAM, 1, 768, 278}, {SOCK_STREAM, 1000, 2304, 93}, {SOCK_STREAM, 20000, 20736, 11}, {SOCK_STREAM, 48832, 50176, 5},
                          {SOCK_SEQPACKET, 0, 768, 278}, {SOCK_SEQPACKET, 4096, 8448, 26}, {SOCK_SEQPACKET, 65536, 69888, 4}}) {
    const Ends ends = Pair(one.type);
    ASSERT_EQ(send(ends.a.get(), bytes.data(), one.size, 0), static_cast<ssize_t>(one.size));
    EXPECT_EQ(sent(ends), one.cost) << one.size;
    int times = 1;
    while (send(ends.a.get(), bytes.data(), one.size, 0) >= 0) ++times;
    EXPECT_EQ(times, one.times) << one.size;
  }
  Ends ends = Pair(SOCK_STREAM);
  EXPECT_EQ(send(ends.a.get(), bytes.data(), bytes.size(), 0), 219264);
  ends = Pair(SOCK_STREAM);
  for (const size_t size : {20000, 1000, 2000, 20000, 4096, 100}) ASSERT_EQ(send(ends.a.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
  EXPECT_EQ(test::PollOne(ends.a.get(), POLLOUT), 0);  // 53760 of 212992
  char byte = 0;
  ASSERT_EQ(recv(ends.b.get(), &byte, 1, 0), 1);
  EXPECT_EQ(test::PollOne(ends.a.get(), POLLOUT), 0);  // the buffer is still there
  static char rest[19999];
  ASSERT_EQ(recv(ends.b.get(), rest, sizeof(rest), 0), 19999);
  EXPECT_EQ(test::PollOne(ends.a.get(), POLLOUT), POLLOUT);
  ends = Pair(SOCK_STREAM);
  const int little = 10000;
  ASSERT_WORKS(setsockopt(ends.a.get(), SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)));  // twice as much
  EXPECT_EQ(send(ends.a.get(), bytes.data(), bytes.size(), 0), 19872);
}

TEST_F(FoundSocket, WhoCameBeforeTheShutdownIsLetIn) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    socklen_t length = 0;
    const sockaddr_un at = Local("s", &length);
    const Owned listener(socket(AF_UNIX, type | SOCK_NONBLOCK, 0)), client(socket(AF_UNIX, type, 0));
    ASSERT_WORKS(bind(listener.get(), reinterpret_cast<const sockaddr*>(&at), length));
    ASSERT_WORKS(listen(listener.get(), 1));
    ASSERT_WORKS(connect(client.get(), reinterpret_cast<const sockaddr*>(&at), length));
    ASSERT_WORKS(shutdown(listener.get(), SHUT_RD));
    EXPECT_TRUE(Owned(accept(listener.get(), nullptr, nullptr)).ok());
    EXPECT_FAILS(accept(listener.get(), nullptr, nullptr), EAGAIN);
    ASSERT_WORKS(fcntl(listener.get(), F_SETFL, 0));
    EXPECT_FAILS(accept(listener.get(), nullptr, nullptr), EINVAL);  // only who waits is told
    unlink("s");
  }
}

TEST_F(FoundSocket, WholeBuffersBeforeWhatMayNotBeTouched) {
  static char* const area = static_cast<char*>(mmap(nullptr, 17 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(area, 'y', 16 * 4096);
  char* const end = area + 16 * 4096;
  ASSERT_WORKS(mprotect(end, 4096, PROT_NONE));
  Ends ends = Pair(SOCK_STREAM);
  EXPECT_FAILS(send(ends.a.get(), end - 1000, 2000, 0), EFAULT);
  EXPECT_EQ(send(ends.a.get(), end - 40000, 80000, 0), 36544);
  int n = 0;
  ASSERT_WORKS(ioctl(ends.b.get(), FIONREAD, &n));
  EXPECT_EQ(n, 36544);
  ASSERT_EQ(recv(ends.b.get(), area, 36544, 0), 36544);
  ASSERT_EQ(send(ends.a.get(), "abc", 3, 0), 3);
  ASSERT_EQ(send(ends.a.get(), "defg", 4, 0), 4);
  EXPECT_FAILS(recv(ends.b.get(), end - 2, 10, 0), EFAULT);
  EXPECT_EQ(recv(ends.b.get(), end - 5, 10, MSG_PEEK), 3);
  EXPECT_EQ(recv(ends.b.get(), end - 2, 2, 0), 2);
  EXPECT_EQ(recv(ends.b.get(), end - 4, 10, 0), 1);
  EXPECT_EQ(recv(ends.b.get(), end - 4, 10, 0), 4);
  munmap(area, 17 * 4096);
}

TEST_F(FoundSocket, ShutDownWithoutAPeer) {
  const Owned local(socket(AF_UNIX, SOCK_SEQPACKET, 0)), udp(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), tcp(socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_WORKS(shutdown(local.get(), SHUT_RD));
  pollfd asked{local.get(), POLLIN | POLLRDHUP, 0};
  EXPECT_EQ(poll(&asked, 1, 0), 1);
  EXPECT_EQ(asked.revents, POLLIN | POLLRDHUP | POLLHUP);
  EXPECT_FAILS(shutdown(udp.get(), SHUT_RD), ENOTCONN);
  asked = {udp.get(), POLLIN | POLLRDHUP, 0};
  EXPECT_EQ(poll(&asked, 1, 0), 1);
  EXPECT_EQ(asked.revents, POLLIN | POLLRDHUP);
  char byte = 0;
  EXPECT_FAILS(recv(udp.get(), &byte, 1, 0), EAGAIN);
  EXPECT_FAILS(recv(tcp.get(), &byte, 1, 0), ENOTCONN);
  EXPECT_FAILS(shutdown(tcp.get(), SHUT_RD), ENOTCONN);
  EXPECT_EQ(recv(tcp.get(), &byte, 1, 0), 0);
  EXPECT_FAILS(recv(tcp.get(), &byte, 1, MSG_OOB), EINVAL);
}

TEST_F(FoundSocket, ASendThatFailsBindsAllTheSame) {
  const Owned udp(socket(AF_INET, SOCK_DGRAM, 0));
  EXPECT_FAILS(send(udp.get(), "x", 1, 0), EDESTADDRREQ);
  sockaddr_in own{};
  socklen_t length = sizeof(own);
  ASSERT_WORKS(getsockname(udp.get(), reinterpret_cast<sockaddr*>(&own), &length));
  EXPECT_NE(own.sin_port, 0);
}

TEST_F(FoundSocket, Options) {
  const Owned local(socket(AF_UNIX, SOCK_STREAM, 0));
  const int on = 1, below = -1;
  EXPECT_FAILS(setsockopt(local.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), EOPNOTSUPP);
  ASSERT_WORKS(setsockopt(local.get(), SOL_SOCKET, SO_RCVLOWAT, &below, sizeof(below)));
  int mark = 0;
  socklen_t length = sizeof(mark);
  ASSERT_WORKS(getsockopt(local.get(), SOL_SOCKET, SO_RCVLOWAT, &mark, &length));
  EXPECT_EQ(mark, INT32_MAX);
}

TEST_F(FoundSocket, TellsItsProtocolAsAnAttribute) {
  const Owned local(socket(AF_UNIX, SOCK_STREAM, 0)), tcp(socket(AF_INET, SOCK_STREAM, 0)), udp(socket(AF_INET6, SOCK_DGRAM, 0));
  char text[64] = {};
  EXPECT_EQ(flistxattr(local.get(), text, sizeof(text)), 21);
  EXPECT_STREQ(text, "system.sockprotoname");
  EXPECT_FAILS(flistxattr(local.get(), text, 1), ERANGE);
  EXPECT_EQ(fgetxattr(local.get(), "system.sockprotoname", text, sizeof(text)), 12);
  EXPECT_STREQ(text, "UNIX-STREAM");
  EXPECT_EQ(fgetxattr(tcp.get(), "system.sockprotoname", text, sizeof(text)), 4);
  EXPECT_STREQ(text, "TCP");
  EXPECT_EQ(fgetxattr(udp.get(), "system.sockprotoname", text, sizeof(text)), 6);
  EXPECT_STREQ(text, "UDPv6");
}

TEST_F(FoundSocket, DatagramsComeAfterAShutdown) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(at);
  const Owned to(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), from(socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_WORKS(bind(to.get(), reinterpret_cast<sockaddr*>(&at), length));
  ASSERT_WORKS(getsockname(to.get(), reinterpret_cast<sockaddr*>(&at), &length));
  EXPECT_FAILS(shutdown(to.get(), SHUT_RD), ENOTCONN);
  ASSERT_EQ(sendto(from.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&at), length), 1);
  pollfd ready{to.get(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 1000), 1);
  char byte = 0;
  EXPECT_EQ(recv(to.get(), &byte, 1, 0), 1);
}

TEST_F(FoundSocket, CredentialsAreCutToTheRoomForThem) {
  Ends ends = Pair(SOCK_STREAM);
  const int on = 1;
  ASSERT_WORKS(setsockopt(ends.a.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  ASSERT_EQ(send(ends.b.get(), "x", 1, 0), 1);
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[64] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = 20;
  ASSERT_EQ(recvmsg(ends.a.get(), &message, 0), 1);
  EXPECT_EQ(message.msg_flags, MSG_CTRUNC);
  EXPECT_EQ(message.msg_controllen, 20u);
  EXPECT_EQ(CMSG_FIRSTHDR(&message)->cmsg_len, 20u);
  int pid = 0;
  memcpy(&pid, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(pid));
  EXPECT_EQ(pid, getpid());
}

TEST_F(FoundSocket, ControlMessagesAreCutToTheRoomForThem) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(at);
  const Owned to(socket(AF_INET, SOCK_DGRAM, 0)), from(socket(AF_INET, SOCK_DGRAM, 0));
  const int on = 1;
  ASSERT_WORKS(setsockopt(to.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)));
  ASSERT_WORKS(bind(to.get(), reinterpret_cast<sockaddr*>(&at), length));
  ASSERT_WORKS(getsockname(to.get(), reinterpret_cast<sockaddr*>(&at), &length));
  ASSERT_EQ(sendto(from.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&at), length), 1);
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[64] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = 24;
  ASSERT_EQ(recvmsg(to.get(), &message, 0), 1);
  EXPECT_EQ(message.msg_flags, MSG_CTRUNC);
  EXPECT_EQ(message.msg_controllen, 24u);
  EXPECT_EQ(CMSG_FIRSTHDR(&message)->cmsg_len, 24u);
}

TEST_F(FoundSocket, PairsKnowEachOtherAfterTheEnd) {
  Ends ends = Pair(SOCK_DGRAM);
  ends.b.Close();
  EXPECT_FAILS(send(ends.a.get(), "x", 1, 0), ECONNREFUSED);
  ucred who{};
  socklen_t length = sizeof(who);
  ASSERT_WORKS(getsockopt(ends.a.get(), SOL_SOCKET, SO_PEERCRED, &who, &length));
  EXPECT_EQ(who.pid, getpid());
}

TEST_F(FoundSocket, DescriptorsComeBeforeTheirBytes) {
  Ends ends = Pair(SOCK_STREAM);
  const auto send_one = [&] {
    WithDescriptor with(0);
    return sendmsg(ends.a.get(), &with.message, 0);
  };
  ASSERT_EQ(send_one(), 1);
  const auto receive = [&](size_t length, int flags) {
    char byte = 0;
    WithDescriptor with(-1);
    with.piece = {&byte, length};
    EXPECT_EQ(recvmsg(ends.b.get(), &with.message, flags), static_cast<ssize_t>(length));
    return with.message.msg_controllen != 0 && Owned(with.descriptor()).ok();
  };
  EXPECT_TRUE(receive(0, MSG_PEEK));
  EXPECT_TRUE(receive(0, 0));
  EXPECT_FALSE(receive(0, 0));
  EXPECT_FALSE(receive(1, 0));
  ASSERT_EQ(send(ends.a.get(), "abc", 3, 0), 3);
  ASSERT_EQ(send_one(), 1);
  EXPECT_TRUE(receive(0, MSG_PEEK));  // looks beyond
  EXPECT_TRUE(receive(1, MSG_PEEK));
  EXPECT_FALSE(receive(0, 0));
  EXPECT_FALSE(receive(1, 0));
}

struct Connection {
  Owned client, accepted;
};
// `port`: of the client, 0 for none in particular.
Connection Connected(in_port_t port = 0) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in own = at;
  own.sin_port = port;
  socklen_t length = sizeof(at);
  const Owned listener(socket(AF_INET, SOCK_STREAM, 0));
  Owned client(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_WORKS(bind(listener.get(), reinterpret_cast<sockaddr*>(&at), length));
  EXPECT_WORKS(listen(listener.get(), 1));
  EXPECT_WORKS(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &length));
  if (port != 0) {
    EXPECT_WORKS(bind(client.get(), reinterpret_cast<sockaddr*>(&own), length));
  }
  EXPECT_WORKS(connect(client.get(), reinterpret_cast<sockaddr*>(&at), length));
  Owned accepted(accept(listener.get(), nullptr, nullptr));
  return {std::move(client), std::move(accepted)};
}

TEST_F(FoundSocket, APortThatNobodyAskedForIsGivenBack) {
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto port_of = [](const Owned& fd) {
    sockaddr_in own{};
    socklen_t length = sizeof(own);
    EXPECT_WORKS(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &length));
    return own.sin_port;
  };
  const auto bind_again = [&](const Owned& fd) { return bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)); };
  Connection ended = Connected();
  ASSERT_WORKS(shutdown(ended.client.get(), SHUT_WR));
  EXPECT_FAILS(bind_again(ended.client), EINVAL);  // one direction is open
  ASSERT_WORKS(shutdown(ended.accepted.get(), SHUT_WR));
  usleep(10000);
  for (const Owned* one : {&ended.client, &ended.accepted}) {
    const in_port_t old = port_of(*one);
    EXPECT_NE(old, 0);
    EXPECT_WORKS(bind_again(*one));
    EXPECT_NE(port_of(*one), old);
    EXPECT_FAILS(bind_again(*one), EINVAL);
    EXPECT_FAILS(connect(one->get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), EISCONN);
  }
  // One that reads no more ends its connection when bytes come.
  Connection deaf = Connected();
  ASSERT_WORKS(shutdown(deaf.client.get(), SHUT_RDWR));
  ASSERT_EQ(send(deaf.accepted.get(), "x", 1, 0), 1);
  usleep(10000);
  EXPECT_WORKS(bind_again(deaf.client));
  const Owned shut(socket(AF_INET, SOCK_STREAM, 0)), refused(socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_WORKS(listen(shut.get(), 1));
  ASSERT_WORKS(shutdown(shut.get(), SHUT_RD));
  EXPECT_WORKS(bind_again(shut));
  EXPECT_WORKS(listen(shut.get(), 1));
  sockaddr_in nobody = any;
  nobody.sin_port = htons(9);
  EXPECT_FAILS(connect(refused.get(), reinterpret_cast<sockaddr*>(&nobody), sizeof(nobody)), ECONNREFUSED);
  EXPECT_NE(port_of(refused), 0);
  EXPECT_WORKS(bind_again(refused));
}

TEST_F(FoundSocket, APortThatWasAskedForIsKept) {
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in free = any;
  socklen_t length = sizeof(free);
  {
    const Owned probe(socket(AF_INET, SOCK_STREAM, 0));
    ASSERT_WORKS(bind(probe.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)));
    ASSERT_WORKS(getsockname(probe.get(), reinterpret_cast<sockaddr*>(&free), &length));
  }
  Connection ended = Connected(free.sin_port);
  ended.accepted.Close();
  ASSERT_WORKS(shutdown(ended.client.get(), SHUT_WR));
  usleep(10000);
  EXPECT_FAILS(bind(ended.client.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), EINVAL);
  free = any;
  ASSERT_WORKS(getsockname(ended.client.get(), reinterpret_cast<sockaddr*>(&free), &length));
  EXPECT_EQ(free.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

TEST_F(FoundSocket, HowMuchADatagramHoldsIsKnownByWhereItGoes) {
  static const std::string bytes(70000, 'x');
  for (const int family : {AF_INET, AF_INET6}) {
    const Owned to(socket(family, SOCK_DGRAM, 0)), from(socket(family, SOCK_DGRAM, 0));
    sockaddr_storage at{};
    at.ss_family = static_cast<sa_family_t>(family);
    socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (family == AF_INET) reinterpret_cast<sockaddr_in&>(at).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else reinterpret_cast<sockaddr_in6&>(at).sin6_addr = in6addr_loopback;
    ASSERT_WORKS(bind(to.get(), reinterpret_cast<sockaddr*>(&at), length));
    ASSERT_WORKS(getsockname(to.get(), reinterpret_cast<sockaddr*>(&at), &length));
    EXPECT_FAILS(send(from.get(), bytes.data(), 65535, 0), EDESTADDRREQ);
    EXPECT_FAILS(send(from.get(), bytes.data(), 65536, 0), family == AF_INET ? EMSGSIZE : EDESTADDRREQ);
    ASSERT_WORKS(connect(from.get(), reinterpret_cast<sockaddr*>(&at), length));
    const size_t most = family == AF_INET ? 65507 : 65527;
    EXPECT_FAILS(send(from.get(), bytes.data(), most + 1, 0), EMSGSIZE);
    EXPECT_EQ(send(from.get(), bytes.data(), most, 0), static_cast<ssize_t>(most));
    ASSERT_WORKS(shutdown(from.get(), SHUT_WR));
    EXPECT_FAILS(send(from.get(), bytes.data(), most + 1, MSG_NOSIGNAL), EMSGSIZE);
    EXPECT_FAILS(send(from.get(), bytes.data(), most, MSG_NOSIGNAL), EPIPE);
  }
}

}  // namespace
