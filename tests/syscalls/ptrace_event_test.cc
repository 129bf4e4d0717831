// ptrace(2): events, children and threads of a tracee, exec, the tracer's end, several tracers, races.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstddef>
#include <set>
#include <thread>

#include "ptrace_support.h"

namespace tracing {
namespace {

constexpr long kChildren = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;

pid_t MessagePid(pid_t pid) {
  uint64_t message = 0;
  EXPECT_EQ(PtraceTo(PTRACE_GETEVENTMSG, pid, 0, &message), 0);
  return static_cast<pid_t>(message);
}

TEST(PtraceEvent, ForkAttachesTheChild) {
  const Tracee tracee([] {
    const pid_t child = fork();
    if (child == 0) _exit(3);
    int status = 0;
    return waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3 ? 4 : 5;
  }, kChildren);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_FORK));
  const pid_t child = MessagePid(tracee.pid());
  ASSERT_EQ(StopOf(child), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_CONT, child), 0);
  EXPECT_EQ(StatusOf(child), 3 << 8);  // its parent sees it afterwards
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGCHLD);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 4 << 8);
}

TEST(PtraceEvent, SeizedChildrenStopWithoutASignal) {
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t pid = Spawn([&] {
    char c = 0;
    if (read(pipes[0], &c, 1) != 1) return 1;
    if (fork() == 0) _exit(3);
    return wait(nullptr) > 0 ? 0 : 1;
  });
  ASSERT_EQ(Ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK), 0);
  ASSERT_EQ(write(pipes[1], "x", 1), 1);
  ASSERT_EQ(StopOf(pid), Event(PTRACE_EVENT_FORK));
  const pid_t child = MessagePid(pid);
  ASSERT_EQ(StopOf(child), Event(PTRACE_EVENT_STOP));
  ASSERT_EQ(Ptrace(PTRACE_CONT, child), 0);
  EXPECT_EQ(StatusOf(child), 3 << 8);
  ASSERT_EQ(Ptrace(PTRACE_CONT, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGCHLD);
  ASSERT_EQ(Ptrace(PTRACE_CONT, pid, 0, SIGCHLD), 0);
  EXPECT_EQ(StatusOf(pid), 0);
  close(pipes[0]);
  close(pipes[1]);
}

TEST(PtraceEvent, VforkAndItsEnd) {
  const Tracee tracee([] {
    const pid_t child = vfork();
    if (child == 0) _exit(0);
    return 6;
  }, kChildren | PTRACE_O_TRACEVFORKDONE);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_VFORK));
  const pid_t child = MessagePid(tracee.pid());
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(child), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_CONT, child), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_VFORK_DONE));
  EXPECT_EQ(MessagePid(tracee.pid()), child);
  EXPECT_EQ(StatusOf(child), 0);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGCHLD);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 6 << 8);
}

TEST(PtraceEvent, ThreadsAreWaitedForOneByOne) {
  const Tracee tracee([] {
    std::thread([] {}).join();
    return 7;
  }, kChildren);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_CLONE));
  const pid_t thread = MessagePid(tracee.pid());
  EXPECT_NE(thread, tracee.pid());
  ASSERT_EQ(StopOf(thread), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_CONT, thread), 0);
  EXPECT_EQ(StatusOf(thread), 0);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 7 << 8);
}

TEST(PtraceEvent, AThreadThatIsNotWaitedForKeepsTheProcess) {
  const Tracee tracee([] {
    std::thread([] {}).join();
    return 7;
  }, kChildren);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_CLONE));
  const pid_t thread = MessagePid(tracee.pid());
  ASSERT_EQ(StopOf(thread), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_CONT, thread), 0);
  ASSERT_EQ(tracee.Go(), 0);
  WaitUntil(tracee.pid(), 'Z');
  EXPECT_EQ(waitpid(tracee.pid(), nullptr, WNOHANG | __WALL), 0);
  EXPECT_EQ(StatusOf(thread), 7 << 8);  // the process's, as soon as there is one
  EXPECT_EQ(StatusOf(tracee.pid()), 7 << 8);
}

TEST(PtraceEvent, ExecIsASignalOfOld) {
  const Tracee tracee([] { return execl("/bin/true", "true", nullptr); });
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP);
  siginfo_t info{};
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), 0);
  EXPECT_EQ(info.si_code, SI_USER);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 0);
}

TEST(PtraceEvent, ExecAndItsCall) {
  const Tracee tracee([] { return execl("/bin/true", "true", nullptr); }, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
  int stop = 0;
  for (int i = 0; i < 50 && stop != Event(PTRACE_EVENT_EXEC); ++i) {
    ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
    stop = StopOf(tracee.pid());
  }
  ASSERT_EQ(stop, Event(PTRACE_EVENT_EXEC));
  EXPECT_EQ(MessagePid(tracee.pid()), tracee.pid());
  EXPECT_EQ(Regs(tracee.pid()).orig_rax, static_cast<uint64_t>(SYS_execve));
  ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
  const user_regs_struct regs = Regs(tracee.pid());
  EXPECT_EQ(regs.orig_rax, static_cast<uint64_t>(SYS_execve));
  EXPECT_EQ(regs.rax, 0u);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 0);
}

TEST(PtraceEvent, ExecByAThreadTakesTheLeadersNumber) {
  const Tracee tracee([] {
    std::thread([] { execl("/bin/true", "true", nullptr); }).join();
    return 1;
  }, kChildren | PTRACE_O_TRACEEXEC);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_CLONE));
  const pid_t thread = MessagePid(tracee.pid());
  ASSERT_EQ(StopOf(thread), SIGSTOP);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(Ptrace(PTRACE_CONT, thread), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_EXEC));
  EXPECT_EQ(MessagePid(tracee.pid()), thread);
  EXPECT_EQ(waitpid(thread, nullptr, WNOHANG | __WALL), -1);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 0);
}

TEST(PtraceEvent, TheEndOfACallIsSeenAfterAnEventInIt) {
  const Tracee tracee([] {
    if (fork() == 0) _exit(0);
    return wait(nullptr) > 0 ? 2 : 1;
  }, PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_FORK));
  const pid_t child = MessagePid(tracee.pid());
  ASSERT_EQ(StopOf(child), SIGSTOP);
  ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
  __ptrace_syscall_info info{};
  EXPECT_EQ(PtraceTo(PTRACE_GET_SYSCALL_INFO, tracee.pid(), sizeof(info), &info), 33);
  EXPECT_EQ(info.exit.rval, child);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(Ptrace(PTRACE_CONT, child), 0);
  EXPECT_EQ(StatusOf(child), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGCHLD);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 2 << 8);
}

TEST(PtraceEvent, ExitIsToldBefore) {
  const Tracee tracee([] { return 9; }, PTRACE_O_TRACEEXIT);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_EXIT));
  EXPECT_EQ(MessagePid(tracee.pid()), 9 << 8);
  Regs(tracee.pid());
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 9 << 8);
}

TEST(PtraceEvent, DeathBySigkillIsToldBefore) {
  const Tracee tracee([] { pause(); return 0; }, PTRACE_O_TRACEEXIT);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(kill(tracee.pid(), SIGKILL), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_EXIT));
  EXPECT_EQ(MessagePid(tracee.pid()), SIGKILL);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), SIGKILL);
}

TEST(PtraceEvent, SeccompAsks) {
  const auto body = [] {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 321),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{4, code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 1;
    return static_cast<int>(syscall(SYS_getppid)) == 55 && syscall(SYS_getppid) == syscall(SYS_getpid) ? 3 : 4;
  };
  const Tracee tracee(body, PTRACE_O_TRACESECCOMP);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_SECCOMP));
  EXPECT_EQ(MessagePid(tracee.pid()), 321);
  __ptrace_syscall_info info{};
  EXPECT_GE(PtraceTo(PTRACE_GET_SYSCALL_INFO, tracee.pid(), sizeof(info), &info), 84);
  EXPECT_EQ(info.op, PTRACE_SYSCALL_INFO_SECCOMP);
  EXPECT_EQ(info.seccomp.ret_data, 321u);
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, orig_rax), ~uint64_t{0}), 0);
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, rax), 55), 0);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), Event(PTRACE_EVENT_SECCOMP));
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, orig_rax), SYS_getpid), 0);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 3 << 8);
}

TEST(PtraceEvent, TracersEndFreesOrKills) {
  for (const bool kills : {false, true}) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t victim = Spawn([&] {
      close(pipes[1]);
      char c;
      return read(pipes[0], &c, 1) == 0 ? 6 : 1;
    });
    const pid_t tracer = Spawn([&] {
      close(pipes[1]);
      if (Ptrace(PTRACE_SEIZE, victim, 0, kills ? PTRACE_O_EXITKILL : 0) != 0) return 1;
      if (Ptrace(PTRACE_INTERRUPT, victim) != 0) return 2;
      if (StopOf(victim) != Event(PTRACE_EVENT_STOP)) return 3;
      raise(SIGKILL);
      return 4;
    });
    EXPECT_EQ(StatusOf(tracer), SIGKILL);
    close(pipes[1]);
    EXPECT_EQ(StatusOf(victim), kills ? SIGKILL : 6 << 8);
    close(pipes[0]);
  }
}

TEST(PtraceEvent, ARealParentWaitsBehindTheTracer) {
  int go[2];
  ASSERT_EQ(pipe(go), 0);
  const pid_t child = Spawn([&] {
    char c;
    return read(go[0], &c, 1) == 1 ? 12 : 1;
  });
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t tracer = Spawn([&] {
    if (Ptrace(PTRACE_SEIZE, child) != 0) return 1;
    if (write(ready[1], "x", 1) != 1) return 2;
    usleep(200000);  // the child has ended: its parent must not see it yet
    return StatusOf(child) == 12 << 8 ? 0 : 3;
  });
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  ASSERT_EQ(write(go[1], "x", 1), 1);
  usleep(50000);
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0);
  EXPECT_EQ(StatusOf(child), 12 << 8);
  EXPECT_EQ(StatusOf(tracer), 0);
  for (const int fd : {go[0], go[1], ready[0], ready[1]}) close(fd);
}

TEST(PtraceEvent, OnlyOneTracer) {
  const pid_t victim = Spawn([] { pause(); return 0; });
  ASSERT_EQ(Ptrace(PTRACE_SEIZE, victim), 0);
  const pid_t other = Spawn([&] { return Ptrace(PTRACE_SEIZE, victim) == -1 && errno == EPERM ? 0 : 1; });
  EXPECT_EQ(StatusOf(other), 0);
  // Requests belong to the thread that attached.
  long result = 0;
  int error = 0;
  std::thread([&] { result = Ptrace(PTRACE_INTERRUPT, victim), error = errno; }).join();
  EXPECT_EQ(result, -1);
  EXPECT_EQ(error, ESRCH);
  Tracee::Finish(victim);
}

TEST(PtraceEvent, WaitsOfOtherThreads) {
  const Tracee tracee([] { raise(SIGUSR1); return 0; });
  ASSERT_EQ(tracee.Go(), 0);
  std::thread([&] {
    int status = 0;
    EXPECT_EQ(waitpid(tracee.pid(), &status, __WALL | __WNOTHREAD), -1);
    EXPECT_EQ(waitpid(tracee.pid(), &status, __WALL), tracee.pid());
    EXPECT_EQ(WSTOPSIG(status), SIGUSR1);
  }).join();
}

TEST(PtraceEvent, AttachWhileItEndsOrForksOrExecs) {
  for (int round = 0; round < 60; ++round) {
    const pid_t victim = Spawn([round] {
      if (round % 3 == 1) return execl("/bin/true", "true", nullptr);
      if (round % 3 == 2) {
        const pid_t child = fork();
        if (child == 0) _exit(0);
        waitpid(child, nullptr, 0);
      }
      return 0;
    });
    if (round % 2 == 0) usleep(static_cast<useconds_t>(round * 20));
    if (Ptrace(round % 4 < 2 ? PTRACE_SEIZE : PTRACE_ATTACH, victim) == 0) {
      int status = 0;
      while (waitpid(victim, &status, __WALL) == victim && WIFSTOPPED(status)) {
        const int signo = WSTOPSIG(status) == SIGSTOP || status >> 16 != 0 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        Ptrace(PTRACE_CONT, victim, 0, static_cast<uint64_t>(signo));
      }
      EXPECT_EQ(status, 0) << round;
    } else {
      EXPECT_EQ(errno, EPERM) << round;
      EXPECT_EQ(StatusOf(victim), 0);
    }
  }
}

TEST(PtraceEvent, KillsRaceWithStops) {
  for (int round = 0; round < 30; ++round) {
    const pid_t victim = Spawn([] {
      for (;;) syscall(SYS_getppid);
      return 0;
    });
    ASSERT_EQ(Ptrace(PTRACE_SEIZE, victim, 0, PTRACE_O_TRACESYSGOOD), 0);
    ASSERT_EQ(Ptrace(PTRACE_INTERRUPT, victim), 0);
    const pid_t killer = Spawn([&] {
      usleep(static_cast<useconds_t>(round * 100));
      return kill(victim, SIGKILL);
    });
    int status = 0;
    while (waitpid(victim, &status, __WALL) == victim && WIFSTOPPED(status)) {
      user_regs_struct regs{};
      PtraceTo(PTRACE_GETREGS, victim, 0, &regs);
      Ptrace(PTRACE_SYSCALL, victim);
    }
    EXPECT_EQ(status, SIGKILL);
    EXPECT_EQ(StatusOf(killer), 0);
  }
}

}  // namespace
}  // namespace tracing
