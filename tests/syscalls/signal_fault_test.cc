// Signals that the processor raises, the frames of handlers with their floating-point state, and children that stop, continue and die.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <immintrin.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

namespace {

sigjmp_buf back;
siginfo_t caught;
greg_t caught_registers[NGREG];
void Catch(int, siginfo_t* info, void* context) {
  caught = *info;
  memcpy(caught_registers, static_cast<ucontext_t*>(context)->uc_mcontext.gregs, sizeof(caught_registers));
  siglongjmp(back, 1);
}

class Catching {
 public:
  explicit Catching(int signo) : signo_(signo) {
    struct sigaction action {};
    action.sa_sigaction = Catch;
    action.sa_flags = SA_SIGINFO;
    sigaction(signo, &action, &old_);
    memset(&caught, 0, sizeof(caught));
  }
  ~Catching() { sigaction(signo_, &old_, nullptr); }

 private:
  const int signo_;
  struct sigaction old_ {};
};
// Runs `body`; true if the signal came.
template <class Body>
bool Raises(int signo, Body body) {
  Catching c(signo);
  if (sigsetjmp(back, 1) != 0) return true;
  body();
  return false;
}
pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
char* Page(int prot) { return static_cast<char*>(mmap(nullptr, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }

TEST(Segv, UnmappedAddress) {
  char* page = Page(PROT_READ);
  munmap(page, 4096);
  EXPECT_TRUE(Raises(SIGSEGV, [&] { *static_cast<volatile char*>(page + 5) = 1; }));
  EXPECT_EQ(caught.si_code, SEGV_MAPERR);
  EXPECT_EQ(caught.si_addr, page + 5);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 14);
  EXPECT_EQ(caught_registers[REG_ERR] & ~2, 4);
  EXPECT_EQ(caught_registers[REG_CR2], reinterpret_cast<greg_t>(page + 5));
}

TEST(Segv, ErrorCodeTellsAWriteToNothing) {
  char* page = Page(PROT_READ);
  munmap(page, 4096);
  EXPECT_TRUE(Raises(SIGSEGV, [&] { *static_cast<volatile char*>(page) = 1; }));
  EXPECT_EQ(caught_registers[REG_ERR], 6);
}

TEST(Segv, Protection) {
  char* page = Page(PROT_READ);
  EXPECT_EQ(*static_cast<volatile char*>(page), 0);
  EXPECT_TRUE(Raises(SIGSEGV, [&] { *static_cast<volatile char*>(page) = 1; }));
  EXPECT_EQ(caught.si_code, SEGV_ACCERR);
  EXPECT_EQ(caught.si_addr, page);
  EXPECT_EQ(caught_registers[REG_ERR], 7);
  EXPECT_TRUE(Raises(SIGSEGV, [&] { reinterpret_cast<void (*)()>(page)(); }));
  EXPECT_EQ(caught.si_code, SEGV_ACCERR);
  EXPECT_EQ(caught_registers[REG_RIP], reinterpret_cast<greg_t>(page));
  mprotect(page, 4096, PROT_NONE);
  EXPECT_TRUE(Raises(SIGSEGV, [&] { (void)*static_cast<volatile char*>(page); }));
  EXPECT_EQ(caught.si_code, SEGV_ACCERR);
  munmap(page, 4096);
}

TEST(Segv, NonCanonicalAddressHasNoAddress) {
  EXPECT_TRUE(Raises(SIGSEGV, [] { asm volatile("movb $1, (%0)" : : "r"(uint64_t{0x8000'0000'0000'0000}) : "memory"); }));
  EXPECT_EQ(caught.si_code, SI_KERNEL);
  EXPECT_EQ(caught.si_addr, nullptr);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 13);
}

TEST(Segv, PrivilegedInstruction) {
  EXPECT_TRUE(Raises(SIGSEGV, [] { asm volatile("hlt"); }));
  EXPECT_EQ(caught.si_code, SI_KERNEL);
}

TEST(Segv, AHandlerMayMendAndReturn) {
  static char* page;
  page = Page(PROT_NONE);
  struct sigaction action {}, old {};
  action.sa_sigaction = [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &old);
  for (int i = 0; i < 20; ++i) {
    *static_cast<volatile char*>(page) = static_cast<char>(i);
    EXPECT_EQ(*page, i);
    mprotect(page, 4096, PROT_NONE);
  }
  sigaction(SIGSEGV, &old, nullptr);
  munmap(page, 4096);
}

TEST(Segv, BlockedOrIgnoredItKills) {
  for (const bool ignored : {false, true}) {
    const pid_t pid = Fork([&] {
      if (ignored) {
        signal(SIGSEGV, SIG_IGN);
      } else {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        signal(SIGSEGV, [](int) { _exit(3); });
      }
      *static_cast<volatile char*>(nullptr) = 1;
      return 0;
    });
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
  }
}

TEST(Bus, BeyondTheEndOfTheFile) {
  char path[] = "/tmp/signal_fault_XXXXXX";
  const int fd = mkstemp(path);
  unlink(path);
  ASSERT_EQ(ftruncate(fd, 100), 0);
  auto* pages = static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  EXPECT_EQ(pages[4095], 0);
  EXPECT_TRUE(Raises(SIGBUS, [&] { pages[4096] = 1; }));
  EXPECT_EQ(caught.si_code, BUS_ADRERR);
  EXPECT_EQ(caught.si_addr, const_cast<char*>(pages) + 4096);
  munmap(const_cast<char*>(pages), 8192);
  close(fd);
}

TEST(Fpe, DivisionByZero) {
  EXPECT_TRUE(Raises(SIGFPE, [] {
    asm volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $7, %%eax; idiv %%ecx" : : : "eax", "ecx", "edx", "cc");
  }));
  EXPECT_EQ(caught.si_code, FPE_INTDIV);
  EXPECT_EQ(reinterpret_cast<greg_t>(caught.si_addr), caught_registers[REG_RIP]);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 0);
}

TEST(Fpe, UnmaskedSse) {
  EXPECT_TRUE(Raises(SIGFPE, [] {
    _mm_setcsr(_mm_getcsr() & ~0x200u);  // division by zero
    volatile double zero = 0, one = 1;
    volatile double result = one / zero;
    (void)result;
  }));
  _mm_setcsr(0x1f80);
  EXPECT_EQ(caught.si_code, FPE_FLTDIV);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 19);
}

TEST(Ill, UndefinedInstruction) {
  EXPECT_TRUE(Raises(SIGILL, [] { asm volatile("ud2"); }));
  EXPECT_EQ(caught.si_code, ILL_ILLOPN);
  EXPECT_EQ(reinterpret_cast<greg_t>(caught.si_addr), caught_registers[REG_RIP]);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 6);
}

TEST(Trap, Breakpoint) {
  EXPECT_TRUE(Raises(SIGTRAP, [] { asm volatile("int3"); }));
  EXPECT_EQ(caught.si_code, SI_KERNEL);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 3);
}

TEST(Trap, SingleStepFlag) {
  EXPECT_TRUE(Raises(SIGTRAP, [] {
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" : : : "memory", "cc");
  }));
  EXPECT_EQ(caught.si_code, TRAP_TRACE);
  EXPECT_EQ(caught_registers[REG_TRAPNO], 1);
  EXPECT_EQ(caught.si_addr, reinterpret_cast<void*>(caught_registers[REG_RIP]));
}

// --- frames

TEST(Frame, RegistersAreRestored) {
  struct sigaction action {}, old {};
  action.sa_sigaction = [](int, siginfo_t*, void*) { asm volatile("xor %%rbx, %%rbx" : : : "rbx", "r12", "r13"); };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, &old);
  uint64_t out[6];
  asm volatile(
      "mov $0x1111, %%r8; mov $0x2222, %%r9; mov $0x3333, %%r10; mov $0x4444, %%r12; mov $0x5555, %%r15; mov $0x6666, %%rbx\n"
      "mov %1, %%rdi; mov %2, %%rsi; mov $62, %%rax; syscall\n"
      "mov %%r8, %0; mov %%r9, 8+%0; mov %%r10, 16+%0; mov %%r12, 24+%0; mov %%r15, 32+%0; mov %%rbx, 40+%0\n"
      : "=m"(out)
      : "g"(static_cast<uint64_t>(getpid())), "i"(SIGUSR1)
      : "rax", "rcx", "r11", "rdi", "rsi", "r8", "r9", "r10", "r12", "r15", "rbx", "memory");
  EXPECT_EQ(out[0], 0x1111u);
  EXPECT_EQ(out[1], 0x2222u);
  EXPECT_EQ(out[2], 0x3333u);
  EXPECT_EQ(out[3], 0x4444u);
  EXPECT_EQ(out[4], 0x5555u);
  EXPECT_EQ(out[5], 0x6666u);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Frame, RedZoneIsKept) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, &old);
  uint64_t got = 0;
  asm volatile(
      "movq $0x77, -8(%%rsp); movq $0x88, -120(%%rsp)\n"
      "mov %1, %%rdi; mov %2, %%rsi; mov $62, %%rax; syscall\n"
      "mov -8(%%rsp), %0; add -120(%%rsp), %0\n"
      : "=&r"(got)
      : "r"(static_cast<uint64_t>(getpid())), "i"(SIGUSR1)
      : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc");
  EXPECT_EQ(got, 0x77u + 0x88u);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Frame, DirectionFlagIsClearInTheHandlerAndSetAfter) {
  static std::atomic<uint64_t> inside;
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {
    uint64_t flags = 0;
    asm volatile("pushfq; pop %0" : "=r"(flags));
    inside = flags;
  };
  sigaction(SIGUSR1, &action, &old);
  uint64_t after = 0;
  asm volatile("std\nmov %1, %%rdi; mov %2, %%rsi; mov $62, %%rax; syscall\npushfq; pop %0\ncld"
               : "=&r"(after)
               : "r"(static_cast<uint64_t>(getpid())), "i"(SIGUSR1)
               : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc");
  EXPECT_EQ(inside & 0x400, 0u);
  EXPECT_EQ(after & 0x400, 0x400u);
  sigaction(SIGUSR1, &old, nullptr);
}

__attribute__((target("avx"))) void FillYmm(const float* from) { asm volatile("vmovups (%0), %%ymm3" : : "r"(from) : "xmm3", "memory"); }
__attribute__((target("avx"))) bool AvxSurvives() {
  alignas(32) float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {};
  asm volatile(
      "vmovups (%0), %%ymm3\n"
      "mov %2, %%rdi; mov %3, %%rsi; mov $62, %%rax; syscall\n"
      "vmovups %%ymm3, (%1)\n"
      :
      : "r"(in), "r"(out), "r"(static_cast<uint64_t>(getpid())), "i"(SIGUSR1)
      : "rax", "rcx", "r11", "rdi", "rsi", "xmm3", "memory");
  return memcmp(in, out, sizeof(in)) == 0;
}

TEST(Frame, VectorRegistersSurviveAHandlerThatUsesThem) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "the processor has no AVX";
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {
    const float other[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    FillYmm(other);
  };
  sigaction(SIGUSR1, &action, &old);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(AvxSurvives());
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Frame, FloatingPointStateIsInTheFrameAndComesFromIt) {
  struct sigaction action {}, old {};
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    auto* state = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
    state->_xmm[5].element[0] ^= 0xff;
    state->mxcsr = 0x1f80 | 0x6000;
  };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, &old);
  uint32_t out[4] = {};
  asm volatile(
      "movd %1, %%xmm5\n"
      "mov %2, %%rdi; mov %3, %%rsi; mov $62, %%rax; syscall\n"
      "movups %%xmm5, (%0)\n"
      :
      : "r"(out), "r"(0x1200u), "r"(static_cast<uint64_t>(getpid())), "i"(SIGUSR1)
      : "rax", "rcx", "r11", "rdi", "rsi", "xmm5", "memory");
  EXPECT_EQ(out[0], 0x12ffu);
  EXPECT_EQ(_mm_getcsr() & 0x6000u, 0x6000u);
  _mm_setcsr(0x1f80);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Frame, SavedStateIsMarkedAsExtended) {
  static uint32_t magic, size;
  struct sigaction action {}, old {};
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    const auto* bytes = reinterpret_cast<const char*>(static_cast<ucontext_t*>(context)->uc_mcontext.fpregs);
    memcpy(&magic, bytes + 464, 4);
    memcpy(&size, bytes + 468, 4);
  };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, &old);
  raise(SIGUSR1);
  EXPECT_EQ(magic, 0x46505853u);
  EXPECT_GE(size, 512u + 64u);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Frame, AChangedInstructionPointerIsFollowed) {
  static std::atomic<bool> skipped;
  skipped = false;
  struct sigaction action {}, old {};
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;  // over the ud2
    skipped = true;
  };
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &old);
  asm volatile("ud2");
  EXPECT_TRUE(skipped);
  sigaction(SIGILL, &old, nullptr);
}

TEST(Frame, ABadFrameKills) {
  const pid_t pid = Fork([] {
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(0x8000'0000'0000'0000);
    };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &action, nullptr);
    raise(SIGUSR1);
    return 0;
  });
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(Frame, ManyThreadsTakeSignalsAtOnce) {
  static std::atomic<int> count;
  count = 0;
  struct sigaction action {}, old {};
  action.sa_handler = [](int) { ++count; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &old);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      double x = i + 1.5;
      while (!stop) {
        double y = x;
        for (int k = 0; k < 1000; ++k) y = y * 1.0000001 + 0.25;
        double z = x;
        for (int k = 0; k < 1000; ++k) z = z * 1.0000001 + 0.25;
        if (y != z) ++wrong;
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    for (std::thread& t : threads) pthread_kill(t.native_handle(), SIGUSR1);
    usleep(500);
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(count, 4);
  sigaction(SIGUSR1, &old, nullptr);
}

// --- SIGCHLD

siginfo_t child_info;
std::atomic<int> child_signals{0};
void OnChild(int, siginfo_t* info, void*) {
  child_info = *info;
  ++child_signals;
}
class ChildWatch {
 public:
  explicit ChildWatch(int flags = 0) {
    struct sigaction action {};
    action.sa_sigaction = OnChild;
    action.sa_flags = SA_SIGINFO | SA_RESTART | flags;
    sigaction(SIGCHLD, &action, &old_);
    child_signals = 0;
  }
  ~ChildWatch() { sigaction(SIGCHLD, &old_, nullptr); }
  static bool Comes(int count) {
    for (int i = 0; i < 2000 && child_signals < count; ++i) usleep(5000);
    return child_signals >= count;
  }

 private:
  struct sigaction old_ {};
};

TEST(Sigchld, TellsHowTheChildEnded) {
  ChildWatch w;
  pid_t pid = Fork([] { return 7; });
  ASSERT_TRUE(ChildWatch::Comes(1));
  EXPECT_EQ(child_info.si_code, CLD_EXITED);
  EXPECT_EQ(child_info.si_pid, pid);
  EXPECT_EQ(child_info.si_status, 7);
  EXPECT_EQ(child_info.si_uid, getuid());
  waitpid(pid, nullptr, 0);
  pid = Fork([] {
    kill(getpid(), SIGTERM);
    return 0;
  });
  ASSERT_TRUE(ChildWatch::Comes(2));
  EXPECT_EQ(child_info.si_code, CLD_KILLED);
  EXPECT_EQ(child_info.si_status, SIGTERM);
  waitpid(pid, nullptr, 0);
}

TEST(Sigchld, StopsAndContinuationsUnlessNocldstop) {
  for (const int flags : {0, SA_NOCLDSTOP}) {
    ChildWatch w(flags);
    const pid_t pid = Fork([] {
      while (true) pause();
      return 0;
    });
    kill(pid, SIGSTOP);
    siginfo_t info{};
    // The signal first: Linux fills si_status with what a wait may already have taken away.
    if (flags == 0) {
      EXPECT_TRUE(ChildWatch::Comes(1));
    }
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED), 0);
    if (flags == 0) {
      EXPECT_EQ(child_info.si_code, CLD_STOPPED);
      EXPECT_EQ(child_info.si_status, SIGSTOP);
    } else {
      usleep(20'000);
      EXPECT_EQ(child_signals, 0);
    }
    kill(pid, SIGCONT);
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WCONTINUED), 0);
    if (flags == 0) {
      EXPECT_TRUE(ChildWatch::Comes(2));
      EXPECT_EQ(child_info.si_code, CLD_CONTINUED);
    }
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
}

TEST(Stop, AllThreadsStopAndGoOn) {
  auto* counters = static_cast<std::atomic<uint64_t>*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t pid = Fork([&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        while (true) ++counters[i], usleep(100);
      });
    }
    threads[0].join();
    return 0;
  });
  for (int i = 0; i < 3; ++i) {
    while (counters[i] == 0) usleep(1000);
  }
  kill(pid, SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_TRUE(WIFSTOPPED(status));
  const uint64_t before[] = {counters[0], counters[1], counters[2]};
  usleep(50'000);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(counters[i], before[i]);
  kill(pid, SIGCONT);
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 2000 && counters[i] == before[i]; ++k) usleep(5000);
    EXPECT_GT(counters[i], before[i]);
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  munmap(counters, 4096);
}

TEST(Stop, ContinueRunsAHandlerAndAStopSignalMayBeCaught) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t pid = Fork([&] {
    static int out;
    out = fds[1];
    struct sigaction action {};
    action.sa_handler = [](int signo) {
      const char c = signo == SIGCONT ? 'c' : 't';
      [[maybe_unused]] const ssize_t n = write(out, &c, 1);
    };
    sigaction(SIGCONT, &action, nullptr);
    sigaction(SIGTSTP, &action, nullptr);
    [[maybe_unused]] const ssize_t n = write(fds[1], "r", 1);
    while (true) pause();
    return 0;
  });
  char c = 0;
  ASSERT_EQ(read(fds[0], &c, 1), 1);
  kill(pid, SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  kill(pid, SIGTSTP);  // SIGCONT throws it away
  kill(pid, SIGCONT);
  ASSERT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(c, 'c');
  kill(pid, SIGTSTP);
  ASSERT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(c, 't');
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
