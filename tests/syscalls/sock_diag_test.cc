// sock_diag(7) and /proc/net: which sockets there are.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <vector>

#include "inet_support.h"

namespace {

using test::Bound;
using test::Loopback;
using test::Owned;
using test::PortOf;

uint32_t InodeOf(int fd) {
  struct stat s {};
  EXPECT_EQ(fstat(fd, &s), 0);
  return static_cast<uint32_t>(s.st_ino);
}

struct Reply {
  nlmsghdr head;
  std::string body;
};

// All messages that answer one request, up to the end of the dump; an error ends it too.
std::vector<Reply> Ask(const void* body, size_t size, uint16_t flags) {
  std::vector<Reply> replies;
  const Owned s(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
  EXPECT_GE(s.get(), 0);
  nlmsghdr head{};
  head.nlmsg_len = static_cast<uint32_t>(sizeof(head) + size);
  head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  head.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  head.nlmsg_seq = 77;
  std::string request(reinterpret_cast<const char*>(&head), sizeof(head));
  request.append(static_cast<const char*>(body), size);
  EXPECT_EQ(send(s.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string buffer(65536, '\0');
  while (true) {
    const ssize_t n = recv(s.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) return replies;
    for (size_t at = 0; at + sizeof(head) <= static_cast<size_t>(n);) {
      memcpy(&head, buffer.data() + at, sizeof(head));
      if (head.nlmsg_type == NLMSG_DONE) return replies;
      EXPECT_EQ(head.nlmsg_seq, 77u);
      replies.push_back({head, buffer.substr(at + sizeof(head), head.nlmsg_len - sizeof(head))});
      if (head.nlmsg_type == NLMSG_ERROR || (flags & NLM_F_DUMP) == 0) return replies;
      at += NLMSG_ALIGN(head.nlmsg_len);
    }
  }
}

int ErrorOf(const std::vector<Reply>& replies) {
  if (replies.size() != 1 || replies[0].head.nlmsg_type != NLMSG_ERROR) return -1;
  int error = 0;
  memcpy(&error, replies[0].body.data(), sizeof(error));
  return -error;
}

std::string Attribute(const std::string& body, size_t at, uint16_t type) {
  while (at + 4 <= body.size()) {
    uint16_t head[2];
    memcpy(head, body.data() + at, sizeof(head));
    if (head[0] < 4) break;
    if (head[1] == type) return body.substr(at + 4, head[0] - size_t{4});
    at += (head[0] + size_t{3}) & ~size_t{3};
  }
  return "none";
}

inet_diag_req_v2 Request(int family, int protocol) {
  inet_diag_req_v2 r{};
  r.sdiag_family = static_cast<uint8_t>(family), r.sdiag_protocol = static_cast<uint8_t>(protocol);
  r.idiag_states = ~0u;
  r.id.idiag_cookie[0] = r.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return r;
}

struct Shown {
  inet_diag_msg msg;
  std::string body;
};
std::optional<Shown> Find(const std::vector<Reply>& replies, uint32_t inode) {
  for (const Reply& r : replies) {
    Shown s{{}, r.body};
    if (r.body.size() < sizeof(s.msg)) continue;
    memcpy(&s.msg, r.body.data(), sizeof(s.msg));
    if (s.msg.idiag_inode == inode) return s;
  }
  return std::nullopt;
}

class Diag : public testing::TestWithParam<int> {
 protected:
  int family() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Diag, testing::Values(AF_INET, AF_INET6), [](const auto& each) { return each.param == AF_INET ? "V4" : "V6"; });

TEST_P(Diag, ListsAListenerAndBothEndsOfAConnection) {
  const Owned l = Bound(family(), SOCK_STREAM), c(socket(family(), SOCK_STREAM, 0));
  ASSERT_EQ(listen(l.get(), 5), 0);
  const auto to = Loopback(family(), PortOf(l.get()));
  ASSERT_EQ(connect(c.get(), to.get(), to.size()), 0);
  const Owned a(accept(l.get(), nullptr, nullptr));
  ASSERT_EQ(send(c.get(), "unread", 6, 0), 6);
  char byte = 0;
  ASSERT_EQ(recv(a.get(), &byte, 1, MSG_PEEK), 1);
  inet_diag_req_v2 request = Request(family(), IPPROTO_TCP);
  request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  const auto replies = Ask(&request, sizeof(request), NLM_F_DUMP);
  const auto listener = Find(replies, InodeOf(l.get())), client = Find(replies, InodeOf(c.get())), server = Find(replies, InodeOf(a.get()));
  ASSERT_TRUE(listener && client && server);
  EXPECT_EQ(listener->msg.idiag_family, family());
  EXPECT_EQ(listener->msg.idiag_state, TCP_LISTEN);
  EXPECT_EQ(listener->msg.idiag_rqueue, 0u);
  EXPECT_EQ(listener->msg.idiag_wqueue, 5u);
  EXPECT_EQ(ntohs(listener->msg.id.idiag_sport), PortOf(l.get()));
  EXPECT_EQ(listener->msg.idiag_uid, geteuid());
  EXPECT_EQ(client->msg.idiag_state, TCP_ESTABLISHED);
  EXPECT_EQ(client->msg.id.idiag_dport, listener->msg.id.idiag_sport);
  EXPECT_EQ(server->msg.id.idiag_dport, client->msg.id.idiag_sport);
  EXPECT_EQ(memcmp(server->msg.id.idiag_dst, client->msg.id.idiag_src, 16), 0);
  EXPECT_EQ(server->msg.idiag_rqueue, 6u);
  tcp_info info{};
  const std::string text = Attribute(client->body, sizeof(inet_diag_msg), INET_DIAG_INFO);
  ASSERT_GE(text.size(), 104u);
  memcpy(&info, text.data(), std::min(sizeof(info), text.size()));
  EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);

  // Only listening ones, and one by its addresses.
  request.idiag_states = 1 << TCP_LISTEN;
  const auto listeners = Ask(&request, sizeof(request), NLM_F_DUMP);
  EXPECT_TRUE(Find(listeners, InodeOf(l.get())));
  EXPECT_FALSE(Find(listeners, InodeOf(c.get())));
  request.id = client->msg.id;
  EXPECT_TRUE(Find(Ask(&request, sizeof(request), 0), InodeOf(c.get())));
  request.id.idiag_sport = htons(1);
  request.id.idiag_dport = htons(1);
  EXPECT_EQ(ErrorOf(Ask(&request, sizeof(request), 0)), ENOENT);
}

TEST_P(Diag, AProgramChoosesByPort) {
  const Owned a = Bound(family(), SOCK_STREAM), b = Bound(family(), SOCK_STREAM);
  ASSERT_EQ(listen(a.get(), 1), 0);
  ASSERT_EQ(listen(b.get(), 1), 0);
  struct {
    inet_diag_req_v2 request;
    rtattr head;
    inet_diag_bc_op ops[4];
  } both{};
  both.request = Request(family(), IPPROTO_TCP);
  both.head = {sizeof(rtattr) + sizeof(both.ops), INET_DIAG_REQ_BYTECODE};
  const uint16_t port = PortOf(a.get());
  both.ops[0] = {INET_DIAG_BC_S_GE, 8, 20};
  both.ops[1] = {0, 0, port};
  both.ops[2] = {INET_DIAG_BC_S_LE, 8, 12};
  both.ops[3] = {0, 0, port};
  const auto replies = Ask(&both, sizeof(both), NLM_F_DUMP);
  EXPECT_TRUE(Find(replies, InodeOf(a.get())));
  EXPECT_FALSE(Find(replies, InodeOf(b.get())));
  both.ops[2].no = 400;  // a jump into nowhere
  EXPECT_EQ(ErrorOf(Ask(&both, sizeof(both), NLM_F_DUMP)), EINVAL);
}

TEST_P(Diag, ListsUdp) {
  const Owned u = Bound(family(), SOCK_DGRAM), unbound(socket(family(), SOCK_DGRAM, 0));
  inet_diag_req_v2 request = Request(family(), IPPROTO_UDP);
  auto found = Find(Ask(&request, sizeof(request), NLM_F_DUMP), InodeOf(u.get()));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->msg.idiag_state, TCP_CLOSE);
  EXPECT_EQ(ntohs(found->msg.id.idiag_sport), PortOf(u.get()));
  EXPECT_FALSE(Find(Ask(&request, sizeof(request), NLM_F_DUMP), InodeOf(unbound.get())));
  const auto to = Loopback(family(), 9);
  ASSERT_EQ(connect(u.get(), to.get(), to.size()), 0);
  found = Find(Ask(&request, sizeof(request), NLM_F_DUMP), InodeOf(u.get()));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->msg.idiag_state, TCP_ESTABLISHED);
  EXPECT_EQ(ntohs(found->msg.id.idiag_dport), 9);
}

TEST(DiagErrors, WhatIsNotThere) {
  inet_diag_req_v2 request = Request(AF_INET, IPPROTO_TCP);
  EXPECT_EQ(ErrorOf(Ask(&request, 8, NLM_F_DUMP)), EINVAL);
  request.sdiag_family = 200;
  EXPECT_EQ(ErrorOf(Ask(&request, sizeof(request), NLM_F_DUMP)), EINVAL);
}

TEST(UnixDiag, TellsNamesPeersAndBacklogs) {
  const Owned l(socket(AF_UNIX, SOCK_STREAM, 0)), c(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const std::string name = std::string(1, '\0') + "sock_diag_test" + std::to_string(getpid());
  memcpy(a.sun_path, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  ASSERT_EQ(bind(l.get(), reinterpret_cast<const sockaddr*>(&a), size), 0);
  ASSERT_EQ(listen(l.get(), 3), 0);
  ASSERT_EQ(connect(c.get(), reinterpret_cast<const sockaddr*>(&a), size), 0);
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0u;
  request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_ICONS;
  const auto find = [&](uint32_t inode) -> std::optional<Reply> {
    for (const Reply& r : Ask(&request, sizeof(request), NLM_F_DUMP)) {
      unix_diag_msg m{};
      memcpy(&m, r.body.data(), sizeof(m));
      if (m.udiag_ino == inode) return r;
    }
    return std::nullopt;
  };
  const auto listener = find(InodeOf(l.get()));
  ASSERT_TRUE(listener);
  EXPECT_EQ(listener->body[2], TCP_LISTEN);
  EXPECT_EQ(Attribute(listener->body, sizeof(unix_diag_msg), UNIX_DIAG_NAME), name);
  unix_diag_rqlen lengths{};
  memcpy(&lengths, Attribute(listener->body, sizeof(unix_diag_msg), UNIX_DIAG_RQLEN).data(), sizeof(lengths));
  EXPECT_EQ(lengths.udiag_rqueue, 1u);
  EXPECT_EQ(lengths.udiag_wqueue, 3u);
  uint32_t waits = 0;
  memcpy(&waits, Attribute(listener->body, sizeof(unix_diag_msg), UNIX_DIAG_ICONS).data(), sizeof(waits));
  EXPECT_EQ(waits, InodeOf(c.get()));
  const Owned s(accept(l.get(), nullptr, nullptr));
  const auto client = find(InodeOf(c.get()));
  ASSERT_TRUE(client);
  EXPECT_EQ(client->body[2], TCP_ESTABLISHED);
  uint32_t peer = 0;
  memcpy(&peer, Attribute(client->body, sizeof(unix_diag_msg), UNIX_DIAG_PEER).data(), sizeof(peer));
  EXPECT_EQ(peer, InodeOf(s.get()));
}

// The line of a table whose `column`-th word is `word`.
std::string LineWith(const char* table, size_t column, const std::string& word) {
  std::ifstream in(std::string("/proc/net/") + table);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string one;
    for (size_t i = 0; i <= column; ++i) words >> one;
    if (one == word) return line;
  }
  return "";
}

TEST(ProcNet, TablesHaveTheSockets) {
  const Owned l = Bound(AF_INET, SOCK_STREAM), u = Bound(AF_INET6, SOCK_DGRAM), x(socket(AF_UNIX, SOCK_DGRAM, 0)), n(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  ASSERT_EQ(listen(l.get(), 1), 0);
  EXPECT_EQ(LineWith("netlink", 9, std::to_string(InodeOf(n.get()))), "");  // only once it has a port
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  ASSERT_EQ(bind(n.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);
  char port[16];
  snprintf(port, sizeof(port), ":%04X ", PortOf(l.get()));
  const std::string tcp = LineWith("tcp", 9, std::to_string(InodeOf(l.get())));
  EXPECT_NE(tcp.find("0100007F" + std::string(port) + "00000000:0000 0A 00000000:00000000"), std::string::npos) << tcp;
  EXPECT_EQ(tcp.size(), 149u);
  snprintf(port, sizeof(port), ":%04X ", PortOf(u.get()));
  const std::string udp = LineWith("udp6", 9, std::to_string(InodeOf(u.get())));
  EXPECT_NE(udp.find("00000000000000000000000001000000" + std::string(port)), std::string::npos) << udp;
  EXPECT_NE(LineWith("unix", 6, std::to_string(InodeOf(x.get()))), "");
  EXPECT_NE(LineWith("netlink", 9, std::to_string(InodeOf(n.get()))), "");
}

}  // namespace
