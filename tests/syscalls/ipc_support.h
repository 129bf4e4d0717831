// What the tests of System V IPC share: objects that are removed at the end, children, and a look into /proc.
#pragma once

#include <grp.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <fstream>
#include <source_location>
#include <sstream>
#include <vector>

#include "net_support.h"

// In a child: a condition that must hold.
#define IN_CHILD(condition)                                                                    \
  do {                                                                                         \
    errno = 0;                                                                                 \
    if (!(condition)) {                                                                        \
      dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);     \
      return 1;                                                                                \
    }                                                                                          \
  } while (0)
#define IN_CHILD_FAILS(call, code) IN_CHILD((call) == -1 && errno == (code))

namespace test {

// Runs `body` (0: success) in a process of its own.
inline pid_t Spawn(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  return child;
}
inline int StatusOf(pid_t child) {
  int status = -1;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
inline int InChild(const std::function<int()>& body) { return StatusOf(Spawn(body)); }
// The same as a user without capabilities.
inline int AsUser(uid_t id, const std::function<int()>& body) {
  return InChild([&] {
    if (setgroups(0, nullptr) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0) return 99;
    return body();
  });
}
inline void Passes(int status, const std::source_location& where = std::source_location::current()) {
  EXPECT_EQ(status, 0) << where.file_name() << ":" << where.line() << ": the child failed";
}
// Waits, at most some seconds, until it is so.
inline bool Becomes(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    SleepMs(5);
  }
  return false;
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}
// Whether we have it effectively (capabilities(7)'s number).
inline bool HasCapability(int number) {
  const std::string status = ReadAll("/proc/self/status");
  const size_t at = status.find("CapEff:");
  return at != std::string::npos && ((std::stoull(status.substr(at + 7), nullptr, 16) >> number) & 1) != 0;
}
// The line of /proc/sysvipc/KIND with this id, as words; empty: none.
inline std::vector<std::string> ProcLine(const std::string& kind, int id) {
  std::ifstream in("/proc/sysvipc/" + kind);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::vector<std::string> all;
    for (std::string word; words >> word;) all.push_back(word);
    if (all.size() > 1 && all[1] == std::to_string(id)) return all;
  }
  return {};
}

// A key that nobody has: the process and a counter.
inline key_t NewKey() {
  static int next = 0;
  return 0x52000000 + (getpid() & 0xffff) * 0x100 + ++next;
}

}  // namespace test
