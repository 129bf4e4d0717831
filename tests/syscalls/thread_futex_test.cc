// Threads and futexes below the C library: clone flags of threads, tids, exits, robust lists, priority inheritance, requeueing.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

using Word = std::atomic<uint32_t>;

long Futex(Word& word, int op, uint32_t value, const timespec* limit = nullptr, Word* second = nullptr, uint32_t value3 = 0) {
  return syscall(SYS_futex, &word, op, value, limit, second, value3);
}
long FutexCount(Word& word, int op, uint32_t value, long count, Word* second, uint32_t value3 = 0) {
  return syscall(SYS_futex, &word, op, value, count, second, value3);
}
char StateOf(pid_t tid) {
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/stat";
  char text[256] = {};
  const int fd = open(path.c_str(), O_RDONLY);
  if (fd < 0) return '-';
  const ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  const char* end = n > 0 ? strrchr(text, ')') : nullptr;
  return end == nullptr ? '-' : end[2];
}
void UntilAsleep(const std::atomic<pid_t>& tid) {
  while (tid == 0) usleep(500);
  for (int i = 0; i < 5000 && StateOf(tid) != 'S'; ++i) usleep(1000);
  usleep(2000);
}
pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
int ExitOf(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
Word* SharedWord() {
  return static_cast<Word*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

// A thread in futex wait.
class Waiter {
 public:
  Waiter(Word& word, int op, uint32_t value, uint32_t bits = 0) {
    thread_ = std::thread([this, &word, op, value, bits] {
      tid_ = gettid();
      const long r = Futex(word, op, value, nullptr, nullptr, bits);
      result_ = r == 0 ? 0 : errno;
    });
    UntilAsleep(tid_);
  }
  ~Waiter() {
    if (thread_.joinable()) thread_.join();
  }
  bool done() const { return result_ != -1; }
  int Join() {
    thread_.join();
    return result_;
  }

 private:
  std::atomic<pid_t> tid_{0};
  std::atomic<int> result_{-1};
  std::thread thread_;
};

TEST(Futex, WrongValueIsEagainAndBadArguments) {
  static Word word{5};
  EXPECT_EQ(Futex(word, FUTEX_WAIT, 4), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(syscall(SYS_futex, reinterpret_cast<char*>(&word) + 1, FUTEX_WAIT, 5, nullptr, nullptr, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_futex, 0x1000, FUTEX_WAIT, 5, nullptr, nullptr, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(Futex(word, 99, 0), -1);
  EXPECT_EQ(errno, ENOSYS);
  EXPECT_EQ(Futex(word, FUTEX_WAIT_BITSET, 5, nullptr, nullptr, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  const timespec bad{0, 1'000'000'000};
  EXPECT_EQ(Futex(word, FUTEX_WAIT, 5, &bad), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Futex, TimesOut) {
  static Word word{5};
  const timespec little{0, 5'000'000};
  EXPECT_EQ(Futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 5, &little), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
  timespec past{};
  clock_gettime(CLOCK_MONOTONIC, &past);
  EXPECT_EQ(Futex(word, FUTEX_WAIT_BITSET, 5, &past, nullptr, ~0u), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
  clock_gettime(CLOCK_REALTIME, &past);
  EXPECT_EQ(Futex(word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &past, nullptr, ~0u), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
}

TEST(Futex, WakesAsManyAsAsked) {
  static Word word{0};
  Waiter a(word, FUTEX_WAIT, 0), b(word, FUTEX_WAIT, 0), c(word, FUTEX_WAIT, 0);
  EXPECT_EQ(Futex(word, FUTEX_WAKE, 2), 2);
  EXPECT_EQ(Futex(word, FUTEX_WAKE, 100), 1);
  EXPECT_EQ(Futex(word, FUTEX_WAKE, 100), 0);
}

TEST(Futex, BitsetsSelect) {
  static Word word{0};
  Waiter a(word, FUTEX_WAIT_BITSET, 0, 1), b(word, FUTEX_WAIT_BITSET, 0, 6);
  EXPECT_EQ(Futex(word, FUTEX_WAKE_BITSET, 10, nullptr, nullptr, 8), 0);
  EXPECT_EQ(Futex(word, FUTEX_WAKE_BITSET, 10, nullptr, nullptr, 4), 1);
  EXPECT_EQ(b.Join(), 0);
  EXPECT_EQ(Futex(word, FUTEX_WAKE_BITSET, 10, nullptr, nullptr, ~0u), 1);
}

TEST(Futex, PrivateAndSharedAreApart) {
  static Word word{0};
  Waiter a(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0);
  EXPECT_EQ(Futex(word, FUTEX_WAKE, 10), 0);
  EXPECT_EQ(Futex(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10), 1);
}

TEST(Futex, RequeueMovesTheRest) {
  static Word from{0}, to{0};
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(std::make_unique<Waiter>(from, FUTEX_WAIT, 0));
  EXPECT_EQ(FutexCount(from, FUTEX_CMP_REQUEUE, 1, 2, &to, 7), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(FutexCount(from, FUTEX_CMP_REQUEUE, 1, 2, &to, 0), 3);  // one woken, two moved
  EXPECT_EQ(Futex(to, FUTEX_WAKE, 10), 2);
  EXPECT_EQ(FutexCount(from, FUTEX_REQUEUE, 0, 10, &to), 1);
  EXPECT_EQ(Futex(to, FUTEX_WAKE, 10), 1);
}

TEST(Futex, WakeOpChangesAndWakesBoth) {
  static Word first{0}, second{0};
  Waiter a(first, FUTEX_WAIT, 0), b(second, FUTEX_WAIT, 0);
  const uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0);
  EXPECT_EQ(FutexCount(first, FUTEX_WAKE_OP, 1, 1, &second, op), 2);
  EXPECT_EQ(second, 5u);
}

TEST(Futex, BetweenProcesses) {
  Word* word = SharedWord();
  const pid_t pid = Fork([&] {
    while (word->load() == 0) Futex(*word, FUTEX_WAIT, 0);
    return static_cast<int>(word->load());
  });
  usleep(20'000);
  word->store(9);
  Futex(*word, FUTEX_WAKE, 1);
  EXPECT_EQ(ExitOf(pid), 9);
  munmap(word, 4096);
}

TEST(Futex, BetweenMappingsOfAFile) {
  char path[] = "/tmp/thread_futex_XXXXXX";
  const int fd = mkstemp(path);
  unlink(path);
  ASSERT_EQ(ftruncate(fd, 4096), 0);
  auto* a = static_cast<Word*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  auto* b = static_cast<Word*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  Waiter w(*a, FUTEX_WAIT, 0);
  EXPECT_EQ(Futex(*b, FUTEX_WAKE, 10), 1);
  w.Join();
  munmap(a, 4096);
  munmap(b, 4096);
  close(fd);
}

TEST(Futex, WaitvWakesForAnyOfThem) {
  struct Waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
  };
  static Word words[2];
  Waitv list[2] = {{0, reinterpret_cast<uint64_t>(&words[0]), 2 | FUTEX_PRIVATE_FLAG, 0}, {0, reinterpret_cast<uint64_t>(&words[1]), 2 | FUTEX_PRIVATE_FLAG, 0}};
  constexpr long kFutexWaitv = 449;
  timespec past{};
  clock_gettime(CLOCK_MONOTONIC, &past);
  if (syscall(kFutexWaitv, list, 2, 0, &past, CLOCK_MONOTONIC) == -1 && errno == ENOSYS) GTEST_SKIP() << "no futex_waitv";
  EXPECT_EQ(errno, ETIMEDOUT);
  std::atomic<pid_t> tid{0};
  std::atomic<long> result{-2};
  std::thread waiter([&] {
    tid = gettid();
    result = syscall(kFutexWaitv, list, 2, 0, nullptr, CLOCK_MONOTONIC);
  });
  UntilAsleep(tid);
  EXPECT_EQ(Futex(words[1], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 1);
  waiter.join();
  EXPECT_EQ(result, 1);
}

// --- priority inheritance

TEST(FutexPi, LockIsHandedOver) {
  static Word word;
  word = 0;
  EXPECT_EQ(Futex(word, FUTEX_LOCK_PI, 0), 0);
  EXPECT_EQ(word, static_cast<uint32_t>(gettid()));
  EXPECT_EQ(Futex(word, FUTEX_LOCK_PI, 0), -1);
  EXPECT_EQ(errno, EDEADLK);
  EXPECT_EQ(Futex(word, FUTEX_TRYLOCK_PI, 0), -1);
  std::atomic<pid_t> tid{0};
  std::thread other([&] {
    tid = gettid();
    EXPECT_EQ(Futex(word, FUTEX_LOCK_PI, 0), 0);
    EXPECT_EQ(word & FUTEX_TID_MASK, static_cast<uint32_t>(gettid()));
    EXPECT_EQ(Futex(word, FUTEX_UNLOCK_PI, 0), 0);
  });
  UntilAsleep(tid);
  EXPECT_EQ(word, static_cast<uint32_t>(gettid()) | FUTEX_WAITERS);
  EXPECT_EQ(Futex(word, FUTEX_UNLOCK_PI, 0), 0);
  other.join();
  EXPECT_EQ(word, 0u);
  EXPECT_EQ(Futex(word, FUTEX_UNLOCK_PI, 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(FutexPi, OwnerThatIsNobodyIsEsrch) {
  static Word word;
  word = 0x3fff'fff0;
  EXPECT_EQ(Futex(word, FUTEX_LOCK_PI, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(FutexPi, MutexesOfPthreads) {
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  ASSERT_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT), 0);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attr);
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 500; ++k) {
        pthread_mutex_lock(&mutex);
        ++count;
        pthread_mutex_unlock(&mutex);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(count, 2000);
}

// --- robust lists

TEST(Robust, ADeadOwnersMutexIsOwnerdead) {
  auto* mutex = static_cast<pthread_mutex_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (const int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT}) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setprotocol(&attr, protocol);
    pthread_mutex_init(mutex, &attr);
    EXPECT_EQ(ExitOf(Fork([&] {
                pthread_mutex_lock(mutex);
                return 0;
              })),
              0);
    EXPECT_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
    EXPECT_EQ(pthread_mutex_consistent(mutex), 0);
    EXPECT_EQ(pthread_mutex_unlock(mutex), 0);
    EXPECT_EQ(pthread_mutex_lock(mutex), 0);
    pthread_mutex_unlock(mutex);
    pthread_mutex_destroy(mutex);
  }
  munmap(mutex, 4096);
}

TEST(Robust, AKilledOwnerWakesAWaiter) {
  auto* mutex = static_cast<pthread_mutex_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(mutex, &attr);
  Word* ready = reinterpret_cast<Word*>(reinterpret_cast<char*>(mutex) + 2048);
  const pid_t pid = Fork([&] {
    pthread_mutex_lock(mutex);
    ready->store(1);
    while (true) pause();
    return 0;
  });
  while (ready->load() == 0) usleep(1000);
  std::atomic<int> result{-1};
  std::atomic<pid_t> tid{0};
  std::thread waiter([&] {
    tid = gettid();
    result = pthread_mutex_lock(mutex);
  });
  UntilAsleep(tid);
  kill(pid, SIGKILL);
  waiter.join();
  EXPECT_EQ(result, EOWNERDEAD);
  waitpid(pid, nullptr, 0);
  munmap(mutex, 4096);
}

TEST(Robust, ListIsRememberedAndChecked) {
  robust_list_head* head = nullptr;
  size_t size = 0;
  ASSERT_EQ(syscall(SYS_get_robust_list, 0, &head, &size), 0);
  EXPECT_EQ(size, sizeof(robust_list_head));
  EXPECT_NE(head, nullptr);
  EXPECT_EQ(syscall(SYS_set_robust_list, head, 7), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_get_robust_list, 999'999, &head, &size), -1);
  EXPECT_EQ(errno, ESRCH);
}

// --- threads

TEST(Thread, HasItsOwnTidAndTheProcesssPid) {
  const pid_t pid = getpid();
  EXPECT_EQ(gettid(), pid);
  std::thread([&] {
    EXPECT_NE(gettid(), pid);
    EXPECT_EQ(getpid(), pid);
    const std::string path = "/proc/self/task/" + std::to_string(gettid()) + "/stat";
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
  }).join();
}

TEST(Thread, SetTidAddressReturnsTheTidAndIsClearedAtExit) {
  static Word word;
  word = 77;
  pid_t returned = 0, tid = 0;
  std::thread([&] {
    tid = gettid();
    // The C library waits on its own word in join; it is put back before the end.
    pid_t* old = nullptr;
    syscall(SYS_prctl, 40 /* PR_GET_TID_ADDRESS */, &old, 0, 0, 0);
    returned = static_cast<pid_t>(syscall(SYS_set_tid_address, &word));
    if (old != nullptr) syscall(SYS_set_tid_address, old);
  }).join();
  EXPECT_EQ(returned, tid);
  EXPECT_EQ(word, 77u);
}

TEST(Thread, CloneWithChildCleartidWakesTheWaiter) {
  static Word word;
  word = 1;
  alignas(16) static char stack[32 * 1024];
  const int tid = clone([](void*) { return static_cast<int>(syscall(SYS_exit, 0)); }, stack + sizeof(stack),
                        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID, nullptr, nullptr, nullptr,
                        &word);
  ASSERT_GT(tid, 0);
  while (word == 1) Futex(word, FUTEX_WAIT, 1);
  EXPECT_EQ(word, 0u);
}

TEST(Thread, TgkillChecksBoth) {
  EXPECT_EQ(syscall(SYS_tgkill, getpid(), gettid(), 0), 0);
  EXPECT_EQ(syscall(SYS_tgkill, getpid(), 0, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_tgkill, getpid(), gettid(), 65), -1);
  EXPECT_EQ(errno, EINVAL);
  std::atomic<pid_t> tid{0};
  std::atomic<bool> stop{false};
  std::thread other([&] {
    tid = gettid();
    while (!stop) usleep(1000);
  });
  while (tid == 0) usleep(1000);
  EXPECT_EQ(syscall(SYS_tgkill, getpid(), tid.load(), 0), 0);
  const pid_t child = Fork([] {
    while (true) pause();
    return 0;
  });
  EXPECT_EQ(syscall(SYS_tgkill, child, tid.load(), 0), -1);
  EXPECT_EQ(errno, ESRCH);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(syscall(SYS_tkill, tid.load(), 0), 0);
  stop = true;
  other.join();
  EXPECT_EQ(syscall(SYS_tgkill, getpid(), tid.load(), 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Thread, TheProcessLivesOnWithoutItsFirstThread) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t pid = Fork([&] {
    const pid_t self = getpid();
    std::thread([&, self] {
      const std::string path = "/proc/" + std::to_string(self) + "/stat";
      for (int i = 0; i < 5000; ++i) {
        char text[256] = {};
        const int fd = open(path.c_str(), O_RDONLY);
        const ssize_t n = read(fd, text, sizeof(text) - 1);
        close(fd);
        const char* end = n > 0 ? strrchr(text, ')') : nullptr;
        if (end != nullptr && end[2] == 'Z') break;
        usleep(1000);
      }
      // Signals for the process find us; a child can be made and awaited.
      static std::atomic<bool> handled;
      signal(SIGUSR1, [](int) { handled = true; });
      kill(self, SIGUSR1);
      for (int i = 0; i < 1000 && !handled; ++i) usleep(1000);
      const int child = ExitOf(Fork([] { return 3; }));
      const char ok = handled && child == 3 && getpid() == self ? 'y' : 'n';
      [[maybe_unused]] const ssize_t n = write(fds[1], &ok, 1);
      _exit(21);
    }).detach();
    syscall(SYS_exit, 5);
    return 0;
  });
  char c = 0;
  EXPECT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(c, 'y');
  EXPECT_EQ(ExitOf(pid), 21);
  close(fds[0]);
  close(fds[1]);
}

TEST(Thread, TheLastOnesPlainExitGivesTheStatus) {
  const pid_t pid = Fork([] {
    std::thread([] {
      usleep(50'000);
      syscall(SYS_exit, 9);
    }).detach();
    syscall(SYS_exit, 4);
    return 0;
  });
  EXPECT_EQ(ExitOf(pid), 9);
}

TEST(Thread, ExitGroupEndsSleepersAndSpinners) {
  const pid_t pid = Fork([] {
    for (int i = 0; i < 3; ++i) {
      std::thread([] {
        while (true) pause();
      }).detach();
      std::thread([] {
        static std::atomic<uint64_t> spins;
        while (true) ++spins;
      }).detach();
    }
    usleep(20'000);
    _exit(8);
    return 0;
  });
  EXPECT_EQ(ExitOf(pid), 8);
}

TEST(Thread, ADeadlySignalToOneEndsAll) {
  const pid_t pid = Fork([] {
    std::thread other([] {
      while (true) pause();
    });
    usleep(10'000);
    pthread_kill(other.native_handle(), SIGTERM);
    while (true) pause();
    return 0;
  });
  EXPECT_EQ(ExitOf(pid), 1000 + SIGTERM);
}

TEST(Thread, ManyComeAndGo) {
  std::atomic<int> ran{0};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) threads.emplace_back([&] { ++ran; });
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(ran, 320);
}

// A lock that is let go and taken again all the time, with one of the waiters told each time: Python's interpreter lock. Whoever is told finds it
// taken again, because whoever told runs on meanwhile; unless it is put aside for them all, and nearly every turn becomes a fight.
TEST(Thread, AHundredAtOneLockDoNotStopItsHolder) {
  constexpr int kThreads = 100, kRounds = 300;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t given_back = PTHREAD_COND_INITIALIZER;
  bool locked = true;
  std::atomic<int> waits{0};
  const auto take = [&] {
    pthread_mutex_lock(&mutex);
    while (locked) {
      ++waits;
      timespec until;
      clock_gettime(CLOCK_REALTIME, &until);
      until.tv_nsec += 5'000'000;
      if (until.tv_nsec >= 1'000'000'000) ++until.tv_sec, until.tv_nsec -= 1'000'000'000;
      pthread_cond_timedwait(&given_back, &mutex, &until);
    }
    locked = true;
    pthread_mutex_unlock(&mutex);
  };
  const auto give_back = [&] {
    pthread_mutex_lock(&mutex);
    locked = false;
    pthread_cond_signal(&given_back);
    pthread_mutex_unlock(&mutex);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        take();
        give_back();
      }
    });
  }
  give_back();
  for (std::thread& t : threads) t.join();
  EXPECT_LT(waits, kThreads * kRounds / 2);
}

TEST(Thread, NamesAreTheirOwn) {
  char before[16] = {}, after[16] = {};
  pthread_getname_np(pthread_self(), before, sizeof(before));
  std::thread([] {
    EXPECT_EQ(pthread_setname_np(pthread_self(), "another"), 0);
    const std::string path = "/proc/self/task/" + std::to_string(gettid()) + "/comm";
    char text[32] = {};
    const int fd = open(path.c_str(), O_RDONLY);
    EXPECT_GT(read(fd, text, sizeof(text)), 0);
    close(fd);
    EXPECT_STREQ(text, "another\n");
  }).join();
  pthread_getname_np(pthread_self(), after, sizeof(after));
  EXPECT_STREQ(before, after);
}

TEST(Membarrier, WhatIsOfferedWorks) {
  const long offered = syscall(SYS_membarrier, 0, 0, 0);
  if (offered < 0) {
    EXPECT_EQ(errno, ENOSYS);
    GTEST_SKIP() << "no membarrier";
  }
  if ((offered & 16) != 0) {
    EXPECT_EQ(syscall(SYS_membarrier, 16, 0, 0), 0);  // register private expedited
    EXPECT_EQ(syscall(SYS_membarrier, 8, 0, 0), 0);
  }
  EXPECT_EQ(syscall(SYS_membarrier, 0x4000'0000, 0, 0), -1);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
