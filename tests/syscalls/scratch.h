// What the file tests share: a fresh directory on each filesystem that they run on, and a child with another user's rights.
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string>
#include <string_view>

// The call fails, with this errno.
#define EXPECT_FAILS(call, code)               \
  do {                                         \
    errno = 0;                                 \
    EXPECT_EQ((call), -1) << #call;            \
    EXPECT_EQ(errno, (code)) << #call;         \
  } while (0)
#define EXPECT_WORKS(call) EXPECT_EQ((call), 0) << #call << ": errno " << errno
#define ASSERT_WORKS(call) ASSERT_EQ((call), 0) << #call << ": errno " << errno

// In a child of AsUser: a condition that must hold.
#define IN_CHILD(condition)                                                                    \
  do {                                                                                         \
    errno = 0;                                                                                 \
    if (!(condition)) {                                                                        \
      dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);     \
      return 1;                                                                                \
    }                                                                                          \
  } while (0)
#define IN_CHILD_FAILS(call, code) IN_CHILD((call) == -1 && errno == (code))

namespace scratch {

// Runs `body` (an int(), 0 for success) in a child; its status.
template <class F>
int InChild(F body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

// The same as user and group `id`, without capabilities or other groups. REQUIRES: root.
template <class F>
int AsUser(uid_t id, F body) {
  return InChild([&] {
    if (setgroups(0, nullptr) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0) return 99;
    return body();
  });
}

// A function, so that a failure does not print the whole child.
inline void Passes(int status, const std::source_location& where = std::source_location::current()) {
  EXPECT_EQ(status, 0) << where.file_name() << ":" << where.line() << ": the child failed";
}

inline int RemoveOne(const char* path, const struct stat*, int, struct FTW*) {
  (void)remove(path);
  return 0;
}

// Each test runs in a directory of its own, which is its working directory, below the parameter.
class Scratch : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    struct stat st {};
    if (stat(GetParam(), &st) != 0) GTEST_SKIP() << "no " << GetParam() << " here";
    path = std::string(GetParam()) + "/rampart-files-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    ASSERT_EQ(chdir(path.c_str()), 0);
    ASSERT_EQ(chmod(".", 0755), 0);
    old_mask = umask(022);
  }
  void TearDown() override {
    umask(old_mask);
    if (chdir("/") == 0 && !path.empty()) nftw(path.c_str(), RemoveOne, 32, FTW_DEPTH | FTW_PHYS);
  }
  // A file with contents. Its descriptor is closed.
  static void Put(const char* name, std::string_view text, mode_t mode = 0644) {
    const int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, mode);
    ASSERT_GE(fd, 0) << name;
    ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
  }
  static std::string Get(const char* name) {
    const int fd = open(name, O_RDONLY);
    if (fd < 0) return "<errno " + std::to_string(errno) + ">";
    std::string text;
    char piece[4096];
    ssize_t n = 0;
    while ((n = read(fd, piece, sizeof(piece))) > 0) text.append(piece, static_cast<size_t>(n));
    close(fd);
    return text;
  }
  static struct stat Stat(const char* name) {
    struct stat st {};
    EXPECT_EQ(lstat(name, &st), 0) << name;
    return st;
  }
  static mode_t Mode(const char* name) { return Stat(name).st_mode & 07777; }
  static bool Exists(const char* name) {
    struct stat st {};
    return lstat(name, &st) == 0;
  }
  // A name that does not exist on another filesystem.
  static std::string Elsewhere() { return std::string(std::string_view(GetParam()) == "/tmp" ? "/dev/shm" : "/tmp") + "/rampart-elsewhere"; }
  std::string path;
  mode_t old_mask = 022;
};

inline const char* const kPlaces[] = {"/tmp", "/dev/shm"};
inline std::string PlaceName(const ::testing::TestParamInfo<const char*>& info) { return info.index == 0 ? "tmp" : "shm"; }

}  // namespace scratch

// REQUIRES: `Suite` is an alias of, or derived from, scratch::Scratch.
#define ON_ALL_PLACES(Suite) INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::ValuesIn(scratch::kPlaces), scratch::PlaceName)
