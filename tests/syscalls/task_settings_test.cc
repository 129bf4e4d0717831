// What is remembered about a task and a process: I/O priority, OOM score, timer slack, core dump filter, personality; kcmp(2).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sem.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "expect.h"

namespace {

constexpr int kProcess = 1, kGroup = 2, kUser = 3, kRealTime = 1, kBestEffort = 2, kIdle = 3;
constexpr int Prio(int io_class, int level) { return io_class << 13 | level; }
long Get(int which, int who) { return syscall(SYS_ioprio_get, which, who); }
long Set(int which, int who, int priority) { return syscall(SYS_ioprio_set, which, who, priority); }

// The exit status of a child that runs `body`.
int InChild(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::string text;
  std::getline(in, text);
  return text;
}
// 0, or the errno of the write.
int WriteFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY);
  if (fd < 0) return errno;
  const int error = write(fd, text.data(), text.size()) < 0 ? errno : 0;
  close(fd);
  return error;
}

TEST(IoPriority, NoneUntilOneIsSetAndInherited) {
  EXPECT_EQ(InChild([] {
    if (Get(kProcess, 0) != 0) return 1;
    if (Set(kProcess, 0, Prio(kBestEffort, 3)) != 0) return 2;
    if (Get(kProcess, getpid()) != Prio(kBestEffort, 3)) return 3;
    const int child = InChild([] { return Get(kProcess, 0) == Prio(kBestEffort, 3) && Set(kProcess, 0, Prio(kIdle, 0)) == 0 ? 0 : 1; });
    if (child != 0) return 4;
    if (Get(kProcess, 0) != Prio(kBestEffort, 3)) return 5;  // the child's is its own
    if (Set(kProcess, 0, 0) != 0 || Get(kProcess, 0) != 0) return 6;
    return 0;
  }), 0);
}

TEST(IoPriority, GroupsTellTheBestOfAll) {
  EXPECT_EQ(InChild([] {
    setpgid(0, 0);
    if (setpriority(PRIO_PROCESS, 0, 5) != 0) return 1;
    if (Get(kGroup, 0) != Prio(kBestEffort, 5)) return 2;  // (5 + 20) / 5: what the nice value stands for
    if (Set(kGroup, 0, Prio(kBestEffort, 1)) != 0) return 3;
    return Get(kGroup, 0) == Prio(kBestEffort, 1) && Get(kProcess, 0) == Prio(kBestEffort, 1) ? 0 : 4;
  }), 0);
}

TEST(IoPriority, Errors) {
  EXPECT_FAILS(Get(0, 0), EINVAL);
  EXPECT_FAILS(Get(4, 0), EINVAL);
  EXPECT_FAILS(Get(kProcess, 999999), ESRCH);
  EXPECT_FAILS(Get(kProcess, -1), ESRCH);
  EXPECT_FAILS(Set(kProcess, 0, Prio(0, 1)), EINVAL);
  EXPECT_FAILS(Set(kProcess, 0, Prio(4, 0)), EINVAL);
  EXPECT_FAILS(Set(7, 0, Prio(kBestEffort, 0)), EINVAL);
  (void)kRealTime, (void)kUser;
}

TEST(Priority, NegativeProcessesAreNone) {
  EXPECT_FAILS(getpriority(PRIO_PROCESS, -1), ESRCH);
  EXPECT_FAILS(setpriority(PRIO_PROCESS, static_cast<id_t>(-1), 0), ESRCH);
  rlimit limit;
  EXPECT_FAILS(syscall(SYS_prlimit64, -1, RLIMIT_NOFILE, nullptr, &limit), ESRCH);
}

TEST(OomScore, IsRememberedAndInherited) {
  EXPECT_EQ(InChild([] {
    if (WriteFile("/proc/self/oom_score_adj", "500") != 0) return 1;
    if (ReadFile("/proc/self/oom_score_adj") != "500") return 2;
    if (ReadFile("/proc/self/oom_adj") != "8") return 3;
    if (InChild([] { return ReadFile("/proc/self/oom_score_adj") == "500" ? 0 : 1; }) != 0) return 4;
    if (WriteFile("/proc/self/oom_score_adj", "1001") != EINVAL || WriteFile("/proc/self/oom_score_adj", "x") != EINVAL) return 5;
    if (WriteFile("/proc/self/oom_score_adj", "100\n") != 0 || ReadFile("/proc/self/oom_score_adj") != "100") return 6;
    return WriteFile("/proc/self/oom_adj", "15") == 0 && ReadFile("/proc/self/oom_score_adj") == "1000" ? 0 : 7;
  }), 0);
}

TEST(OomScore, OnlyThePrivilegedProtectThemselves) {
  EXPECT_EQ(InChild([] {
    if (setresuid(12345, 12345, 12345) != 0 && getuid() == 0) return 1;
    prctl(PR_SET_DUMPABLE, 1);
    return WriteFile("/proc/self/oom_score_adj", "-500") == EACCES ? 0 : 2;
  }), 0);
}

TEST(TimerSlack, IsAlsoAFile) {
  EXPECT_EQ(InChild([] {
    if (prctl(PR_SET_TIMERSLACK, 12345) != 0) return 1;
    if (ReadFile("/proc/self/timerslack_ns") != "12345") return 2;
    if (WriteFile("/proc/self/timerslack_ns", "777") != 0) return 3;
    return prctl(PR_GET_TIMERSLACK) == 777 ? 0 : 4;
  }), 0);
}

TEST(TimerSlack, TheDefaultIsWhatTheCreatorHad) {
  EXPECT_EQ(InChild([] {
    if (prctl(PR_SET_TIMERSLACK, 70000) != 0) return 1;
    const int result = InChild([] {
      if (prctl(PR_GET_TIMERSLACK) != 70000 || prctl(PR_SET_TIMERSLACK, 5) != 0 || prctl(PR_SET_TIMERSLACK, 0) != 0) return 1;
      if (prctl(PR_GET_TIMERSLACK) != 70000) return 2;
      if (WriteFile("/proc/self/timerslack_ns", "9") != 0 || WriteFile("/proc/self/timerslack_ns", "0") != 0) return 3;
      return prctl(PR_GET_TIMERSLACK) == 70000 ? 0 : 4;
    });
    if (result != 0) return 10 + result;
    return prctl(PR_SET_TIMERSLACK, 0) == 0 && prctl(PR_GET_TIMERSLACK) != 70000 ? 0 : 2;
  }), 0);
}

TEST(CoreFilter, IsANumberInHex) {
  EXPECT_EQ(InChild([] {
    if (ReadFile("/proc/self/coredump_filter") != "00000033") return 1;
    if (WriteFile("/proc/self/coredump_filter", "0x3f") != 0) return 2;
    if (ReadFile("/proc/self/coredump_filter") != "0000003f") return 3;
    return InChild([] { return ReadFile("/proc/self/coredump_filter") == "0000003f" ? 0 : 1; });
  }), 0);
}

TEST(Kcmp, TellsWhatIsShared) {
  constexpr int kFile = 0, kVm = 1, kFiles = 2, kFs = 3, kSighand = 4, kIo = 5, kSysvsem = 6;
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  for (const int type : {kVm, kFiles, kFs, kSighand}) {
    EXPECT_EQ(syscall(SYS_kcmp, self, self, type, 0, 0), 0);
    const long order = syscall(SYS_kcmp, self, child, type, 0, 0);
    EXPECT_TRUE(order == 1 || order == 2) << type << ": " << order;
    EXPECT_EQ(syscall(SYS_kcmp, child, self, type, 0, 0), 3 - order) << type;
  }
  EXPECT_EQ(syscall(SYS_kcmp, self, child, kSysvsem, 0, 0), 0);  // neither has one
  EXPECT_EQ(syscall(SYS_kcmp, self, self, kIo, 0, 0), 0);
  const int a = dup(0), b = open("/dev/null", O_RDONLY);
  EXPECT_EQ(syscall(SYS_kcmp, self, self, kFile, 0, a), 0);
  EXPECT_GT(syscall(SYS_kcmp, self, self, kFile, a, b), 0);
  EXPECT_FAILS(syscall(SYS_kcmp, self, self, 99, 0, 0), EINVAL);
  close(a), close(b);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(Personality, A32BitOneIsToldOfA32BitMachine) {
  const auto machine = [] {
    utsname names{};
    EXPECT_EQ(uname(&names), 0);
    return std::string(names.machine);
  };
  EXPECT_EQ(machine(), "x86_64");
  EXPECT_EQ(InChild([&] {
              const int before = personality(0xffffffff);
              if (personality(PER_LINUX32) != before || personality(0xffffffff) != PER_LINUX32 || machine() != "i686") return 1;
              if (ReadFile("/proc/self/personality") != "00000008") return 5;
              if (InChild([&] { return machine() == "i686" ? 0 : 1; }) != 0) return 2;
              (void)personality(static_cast<unsigned long>(PER_LINUX32) | ADDR_NO_RANDOMIZE);
              if (machine() != "i686") return 3;
              (void)personality(static_cast<unsigned long>(before));
              return machine() == "x86_64" ? 0 : 4;
            }),
            0);
}

TEST(Kcmp, CloneSharesUndoLists) {
  constexpr int kSysvsem = 6;
  static char stack[65536];
  static pid_t self;
  self = getpid();
  const auto body = [](void*) { return static_cast<int>(syscall(SYS_kcmp, self, getpid(), kSysvsem, 0, 0)); };
  const pid_t child = clone(body, stack + sizeof(stack), CLONE_SYSVSEM | SIGCHLD, nullptr);
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
