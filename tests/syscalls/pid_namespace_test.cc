// pid_namespaces(7): numbers in each namespace, process 1 and its end, clone, unshare, setns, and the files that mean namespaces.
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <set>
#include <vector>

#include "pid_namespace_support.h"

namespace pidns {
namespace {

using scratch::InChild;
using scratch::Passes;

int PidfdOpen(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
int PidfdSend(int pidfd, int signo) { return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signo, nullptr, 0)); }

TEST(PidNamespace, ItsFirstProcessIsNumberOneAndHasNoParentThere) {
  NEEDS_NAMESPACES();
  const pid_t outside = getpid();
  Passes(InNew([outside] {
    IN_CHILD(getpid() == 1 && syscall(SYS_gettid) == 1 && getppid() == 0);
    IN_CHILD(syscall(SYS_set_tid_address, nullptr) == 1);
    IN_CHILD_FAILS(kill(outside == 1 ? 2 : outside, 0), ESRCH);
    return 0;
  }));
}

TEST(PidNamespace, ItsProcessesAreCountedFromOne) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    for (pid_t expected = 2; expected < 6; ++expected) {
      const pid_t child = fork();
      if (child == 0) _exit(getpid() == expected && getppid() == 1 ? 7 : 8);
      IN_CHILD(child == expected);
      siginfo_t info{};
      IN_CHILD(waitid(P_PID, static_cast<id_t>(expected), &info, WEXITED | WNOWAIT) == 0);
      IN_CHILD(info.si_pid == expected && info.si_status == 7);
      int status = 0;
      IN_CHILD(waitpid(expected, &status, 0) == expected && WEXITSTATUS(status) == 7);
    }
    IN_CHILD_FAILS(waitpid(2, nullptr, 0), ECHILD);
    return 0;
  }));
}

TEST(PidNamespace, EachSideIsToldItsOwnNumber) {
  NEEDS_NAMESPACES();
  pid_t told = 0;
  auto* const in_child = static_cast<pid_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const auto pid = static_cast<pid_t>(
      syscall(SYS_clone, CLONE_NEWPID | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &told, in_child, 0));
  if (pid == 0) _exit(0);
  ASSERT_GT(pid, 1);
  EXPECT_EQ(Ended(pid), 0);
  EXPECT_EQ(told, pid);
  EXPECT_EQ(*in_child, 1);
  munmap(in_child, 4096);
}

TEST(PidNamespace, UnshareIsForChildren) {
  NEEDS_NAMESPACES();
  Passes(InChild([] {
    const pid_t self = getpid();
    const std::string mine = Link("/proc/self/ns/pid");
    IN_CHILD(Link("/proc/self/ns/pid_for_children") == mine);
    IN_CHILD(unshare(CLONE_NEWPID) == 0);
    IN_CHILD(getpid() == self && Link("/proc/self/ns/pid") == mine);
    // There is no process 1 yet that could be meant.
    IN_CHILD(Link("/proc/self/ns/pid_for_children") == "errno " + std::to_string(ENOENT));
    IN_CHILD_FAILS(unshare(CLONE_NEWPID), EINVAL);
    IN_CHILD_FAILS(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0), EINVAL);
    IN_CHILD_FAILS(syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0), EINVAL);
    const pid_t first = fork();
    if (first == 0) {
      if (getpid() != 1 || getppid() != 0) _exit(1);
      Sleep();
    }
    const std::string theirs = Link("/proc/" + std::to_string(first) + "/ns/pid");
    IN_CHILD(theirs != mine && theirs.starts_with("pid:["));
    IN_CHILD(Link("/proc/self/ns/pid_for_children") == theirs);
    const pid_t second = fork();
    if (second == 0) _exit(getpid() == 2 && getppid() == 0 ? 0 : 1);
    IN_CHILD(Ended(second) == 0);
    IN_CHILD(kill(first, SIGKILL) == 0);
    IN_CHILD(StatusOf(first) == SIGKILL);
    return 0;
  }));
}

TEST(PidNamespace, NobodyIsBornAfterItsFirstProcessHasEnded) {
  NEEDS_NAMESPACES();
  Passes(InChild([] {
    IN_CHILD(unshare(CLONE_NEWPID) == 0);
    const pid_t first = fork();
    if (first == 0) _exit(0);
    IN_CHILD(Ended(first) == 0);
    IN_CHILD_FAILS(fork(), ENOMEM);
    IN_CHILD_FAILS(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), ENOMEM);
    return 0;
  }));
}

TEST(PidNamespace, TheEndOfProcessOneEndsEverybody) {
  NEEDS_NAMESPACES();
  Gate held;
  const pid_t pid = Start([] {
    for (int i = 0; i < 3; ++i) {
      if (fork() == 0) {
        signal(SIGTERM, SIG_IGN);
        (void)fork();
        Sleep();
      }
    }
    usleep(20000);
    return 5;
  });
  held.OnlyWait();
  EXPECT_EQ(Ended(pid), 5);
  // Nobody has the other end any more.
  EXPECT_FALSE(held.Wait());
}

TEST(PidNamespace, RebootEndsItAsIfBySignal) {
  NEEDS_NAMESPACES();
  constexpr unsigned kRestart = 0x01234567, kHalt = 0xcdef0123, kPowerOff = 0x4321fedc, kCadOn = 0x89abcdef;
  const auto reboot = [](unsigned magic1, unsigned magic2, unsigned command) {
    if (getpid() != 1 && getppid() != 1) abort();  // never of this machine
    return syscall(SYS_reboot, magic1, magic2, command, 0);
  };
  const auto ended_by = [&](unsigned command) { return StatusOf(Start([&] { return reboot(0xfee1dead, 672274793, command) != 0 ? 3 : 4; })); };
  EXPECT_EQ(ended_by(kRestart), SIGHUP);
  EXPECT_EQ(ended_by(kHalt), SIGINT);
  // By another than process 1.
  EXPECT_EQ(StatusOf(Start([&] {
    if (fork() == 0) _exit(static_cast<int>(reboot(0xfee1dead, 369367448, kPowerOff)));
    return Sleep();
  })), SIGINT);
  EXPECT_EQ(InNew([&] {
    IN_CHILD_FAILS(reboot(0xfee1dead, 1, kRestart), EINVAL);
    IN_CHILD_FAILS(reboot(1, 672274793, kRestart), EINVAL);
    IN_CHILD_FAILS(reboot(0xfee1dead, 672274793, kCadOn), EINVAL);
    IN_CHILD(setgid(65534) == 0 && setuid(65534) == 0);
    IN_CHILD_FAILS(reboot(1, 1, 1), EPERM);
    return 0;
  }), 0);
}

TEST(PidNamespace, NamespacesWithinEndAsWell) {
  NEEDS_NAMESPACES();
  Gate held, ready;
  const pid_t pid = Start([&ready] {
    Start([&ready] {
      if (fork() == 0) {
        ready.Open();
        Sleep();
      }
      return Sleep();
    });
    return Sleep();
  });
  ASSERT_TRUE(ready.Wait());
  held.OnlyWait();
  EXPECT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_EQ(StatusOf(pid), SIGKILL);
  EXPECT_FALSE(held.Wait());
}

// Of process 1: its child's child, an orphan, becomes its own.
int AdoptsAnOrphan() {
  const pid_t middle = fork();
  if (middle == 0) {
    if (fork() == 0) {
      while (getppid() == 2) usleep(1000);
      _exit(getppid() == 1 ? 9 : 10);
    }
    _exit(0);
  }
  IN_CHILD(Ended(middle) == 0);
  int status = 0;
  IN_CHILD(waitpid(-1, &status, 0) == 3 && WEXITSTATUS(status) == 9);
  return 0;
}

TEST(PidNamespace, OrphansGoToItsFirstProcess) {
  NEEDS_NAMESPACES();
  Passes(InNew(AdoptsAnOrphan));
}

TEST(PidNamespace, AReaperOutsideIsNotAsked) {
  NEEDS_NAMESPACES();
  Passes(InChild([] {
    IN_CHILD(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    return InNew(AdoptsAnOrphan);
  }));
}

TEST(PidNamespace, ProcessOneHasNoSiblings) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    IN_CHILD_FAILS(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0), EINVAL);
    return 0;
  }));
}

TEST(PidNamespace, MakingOneNeedsTheCapability) {
  NEEDS_NAMESPACES();
  Passes(scratch::AsUser(65534, [] {
    IN_CHILD_FAILS(unshare(CLONE_NEWPID), EPERM);
    IN_CHILD_FAILS(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0), EPERM);
    return 0;
  }));
}

// Each level makes the next; the status says how many there were and that it ended as it should.
int Deeper(int level) {
  const auto pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
  if (pid < 0) return errno == ENOSPC ? level : 200;
  if (pid == 0) _exit(getpid() == 1 ? Deeper(level + 1) : 201);
  return Ended(pid);
}

TEST(PidNamespace, ThereAreAtMost32Levels) {
  NEEDS_NAMESPACES();
  const int levels = InChild([] { return Deeper(0); });
  EXPECT_GT(levels, 20);  // the first may have others around it
  EXPECT_LE(levels, 32);
}

// --- setns(2)

TEST(PidNamespaceSetns, ChildrenGoWhereTheFileLeads) {
  NEEDS_NAMESPACES();
  const pid_t first = Start(Sleep);
  Passes(InChild([first] {
    const pid_t self = getpid();
    const int ns = open(("/proc/" + std::to_string(first) + "/ns/pid").c_str(), O_RDONLY | O_CLOEXEC);
    IN_CHILD(ns >= 0);
    IN_CHILD_FAILS(setns(ns, CLONE_NEWUTS), EINVAL);
    IN_CHILD(setns(ns, CLONE_NEWPID) == 0);
    IN_CHILD(getpid() == self);
    IN_CHILD(Link("/proc/self/ns/pid_for_children") == Link("/proc/" + std::to_string(first) + "/ns/pid"));
    const pid_t child = fork();
    if (child == 0) _exit(getpid() == 2 && getppid() == 0 && kill(1, 0) == 0 ? 0 : 1);
    IN_CHILD(child > 2 && Ended(child) == 0);
    // And back.
    const int mine = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    IN_CHILD(setns(mine, 0) == 0);
    const pid_t here = fork();
    if (here == 0) _exit(getppid() == self ? 0 : 1);
    IN_CHILD(Ended(here) == 0);
    return 0;
  }));
  kill(first, SIGKILL);
  EXPECT_EQ(StatusOf(first), SIGKILL);
}

TEST(PidNamespaceSetns, APidfdLeadsThereToo) {
  NEEDS_NAMESPACES();
  const pid_t first = Start(Sleep);
  Passes(InChild([first] {
    const int pidfd = PidfdOpen(first);
    IN_CHILD(pidfd >= 0);
    IN_CHILD_FAILS(setns(pidfd, 0), EINVAL);
    IN_CHILD(setns(pidfd, CLONE_NEWPID) == 0);
    const pid_t child = fork();
    if (child == 0) _exit(getpid() == 2 ? 0 : 1);
    IN_CHILD(Ended(child) == 0);
    return 0;
  }));
  kill(first, SIGKILL);
  EXPECT_EQ(StatusOf(first), SIGKILL);
}

TEST(PidNamespaceSetns, ThereIsNoWayOutwards) {
  NEEDS_NAMESPACES();
  const int outer = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(outer, 0);
  Passes(InNew([outer] {
    IN_CHILD_FAILS(setns(outer, CLONE_NEWPID), EINVAL);
    return 0;
  }));
  Passes(scratch::AsUser(65534, [outer] {
    IN_CHILD_FAILS(setns(outer, CLONE_NEWPID), EPERM);
    return 0;
  }));
  close(outer);
}

TEST(PidNamespaceSetns, WhoEnteredEndsWithItAndItWaitsForHisParent) {
  NEEDS_NAMESPACES();
  const pid_t first = Start(Sleep);
  Passes(InChild([first] {
    const int pidfd = PidfdOpen(first);
    IN_CHILD(setns(pidfd, CLONE_NEWPID) == 0);
    const pid_t guest = fork();
    if (guest == 0) Sleep();
    IN_CHILD(kill(first, SIGKILL) == 0);
    siginfo_t info{};
    IN_CHILD(waitid(P_PID, static_cast<id_t>(guest), &info, WEXITED | WNOWAIT) == 0);
    IN_CHILD(info.si_code == CLD_KILLED && info.si_status == SIGKILL);
    IN_CHILD(StatusOf(guest) == SIGKILL);
    return 0;
  }));
  EXPECT_EQ(StatusOf(first), SIGKILL);
}

// --- ioctl_ns(2)

TEST(PidNamespaceFile, TellsItsKindAndItsParent) {
  NEEDS_NAMESPACES();
  const pid_t first = Start([] {
    const int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    return own >= 0 ? Sleep() : 1;
  });
  const int ns = open(("/proc/" + std::to_string(first) + "/ns/pid").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(ns, 0);
  EXPECT_EQ(ioctl(ns, NS_GET_NSTYPE), CLONE_NEWPID);
  const int parent = ioctl(ns, NS_GET_PARENT);
  ASSERT_GE(parent, 0) << errno;
  EXPECT_EQ(fcntl(parent, F_GETFD), FD_CLOEXEC);
  struct stat a {}, b {}, c {};
  EXPECT_EQ(fstat(parent, &a), 0);
  EXPECT_EQ(stat("/proc/self/ns/pid", &b), 0);
  EXPECT_EQ(fstat(ns, &c), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_EQ(a.st_dev, c.st_dev);
  EXPECT_NE(a.st_ino, c.st_ino);
  EXPECT_EQ(Link("/proc/" + std::to_string(first) + "/ns/pid"), "pid:[" + std::to_string(c.st_ino) + "]");
  const int owner = ioctl(ns, NS_GET_USERNS);
  ASSERT_GE(owner, 0) << errno;
  EXPECT_EQ(ioctl(owner, NS_GET_NSTYPE), CLONE_NEWUSER);
  // From within, what is around is not told.
  Passes(InChild([ns] {
    IN_CHILD(setns(ns, CLONE_NEWPID) == 0);
    return InChild([ns] {
      IN_CHILD_FAILS(ioctl(ns, NS_GET_PARENT), EPERM);
      return 0;
    });
  }));
  close(owner);
  close(parent);
  close(ns);
  kill(first, SIGKILL);
  EXPECT_EQ(StatusOf(first), SIGKILL);
}

TEST(PidNamespaceFile, TranslatesNumbers) {
  NEEDS_NAMESPACES();
  constexpr unsigned long kPidFrom = 0x8004b706, kTgidFrom = 0x8004b707, kPidIn = 0x8004b708, kTgidIn = 0x8004b709;
  Gate ready;
  const pid_t first = Start([&ready] {
    if (fork() == 0) {
      ready.Open();
      Sleep();
    }
    return Sleep();
  });
  ASSERT_TRUE(ready.Wait());
  const int ns = open(("/proc/" + std::to_string(first) + "/ns/pid").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(ns, 0);
  const int second = ioctl(ns, kPidFrom, 2);
  if (second < 0 && errno == ENOTTY) {
    kill(first, SIGKILL);
    StatusOf(first);
    GTEST_SKIP() << "a kernel before 6.11";
  }
  EXPECT_GT(second, 2);
  EXPECT_EQ(ioctl(ns, kPidFrom, 1), first);
  EXPECT_EQ(ioctl(ns, kTgidFrom, 2), second);
  EXPECT_EQ(ioctl(ns, kPidIn, first), 1);
  EXPECT_EQ(ioctl(ns, kTgidIn, second), 2);
  EXPECT_FAILS(ioctl(ns, kPidIn, getpid()), ESRCH);
  EXPECT_FAILS(ioctl(ns, kPidFrom, 77), ESRCH);
  const int uts = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
  EXPECT_FAILS(ioctl(uts, kPidFrom, 1), EINVAL);
  close(uts);
  close(ns);
  kill(first, SIGKILL);
  EXPECT_EQ(StatusOf(first), SIGKILL);
}

// --- clone3(2)'s set_tid

pid_t CloneAs(uint64_t flags, const std::vector<pid_t>& numbers) {
  clone_args args{};
  args.flags = flags;
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<uint64_t>(numbers.data());
  args.set_tid_size = numbers.size();
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof(args)));
}

TEST(PidNamespaceSetTid, NamesANumberForEachLevel) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    // Two levels that we made ourselves: what other numbers are taken is known.
    const pid_t pid = CloneAs(CLONE_NEWPID, {1, 77});
    if (pid == 0) {
      if (getpid() != 1) _exit(1);
      const pid_t next = CloneAs(0, {50, 90});
      if (next == 0) _exit(getpid() == 50 ? 0 : 1);
      if (next != 50) _exit(2);
      const pid_t one = CloneAs(0, {51});
      if (one == 0) _exit(0);
      if (one != 51) _exit(3);
      errno = 0;
      if (CloneAs(0, {50, 91}) != -1 || errno != EEXIST) _exit(4);
      if (Ended(50) != 0 || Ended(51) != 0) _exit(5);
      const pid_t usual = fork();
      if (usual == 0) _exit(0);
      _exit(usual == 2 && Ended(usual) == 0 ? 0 : 6);
    }
    IN_CHILD(pid == 77);
    IN_CHILD(Ended(pid) == 0);
    return 0;
  }));
}

TEST(PidNamespaceSetTid, RefusesWhatCannotBe) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    // The first of a namespace is number 1.
    IN_CHILD_FAILS(CloneAs(CLONE_NEWPID, {2}), EINVAL);
    IN_CHILD_FAILS(CloneAs(CLONE_NEWPID, {0}), EINVAL);
    IN_CHILD_FAILS(CloneAs(0, {1}), EEXIST);
    IN_CHILD_FAILS(CloneAs(0, std::vector<pid_t>(33, 500)), EINVAL);
    return scratch::AsUser(65534, [] {
      IN_CHILD_FAILS(CloneAs(0, {500}), EPERM);
      return 0;
    });
  }));
}

// In the namespace that we are in: those made by newer kernels have limits of their own.
TEST(PidNamespaceSetTid, TheHighestIsBelowPidMax) {
  NEEDS_NAMESPACES();
  const pid_t most = std::stoi(Field("/proc/sys/kernel/pid_max", ""));
  Passes(InChild([most] {
    IN_CHILD_FAILS(CloneAs(0, {most}), EINVAL);
    const pid_t last = CloneAs(0, {most - 1});
    if (last == 0) _exit(getpid() == most - 1 ? 0 : 1);
    IN_CHILD(last == most - 1 && Ended(last) == 0);
    return 0;
  }));
}

// --- pidfds

TEST(PidNamespacePidfd, ASignalGoesInwardsOnly) {
  NEEDS_NAMESPACES();
  const int outside = PidfdOpen(getpid());
  ASSERT_GE(outside, 0);
  Passes(InNew([outside] {
    IN_CHILD_FAILS(PidfdSend(outside, 0), EINVAL);
    return 0;
  }));
  const pid_t first = Start(Sleep);
  const int pidfd = PidfdOpen(first);
  EXPECT_EQ(PidfdSend(pidfd, SIGKILL), 0);
  EXPECT_EQ(StatusOf(first), SIGKILL);
  close(pidfd);
  close(outside);
}

TEST(PidNamespacePidfd, IsOpenedByTheNumberThere) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    const pid_t child = fork();
    if (child == 0) Sleep();
    const int pidfd = PidfdOpen(2);
    IN_CHILD(pidfd >= 0);
    IN_CHILD_FAILS(PidfdOpen(3), ESRCH);
    IN_CHILD(PidfdSend(pidfd, SIGKILL) == 0);
    siginfo_t info{};
    IN_CHILD(waitid(static_cast<idtype_t>(3), static_cast<id_t>(pidfd), &info, WEXITED) == 0);  // P_PIDFD
    IN_CHILD(info.si_pid == 2 && info.si_status == SIGKILL);
    return 0;
  }));
}

}  // namespace
}  // namespace pidns
