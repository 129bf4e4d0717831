// /proc/PID/io: what read(2), write(2) and their like have moved. And other files of /proc that only tell.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

namespace {

struct Io {
  uint64_t rchar, wchar, syscr, syscw;
};
// Reading it is a read too: 4096 bytes are offered, so one call and what it says.
Io Now(const char* file = "/proc/self/io") {
  std::map<std::string, uint64_t> values;
  char text[4096];
  const int fd = open(file, O_RDONLY);
  EXPECT_GE(fd, 0) << file;
  const ssize_t n = read(fd, text, sizeof(text));
  close(fd);
  EXPECT_GT(n, 0);
  std::istringstream in(std::string(text, static_cast<size_t>(n)));
  for (std::string name; in >> name;) in >> values[name];
  EXPECT_EQ(values.size(), 7u);
  return {values["rchar:"], values["wchar:"], values["syscr:"], values["syscw:"]};
}
// What one reading of the file counts.
uint64_t OwnBytes() {
  const uint64_t before = Now().rchar;
  return Now().rchar - before;
}

class ProcIo : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(ends_), 0); }
  void TearDown() override { close(ends_[0]), close(ends_[1]); }
  int ends_[2] = {-1, -1};
};

TEST_F(ProcIo, CountsBytesAndCalls) {
  const uint64_t own = OwnBytes();
  const Io before = Now();
  char buffer[100] = {};
  ASSERT_EQ(write(ends_[1], buffer, 70), 70);
  ASSERT_EQ(read(ends_[0], buffer, 100), 70);
  iovec two[] = {{buffer, 10}, {buffer + 10, 20}};
  ASSERT_EQ(writev(ends_[1], two, 2), 30);
  ASSERT_EQ(readv(ends_[0], two, 2), 30);
  const Io after = Now();
  EXPECT_NEAR(static_cast<double>(after.rchar - before.rchar), 100.0 + static_cast<double>(own), 4);  // numbers may have become longer
  EXPECT_EQ(after.wchar - before.wchar, 100u);
  EXPECT_EQ(after.syscr - before.syscr, 3u);  // with that of the file
  EXPECT_EQ(after.syscw - before.syscw, 2u);
}

TEST_F(ProcIo, CallsThatFailCountAsCalls) {
  ASSERT_EQ(fcntl(ends_[0], F_SETFL, O_NONBLOCK), 0);
  const Io before = Now();
  char byte = 0;
  ASSERT_EQ(read(ends_[0], &byte, 1), -1);
  ASSERT_EQ(read(-1, &byte, 1), -1);  // but not this: there is no file
  const Io after = Now();
  EXPECT_EQ(after.syscr - before.syscr, 2u);
}

TEST_F(ProcIo, SocketsCountByReadAndWriteOnly) {
  int s[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
  const Io before = Now();
  char buffer[50] = {};
  ASSERT_EQ(send(s[0], buffer, 50, 0), 50);
  ASSERT_EQ(recv(s[1], buffer, 50, 0), 50);
  ASSERT_EQ(write(s[0], buffer, 20), 20);
  const Io after = Now();
  EXPECT_EQ(after.wchar - before.wchar, 20u);
  EXPECT_EQ(after.syscr - before.syscr, 1u);
  close(s[0]), close(s[1]);
}

TEST_F(ProcIo, ThreadsAndChildrenThatHaveGoneStay) {
  const Io before = Now();
  std::thread([this] { EXPECT_EQ(write(ends_[1], "0123456789", 10), 10); }).join();
  EXPECT_EQ(Now().wchar - before.wchar, 10u);
  const Io thread = Now("/proc/thread-self/io");
  EXPECT_LE(thread.wchar, Now().wchar - 10);
  const pid_t pid = fork();
  if (pid == 0) _exit(write(ends_[1], "01234", 5) == 5 ? 0 : 1);
  EXPECT_EQ(Now().wchar - before.wchar, 10u);  // it is not ours
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Now().wchar - before.wchar, 15u);  // until it was waited for
}

std::string FirstLine(const char* file) {
  std::ifstream in(file);
  EXPECT_TRUE(in.is_open()) << file;
  std::string line;
  std::getline(in, line);
  return line;
}

TEST(ProcNet, HeadersAreLinuxs) {
  EXPECT_EQ(FirstLine("/proc/net/raw"),
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops");
  EXPECT_EQ(FirstLine("/proc/net/udp").substr(0, 33), "   sl  local_address rem_address ");
  EXPECT_EQ(FirstLine("/proc/net/icmp").substr(0, 32), "  sl  local_address rem_address ");
  EXPECT_EQ(FirstLine("/proc/net/icmp").size(), 127u);
  EXPECT_EQ(FirstLine("/proc/net/route").size(), 127u);
  EXPECT_EQ(FirstLine("/proc/net/psched"), "000003e8 00000040 000f4240 3b9aca00");
  EXPECT_EQ(FirstLine("/proc/net/ptype"), "Type Device      Function");
  EXPECT_EQ(FirstLine("/proc/net/mcfilter"), "Idx Device        MCA        SRC    INC    EXC");
  EXPECT_EQ(FirstLine("/proc/self/cpuset").substr(0, 1), "/");
}

TEST(ProcNet, NetstatHasAsManyValuesAsNames) {
  std::ifstream in("/proc/net/netstat");
  std::string names, values;
  int pairs = 0;
  while (std::getline(in, names) && std::getline(in, values)) {
    std::istringstream a(names), b(values);
    std::string name, value;
    ASSERT_TRUE(a >> name && b >> value);
    EXPECT_EQ(name, value);  // TcpExt:
    while (a >> name) EXPECT_TRUE(b >> value) << name;
    EXPECT_FALSE(b >> value);
    ++pairs;
  }
  EXPECT_GE(pairs, 2);
}

TEST(ProcNet, ProtocolsCountTheirSockets) {
  const auto sockets = [](const std::string& protocol) {
    std::ifstream in("/proc/net/protocols");
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string name;
      long size = 0, count = -1;
      if (words >> name >> size >> count && name == protocol) return count;
    }
    return -1L;
  };
  const long tcp = sockets("TCP"), udp6 = sockets("UDPv6");
  ASSERT_GE(tcp, 0);
  const int a = socket(AF_INET, SOCK_STREAM, 0), b = socket(AF_INET6, SOCK_DGRAM, 0);
  ASSERT_EQ(listen(a, 1), 0);
  const sockaddr_in6 any{.sin6_family = AF_INET6, .sin6_port = 0, .sin6_flowinfo = 0, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_scope_id = 0};
  ASSERT_EQ(bind(b, reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);
  EXPECT_GE(sockets("TCP"), tcp + 1);
  EXPECT_GE(sockets("UDPv6"), udp6 + 1);
  close(a), close(b);
}

}  // namespace
