// Sockets: local ones of all three kinds, TCP and UDP over loopback.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "tests/differential/operations.h"

namespace differential {
namespace {

int Flags(Rng& r) { return SOCK_NONBLOCK | (r.OneIn(3) ? SOCK_CLOEXEC : 0); }

void Pair(World& w, Rng& r) {
  w.MakeRoom(r);
  int fds[2] = {-1, -1};
  const int domain = r.OneIn(30) ? AF_INET : AF_UNIX;
  const int type = r.Pick({SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_SEQPACKET}), flags = Flags(r);
  const int result = socketpair(domain, type | flags, domain == AF_UNIX && r.OneIn(20) ? 1 : 0, fds);
  w.Say(result, "socketpair(%d, %#x)", domain, static_cast<unsigned>(type | flags));
  if (result != 0) return;  // Linux leaves numbers behind when it fails
  w.Note("%d %d", fds[0], fds[1]);
  w.Keep(fds[0]);
  w.Keep(fds[1]);
}

void Create(World& w, Rng& r) {
  w.MakeRoom(r);
  const int domain = r.Pick({AF_UNIX, AF_UNIX, AF_UNIX, AF_INET, AF_INET6, 99});
  const int type = r.Pick({SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}), flags = Flags(r), protocol = r.OneIn(20) ? IPPROTO_UDP : 0;
  const int fd = socket(domain, type | flags, protocol);
  w.Say(fd, "socket(%d, %#x, %d)", domain, static_cast<unsigned>(type | flags), protocol);
  w.Keep(fd);
}

// Addresses are a file's name or an abstract one, and 127.0.0.1 with port 0 (bind) or a port that nobody has.
socklen_t Address(World& w, Rng& r, sockaddr_storage* storage, std::string* shown) {
  const auto which = r.Below(2);
  switch (r.Below(6)) {
    case 0: {
      auto* in = reinterpret_cast<sockaddr_in*>(storage);
      in->sin_family = AF_INET;
      in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      *shown = "127.0.0.1:0";
      return sizeof(*in);
    }
    case 1: {
      storage->ss_family = AF_UNSPEC;
      *shown = "unspec";
      return sizeof(sockaddr_in);
    }
    default: break;
  }
  auto* un = reinterpret_cast<sockaddr_un*>(storage);
  un->sun_family = AF_UNIX;
  std::string name = "k" + std::to_string(which);
  *shown = name;
  if (r.OneIn(3)) {
    *shown = "@" + name;
    name = std::string(1, '\0') + "differential" + std::to_string(w.keys) + name;
  } else if (r.OneIn(8)) {
    name.clear();
    *shown = "unnamed";
  } else if (r.OneIn(8)) {
    *shown = name = w.PathOf(r).text.substr(0, 100);
  }
  memcpy(un->sun_path, name.data(), name.size());
  const bool ends = !name.empty() && name[0] != '\0' && r.OneIn(2);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (ends ? 1 : 0));
}

void NoteAddress(World& w, const sockaddr_storage& storage, socklen_t length) {
  if (length == 0) return w.Note("no address");
  if (storage.ss_family == AF_INET || storage.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    return w.Note("inet %d length %u %s", storage.ss_family, length, in.sin_port == 0 ? "port 0" : "a port");
  }
  const auto& un = reinterpret_cast<const sockaddr_un&>(storage);
  const size_t size = length > offsetof(sockaddr_un, sun_path) ? length - offsetof(sockaddr_un, sun_path) : 0;
  std::string name(un.sun_path, std::min(size, sizeof(un.sun_path)));
  if (!name.empty() && name[0] == '\0') return w.Note("abstract %s", name.size() > 6 ? name.substr(name.size() - 2).c_str() : "chosen");
  w.Note("local %s length %u", name.c_str(), length);
}

void Bind(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  sockaddr_storage address{};
  std::string shown;
  const socklen_t length = Address(w, r, &address, &shown);
  w.Say(bind(fd, reinterpret_cast<sockaddr*>(&address), length), "bind(%d, %s, %u)", fd, shown.c_str(), length);
}

bool IsInet(int fd) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain != AF_UNIX;
}

void Connect(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  if (IsInet(fd)) return;
  sockaddr_storage address{};
  std::string shown;
  const socklen_t length = Address(w, r, &address, &shown);
  w.Say(connect(fd, reinterpret_cast<sockaddr*>(&address), length), "connect(%d, %s, %u)", fd, shown.c_str(), length);
}

void Listen(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket), backlog = r.Pick({1, 5, 0, -1});
  w.Say(listen(fd, backlog), "listen(%d, %d)", fd, backlog);
}

void Accept(World& w, Rng& r) {
  w.MakeRoom(r);
  const int fd = w.Fd(r, kSocket), flags = Flags(r) | (r.OneIn(30) ? 1 : 0);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const int got = accept4(fd, reinterpret_cast<sockaddr*>(&address), &length, flags);
  w.Say(got, "accept4(%d, %#x)", fd, static_cast<unsigned>(flags));
  if (got >= 0) NoteAddress(w, address, length);
  w.Keep(got);
}

void Names(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const bool peer = r.OneIn(2);
  const int result = peer ? getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) : getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  w.Say(result, "%s(%d)", peer ? "getpeername" : "getsockname", fd);
  if (result == 0) NoteAddress(w, address, length);
}

// A connection over loopback, ready to use.
void TcpPair(World& w, Rng& r) {
  w.MakeRoom(r);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  w.Say(listener, "tcp pair");
  if (listener >= 0 && client >= 0 && bind(listener, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(listener, 1) == 0 &&
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    w.Say(connect(client, reinterpret_cast<sockaddr*>(&address), length), "connect");
    pollfd ready{listener, POLLIN, 0};
    (void)poll(&ready, 1, 5000);
    const int server = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    w.Say(server, "accept");
    w.Keep(server);
  }
  if (listener >= 0) close(listener);
  w.Keep(client);
}

void UdpPair(World& w, Rng& r) {
  w.MakeRoom(r);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in first = address, second = address;
  socklen_t length = sizeof(address);
  const int a = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), b = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  w.Say(a, "udp pair %d", b);
  if (bind(a, reinterpret_cast<sockaddr*>(&first), length) == 0 && bind(b, reinterpret_cast<sockaddr*>(&second), length) == 0) {
    (void)getsockname(a, reinterpret_cast<sockaddr*>(&first), &length);
    (void)getsockname(b, reinterpret_cast<sockaddr*>(&second), &length);
    w.Say(connect(a, reinterpret_cast<sockaddr*>(&second), length), "connect");
    if (!r.OneIn(3)) w.Say(connect(b, reinterpret_cast<sockaddr*>(&first), length), "connect");
  }
  w.Keep(a);
  w.Keep(b);
}

// Loopback's packets are delivered before the sender's call returns, almost always: this makes it always.
void LetItArrive(int fd) {
  if (IsInet(fd)) usleep(300);
}

void Send(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  const Buffer buffer = w.Source(r, std::min<size_t>(w.Length(r), 2000), true);
  const int flags = MSG_DONTWAIT | (r.OneIn(2) ? MSG_NOSIGNAL : 0) | (r.OneIn(12) && IsInet(fd) ? MSG_OOB : 0) |
                    (r.OneIn(8) ? MSG_EOR : 0) | (r.OneIn(30) ? MSG_MORE : 0);
  if (IsInet(fd) && w.IsCut(buffer.at, buffer.length)) return;
  const ssize_t n = send(fd, buffer.at, buffer.length, flags);
  w.Say(n, "send(%d, %s, %zu, %#x)", fd, buffer.name.c_str(), buffer.length, static_cast<unsigned>(flags));
  LetItArrive(fd);
}

void SendTo(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  if (IsInet(fd)) return;
  const Buffer buffer = w.Source(r, std::min<size_t>(w.Length(r), 2000), true);
  sockaddr_storage address{};
  std::string shown;
  const socklen_t length = Address(w, r, &address, &shown);
  const ssize_t n = sendto(fd, buffer.at, buffer.length, MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), length);
  w.Say(n, "sendto(%d, %s, %zu, %s)", fd, buffer.name.c_str(), buffer.length, shown.c_str());
}

int ReceiveFlags(Rng& r, int fd) {
  return (r.OneIn(12) && IsInet(fd) ? MSG_OOB : 0) | MSG_DONTWAIT | (r.OneIn(4) ? MSG_PEEK : 0) | (r.OneIn(4) ? MSG_TRUNC : 0) |
         (r.OneIn(6) ? MSG_WAITALL : 0) |
         (r.OneIn(30) ? MSG_ERRQUEUE : 0);
}

void Receive(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  LetItArrive(fd);  // what write(2) and its like have sent
  const Buffer buffer = w.Target(r, w.Length(r));
  const int flags = ReceiveFlags(r, fd);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const ssize_t n = recvfrom(fd, buffer.at, buffer.length, flags, reinterpret_cast<sockaddr*>(&address), &length);
  w.Say(n, "recvfrom(%d, %s, %zu, %#x)", fd, buffer.name.c_str(), buffer.length, static_cast<unsigned>(flags));
  if (n >= 0) NoteAddress(w, address, length);
  if ((flags & MSG_TRUNC) == 0) w.NoteBytes(buffer.at, std::min(n, static_cast<ssize_t>(buffer.length)));
}

void SendMessage(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  const Buffer buffer = w.Source(r, std::min<size_t>(w.Length(r), 2000));
  iovec pieces[2] = {{buffer.at, buffer.length / 2}, {buffer.at + buffer.length / 2, buffer.length - buffer.length / 2}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 3)] = {};
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  const size_t count = r.Below(4);
  std::string shown;
  if (count > 0 && !IsInet(fd)) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; ++i) {
      // Not sockets: a queue of sockets in itself is a matter of the kernel's collector, which has its own time.
      const int passed = w.Fd(r, kAnything & ~kSocket);
      memcpy(CMSG_DATA(header) + i * sizeof(int), &passed, sizeof(int));
      shown += " " + std::to_string(passed);
      if ((w.KindOf(passed) & kSocket) != 0) return;
    }
  }
  if (IsInet(fd) && w.IsCut(buffer.at, buffer.length)) return;
  const ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  w.Say(n, "sendmsg(%d, %s, %zu,%s)", fd, buffer.name.c_str(), buffer.length, shown.c_str());
  LetItArrive(fd);
}

void ReceiveMessage(World& w, Rng& r) {
  w.MakeRoom(r);
  const int fd = w.Fd(r, kSocket);
  LetItArrive(fd);
  const Buffer buffer = w.Target(r, w.Length(r));
  iovec piece{buffer.at, buffer.length};
  alignas(cmsghdr) char control[256] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = r.Pick<size_t>({sizeof(control), sizeof(control), 0, CMSG_SPACE(sizeof(int)), 20, 8});
  const size_t room = message.msg_controllen;
  const int flags = ReceiveFlags(r, fd) | (r.OneIn(4) ? MSG_CMSG_CLOEXEC : 0);
  const ssize_t n = recvmsg(fd, &message, flags);
  w.Say(n, "recvmsg(%d, %s, %zu, control %zu, %#x)", fd, buffer.name.c_str(), buffer.length, room, static_cast<unsigned>(flags));
  if (n < 0) return;
  w.Note("flags %#x controllen %zu", static_cast<unsigned>(message.msg_flags), message.msg_controllen);
  if ((flags & MSG_TRUNC) == 0) w.NoteBytes(buffer.at, std::min(n, static_cast<ssize_t>(buffer.length)));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    w.Note("(%d %d %zu:", header->cmsg_level, header->cmsg_type, header->cmsg_len);
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int got = -1;
        memcpy(&got, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        w.Note("%d", got);
        w.Keep(got);
      }
    } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
      ucred who{};
      memcpy(&who, CMSG_DATA(header), sizeof(who));
      w.Note("%s %u %u", w.PidName(who.pid).c_str(), who.uid, who.gid);
    }
    w.Note(")");
  }
}

void Shutdown(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket), how = r.Pick({0, 1, 2, 3});
  w.Say(shutdown(fd, how), "shutdown(%d, %d)", fd, how);
  LetItArrive(fd);
}

struct Option {
  int level;
  int name;
};
constexpr Option kOptions[] = {{SOL_SOCKET, SO_TYPE},        {SOL_SOCKET, SO_DOMAIN},     {SOL_SOCKET, SO_PROTOCOL},  {SOL_SOCKET, SO_ACCEPTCONN}, {SOL_SOCKET, SO_ERROR},
                               {SOL_SOCKET, SO_REUSEADDR},   {SOL_SOCKET, SO_KEEPALIVE},  {SOL_SOCKET, SO_OOBINLINE}, {SOL_SOCKET, SO_PASSCRED},   {SOL_SOCKET, SO_RCVLOWAT},
                               {SOL_SOCKET, SO_BROADCAST},   {SOL_SOCKET, SO_REUSEPORT},  {SOL_SOCKET, SO_TIMESTAMP}, {SOL_SOCKET, SO_PRIORITY},   {SOL_SOCKET, SO_DONTROUTE},
                               {SOL_SOCKET, SO_NO_CHECK},   {SOL_SOCKET, 9999},         {IPPROTO_TCP, TCP_NODELAY},  {IPPROTO_TCP, TCP_KEEPIDLE},
                               {IPPROTO_TCP, TCP_KEEPCNT},   {IPPROTO_TCP, TCP_QUICKACK}, {IPPROTO_TCP, TCP_SYNCNT},  {IPPROTO_IP, IP_TTL},        {IPPROTO_IP, IP_TOS},
                               {IPPROTO_IP, IP_RECVTTL},     {IPPROTO_IP, IP_PKTINFO},    {IPPROTO_IPV6, IPV6_V6ONLY}, {IPPROTO_IPV6, IPV6_UNICAST_HOPS}, {77, 1}};

void GetOption(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  const Option option = r.Pick(kOptions);
  if (option.level == IPPROTO_TCP && option.name == TCP_QUICKACK) return;  // changes with what has been sent
  int value[4] = {-7, -7, -7, -7};
  socklen_t length = r.Pick<socklen_t>({4, 4, 4, 16, 2, 0});
  const socklen_t room = length;
  const int result = getsockopt(fd, option.level, option.name, value, &length);
  w.Say(result, "getsockopt(%d, %d, %d, %u)", fd, option.level, option.name, room);
  if (result == 0) w.Note("%d length %u", value[0], length);
}

void SetOption(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  const Option option = r.Pick(kOptions);
  if (option.name == SO_TIMESTAMP && option.level == SOL_SOCKET) return;  // its message holds the clock
  const int value = r.Pick({1, 1, 0, 5, -1, 300});
  const socklen_t length = r.Pick<socklen_t>({4, 4, 4, 1, 8});
  const int values[2] = {value, 0};
  w.Say(setsockopt(fd, option.level, option.name, values, length), "setsockopt(%d, %d, %d, %d, %u)", fd, option.level, option.name, value, length);
}

void PeerCredentials(World& w, Rng& r) {
  const int fd = w.Fd(r, kSocket);
  ucred who{};
  socklen_t length = sizeof(who);
  const int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
  w.Say(result, "getsockopt(%d, SO_PEERCRED)", fd);
  if (result == 0) w.Note("%s %d %d", w.PidName(who.pid).c_str(), static_cast<int>(who.uid), static_cast<int>(who.gid));
  if (!IsInet(fd)) return;  // local sockets have no out-of-band bytes, as on a Linux without CONFIG_AF_UNIX_OOB
  int at_mark = -5;
  w.Say(ioctl(fd, SIOCATMARK, &at_mark), "ioctl(%d, SIOCATMARK)", fd);
  w.Note("%d", at_mark);
}

constexpr Operation kOperations[] = {
    {"socketpair", 6, Pair},   {"socket", 6, Create},   {"bind", 6, Bind},         {"connect", 6, Connect},     {"listen", 4, Listen},
    {"accept", 5, Accept},     {"names", 4, Names},     {"tcp_pair", 2, TcpPair},  {"udp_pair", 2, UdpPair},    {"send", 14, Send},
    {"sendto", 6, SendTo},     {"receive", 14, Receive}, {"sendmsg", 8, SendMessage}, {"recvmsg", 10, ReceiveMessage}, {"shutdown", 3, Shutdown},
    {"getsockopt", 6, GetOption}, {"setsockopt", 6, SetOption}, {"peer", 3, PeerCredentials},
};

}  // namespace

std::span<const Operation> SocketOperations() { return kOperations; }

}  // namespace differential
