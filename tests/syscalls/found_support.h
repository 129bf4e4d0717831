// What the tests of findings of random programs (tests/differential) share.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "tests/syscalls/net_support.h"

namespace found {

using test::Owned;

struct Ends {
  Owned a, b;
};
inline Ends Pair(int type) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
  return {Owned(fds[0]), Owned(fds[1])};
}
inline Ends Pipe(int flags = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(pipe2(fds, O_NONBLOCK | flags), 0);
  return {Owned(fds[0]), Owned(fds[1])};
}

// A page that nothing may touch.
inline char* Nowhere() {
  static void* const at = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<char*>(at);
}

inline sockaddr_un Local(const std::string& name, socklen_t* length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, name.data(), name.size());
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  return address;
}

// Runs in a directory of its own.
class Found : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
    ASSERT_EQ(chdir(directory_.c_str()), 0);
  }
  void TearDown() override {
    for (const char* name : {"f", "g", "s", "t", "link"}) unlink(name);
    EXPECT_EQ(chdir("/"), 0);
    EXPECT_EQ(rmdir(directory_.c_str()), 0);
  }
  Owned File(const char* name, size_t size = 0) {
    Owned fd(open(name, O_RDWR | O_CREAT, 0644));
    EXPECT_TRUE(fd.ok());
    const std::string bytes(size, 'x');
    EXPECT_EQ(pwrite(fd.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
    return fd;
  }

 private:
  std::string directory_ = "/tmp/rampart-found-XXXXXX";
};

}  // namespace found
