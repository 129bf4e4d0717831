// ptrace(2): beginning and ending it, stops of signals and calls, registers and memory.
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "ptrace_support.h"

namespace tracing {
namespace {

volatile uint64_t g_word = 0x1122334455667788;
volatile int g_handled = 0;
void Handler(int signo) { g_handled = signo; }

uint64_t AddressOf(const volatile void* p) { return reinterpret_cast<uintptr_t>(p); }
std::string StatusLine(pid_t pid, const std::string& key) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key, 0) == 0) return line;
  }
  return "";
}

TEST(Ptrace, TraceMeOnlyOnce) {
  const Tracee tracee([] { return Ptrace(PTRACE_TRACEME, 0) == -1 && errno == EPERM ? 7 : 1; });
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 7 << 8);
}

TEST(Ptrace, RequestsNeedAStoppedTracee) {
  EXPECT_EQ(Ptrace(PTRACE_CONT, getpid()), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(Ptrace(PTRACE_ATTACH, getpid()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(Ptrace(PTRACE_ATTACH, 999999), -1);
  EXPECT_EQ(errno, ESRCH);
  const pid_t other = Spawn([] { pause(); return 0; });
  EXPECT_EQ(Ptrace(PTRACE_PEEKDATA, other, AddressOf(&g_word)), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(Ptrace(PTRACE_INTERRUPT, other), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(Ptrace(PTRACE_SEIZE, other, 1, 0), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_SEIZE, other, 0, 1 << 30), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_SEIZE, other), 0);
  EXPECT_EQ(Ptrace(PTRACE_SEIZE, other), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(Ptrace(PTRACE_PEEKDATA, other, AddressOf(&g_word)), -1);  // runs
  EXPECT_EQ(errno, ESRCH);
  Tracee::Finish(other);
}

TEST(Ptrace, UnknownRequestsAndBadOptions) {
  const Tracee tracee([] { return 0; });
  EXPECT_EQ(Ptrace(12345, tracee.pid()), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_SETOPTIONS, tracee.pid(), 0, 1 << 30), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(Ptrace(PTRACE_CONT, tracee.pid(), 0, 65), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_LISTEN, tracee.pid()), -1);  // not seized
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_INTERRUPT, tracee.pid()), -1);
  EXPECT_EQ(errno, EIO);
}

TEST(Ptrace, PeekAndPoke) {
  const Tracee tracee([] { return g_word == 42 ? 3 : 4; });
  uint64_t word = 0;
  ASSERT_EQ(PtraceTo(PTRACE_PEEKDATA, tracee.pid(), AddressOf(&g_word), &word), 0);
  EXPECT_EQ(word, 0x1122334455667788u);
  EXPECT_EQ(PtraceTo(PTRACE_PEEKTEXT, tracee.pid(), 8, &word), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_POKEDATA, tracee.pid(), 8, 1), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(Ptrace(PTRACE_PEEKDATA, tracee.pid(), AddressOf(&g_word), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  ASSERT_EQ(Ptrace(PTRACE_POKEDATA, tracee.pid(), AddressOf(&g_word), 42), 0);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 3 << 8);
  EXPECT_NE(g_word, 42u);
}

[[gnu::noinline]] int Answer() {
  asm volatile("");
  return 1;
}

TEST(Ptrace, BreakpointInReadOnlyText) {
  const Tracee tracee([] { return Answer(); });
  const uint64_t at = AddressOf(reinterpret_cast<const void*>(&Answer));
  uint64_t text = 0;
  ASSERT_EQ(PtraceTo(PTRACE_PEEKTEXT, tracee.pid(), at, &text), 0);
  ASSERT_EQ(Ptrace(PTRACE_POKETEXT, tracee.pid(), at, (text & ~uint64_t{0xff}) | 0xcc), 0);
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP);
  siginfo_t info{};
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), 0);
  EXPECT_EQ(info.si_code, SI_KERNEL);
  user_regs_struct regs = Regs(tracee.pid());
  EXPECT_EQ(regs.rip, at + 1);
  EXPECT_EQ(regs.orig_rax, ~0ull);
  ASSERT_EQ(Ptrace(PTRACE_POKETEXT, tracee.pid(), at, text), 0);
  regs.rip = at;
  ASSERT_EQ(PtraceTo(PTRACE_SETREGS, tracee.pid(), 0, &regs), 0);
  // One step, and on.
  ASSERT_EQ(tracee.Go(PTRACE_SINGLESTEP), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP);
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), 0);
  EXPECT_EQ(info.si_code, TRAP_TRACE);
  EXPECT_GT(Regs(tracee.pid()).rip, at);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 1 << 8);
  EXPECT_EQ(Answer(), 1);
}

TEST(Ptrace, SystemCallStops) {
  const Tracee tracee([] { return syscall(SYS_getppid, 11, 22, 33) > 0 ? 5 : 6; }, PTRACE_O_TRACESYSGOOD);
  bool seen = false;
  for (int i = 0; i < 50 && !seen; ++i) {
    ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
    ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
    __ptrace_syscall_info info{};
    const long size = PtraceTo(PTRACE_GET_SYSCALL_INFO, tracee.pid(), sizeof(info), &info);
    ASSERT_EQ(info.arch, 0xc000003eu);
    if (size == 33) continue;  // the end of raise()
    ASSERT_EQ(size, 80);
    ASSERT_EQ(info.op, PTRACE_SYSCALL_INFO_ENTRY);
    if (info.entry.nr != SYS_getppid) continue;
    seen = true;
    EXPECT_EQ(info.entry.args[1], 22u);
    uint64_t message = 0;
    EXPECT_EQ(PtraceTo(PTRACE_GETEVENTMSG, tracee.pid(), 0, &message), 0);
    EXPECT_EQ(message, 1u);
    user_regs_struct regs = Regs(tracee.pid());
    EXPECT_EQ(regs.orig_rax, static_cast<uint64_t>(SYS_getppid));
    EXPECT_EQ(regs.rax, static_cast<uint64_t>(-ENOSYS));
    EXPECT_EQ(regs.rip, info.instruction_pointer);
    ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
    ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
    EXPECT_EQ(PtraceTo(PTRACE_GET_SYSCALL_INFO, tracee.pid(), sizeof(info), &info), 33);
    EXPECT_EQ(info.op, PTRACE_SYSCALL_INFO_EXIT);
    EXPECT_EQ(info.exit.rval, getpid());
    EXPECT_EQ(info.exit.is_error, 0);
    regs = Regs(tracee.pid());
    EXPECT_EQ(regs.orig_rax, static_cast<uint64_t>(SYS_getppid));
  }
  ASSERT_TRUE(seen);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 5 << 8);
}

// Lets the tracee go to the entry of `number`.
void ToEntry(const Tracee& tracee, uint64_t number) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(tracee.Go(PTRACE_SYSCALL), 0);
    ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
    __ptrace_syscall_info info{};
    ASSERT_GT(PtraceTo(PTRACE_GET_SYSCALL_INFO, tracee.pid(), sizeof(info), &info), 0);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == number) return;
  }
  FAIL();
}

TEST(Ptrace, CallsAreChangedAndSkipped) {
  const Tracee tracee([] { return syscall(SYS_getppid) == 123 && syscall(SYS_getuid) == getpid() ? 5 : 6; }, PTRACE_O_TRACESYSGOOD);
  ToEntry(tracee, SYS_getppid);
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, orig_rax), ~uint64_t{0}), 0);
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, rax), 123), 0);
  ToEntry(tracee, SYS_getuid);
  ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, orig_rax), SYS_getpid), 0);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 5 << 8);
}

TEST(Ptrace, EmulatedCalls) {
  const Tracee tracee([] { return syscall(SYS_getppid) == 77 ? 5 : 6; }, PTRACE_O_TRACESYSGOOD);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(tracee.Go(PTRACE_SYSEMU), 0);
    ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP | 0x80);
    const uint64_t number = Regs(tracee.pid()).orig_rax;
    if (number == SYS_getppid) {
      ASSERT_EQ(Ptrace(PTRACE_POKEUSER, tracee.pid(), offsetof(user_regs_struct, rax), 77), 0);
      break;
    }
  }
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 5 << 8);
}

TEST(Ptrace, SignalsStopAndAreInjected) {
  const Tracee tracee([] {
    signal(SIGUSR1, Handler);
    signal(SIGUSR2, Handler);
    raise(SIGUSR1);
    const int first = g_handled;
    g_handled = 0;
    raise(SIGUSR1);
    const int second = g_handled;
    raise(SIGCHLD);  // ignored, but seen
    return first == SIGUSR2 && second == 0 ? 9 : 1;
  });
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGUSR1);
  siginfo_t info{};
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), 0);
  EXPECT_EQ(info.si_code, SI_TKILL);
  EXPECT_EQ(info.si_pid, tracee.pid());
  ASSERT_EQ(tracee.Go(PTRACE_CONT, SIGUSR2), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGUSR1);
  ASSERT_EQ(tracee.Go(PTRACE_CONT, 0), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGCHLD);
  ASSERT_EQ(tracee.Go(PTRACE_CONT, SIGCHLD), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 9 << 8);
}

TEST(Ptrace, WaitidTellsTraps) {
  const Tracee tracee([] { raise(SIGUSR1); return 0; });
  ASSERT_EQ(tracee.Go(), 0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(tracee.pid()), &info, WSTOPPED | WNOWAIT), 0);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(tracee.pid()), &info, WSTOPPED), 0);
  EXPECT_EQ(info.si_code, CLD_TRAPPED);
  EXPECT_EQ(info.si_status, SIGUSR1);
  EXPECT_EQ(info.si_signo, SIGCHLD);
  EXPECT_EQ(waitpid(tracee.pid(), nullptr, WNOHANG), 0);  // told once
  ASSERT_EQ(tracee.Go(PTRACE_CONT, SIGUSR1), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), SIGUSR1);
}

TEST(Ptrace, KilledInAStop) {
  const Tracee tracee([] { return 0; });
  ASSERT_EQ(kill(tracee.pid(), SIGKILL), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), SIGKILL);
  const Tracee another([] { return 0; });
  ASSERT_EQ(Ptrace(PTRACE_KILL, another.pid()), 0);
  EXPECT_EQ(StatusOf(another.pid()), SIGKILL);
}

TEST(Ptrace, AttachAndDetach) {
  signal(SIGUSR1, Handler);  // so that the child has it from its beginning
  const pid_t pid = Spawn([] {
    while (g_handled == 0) usleep(1000);
    return 8;
  });
  signal(SIGUSR1, SIG_DFL);
  ASSERT_EQ(Ptrace(PTRACE_ATTACH, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGSTOP);
  EXPECT_EQ(StatusLine(pid, "TracerPid"), "TracerPid:\t" + std::to_string(getpid()));
  EXPECT_EQ(StatusLine(pid, "State").substr(0, 8), "State:\tt");
  EXPECT_EQ(Ptrace(PTRACE_DETACH, pid, 0, 99), -1);
  EXPECT_EQ(errno, EIO);
  ASSERT_EQ(Ptrace(PTRACE_DETACH, pid, 0, 0), 0);
  EXPECT_EQ(StatusLine(pid, "TracerPid"), "TracerPid:\t0");
  ASSERT_EQ(Ptrace(PTRACE_ATTACH, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_DETACH, pid, 0, SIGUSR1), 0);
  EXPECT_EQ(StatusOf(pid), 8 << 8);
}

TEST(Ptrace, AttachToAStoppedProcess) {
  const pid_t pid = Spawn([] { raise(SIGSTOP); return 8; });
  WaitUntil(pid, 'T');
  ASSERT_EQ(Ptrace(PTRACE_ATTACH, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGSTOP);
  EXPECT_EQ(Ptrace(PTRACE_DETACH, pid, 0, 0), 0);
  Tracee::Finish(pid);
}

TEST(Ptrace, SeizeInterruptListen) {
  const pid_t pid = Spawn([] {
    for (;;) pause();
    return 0;
  });
  ASSERT_EQ(Ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD), 0);
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG | __WALL), 0);
  ASSERT_EQ(Ptrace(PTRACE_INTERRUPT, pid), 0);
  ASSERT_EQ(StopOf(pid), Event(PTRACE_EVENT_STOP));
  ASSERT_EQ(Ptrace(PTRACE_CONT, pid), 0);
  // A stop by job control: first the signal, then the group's stop.
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  ASSERT_EQ(StopOf(pid), SIGSTOP);
  ASSERT_EQ(Ptrace(PTRACE_CONT, pid, 0, SIGSTOP), 0);
  ASSERT_EQ(StopOf(pid), Event(PTRACE_EVENT_STOP, SIGSTOP));
  ASSERT_EQ(Ptrace(PTRACE_LISTEN, pid), 0);
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG | __WALL), 0);
  EXPECT_EQ(Ptrace(PTRACE_CONT, pid), -1);
  EXPECT_EQ(errno, ESRCH);
  ASSERT_EQ(kill(pid, SIGCONT), 0);
  ASSERT_EQ(StopOf(pid), Event(PTRACE_EVENT_STOP));
  ASSERT_EQ(Ptrace(PTRACE_CONT, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGCONT);
  Tracee::Finish(pid);
}

TEST(Ptrace, GroupStopOfATracee) {
  const Tracee tracee([] { raise(SIGTSTP); return 4; });
  setpgid(tracee.pid(), tracee.pid());
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTSTP);
  ASSERT_EQ(tracee.Go(PTRACE_CONT, SIGSTOP), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGSTOP);
  siginfo_t info{};
  EXPECT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), -1);  // that is how a group's stop is told
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 4 << 8);
}

TEST(Ptrace, RestartOfASleepIsVisible) {
  const pid_t pid = Spawn([] {
    const timespec long_time{5, 0};
    nanosleep(&long_time, nullptr);
    return 0;
  });
  ASSERT_EQ(Ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD), 0);
  WaitUntil(pid, 'S');
  ASSERT_EQ(Ptrace(PTRACE_INTERRUPT, pid), 0);
  ASSERT_EQ(StopOf(pid), Event(PTRACE_EVENT_STOP));
  user_regs_struct regs = Regs(pid);
  EXPECT_EQ(static_cast<int64_t>(regs.rax), -516);
  EXPECT_EQ(regs.orig_rax, static_cast<uint64_t>(SYS_clock_nanosleep));
  ASSERT_EQ(Ptrace(PTRACE_SYSCALL, pid), 0);
  ASSERT_EQ(StopOf(pid), SIGTRAP | 0x80);
  EXPECT_EQ(Regs(pid).orig_rax, static_cast<uint64_t>(SYS_restart_syscall));
  Tracee::Finish(pid);
}

TEST(Ptrace, RegistersAreChecked) {
  constexpr size_t kUserArea = 928;  // the kernel's struct user
  const Tracee tracee([] { return 0; });
  const auto poke = [&](size_t offset, uint64_t value) { return Ptrace(PTRACE_POKEUSER, tracee.pid(), offset, value) == 0 ? 0 : errno; };
  EXPECT_EQ(poke(offsetof(user_regs_struct, cs), 0), EIO);
  EXPECT_EQ(poke(offsetof(user_regs_struct, cs), 0x10), EIO);
  EXPECT_EQ(poke(offsetof(user_regs_struct, fs_base), uint64_t{1} << 63), EIO);
  EXPECT_EQ(poke(3, 0), EIO);
  EXPECT_EQ(poke(kUserArea, 0), EIO);
  EXPECT_EQ(poke(offsetof(user, u_debugreg) + 8 * 4, 0), EIO);
  EXPECT_EQ(poke(offsetof(user, u_debugreg) + 8 * 7, 0), 0);
  const uint64_t flags = Regs(tracee.pid()).eflags;
  EXPECT_EQ(poke(offsetof(user_regs_struct, eflags), ~uint64_t{0x100}), 0);
  EXPECT_EQ(Regs(tracee.pid()).eflags & 0x3000, flags & 0x3000);
  uint64_t word = 0;
  EXPECT_EQ(PtraceTo(PTRACE_PEEKUSER, tracee.pid(), offsetof(user, u_debugreg) + 8 * 6, &word), 0);
  EXPECT_EQ(PtraceTo(PTRACE_PEEKUSER, tracee.pid(), kUserArea, &word), -1);
  EXPECT_EQ(errno, EIO);
}

TEST(Ptrace, RegisterSets) {
  const Tracee tracee([] { return 0; });
  std::vector<char> buffer(16384);
  iovec iov{buffer.data(), buffer.size()};
  ASSERT_EQ(PtraceTo(PTRACE_GETREGSET, tracee.pid(), NT_PRSTATUS, &iov), 0);
  EXPECT_EQ(iov.iov_len, sizeof(user_regs_struct));
  iov = {buffer.data(), 16};
  ASSERT_EQ(PtraceTo(PTRACE_GETREGSET, tracee.pid(), NT_PRSTATUS, &iov), 0);
  EXPECT_EQ(iov.iov_len, 16u);
  iov = {buffer.data(), 15};
  EXPECT_EQ(PtraceTo(PTRACE_GETREGSET, tracee.pid(), NT_PRSTATUS, &iov), -1);
  EXPECT_EQ(errno, EINVAL);
  iov = {buffer.data(), buffer.size()};
  EXPECT_EQ(PtraceTo(PTRACE_GETREGSET, tracee.pid(), 0x12345, &iov), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(PtraceTo(PTRACE_GETREGSET, tracee.pid(), NT_X86_XSTATE, &iov), 0);
  EXPECT_GE(iov.iov_len, 576u);
  uint64_t features = 0;
  memcpy(&features, buffer.data() + 464, sizeof(features));
  EXPECT_EQ(features & 3, 3u);
  EXPECT_EQ(PtraceTo(PTRACE_SETREGSET, tracee.pid(), NT_X86_XSTATE, &iov), 0);
  user_fpregs_struct fp{};
  ASSERT_EQ(PtraceTo(PTRACE_GETFPREGS, tracee.pid(), 0, &fp), 0);
  EXPECT_EQ(fp.cwd, 0x37f);
  fp.xmm_space[0] = 0xabcd;
  ASSERT_EQ(PtraceTo(PTRACE_SETFPREGS, tracee.pid(), 0, &fp), 0);
  user_fpregs_struct again{};
  ASSERT_EQ(PtraceTo(PTRACE_GETFPREGS, tracee.pid(), 0, &again), 0);
  EXPECT_EQ(again.xmm_space[0], 0xabcdu);
}

TEST(Ptrace, SignalMasksAndQueues) {
  const Tracee tracee([] {
    raise(SIGUSR1);
    return 0;
  });
  uint64_t mask = 0;
  EXPECT_EQ(PtraceTo(PTRACE_GETSIGMASK, tracee.pid(), 4, &mask), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGMASK, tracee.pid(), 8, &mask), 0);
  mask = ~uint64_t{0};
  ASSERT_EQ(PtraceTo(PTRACE_SETSIGMASK, tracee.pid(), 8, &mask), 0);
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGMASK, tracee.pid(), 8, &mask), 0);
  EXPECT_EQ(mask & (uint64_t{1} << (SIGKILL - 1)), 0u);
  sigval value{};
  value.sival_int = 5;
  ASSERT_EQ(sigqueue(tracee.pid(), SIGRTMIN, value), 0);
  __ptrace_peeksiginfo_args args{.off = 0, .flags = PTRACE_PEEKSIGINFO_SHARED, .nr = 4};
  siginfo_t infos[4] = {};
  ASSERT_EQ(PtraceTo(PTRACE_PEEKSIGINFO, tracee.pid(), AddressOf(&args), infos), 1);
  EXPECT_EQ(infos[0].si_signo, SIGRTMIN);
  EXPECT_EQ(infos[0].si_int, 5);
  args.flags = 2;
  EXPECT_EQ(PtraceTo(PTRACE_PEEKSIGINFO, tracee.pid(), AddressOf(&args), infos), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Ptrace, MemoryFile) {
  const Tracee tracee([] { return g_word == 43 ? 3 : 4; });
  const std::string path = "/proc/" + std::to_string(tracee.pid()) + "/mem";
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  uint64_t word = 0;
  ASSERT_EQ(pread(fd, &word, 8, static_cast<off_t>(AddressOf(&g_word))), 8);
  EXPECT_EQ(word, 0x1122334455667788u);
  word = 43;
  ASSERT_EQ(pwrite(fd, &word, 8, static_cast<off_t>(AddressOf(&g_word))), 8);
  EXPECT_EQ(pread(fd, &word, 8, 8), -1);
  EXPECT_EQ(errno, EIO);
  close(fd);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 3 << 8);
}

TEST(Ptrace, SteppingOverACall) {
  const Tracee tracee([] { return static_cast<int>(syscall(SYS_getppid) & 0) + 2; });
  user_regs_struct regs{};
  bool stepped_over = false;
  for (int i = 0; i < 3000 && !stepped_over; ++i) {
    ASSERT_EQ(tracee.Go(PTRACE_SINGLESTEP), 0);
    ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP);
    regs = Regs(tracee.pid());
    uint64_t before = 0;
    ASSERT_EQ(PtraceTo(PTRACE_PEEKTEXT, tracee.pid(), regs.rip - 2, &before), 0);
    stepped_over = (before & 0xffff) == 0x050f && regs.rax == static_cast<uint64_t>(getpid());
  }
  ASSERT_TRUE(stepped_over);
  siginfo_t info{};
  ASSERT_EQ(PtraceTo(PTRACE_GETSIGINFO, tracee.pid(), 0, &info), 0);
  EXPECT_EQ(info.si_code, TRAP_BRKPT);
  EXPECT_EQ(AddressOf(info.si_addr), regs.rip);
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), 2 << 8);
}

TEST(Ptrace, SteppingIntoAHandler) {
  const Tracee tracee([] {
    signal(SIGUSR1, Handler);
    raise(SIGUSR1);
    return g_handled;
  });
  ASSERT_EQ(tracee.Go(), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGUSR1);
  ASSERT_EQ(tracee.Go(PTRACE_SINGLESTEP, SIGUSR1), 0);
  ASSERT_EQ(StopOf(tracee.pid()), SIGTRAP);
  EXPECT_EQ(Regs(tracee.pid()).rip, AddressOf(reinterpret_cast<const void*>(&Handler)));
  ASSERT_EQ(tracee.Go(), 0);
  EXPECT_EQ(StatusOf(tracee.pid()), SIGUSR1 << 8);
}

TEST(Ptrace, OtherUsersMayNot) {
  if (getuid() != 0) GTEST_SKIP() << "needs root";
  const pid_t victim = Spawn([] { pause(); return 0; });
  const pid_t attacker = Spawn([&] {
    if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0) return 50;
    if (Ptrace(PTRACE_ATTACH, victim) != -1 || errno != EPERM) return 1;
    if (Ptrace(PTRACE_SEIZE, victim) != -1 || errno != EPERM) return 2;
    return 0;
  });
  EXPECT_EQ(StatusOf(attacker), 0);
  const pid_t hidden = Spawn([] {
    if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0) return 50;
    const pid_t mine = Spawn([] {
      prctl(PR_SET_DUMPABLE, 0);
      for (;;) pause();
      return 0;
    });
    usleep(50000);
    const bool refused = Ptrace(PTRACE_ATTACH, mine) == -1 && errno == EPERM;
    Tracee::Finish(mine);
    return refused ? 0 : 1;
  });
  EXPECT_EQ(StatusOf(hidden), 0);
  Tracee::Finish(victim);
}

}  // namespace
}  // namespace tracing
