// The application's own seccomp filters.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

int RunChild(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// `action` for one system call, everything else is allowed.
std::vector<sock_filter> For(long number, uint32_t action) {
  return {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1),
          BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}
long Install(std::vector<sock_filter> program, unsigned flags = 0) {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

TEST(Seccomp, ErrnoIsReturned) {
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_GET_SECCOMP) != 0) return 1;
              if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)) != 0) return 2;
              if (syscall(SYS_getppid) != -1 || errno != EXDEV) return 3;
              if (prctl(PR_GET_SECCOMP) != 2) return 4;
              if (Install(For(SYS_getpgrp, SECCOMP_RET_ERRNO | 512)) != 0) return 5;  // not a restart code
              if (syscall(SYS_getpgrp) != -1 || errno != 512) return 6;
              if (Install(For(SYS_gettid, SECCOMP_RET_ERRNO | 0)) != 0) return 7;
              return syscall(SYS_gettid) == 0 ? 0 : 8;
            }),
            0);
}

TEST(Seccomp, SeesArguments) {
  EXPECT_EQ(RunChild([] {
              const std::vector<sock_filter> program = {
                  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
                  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 0, 3),
                  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
                  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 100, 0, 1),
                  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMFILE),
                  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
              if (Install(program) != 0) return 1;
              const int fd = dup(0);
              if (fd < 0) return 2;
              return dup(100) == -1 && errno == EMFILE ? 0 : 3;
            }),
            0);
}

TEST(Seccomp, KillsTheProcess) {
  EXPECT_EQ(RunChild([] {
              std::thread([] {
                while (true) pause();
              }).detach();
              Install(For(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
              syscall(SYS_getppid);
              return 1;
            }),
            1000 + SIGSYS);
}

TEST(Seccomp, KillsTheThread) {
  EXPECT_EQ(RunChild([] {
              Install(For(SYS_getppid, SECCOMP_RET_KILL_THREAD));
              static std::atomic<bool> survived;
              std::thread([] {
                syscall(SYS_getppid);
                survived = true;
              }).join();
              return survived ? 1 : 33;
            }),
            33);
  EXPECT_EQ(RunChild([] {
              Install(For(SYS_getppid, SECCOMP_RET_KILL_THREAD));
              syscall(SYS_getppid);
              return 1;
            }),
            1000 + SIGSYS);
}

TEST(Seccomp, TrapTellsTheHandler) {
  EXPECT_EQ(RunChild([] {
              static siginfo_t seen;
              struct sigaction action {};
              action.sa_sigaction = [](int, siginfo_t* info, void* context) {
                seen = *info;
                static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = 4321;
              };
              action.sa_flags = SA_SIGINFO;
              sigaction(SIGSYS, &action, nullptr);
              if (Install(For(SYS_getppid, SECCOMP_RET_TRAP | 77)) != 0) return 1;
              if (syscall(SYS_getppid) != 4321) return 2;
              if (seen.si_code != 1 /* SYS_SECCOMP */ || seen.si_errno != 77) return 3;
              return seen.si_syscall == SYS_getppid && seen.si_arch == AUDIT_ARCH_X86_64 && seen.si_call_addr != nullptr ? 0 : 4;
            }),
            0);
}

TEST(Seccomp, IsInheritedByChildrenThreadsAndExec) {
  EXPECT_EQ(RunChild([] {
              if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)) != 0) return 1;
              if (RunChild([] { return syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : 1; }) != 0) return 2;
              int in_thread = 1;
              std::thread([&] { in_thread = syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : 1; }).join();
              if (in_thread != 0) return 3;
              execl("/bin/sh", "sh", "-c", "grep -q '^Seccomp:.2$' /proc/self/status && grep -q '^Seccomp_filters:.1$' /proc/self/status", nullptr);
              return 4;
            }),
            0);
}

TEST(Seccomp, TsyncReachesOtherThreads) {
  EXPECT_EQ(RunChild([] {
              static std::atomic<int> step;
              static std::atomic<int> result{-1};
              std::thread other([] {
                while (step == 0) usleep(1000);
                result = syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : 1;
              });
              if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), SECCOMP_FILTER_FLAG_TSYNC) != 0) return 1;
              step = 1;
              other.join();
              return result.load();
            }),
            0);
}

TEST(Seccomp, TsyncFailsWhenAThreadWentItsOwnWay) {
  EXPECT_EQ(RunChild([] {
              static std::atomic<int> step;
              static std::atomic<pid_t> tid;
              std::thread other([] {
                if (Install(For(SYS_getpgrp, SECCOMP_RET_ERRNO | EXDEV)) == 0) tid = gettid();
                while (step == 0) usleep(1000);
              });
              while (tid == 0) usleep(1000);
              const long got = Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), SECCOMP_FILTER_FLAG_TSYNC);
              const bool untouched = syscall(SYS_getppid) >= 0;
              step = 1;
              other.join();
              return got == tid && untouched ? 0 : 1;
            }),
            0);
}

TEST(Seccomp, BadProgramsAndFlagsAreRefused) {
  EXPECT_EQ(RunChild([] {
              const auto refused = [](long result, int error) { return result == -1 && errno == error; };
              if (!refused(Install({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)}), EINVAL)) return 1;
              if (!refused(Install({BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0)}), EINVAL)) return 2;
              if (!refused(Install({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)}), EINVAL)) return 3;
              if (!refused(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, nullptr), EFAULT)) return 4;
              if (!refused(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0x8000, nullptr), EINVAL)) return 5;
              if (!refused(syscall(SYS_seccomp, 99, 0, nullptr), EINVAL)) return 6;
              uint32_t action = SECCOMP_RET_TRAP;
              if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) return 7;
              action = 0x12340000;
              return refused(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action), EOPNOTSUPP) ? 0 : 8;
            }),
            0);
}

TEST(Seccomp, NeedsNoNewPrivsOrRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "must be root";
  EXPECT_EQ(RunChild([] {
              if (setuid(1000) != 0) return 1;
              std::vector<sock_filter> program = For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
              const sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
              if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != -1 || errno != EACCES) return 2;
              prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0 ? 0 : 3;
            }),
            0);
}

TEST(Seccomp, StrictAllowsFourCalls) {
  EXPECT_EQ(RunChild([] {
              int fds[2];
              if (pipe(fds) != 0) return 1;
              if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 2;
              char c = 'x';
              if (write(fds[1], &c, 1) != 1 || read(fds[0], &c, 1) != 1) syscall(SYS_exit, 3);
              syscall(SYS_exit, 44);
              return 4;
            }),
            44);
  EXPECT_EQ(RunChild([] {
              prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
              syscall(SYS_getpid);
              return 4;
            }),
            1000 + SIGKILL);
}

}  // namespace
