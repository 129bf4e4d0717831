// Signals as a program sees them: actions and their flags, order, information, masks, stacks, frames.
#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

namespace {

pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
int StatusOf(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}
int RunChild(const std::function<int()>& body) {
  const int status = StatusOf(Fork(body));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

struct Seen {
  int signo;
  siginfo_t info;
};
std::vector<Seen>* seen = nullptr;  // reserved: handlers do not allocate
void Record(int signo, siginfo_t* info, void*) {
  if (seen != nullptr && seen->size() < seen->capacity()) seen->push_back({signo, *info});
}

// An action for the time of a test.
class Action {
 public:
  Action(int signo, void (*handler)(int, siginfo_t*, void*), int flags = 0, std::vector<int> masked = {}) : signo_(signo) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = flags | SA_SIGINFO;
    for (const int m : masked) sigaddset(&action.sa_mask, m);
    EXPECT_EQ(sigaction(signo, &action, &old_), 0);
  }
  ~Action() { sigaction(signo_, &old_, nullptr); }

 private:
  const int signo_;
  struct sigaction old_ {};
};
class Recorder {
 public:
  Recorder() { list_.reserve(256), seen = &list_; }
  ~Recorder() { seen = nullptr; }
  const std::vector<Seen>& all() const { return list_; }
  size_t size() const { return list_.size(); }

 private:
  std::vector<Seen> list_;
};
sigset_t SetOf(std::vector<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signo : signals) sigaddset(&set, signo);
  return set;
}
class Blocked {
 public:
  explicit Blocked(std::vector<int> signals) {
    const sigset_t set = SetOf(std::move(signals));
    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, &set, &old_), 0);
  }
  ~Blocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }

 private:
  sigset_t old_;
};
bool IsPending(int signo) {
  sigset_t set;
  EXPECT_EQ(sigpending(&set), 0);
  return sigismember(&set, signo) == 1;
}
int Queue(int signo, int value) {
  sigval v{};
  v.sival_int = value;
  return sigqueue(getpid(), signo, v);
}

// --- actions

TEST(Sigaction, ArgumentsAreChecked) {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  for (const int signo : {0, -1, 65, 1000, SIGKILL, SIGSTOP}) {
    EXPECT_EQ(syscall(SYS_rt_sigaction, signo, &action, nullptr, 8), -1) << signo;
    EXPECT_EQ(errno, EINVAL);
  }
  EXPECT_EQ(syscall(SYS_rt_sigaction, SIGUSR1, nullptr, nullptr, 4), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_rt_sigaction, SIGUSR1, 8, nullptr, 8), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(sigaction(SIGKILL, nullptr, &action), 0);
}

TEST(Sigaction, OldActionComesBack) {
  struct sigaction action {}, got {};
  action.sa_sigaction = Record;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  sigaddset(&action.sa_mask, SIGTERM);
  sigaddset(&action.sa_mask, SIGKILL);  // is dropped
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  ASSERT_EQ(sigaction(SIGUSR1, nullptr, &got), 0);
  EXPECT_EQ(got.sa_sigaction, Record);
  EXPECT_EQ(got.sa_flags & (SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK), SA_SIGINFO | SA_RESTART | SA_NODEFER);
  EXPECT_EQ(sigismember(&got.sa_mask, SIGTERM), 1);
  EXPECT_EQ(sigismember(&got.sa_mask, SIGKILL), 0);
  signal(SIGUSR1, SIG_DFL);
}

TEST(Sigaction, InformationOfKill) {
  Recorder r;
  Action a(SIGUSR1, Record);
  kill(getpid(), SIGUSR1);
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r.all()[0].info.si_signo, SIGUSR1);
  EXPECT_EQ(r.all()[0].info.si_code, SI_USER);
  EXPECT_EQ(r.all()[0].info.si_pid, getpid());
  EXPECT_EQ(r.all()[0].info.si_uid, getuid());
}

TEST(Sigaction, InformationOfTgkill) {
  Recorder r;
  Action a(SIGUSR1, Record);
  pthread_kill(pthread_self(), SIGUSR1);
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r.all()[0].info.si_code, SI_TKILL);
  EXPECT_EQ(r.all()[0].info.si_pid, getpid());
}

TEST(Sigaction, InformationOfSigqueue) {
  Recorder r;
  Action a(SIGUSR1, Record);
  ASSERT_EQ(Queue(SIGUSR1, 4242), 0);
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r.all()[0].info.si_code, SI_QUEUE);
  EXPECT_EQ(r.all()[0].info.si_value.sival_int, 4242);
  EXPECT_EQ(r.all()[0].info.si_pid, getpid());
}

TEST(Sigaction, ResethandRunsOnce) {
  EXPECT_EQ(RunChild([] {
              static std::atomic<int> runs;
              Action a(SIGUSR1, [](int, siginfo_t*, void*) { ++runs; }, static_cast<int>(SA_RESETHAND));
              raise(SIGUSR1);
              struct sigaction now {};
              sigaction(SIGUSR1, nullptr, &now);
              if (runs != 1 || now.sa_handler != SIG_DFL) return 1;
              raise(SIGUSR1);
              return 2;
            }),
            1000 + SIGUSR1);
}

std::atomic<int> depth{0}, deepest{0};
void Nest(int signo, siginfo_t*, void*) {
  const int now = ++depth;
  deepest = std::max(deepest.load(), now);
  if (now < 3) raise(signo);
  --depth;
}

TEST(Sigaction, ASignalIsBlockedInItsHandler) {
  deepest = 0;
  Action a(SIGUSR1, [](int signo, siginfo_t*, void*) {
    static int runs = 0;
    const int now = ++depth;
    deepest = std::max(deepest.load(), now);
    if (++runs < 3) raise(signo);
    --depth;
  });
  raise(SIGUSR1);
  EXPECT_EQ(deepest, 1);
}

TEST(Sigaction, NodeferLetsItNest) {
  deepest = 0;
  Action a(SIGUSR1, Nest, SA_NODEFER);
  raise(SIGUSR1);
  EXPECT_EQ(deepest, 3);
}

TEST(Sigaction, MaskHoldsDuringTheHandler) {
  static std::atomic<bool> pending_inside, ran;
  pending_inside = ran = false;
  Action other(SIGUSR2, [](int, siginfo_t*, void*) { ran = true; });
  Action a(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        raise(SIGUSR2);
        pending_inside = IsPending(SIGUSR2) && !ran;
      },
      0, {SIGUSR2});
  raise(SIGUSR1);
  EXPECT_TRUE(pending_inside);
  EXPECT_TRUE(ran);
}

TEST(Sigaction, IgnoringDiscardsWhatIsPending) {
  Recorder r;
  Blocked b({SIGUSR1});
  Action a(SIGUSR1, Record);
  raise(SIGUSR1);
  EXPECT_TRUE(IsPending(SIGUSR1));
  signal(SIGUSR1, SIG_IGN);
  EXPECT_FALSE(IsPending(SIGUSR1));
}

TEST(Sigaction, HandlersMaskEditedInTheFrameHolds) {
  Action a(SIGUSR1, [](int, siginfo_t*, void* context) { sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGUSR2); });
  raise(SIGUSR1);
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
  const sigset_t set = SetOf({SIGUSR2});
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// --- order and queues

TEST(Order, RealTimeSignalsQueueAndKeepTheirOrder) {
  Recorder r;
  Action a(SIGRTMIN + 1, Record), b(SIGRTMIN + 2, Record), c(SIGUSR1, Record);
  {
    Blocked blocked({SIGRTMIN + 1, SIGRTMIN + 2, SIGUSR1});
    for (int i = 0; i < 3; ++i) ASSERT_EQ(Queue(SIGRTMIN + 2, 20 + i), 0);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(Queue(SIGRTMIN + 1, 10 + i), 0);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(Queue(SIGUSR1, i), 0);  // an ordinary one: the first stays
  }
  ASSERT_EQ(r.size(), 7u);
  // The frame of the lowest number is built first, so that its handler runs last; within a number, and here, all were taken before any ran only if
  // the kernel stacks frames. Linux does: the last frame runs first.
  std::vector<int> values;
  for (const Seen& s : r.all()) values.push_back(s.info.si_value.sival_int);
  std::vector<int> ones, twos;
  for (const Seen& s : r.all()) {
    if (s.signo == SIGRTMIN + 1) ones.push_back(s.info.si_value.sival_int);
    if (s.signo == SIGRTMIN + 2) twos.push_back(s.info.si_value.sival_int);
    if (s.signo == SIGUSR1) {
      EXPECT_EQ(s.info.si_value.sival_int, 0);
    }
  }
  EXPECT_EQ(ones, (std::vector<int>{10, 11, 12}));
  EXPECT_EQ(twos, (std::vector<int>{20, 21, 22}));
}

TEST(Order, LowestFirstByOneAtATime) {
  const sigset_t set = SetOf({SIGRTMIN + 3, SIGRTMIN + 1, SIGUSR2, SIGHUP});
  Blocked b({SIGRTMIN + 3, SIGRTMIN + 1, SIGUSR2, SIGHUP});
  for (const int signo : {SIGRTMIN + 3, SIGUSR2, SIGRTMIN + 1, SIGHUP}) ASSERT_EQ(Queue(signo, signo), 0);
  for (const int signo : {SIGHUP, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 3}) {
    siginfo_t info{};
    EXPECT_EQ(sigwaitinfo(&set, &info), signo);
    EXPECT_EQ(info.si_value.sival_int, signo);
  }
}

TEST(Order, TheThreadsOwnComeBeforeTheProcesss) {
  const sigset_t set = SetOf({SIGRTMIN + 1});
  Blocked b({SIGRTMIN + 1});
  ASSERT_EQ(Queue(SIGRTMIN + 1, 1), 0);
  siginfo_t own{};
  own.si_code = SI_QUEUE;
  own.si_pid = getpid();
  own.si_value.sival_int = 2;
  ASSERT_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 1, &own), 0);
  siginfo_t info{};
  EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
  EXPECT_EQ(info.si_value.sival_int, 2);
  EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
  EXPECT_EQ(info.si_value.sival_int, 1);
}

TEST(Order, QueueHasALimit) {
  EXPECT_EQ(RunChild([] {
              if (setuid(12345) != 0 && getuid() == 0) return 9;  // root's count is others' as well
              const rlimit limit{8, 8};
              setrlimit(RLIMIT_SIGPENDING, &limit);
              Blocked b({SIGRTMIN});
              int queued = 0;
              while (queued < 100 && Queue(SIGRTMIN, queued) == 0) ++queued;
              if (errno != EAGAIN || queued > 8) return 1;
              // kill is delivered all the same, without information.
              _exit(kill(getpid(), SIGRTMIN) == 0 ? 0 : 2);
            }),
            0);
}

TEST(Sigqueue, OnlyOwnCodesMayBeForged) {
  siginfo_t info{};
  info.si_code = SI_USER;
  const pid_t pid = Fork([] {
    while (true) pause();
    return 0;
  });
  EXPECT_EQ(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), -1);
  EXPECT_EQ(errno, EPERM);
  info.si_code = SI_TKILL;
  EXPECT_EQ(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), -1);
  EXPECT_EQ(errno, EPERM);
  info.si_code = -60;
  EXPECT_EQ(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), 0);
  EXPECT_EQ(WTERMSIG(StatusOf(pid)), SIGUSR1);
}

// --- waiting

TEST(Sigtimedwait, TimesOutAndTakesAndIsInterrupted) {
  const sigset_t set = SetOf({SIGUSR1});
  Blocked b({SIGUSR1});
  timespec none{0, 0}, little{0, 20'000'000}, bad{0, 2'000'000'000};
  siginfo_t info{};
  EXPECT_EQ(sigtimedwait(&set, &info, &none), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(sigtimedwait(&set, &info, &little), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(sigtimedwait(&set, &info, &bad), -1);
  EXPECT_EQ(errno, EINVAL);
  raise(SIGUSR1);
  EXPECT_EQ(sigtimedwait(&set, &info, &none), SIGUSR1);
  EXPECT_EQ(info.si_code, SI_USER);  // glibc: SI_TKILL
  EXPECT_FALSE(IsPending(SIGUSR1));
  Recorder r;
  Action a(SIGALRM, Record, SA_RESTART);
  ualarm(30'000, 0);
  timespec longer{10, 0};
  EXPECT_EQ(sigtimedwait(&set, &info, &longer), -1);
  EXPECT_EQ(errno, EINTR);
  EXPECT_EQ(r.size(), 1u);
}

TEST(Sigtimedwait, WakesForASignalFromAnotherProcess) {
  const sigset_t set = SetOf({SIGUSR2});
  Blocked b({SIGUSR2});
  const pid_t parent = getpid();
  const pid_t pid = Fork([&] {
    usleep(30'000);
    kill(parent, SIGUSR2);
    return 0;
  });
  siginfo_t info{};
  timespec longer{10, 0};
  EXPECT_EQ(sigtimedwait(&set, &info, &longer), SIGUSR2);
  EXPECT_EQ(info.si_pid, pid);
  StatusOf(pid);
}

TEST(Sigsuspend, TheMaskOfTheWaitEndsWithTheHandler) {
  Recorder r;
  Blocked b({SIGUSR1, SIGUSR2});
  static std::atomic<bool> two_blocked;
  Action a(SIGUSR1, [](int signo, siginfo_t* info, void* context) {
    Record(signo, info, context);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    two_blocked = sigismember(&now, SIGUSR2) == 1;
  });
  Action c(SIGUSR2, Record);
  raise(SIGUSR1);
  raise(SIGUSR2);
  const sigset_t only_two = SetOf({SIGUSR2});
  EXPECT_EQ(sigsuspend(&only_two), -1);
  EXPECT_EQ(errno, EINTR);
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r.all()[0].signo, SIGUSR1);
  EXPECT_TRUE(two_blocked);  // the mask of sigsuspend, and SIGUSR1
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
  EXPECT_EQ(sigismember(&now, SIGUSR2), 1);
  timespec none{0, 0};
  EXPECT_EQ(sigtimedwait(&only_two, nullptr, &none), SIGUSR2);
}

TEST(Pause, ReturnsAfterAHandler) {
  Recorder r;
  Action a(SIGALRM, Record, SA_RESTART);
  ualarm(20'000, 0);
  EXPECT_EQ(pause(), -1);
  EXPECT_EQ(errno, EINTR);
  EXPECT_EQ(r.size(), 1u);
}

TEST(Sigprocmask, ArgumentsAndUnblockable) {
  sigset_t all, now;
  sigfillset(&all);
  sigset_t old;
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &all, &old), 0);
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGKILL), 0);
  EXPECT_EQ(sigismember(&now, SIGSTOP), 0);
  EXPECT_EQ(sigismember(&now, SIGTERM), 1);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(syscall(SYS_rt_sigprocmask, 17, &all, nullptr, 8), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, nullptr, 16), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Sigprocmask, UnblockingDeliversBeforeItReturns) {
  Recorder r;
  Action a(SIGUSR1, Record);
  const sigset_t set = SetOf({SIGUSR1});
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  raise(SIGUSR1);
  EXPECT_EQ(r.size(), 0u);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  EXPECT_EQ(r.size(), 1u);
}

TEST(Ppoll, MaskHoldsForTheCall) {
  Recorder r;
  Action a(SIGUSR1, Record);
  Blocked b({SIGUSR1});
  raise(SIGUSR1);
  sigset_t none;
  sigemptyset(&none);
  timespec longer{10, 0};
  EXPECT_EQ(ppoll(nullptr, 0, &longer, &none), -1);
  EXPECT_EQ(errno, EINTR);
  EXPECT_EQ(r.size(), 1u);
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
}

TEST(Signalfd, ReadsInformationInOrder) {
  Blocked b({SIGUSR1, SIGRTMIN});
  const sigset_t set = SetOf({SIGUSR1, SIGRTMIN});
  const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  signalfd_siginfo info[4];
  EXPECT_EQ(read(fd, info, sizeof(info)), -1);
  EXPECT_EQ(errno, EAGAIN);
  Queue(SIGRTMIN, 5);
  Queue(SIGRTMIN, 6);
  kill(getpid(), SIGUSR1);
  pollfd ready{fd, POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 0), 1);
  ASSERT_EQ(read(fd, info, sizeof(info)), static_cast<ssize_t>(3 * sizeof(info[0])));
  EXPECT_EQ(info[0].ssi_signo, static_cast<uint32_t>(SIGUSR1));
  EXPECT_EQ(info[0].ssi_pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(info[1].ssi_int, 5);
  EXPECT_EQ(info[2].ssi_int, 6);
  EXPECT_EQ(read(fd, info, 8), -1);
  EXPECT_EQ(errno, EINVAL);
  close(fd);
}

// --- alternate stacks

alignas(16) char alternate[64 * 1024];
bool OnAlternate(const void* p) { return p >= alternate && p < alternate + sizeof(alternate); }
std::atomic<bool> handler_on_alternate{false};
void NoteStack(int, siginfo_t*, void*) {
  int local = 0;
  handler_on_alternate = OnAlternate(&local);
}

TEST(Sigaltstack, HandlersWithTheFlagRunThere) {
  const stack_t stack{alternate, 0, sizeof(alternate)};
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
  {
    Action a(SIGUSR1, NoteStack, SA_ONSTACK);
    raise(SIGUSR1);
    EXPECT_TRUE(handler_on_alternate);
  }
  {
    Action a(SIGUSR1, NoteStack);
    raise(SIGUSR1);
    EXPECT_FALSE(handler_on_alternate);
  }
  const stack_t off{nullptr, SS_DISABLE, 0};
  stack_t old{};
  ASSERT_EQ(sigaltstack(&off, &old), 0);
  EXPECT_EQ(old.ss_sp, alternate);
  EXPECT_EQ(old.ss_flags, 0);
  ASSERT_EQ(sigaltstack(nullptr, &old), 0);
  EXPECT_EQ(old.ss_flags, SS_DISABLE);
}

TEST(Sigaltstack, ChangingItWhileOnItIsEperm) {
  const stack_t stack{alternate, 0, sizeof(alternate)};
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
  static std::atomic<int> error, flags;
  Action a(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        stack_t now{};
        sigaltstack(nullptr, &now);
        flags = now.ss_flags;
        const stack_t off{nullptr, SS_DISABLE, 0};
        error = sigaltstack(&off, nullptr) == 0 ? 0 : errno;
      },
      SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(flags, SS_ONSTACK);
  EXPECT_EQ(error, EPERM);
  const stack_t off{nullptr, SS_DISABLE, 0};
  EXPECT_EQ(sigaltstack(&off, nullptr), 0);
  const stack_t small{alternate, 0, 100};
  EXPECT_EQ(sigaltstack(&small, nullptr), -1);
  EXPECT_EQ(errno, ENOMEM);
  const stack_t odd{alternate, 64, sizeof(alternate)};
  EXPECT_EQ(sigaltstack(&odd, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
}

int Recurse(int n) {
  volatile char big[4096];
  big[0] = static_cast<char>(n);
  return n > 1'000'000'000 ? 0 : Recurse(n + 1) + big[0];
}

TEST(Sigaltstack, AnOverflowingStackIsHandledThere) {
  EXPECT_EQ(RunChild([] {
              const rlimit limit{1 << 20, 1 << 20};
              setrlimit(RLIMIT_STACK, &limit);
              const stack_t stack{alternate, 0, sizeof(alternate)};
              sigaltstack(&stack, nullptr);
              Action a(SIGSEGV, [](int, siginfo_t*, void*) { _exit(55); }, SA_ONSTACK);
              return Recurse(0);
            }),
            55);
}

TEST(Sigaltstack, AutodisarmIsOffInTheHandler) {
  constexpr int kAutodisarm = 1 << 31;
  const stack_t stack{alternate, kAutodisarm, sizeof(alternate)};
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
  static std::atomic<int> inside;
  Action a(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        stack_t now{};
        sigaltstack(nullptr, &now);
        inside = now.ss_flags;
      },
      SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(inside, SS_DISABLE);
  stack_t now{};
  sigaltstack(nullptr, &now);
  EXPECT_EQ(now.ss_sp, alternate);
  const stack_t off{nullptr, SS_DISABLE, 0};
  sigaltstack(&off, nullptr);
}

}  // namespace
