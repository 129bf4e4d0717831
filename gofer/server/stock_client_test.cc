// Clients that others wrote: the kernel's own, and diod's tools.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "gofer/server/testing/test_server.h"

namespace rampart::gofer {
namespace {

TEST(StockClient, KernelMounts) {
  if (ReadFile("/proc/filesystems").find("\t9p\n") == std::string::npos) GTEST_SKIP() << "this kernel has no 9p filesystem";
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  TestServer server({.kind = SocketKind::kStream});
  const UniqueFd socket = server.TakeSocket();
  const std::string where = server.outside() + "/mnt", number = std::to_string(socket.get());
  ASSERT_EQ(mkdir(where.c_str(), 0755), 0);
  const std::string options = "trans=fd,rfdno=" + number + ",wfdno=" + number + ",version=9p2000.L,aname=root,access=any";
  ASSERT_EQ(mount("gofer", where.c_str(), "9p", 0, options.c_str()), 0);
  WriteFile(where + "/f", "through the kernel");
  EXPECT_EQ(ReadFile(server.root() + "/f"), "through the kernel");
  EXPECT_EQ(mkdir((where + "/d").c_str(), 0711), 0);
  EXPECT_EQ(rename((where + "/f").c_str(), (where + "/d/g").c_str()), 0);
  EXPECT_EQ(ReadFile(where + "/d/g"), "through the kernel");
  EXPECT_EQ(symlink("d/g", (where + "/l").c_str()), 0);
  EXPECT_EQ(ReadFile(where + "/l"), "through the kernel");
  EXPECT_EQ(unlink((where + "/d/g").c_str()), 0);
  EXPECT_EQ(rmdir((where + "/d").c_str()), 0);
  EXPECT_EQ(umount(where.c_str()), 0);
}

// What `command` prints, with "PORT" replaced by one that leads to a Gofer over `root`.
std::string RunAgainstGofer(const std::string& root, std::string command) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 || listen(listener.get(), 1) != 0) return "no socket";
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return "no port";
  std::thread server([&] {
    GoferConfig config;
    config.channels.push_back({UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), SocketKind::kStream});
    AttachPoint point;
    point.name = "root";
    point.root = UniqueFd(::open(root.c_str(), O_PATH | O_CLOEXEC));
    config.attach_points.push_back(std::move(point));
    PrepareGofer(config);
    ServeGofer(std::move(config));
  });
  command.replace(command.find("PORT"), 4, std::to_string(ntohs(address.sin_port)));
  std::string out;
  std::array<char, 4096> buffer;
  FILE* pipe = popen(command.c_str(), "r");
  for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0);
  server.join();
  return out;
}

TEST(StockClient, DiodToolsListAndRead) {
  if (std::system("command -v diodls >/dev/null && command -v diodcat >/dev/null") != 0) GTEST_SKIP() << "diod's tools are not installed";
  TestServer directory({});
  ASSERT_EQ(mkdir((directory.root() + "/sub").c_str(), 0755), 0);
  std::string text;
  for (int i = 0; i < 50000; ++i) text += std::to_string(i) + "\n";
  WriteFile(directory.root() + "/sub/f", text);
  EXPECT_EQ(RunAgainstGofer(directory.root(), "diodcat -s 127.0.0.1:PORT -a root sub/f"), text);
  const std::string listed = RunAgainstGofer(directory.root(), "diodls -l -s 127.0.0.1:PORT -a root sub");
  EXPECT_NE(listed.find(std::to_string(text.size())), std::string::npos) << listed;
  EXPECT_NE(listed.find(" f\n"), std::string::npos) << listed;
}

}  // namespace
}  // namespace rampart::gofer
