// What the pid_namespace_*_test.cc share: a process in a PID namespace of its own, and what two processes tell each other.
#pragma once

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <string>

#include "scratch.h"

namespace pidns {

// Only who may make one can be tested.
#define NEEDS_NAMESPACES() \
  if (geteuid() != 0) GTEST_SKIP() << "needs root"

// A child that is process 1 of a new PID namespace and ends with what `body` returns; its number here.
inline pid_t Start(const std::function<int()>& body) {
  const auto pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) _exit(body());
  EXPECT_GT(pid, 0) << errno;
  return pid;
}
inline int StatusOf(pid_t pid) {
  int status = -1;
  return waitpid(pid, &status, 0) == pid ? status : -1;
}
inline int Ended(pid_t pid) {
  const int status = StatusOf(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
inline int InNew(const std::function<int()>& body) { return Ended(Start(body)); }

// A pipe: one side waits for the other's byte. Wait is false when the other has gone.
class Gate {
 public:
  Gate() {
    if (pipe2(ends_, O_CLOEXEC) != 0) abort();
  }
  ~Gate() {
    close(ends_[0]);
    if (ends_[1] >= 0) close(ends_[1]);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  void Open() const { (void)!write(ends_[1], "x", 1); }
  bool Wait() const {
    char byte = 0;
    return read(ends_[0], &byte, 1) == 1;
  }
  // Leaves only the other side to open it.
  void OnlyWait() {
    close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2] = {-1, -1};
};

inline int Sleep() {
  while (true) pause();
}

// A line of a file of proc that begins with `name`, without it; "" if there is none.
inline std::string Field(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with(name)) return line.substr(name.size());
  }
  return "";
}
inline std::string Link(const std::string& path) {
  char text[128] = {};
  const ssize_t n = readlink(path.c_str(), text, sizeof(text) - 1);
  return n < 0 ? "errno " + std::to_string(errno) : std::string(text, static_cast<size_t>(n));
}

// Waits at most ten seconds for `done`.
inline bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 10000; ++i) {
    if (done()) return true;
    usleep(1000);
  }
  return false;
}

}  // namespace pidns
