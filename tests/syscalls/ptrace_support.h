// What the ptrace_*_test.cc share: tracees made by fork, and waits that say what they saw.
#pragma once

#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

namespace tracing {

inline long Ptrace(long request, pid_t pid, uint64_t address = 0, uint64_t data = 0) { return syscall(SYS_ptrace, request, pid, address, data); }
template <class T>
long PtraceTo(long request, pid_t pid, uint64_t address, T* data) {
  return syscall(SYS_ptrace, request, pid, address, data);
}
constexpr int Event(int event, int signo = SIGTRAP) { return (event << 8) | signo; }

// The stop's code (status >> 8), or -1 and a failure when it is no stop.
inline int StopOf(pid_t pid) {
  int status = 0;
  const pid_t got = waitpid(pid, &status, __WALL);
  EXPECT_EQ(got, pid) << errno;
  EXPECT_TRUE(WIFSTOPPED(status)) << std::hex << status;
  return got == pid && WIFSTOPPED(status) ? status >> 8 : -1;
}
inline int StatusOf(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, __WALL), pid) << errno;
  return status;
}
inline user_regs_struct Regs(pid_t pid) {
  user_regs_struct regs{};
  EXPECT_EQ(PtraceTo(PTRACE_GETREGS, pid, 0, &regs), 0) << errno;
  return regs;
}

// Until /proc says that the process is in that state.
inline void WaitUntil(pid_t pid, char state) {
  for (int i = 0; i < 60000; ++i) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(stat, text);
    const size_t at = text.rfind(')');
    if (at != std::string::npos && text[at + 2] == state) return;
    usleep(1000);
  }
  FAIL() << "state " << state << " is not reached";
}

// A child that asked to be traced and stopped itself; it goes on with `body`. Killed at the end, if it is still there.
class Tracee {
 public:
  explicit Tracee(const std::function<int()>& body, long options = 0) {
    pid_ = fork();
    if (pid_ == 0) {
      if (Ptrace(PTRACE_TRACEME, 0) != 0) _exit(99);
      raise(SIGSTOP);
      _exit(body());
    }
    EXPECT_EQ(StopOf(pid_), SIGSTOP);
    EXPECT_EQ(Ptrace(PTRACE_SETOPTIONS, pid_, 0, static_cast<uint64_t>(options)), 0);
  }
  ~Tracee() { Finish(pid_); }
  pid_t pid() const { return pid_; }
  long Go(long request = PTRACE_CONT, int signo = 0) const { return Ptrace(request, pid_, 0, static_cast<uint64_t>(signo)); }

  static void Finish(pid_t pid) {
    kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) Ptrace(PTRACE_CONT, pid);
  }

 private:
  pid_t pid_;
};

// A child that is not traced and runs `body`.
inline pid_t Spawn(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}

}  // namespace tracing
