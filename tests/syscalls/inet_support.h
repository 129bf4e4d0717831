// Addresses and connections over loopback, for the tests of sockets.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include "net_support.h"

namespace test {

class Address {
 public:
  static Address From(const sockaddr_storage& s, socklen_t n) {
    Address a;
    a.storage_ = s;
    a.size_ = n;
    return a;
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage_); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const {
    return ntohs(family() == AF_INET ? reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port : reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  }
  std::string Text() const {
    char text[INET6_ADDRSTRLEN] = {};
    const void* const ip = family() == AF_INET ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr)
                                               : &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr;
    inet_ntop(family(), ip, text, sizeof(text));
    return text;
  }
  bool IsLoopback() const { return Text() == (family() == AF_INET ? "127.0.0.1" : "::1"); }
  bool operator==(const Address& o) const { return family() == o.family() && port() == o.port() && Text() == o.Text(); }

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};
inline void PrintTo(const Address& a, std::ostream* out) { *out << a.Text() << " port " << a.port(); }

inline Address Numeric(int family, const char* text, uint16_t port) {
  sockaddr_storage s{};
  if (family == AF_INET) {
    auto* const in = reinterpret_cast<sockaddr_in*>(&s);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    inet_pton(AF_INET, text, &in->sin_addr);
    return Address::From(s, sizeof(*in));
  }
  auto* const in6 = reinterpret_cast<sockaddr_in6*>(&s);
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons(port);
  inet_pton(AF_INET6, text, &in6->sin6_addr);
  return Address::From(s, sizeof(*in6));
}
inline Address Loopback(int family, uint16_t port) { return Numeric(family, family == AF_INET ? "127.0.0.1" : "::1", port); }
inline Address Any(int family, uint16_t port) { return Numeric(family, family == AF_INET ? "0.0.0.0" : "::", port); }

inline Address NameOf(int fd, bool peer = false) {
  sockaddr_storage s{};
  socklen_t n = sizeof(s);
  EXPECT_EQ(peer ? getpeername(fd, reinterpret_cast<sockaddr*>(&s), &n) : getsockname(fd, reinterpret_cast<sockaddr*>(&s), &n), 0);
  return Address::From(s, n);
}
inline uint16_t PortOf(int fd) { return NameOf(fd).port(); }

inline void SetInt(int fd, int level, int name, int value) { EXPECT_EQ(setsockopt(fd, level, name, &value, sizeof(value)), 0) << name; }
inline int IntOption(int fd, int level, int name) {
  int value = -1;
  socklen_t n = sizeof(value);
  EXPECT_EQ(getsockopt(fd, level, name, &value, &n), 0) << name;
  return value;
}

// A socket bound to an ephemeral port of loopback.
inline Owned Bound(int family, int type) {
  Owned s(socket(family, type, 0));
  const Address any = Loopback(family, 0);
  EXPECT_EQ(bind(s.get(), any.get(), any.size()), 0);
  return s;
}
inline Owned Listener(int family, int backlog = 64) {
  Owned l = Bound(family, SOCK_STREAM);
  EXPECT_EQ(listen(l.get(), backlog), 0);
  return l;
}
inline Owned Connect(int family, uint16_t port) {
  Owned c(socket(family, SOCK_STREAM, 0));
  const Address to = Loopback(family, port);
  EXPECT_EQ(connect(c.get(), to.get(), to.size()), 0) << strerror(errno);
  return c;
}
struct TcpPair {
  Owned client, server;
};
inline TcpPair Connected(int family) {
  const Owned l = Listener(family);
  Owned c = Connect(family, PortOf(l.get()));
  Owned s(accept(l.get(), nullptr, nullptr));
  EXPECT_TRUE(s.ok());
  return {std::move(c), std::move(s)};
}

}  // namespace test
