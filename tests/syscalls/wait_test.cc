// wait4, waitid and what becomes of children whose parent goes: zombies, reapers, parent-death signals, pidfds, usage.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace {

pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
int ExitOf(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
int RunChild(const std::function<int()>& body) { return ExitOf(Fork(body)); }
pid_t Sleeper() {
  return Fork([] {
    while (true) pause();
    return 0;
  });
}
void Reap(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}
char StateOf(pid_t pid) {
  char path[64], text[512] = {};
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return '-';
  const ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  const char* after = n > 0 ? strrchr(text, ')') : nullptr;
  return after == nullptr ? '-' : after[2];
}
bool Becomes(pid_t pid, char state) {
  for (int i = 0; i < 1000; ++i) {
    if (StateOf(pid) == state) return true;
    usleep(5000);
  }
  return false;
}
int PidfdOpen(pid_t pid, unsigned flags = 0) { return static_cast<int>(syscall(SYS_pidfd_open, pid, flags)); }
int WaitPidfd(int pidfd, siginfo_t* info, int options) {
  return waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), info, options);
}

TEST(Wait, NoChildrenIsEchild) {
  EXPECT_EQ(RunChild([] { return waitpid(-1, nullptr, 0) == -1 && errno == ECHILD ? 0 : 1; }), 0);
  EXPECT_EQ(waitpid(getpid(), nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(waitpid(-1, nullptr, 0x1000), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(waitpid(INT32_MIN, nullptr, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Wait, NohangReturnsZeroWhileItRuns) {
  const pid_t pid = Sleeper();
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), 0);
  Reap(pid);
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Wait, StatusOfASignal) {
  for (const int signo : {SIGKILL, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGRTMIN}) {
    const pid_t pid = Sleeper();
    kill(pid, signo);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), signo);
    EXPECT_FALSE(WCOREDUMP(status));
  }
}

TEST(Wait, NoCoreIsReportedWithoutALimitForOne) {
  const pid_t pid = Fork([] {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    abort();
    return 0;
  });
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED), 0);
  EXPECT_EQ(info.si_status, SIGABRT);
}

TEST(Wait, ByProcessGroup) {
  const pid_t a = Sleeper(), b = Sleeper();
  ASSERT_EQ(setpgid(b, b), 0);
  kill(a, SIGKILL);
  ASSERT_TRUE(Becomes(a, 'Z'));
  EXPECT_EQ(waitpid(-b, nullptr, WNOHANG), 0);
  EXPECT_EQ(waitpid(0, nullptr, 0), a);
  kill(b, SIGKILL);
  EXPECT_EQ(waitpid(-b, nullptr, 0), b);
  EXPECT_EQ(waitpid(-b, nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Wait, StoppedAndContinuedAreReportedOnce) {
  const pid_t pid = Sleeper();
  ASSERT_EQ(setpgid(pid, pid), 0);  // else SIGTSTP does nothing where the test itself runs in an orphaned group
  int status = 0;
  kill(pid, SIGSTOP);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
  EXPECT_TRUE(Becomes(pid, 'T'));
  kill(pid, SIGCONT);
  ASSERT_EQ(waitpid(pid, &status, WCONTINUED), pid);
  EXPECT_TRUE(WIFCONTINUED(status));
  EXPECT_EQ(waitpid(pid, &status, WCONTINUED | WNOHANG), 0);
  kill(pid, SIGTSTP);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_EQ(WSTOPSIG(status), SIGTSTP);
  kill(pid, SIGKILL);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST(Wait, AKilledStoppedChildIsNotReportedAsStopped) {
  for (int i = 0; i < 50; ++i) {
    const pid_t pid = Sleeper();
    kill(pid, SIGSTOP);
    kill(pid, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << std::hex << status;
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
  }
}

TEST(Waitid, TellsEverything) {
  const pid_t pid = Fork([] { return 33; });
  siginfo_t info;
  memset(&info, 0xff, sizeof(info));
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED), 0);
  EXPECT_EQ(info.si_signo, SIGCHLD);
  EXPECT_EQ(info.si_errno, 0);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(info.si_uid, getuid());
  EXPECT_EQ(info.si_status, 33);
}

TEST(Waitid, NowaitLeavesTheZombie) {
  const pid_t pid = Fork([] { return 3; });
  for (int i = 0; i < 3; ++i) {
    siginfo_t info{};
    ASSERT_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EQ(info.si_status, 3);
  }
  EXPECT_EQ(StateOf(pid), 'Z');
  EXPECT_EQ(kill(pid, 0), 0);
  EXPECT_EQ(ExitOf(pid), 3);
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Waitid, NohangWithoutResultClearsThePid) {
  const pid_t pid = Sleeper();
  siginfo_t info;
  memset(&info, 0xff, sizeof(info));
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG), 0);
  EXPECT_EQ(info.si_pid, 0);
  EXPECT_EQ(info.si_signo, 0);
  Reap(pid);
}

TEST(Waitid, StopAndContinueCodes) {
  const pid_t pid = Sleeper();
  siginfo_t info{};
  kill(pid, SIGSTOP);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED), 0);
  EXPECT_EQ(info.si_code, CLD_STOPPED);
  EXPECT_EQ(info.si_status, SIGSTOP);
  kill(pid, SIGCONT);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WCONTINUED), 0);
  EXPECT_EQ(info.si_code, CLD_CONTINUED);
  EXPECT_EQ(info.si_status, SIGCONT);
  kill(pid, SIGKILL);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED), 0);
  EXPECT_EQ(info.si_code, CLD_KILLED);
  EXPECT_EQ(info.si_status, SIGKILL);
}

TEST(Waitid, BadArguments) {
  siginfo_t info{};
  EXPECT_EQ(waitid(P_ALL, 0, &info, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(waitid(P_ALL, 0, &info, WNOHANG), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_waitid, 9, 0, &info, WEXITED, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(waitid(P_PID, 0, &info, WEXITED), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(WaitPidfd(9999, &info, WEXITED), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(Pidfd, WaitAndPollAndSignal) {
  const pid_t pid = Sleeper();
  const int pidfd = PidfdOpen(pid);
  ASSERT_GE(pidfd, 0);
  pollfd ready{pidfd, POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 0), 0);
  EXPECT_EQ(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0), 0);
  EXPECT_EQ(poll(&ready, 1, 10'000), 1);
  siginfo_t info{};
  EXPECT_EQ(WaitPidfd(pidfd, &info, WEXITED), 0);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(info.si_status, SIGTERM);
  EXPECT_EQ(WaitPidfd(pidfd, &info, WEXITED), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  close(pidfd);
}

TEST(Pidfd, NonblockingWaitIsEagain) {
  const pid_t pid = Sleeper();
  const int pidfd = PidfdOpen(pid, O_NONBLOCK);
  ASSERT_GE(pidfd, 0);
  siginfo_t info{};
  EXPECT_EQ(WaitPidfd(pidfd, &info, WEXITED), -1);
  EXPECT_EQ(errno, EAGAIN);
  Reap(pid);
  close(pidfd);
  EXPECT_EQ(PidfdOpen(pid), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(PidfdOpen(getpid(), 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(PidfdOpen(-1), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Wait, AnotherThreadsChildIsOursUnlessWnothread) {
  pid_t pid = -1;
  std::atomic<bool> done{false};
  std::thread maker([&] {
    pid = Fork([] { return 8; });
    while (!done) usleep(1000);
  });
  while (StateOf(pid) != 'Z') usleep(1000);
  EXPECT_EQ(waitpid(pid, nullptr, __WNOTHREAD), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(ExitOf(pid), 8);
  done = true;
  maker.join();
}

TEST(Wait, IsInterruptedByAHandlerWithoutRestart) {
  const pid_t pid = Sleeper();
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &old);
  ualarm(50'000, 0);
  EXPECT_EQ(waitpid(pid, nullptr, 0), -1);
  EXPECT_EQ(errno, EINTR);
  sigaction(SIGALRM, &old, nullptr);
  Reap(pid);
}

TEST(Zombie, IgnoredSigchldLeavesNone) {
  EXPECT_EQ(RunChild([] {
              signal(SIGCHLD, SIG_IGN);
              const pid_t pid = Fork([] { return 1; });
              const pid_t waited = waitpid(pid, nullptr, 0);
              return waited == -1 && errno == ECHILD && kill(pid, 0) == -1 ? 0 : 1;
            }),
            0);
}

TEST(Zombie, NocldwaitLeavesNoneButSignals) {
  EXPECT_EQ(RunChild([] {
              static std::atomic<int> count;
              struct sigaction action {};
              action.sa_handler = [](int) { ++count; };
              action.sa_flags = SA_NOCLDWAIT | SA_RESTART;
              sigaction(SIGCHLD, &action, nullptr);
              const pid_t pid = Fork([] { return 1; });
              const pid_t waited = waitpid(pid, nullptr, 0);
              return waited == -1 && errno == ECHILD && count == 1 ? 0 : 1;
            }),
            0);
}

TEST(Orphan, IsAdoptedByTheSubreaper) {
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return 1;
              int on = 0;
              if (prctl(PR_GET_CHILD_SUBREAPER, &on) != 0 || on != 1) return 2;
              const pid_t self = getpid();
              int fds[2];
              if (pipe(fds) != 0) return 3;
              const pid_t middle = Fork([&] {
                const pid_t grandchild = Fork([&] {
                  for (int i = 0; i < 2000 && getppid() != self; ++i) usleep(5000);
                  return getppid() == self ? 44 : 4;
                });
                return write(fds[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild) ? 0 : 5;
              });
              if (ExitOf(middle) != 0) return 6;
              pid_t grandchild = 0;
              if (read(fds[0], &grandchild, sizeof(grandchild)) != sizeof(grandchild)) return 7;
              return ExitOf(grandchild) == 44 ? 0 : 8;
            }),
            0);
}

TEST(Orphan, AZombieOfADeadParentIsReapedByTheAdopter) {
  EXPECT_EQ(RunChild([] {
              prctl(PR_SET_CHILD_SUBREAPER, 1);
              const pid_t middle = Fork([] {
                const pid_t grandchild = Fork([] { return 17; });
                siginfo_t info{};
                waitid(P_PID, static_cast<id_t>(grandchild), &info, WEXITED | WNOWAIT);
                return 0;
              });
              if (ExitOf(middle) != 0) return 1;
              int status = 0;
              return waitpid(-1, &status, 0) > 0 && WEXITSTATUS(status) == 17 ? 0 : 2;
            }),
            0);
}

TEST(ParentDeath, SignalArrives) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t middle = Fork([&] {
    int ready[2];
    if (pipe(ready) != 0) return 1;
    Fork([&] {
      static int out;
      out = fds[1];
      signal(SIGUSR1, [](int) {
        [[maybe_unused]] const ssize_t n = write(out, "k", 1);
        _exit(0);
      });
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      int signo = 0;
      prctl(PR_GET_PDEATHSIG, &signo);
      if (signo != SIGUSR1) return 1;
      [[maybe_unused]] const ssize_t n = write(ready[1], "r", 1);
      while (true) pause();
      return 0;
    });
    char c = 0;
    return read(ready[0], &c, 1) == 1 ? 0 : 2;
  });
  EXPECT_EQ(ExitOf(middle), 0);
  close(fds[1]);
  pollfd ready{fds[0], POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 10'000), 1);
  char c = 0;
  EXPECT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(c, 'k');
  close(fds[0]);
}

TEST(ParentDeath, IsClearedByFork) {
  EXPECT_EQ(RunChild([] {
              prctl(PR_SET_PDEATHSIG, SIGUSR1);
              return RunChild([] {
                int signo = -1;
                prctl(PR_GET_PDEATHSIG, &signo);
                return signo;
              });
            }),
            0);
  EXPECT_EQ(prctl(PR_SET_PDEATHSIG, 100), -1);
  EXPECT_EQ(errno, EINVAL);
}

// --- usage

int64_t Micros(const timeval& t) { return t.tv_sec * 1'000'000 + t.tv_usec; }

TEST(Usage, SleepingCostsNoProcessorTime) {
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  usleep(400'000);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(Micros(after.ru_utime) + Micros(after.ru_stime) - Micros(before.ru_utime) - Micros(before.ru_stime), 200'000);
  EXPECT_GT(after.ru_nvcsw, before.ru_nvcsw);
}

TEST(Usage, ThePeakOfMemoryIsKept) {
  EXPECT_EQ(ExitOf(Fork([] {
    constexpr size_t kBytes = 32 << 20;
    void* const p = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return 1;
    memset(p, 1, kBytes);
    const auto peak = [](int who) {
      rusage usage{};
      getrusage(who, &usage);
      return static_cast<size_t>(usage.ru_maxrss) * 1024;
    };
    const size_t before = peak(RUSAGE_SELF);
    if (before < kBytes || peak(RUSAGE_THREAD) < kBytes) return 2;
    munmap(p, kBytes);
    if (peak(RUSAGE_SELF) < before) return 3;
    return peak(RUSAGE_CHILDREN) == 0 ? 0 : 4;  // there were none
  })), 0);
}

TEST(Usage, WaitingInPollAndReadCostsNone) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t pid = Fork([&] {
    usleep(400'000);
    [[maybe_unused]] const ssize_t n = write(fds[1], "x", 1);
    return 0;
  });
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  char c = 0;
  EXPECT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(ExitOf(pid), 0);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(Micros(after.ru_utime) + Micros(after.ru_stime) - Micros(before.ru_utime) - Micros(before.ru_stime), 200'000);
  close(fds[0]);
  close(fds[1]);
}

TEST(Usage, OfChildrenCountsOnlyThoseThatWereWaitedFor) {
  rusage before{}, unreaped{}, after{};
  getrusage(RUSAGE_CHILDREN, &before);
  const pid_t pid = Fork([] {
    timespec now{};
    do {
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while (now.tv_nsec < 50'000'000 && now.tv_sec == 0);
    return 0;
  });
  ASSERT_TRUE(Becomes(pid, 'Z'));
  getrusage(RUSAGE_CHILDREN, &unreaped);
  EXPECT_EQ(Micros(unreaped.ru_utime), Micros(before.ru_utime));
  rusage own{};
  int status = 0;
  ASSERT_EQ(wait4(pid, &status, 0, &own), pid);
  EXPECT_GE(Micros(own.ru_utime) + Micros(own.ru_stime), 40'000);
  getrusage(RUSAGE_CHILDREN, &after);
  EXPECT_GE(Micros(after.ru_utime) + Micros(after.ru_stime) - Micros(before.ru_utime) - Micros(before.ru_stime), 40'000);
  EXPECT_GT(after.ru_maxrss, 0);
}

TEST(Usage, TimesAgreesWithGetrusage) {
  tms t{};
  EXPECT_NE(times(&t), static_cast<clock_t>(-1));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_NEAR(static_cast<double>(t.tms_utime + t.tms_stime) / 100, static_cast<double>(Micros(usage.ru_utime) + Micros(usage.ru_stime)) / 1e6, 0.2);
  EXPECT_EQ(syscall(SYS_getrusage, 7, &usage), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Usage, OfAThreadIsItsOwn) {
  rusage mine{};
  std::thread worker([] {
    timespec now{};
    do {
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while (now.tv_nsec < 60'000'000 && now.tv_sec == 0);
  });
  rusage before{};
  getrusage(RUSAGE_THREAD, &before);
  worker.join();
  getrusage(RUSAGE_THREAD, &mine);
  EXPECT_LT(Micros(mine.ru_utime) - Micros(before.ru_utime), 50'000);
}

}  // namespace
