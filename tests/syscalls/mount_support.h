// What the tests of mounts share: a mount namespace of their own, and a tmpfs in it to play on.
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <sstream>
#include <vector>

#include <gmock/gmock.h>

#include "scratch.h"

namespace mounts {

using scratch::InChild;
using scratch::Passes;

// A line of /proc/self/mountinfo (proc(5)).
struct Line {
  int id = 0, parent = 0;
  std::string root, point, options, propagation, type, source, super;
};

inline std::vector<Line> Table(const char* file = "/proc/self/mountinfo") {
  std::vector<Line> lines;
  std::ifstream in(file);
  for (std::string text; std::getline(in, text);) {
    std::istringstream words(text);
    Line line;
    std::string device, word;
    words >> line.id >> line.parent >> device >> line.root >> line.point >> line.options;
    while (words >> word && word != "-") line.propagation += (line.propagation.empty() ? "" : " ") + word;
    words >> line.type >> line.source >> line.super;
    lines.push_back(line);
  }
  return lines;
}

// The last line about `point`, or one without an id.
inline Line LineOf(const std::string& point) {
  Line found;
  for (const Line& line : Table()) {
    if (line.point == point) found = line;
  }
  return found;
}

class Mounts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "no mount namespace of our own (errno " << errno << "): CAP_SYS_ADMIN is needed";
    ASSERT_WORKS(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    path = "/tmp/rampart-mounts-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    ASSERT_WORKS(mount("play", path.c_str(), "tmpfs", 0, "mode=755"));
    ASSERT_WORKS(chdir(path.c_str()));
    ready = true;
  }
  void TearDown() override {
    if (!ready) return;
    EXPECT_WORKS(chdir("/"));
    EXPECT_WORKS(umount2(path.c_str(), MNT_DETACH));
    EXPECT_WORKS(rmdir(path.c_str()));
  }
  static void Put(const std::string& name, std::string_view text = "x") {
    const int fd = open(name.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    ASSERT_GE(fd, 0) << name << ": errno " << errno;
    ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
  }
  static bool Exists(const std::string& name) {
    struct stat st {};
    return lstat(name.c_str(), &st) == 0;
  }
  static dev_t Device(const std::string& name) {
    struct stat st {};
    EXPECT_EQ(stat(name.c_str(), &st), 0) << name;
    return st.st_dev;
  }
  static void Directory(const std::string& name) { ASSERT_WORKS(mkdir(name.c_str(), 0755)); }
  // A new tmpfs on a new directory.
  static void Tmpfs(const std::string& name) {
    Directory(name);
    ASSERT_WORKS(mount("t", name.c_str(), "tmpfs", 0, nullptr));
  }
  std::string At(const std::string& name) const { return path + "/" + name; }
  std::string path;
  bool ready = false;
};

}  // namespace mounts
