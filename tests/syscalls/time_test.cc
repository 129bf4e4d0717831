// Clocks, sleeping, timers and futexes as a program sees them.
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

namespace {

int64_t Now(clockid_t clock) {
  timespec t{};
  EXPECT_EQ(clock_gettime(clock, &t), 0);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

long Futex(std::atomic<uint32_t>& word, int op, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, &word, op, value, timeout, nullptr, 0);
}

std::atomic<int> handled{0};
void Count(int) { ++handled; }

void Handle(int signo) {
  struct sigaction action {};
  action.sa_handler = Count;
  handled = 0;
  ASSERT_EQ(sigaction(signo, &action, nullptr), 0);
}

TEST(Clock, SystemCallAndVdsoAgree) {
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
    const int64_t before = Now(clock);
    timespec t{};
    ASSERT_EQ(syscall(SYS_clock_gettime, clock, &t), 0);
    const int64_t between = t.tv_sec * 1'000'000'000 + t.tv_nsec;
    EXPECT_LE(before, between);
    EXPECT_LE(between, Now(clock));
  }
}

TEST(Clock, UnknownIsEinval) {
  timespec t{};
  EXPECT_EQ(clock_gettime(99, &t), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Clock, CpuClockOfTheProcessAdvances) {
  const int64_t start = Now(CLOCK_PROCESS_CPUTIME_ID);
  std::atomic<int> spins{0};
  while (spins.fetch_add(1, std::memory_order_relaxed) < 5'000'000) {
  }
  EXPECT_GT(Now(CLOCK_PROCESS_CPUTIME_ID), start);
  EXPECT_GT(Now(CLOCK_THREAD_CPUTIME_ID), 0);
}

TEST(Sleep, LastsAtLeastAsLongAsAsked) {
  const int64_t start = Now(CLOCK_MONOTONIC);
  const timespec request{0, 20'000'000};
  ASSERT_EQ(nanosleep(&request, nullptr), 0);
  EXPECT_GE(Now(CLOCK_MONOTONIC) - start, 20'000'000);
}

TEST(Sleep, BadNanosecondsAreEinval) {
  const timespec request{0, 1'000'000'000};
  EXPECT_EQ(nanosleep(&request, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Sleep, SignalInterruptsAndRestIsTold) {
  Handle(SIGALRM);
  // Again and again: on a busy machine the first may come before we sleep.
  const itimerval value{{0, 20'000}, {0, 20'000}}, none{};
  ASSERT_EQ(setitimer(ITIMER_REAL, &value, nullptr), 0);
  const timespec request{50, 0};
  timespec left{};
  EXPECT_EQ(nanosleep(&request, &left), -1);
  EXPECT_EQ(errno, EINTR);
  setitimer(ITIMER_REAL, &none, nullptr);
  EXPECT_GE(left.tv_sec, 30);
  EXPECT_LT(left.tv_sec, 50);
  EXPECT_GE(handled, 1);
}

TEST(Alarm, ReturnsWhatWasLeft) {
  EXPECT_EQ(alarm(100), 0u);
  const unsigned left = alarm(0);
  EXPECT_GE(left, 70u);
  EXPECT_LE(left, 100u);
  EXPECT_EQ(alarm(0), 0u);
}

TEST(PosixTimer, CountsOverruns) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  ASSERT_EQ(sigprocmask(SIG_BLOCK, &set, nullptr), 0);
  sigevent event{};
  event.sigev_signo = SIGRTMIN;
  event.sigev_value.sival_int = 77;
  timer_t id{};
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &id), 0);
  const itimerspec value{{0, 5'000'000}, {0, 5'000'000}};
  ASSERT_EQ(timer_settime(id, 0, &value, nullptr), 0);
  usleep(50'000);
  siginfo_t info{};
  ASSERT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
  EXPECT_EQ(info.si_code, SI_TIMER);
  EXPECT_EQ(info.si_value.sival_int, 77);
  EXPECT_GE(timer_getoverrun(id), 4);
  EXPECT_EQ(timer_delete(id), 0);
}

TEST(Timerfd, CountsExpiriesAndPolls) {
  const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  ASSERT_GE(fd, 0);
  uint64_t count = 0;
  EXPECT_EQ(read(fd, &count, 8), -1);
  EXPECT_EQ(errno, EAGAIN);
  const itimerspec value{{0, 10'000'000}, {0, 10'000'000}};
  ASSERT_EQ(timerfd_settime(fd, 0, &value, nullptr), 0);
  pollfd p{fd, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 2000), 1);
  usleep(35'000);
  ASSERT_EQ(read(fd, &count, 8), 8);
  EXPECT_GE(count, 3u);
  EXPECT_EQ(read(fd, &count, 4), -1);
  EXPECT_EQ(errno, EINVAL);
  close(fd);
}

TEST(Futex, MismatchIsEagainAndTimeoutEtimedout) {
  std::atomic<uint32_t> word{1};
  EXPECT_EQ(Futex(word, FUTEX_WAIT, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  const timespec limit{0, 5'000'000};
  EXPECT_EQ(Futex(word, FUTEX_WAIT, 1, &limit), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
}

TEST(Futex, WakesAcrossThreads) {
  std::atomic<uint32_t> word{0};
  std::thread waiter([&] {
    while (word.load() == 0) Futex(word, FUTEX_WAIT_PRIVATE, 0);
  });
  usleep(10'000);
  word = 1;
  Futex(word, FUTEX_WAKE_PRIVATE, 1);
  waiter.join();
}

TEST(Futex, PiLockAndUnlock) {
  std::atomic<uint32_t> word{0};
  ASSERT_EQ(Futex(word, FUTEX_LOCK_PI, 0), 0);
  EXPECT_EQ(word & FUTEX_TID_MASK, static_cast<uint32_t>(gettid()));
  EXPECT_EQ(Futex(word, FUTEX_LOCK_PI, 0), -1);
  EXPECT_EQ(errno, EDEADLK);
  ASSERT_EQ(Futex(word, FUTEX_UNLOCK_PI, 0), 0);
  EXPECT_EQ(word.load(), 0u);
}

TEST(Identity, ResuidRoundTrip) {
  uid_t r = 0, e = 0, s = 0;
  ASSERT_EQ(getresuid(&r, &e, &s), 0);
  EXPECT_EQ(r, getuid());
  EXPECT_EQ(e, geteuid());
  EXPECT_EQ(setresuid(r, e, s), 0);
}

}  // namespace
