// eventfd(2), timerfd_create(2), signalfd(2).
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "net_support.h"

namespace {

using test::Handled;
using test::Later;
using test::NowMs;
using test::Owned;
using test::PollOne;
using test::SleepMs;

uint64_t Value(const Owned& fd) {
  uint64_t v = 0;
  return read(fd.get(), &v, sizeof(v)) == sizeof(v) ? v : ~uint64_t{0};
}
bool Add(const Owned& fd, uint64_t v) { return write(fd.get(), &v, sizeof(v)) == sizeof(v); }

TEST(EventFd, CountsAndResets) {
  const Owned e(eventfd(3, EFD_NONBLOCK));
  EXPECT_TRUE(Add(e, 4));
  EXPECT_EQ(Value(e), 7u);
  uint64_t v = 0;
  EXPECT_FAILS(read(e.get(), &v, 8), EAGAIN);
}

TEST(EventFd, SemaphoreGivesOneAtATime) {
  const Owned e(eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE));
  EXPECT_EQ(Value(e), 1u);
  EXPECT_EQ(Value(e), 1u);
  uint64_t v = 0;
  EXPECT_FAILS(read(e.get(), &v, 8), EAGAIN);
}

TEST(EventFd, LimitsAndErrors) {
  EXPECT_FAILS(eventfd(0, 0x1000000), EINVAL);
  const Owned e(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  EXPECT_EQ(fcntl(e.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(e.get(), F_GETFL), O_RDWR | O_NONBLOCK);
  uint64_t v = ~uint64_t{0};
  EXPECT_FAILS(write(e.get(), &v, 8), EINVAL);
  EXPECT_FAILS(write(e.get(), &v, 7), EINVAL);
  EXPECT_FAILS(read(e.get(), &v, 7), EINVAL);
  v = ~uint64_t{0} - 1;
  EXPECT_EQ(write(e.get(), &v, 8), 8);
  EXPECT_EQ(PollOne(e.get(), POLLIN | POLLOUT), POLLIN);
  v = 1;
  EXPECT_FAILS(write(e.get(), &v, 8), EAGAIN);
  v = 0;
  EXPECT_EQ(write(e.get(), &v, 8), 8);
  EXPECT_FAILS(read(e.get(), test::BadAddress(), 8), EFAULT);
  EXPECT_FAILS(write(e.get(), test::BadAddress(), 8), EFAULT);
  EXPECT_EQ(lseek(e.get(), 5, SEEK_SET), 0);
  EXPECT_FAILS(pread(e.get(), &v, 8, 0), ESPIPE);
}

TEST(EventFd, LargeBufferGetsEightBytes) {
  const Owned e(eventfd(5, 0));
  uint64_t v[4] = {};
  EXPECT_EQ(read(e.get(), v, sizeof(v)), 8);
  EXPECT_EQ(v[0], 5u);
}

TEST(EventFd, ReaderAndWriterWait) {
  const Owned e(eventfd(0, 0));
  {
    const Later add(30, [&] { Add(e, 9); });
    EXPECT_EQ(Value(e), 9u);
  }
  ASSERT_TRUE(Add(e, ~uint64_t{0} - 1));
  const Later take(30, [&] { Value(e); });
  EXPECT_TRUE(Add(e, 5));
  EXPECT_EQ(Value(e), 5u);
}

TEST(EventFd, SemaphoreWithManyReaders) {
  const Owned e(eventfd(0, EFD_SEMAPHORE));
  std::atomic<int> got{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      if (Value(e) == 1) ++got;
    });
  }
  Add(e, 3);
  SleepMs(30);
  Add(e, 5);
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(got, 8);
}

TEST(EventFd, FdInfoTellsTheCount) {
  const Owned e(eventfd(0x1f, 0));
  std::ifstream in("/proc/self/fdinfo/" + std::to_string(e.get()));
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_NE(text.str().find("eventfd-count:               1f\n"), std::string::npos) << text.str();
}

itimerspec In(int64_t ms, int64_t interval_ms = 0) {
  return {{interval_ms / 1000, interval_ms % 1000 * 1000000}, {ms / 1000, ms % 1000 * 1000000}};
}

TEST(TimerFd, ArgumentsAreChecked) {
  EXPECT_FAILS(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
  EXPECT_FAILS(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
  const Owned t(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  ASSERT_TRUE(t.ok());
  itimerspec bad{{0, 0}, {0, 1000000000}};
  EXPECT_FAILS(timerfd_settime(t.get(), 0, &bad, nullptr), EINVAL);
  bad = {{0, 0}, {-1, 0}};
  EXPECT_FAILS(timerfd_settime(t.get(), 0, &bad, nullptr), EINVAL);
  itimerspec ok = In(10);
  EXPECT_FAILS(timerfd_settime(t.get(), 8, &ok, nullptr), EINVAL);
  const Owned e(eventfd(0, 0));
  EXPECT_FAILS(timerfd_settime(e.get(), 0, &ok, nullptr), EINVAL);
  EXPECT_FAILS(timerfd_gettime(e.get(), &ok), EINVAL);
  EXPECT_FAILS(timerfd_gettime(-1, &ok), EBADF);
  uint64_t v = 0;
  EXPECT_FAILS(read(t.get(), &v, 4), EINVAL);
  EXPECT_FAILS(read(t.get(), &v, 8), EAGAIN);
  EXPECT_FAILS(write(t.get(), &v, 8), EINVAL);
}

TEST(TimerFd, OneShotFiresOnce) {
  for (const int clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
    const Owned t(timerfd_create(clock, 0));
    ASSERT_TRUE(t.ok());
    const itimerspec in = In(40);
    const int64_t start = NowMs();
    ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
    EXPECT_EQ(Value(t), 1u);
    EXPECT_GE(NowMs() - start, 39);
    EXPECT_EQ(PollOne(t.get(), POLLIN, 30), 0);
    itimerspec now{};
    ASSERT_EQ(timerfd_gettime(t.get(), &now), 0);
    EXPECT_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
  }
}

TEST(TimerFd, PeriodicCountsExpiries) {
  const Owned t(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  const itimerspec in = In(10, 10);
  ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
  SleepMs(105);
  const uint64_t n = Value(t);
  EXPECT_GE(n, 9u);
  EXPECT_LE(n, 200u);
  EXPECT_EQ(PollOne(t.get(), POLLIN, 1000), POLLIN);
}

TEST(TimerFd, AbsoluteAndPastTimes) {
  const Owned t(timerfd_create(CLOCK_MONOTONIC, 0));
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  itimerspec at{{0, 0}, {now.tv_sec - 1, now.tv_nsec}};
  ASSERT_EQ(timerfd_settime(t.get(), TFD_TIMER_ABSTIME, &at, nullptr), 0);
  EXPECT_EQ(Value(t), 1u);
  at.it_interval.tv_nsec = 100000000;  // ten a second, since a second ago
  ASSERT_EQ(timerfd_settime(t.get(), TFD_TIMER_ABSTIME, &at, nullptr), 0);
  EXPECT_GE(Value(t), 10u);
}

TEST(TimerFd, SettingTellsTheOldAndDisarms) {
  const Owned t(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  itimerspec in = In(50000, 7000), old{};
  ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
  const itimerspec off{};
  ASSERT_EQ(timerfd_settime(t.get(), 0, &off, &old), 0);
  EXPECT_EQ(old.it_interval.tv_sec, 7);
  EXPECT_EQ(old.it_value.tv_sec, 49);
  uint64_t v = 0;
  EXPECT_FAILS(read(t.get(), &v, 8), EAGAIN);
  // Setting again drops expiries that were not read.
  in = In(1);
  ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
  SleepMs(20);
  in = In(50000);
  ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
  EXPECT_FAILS(read(t.get(), &v, 8), EAGAIN);
}

TEST(TimerFd, EpollEdgeTellsEachExpiry) {
  const Owned t(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), e(epoll_create1(0));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  ASSERT_EQ(epoll_ctl(e.get(), EPOLL_CTL_ADD, t.get(), &event), 0);
  for (int i = 0; i < 3; ++i) {
    const itimerspec in = In(20);
    ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
    EXPECT_EQ(epoll_wait(e.get(), &event, 1, 2000), 1);
    EXPECT_EQ(epoll_wait(e.get(), &event, 1, 0), 0);
  }
}

TEST(TimerFd, RearmedWhileSomebodyReads) {
  const Owned t(timerfd_create(CLOCK_MONOTONIC, 0));
  itimerspec in = In(60000);
  ASSERT_EQ(timerfd_settime(t.get(), 0, &in, nullptr), 0);
  const Later rearm(30, [&] {
    const itimerspec soon = In(20);
    timerfd_settime(t.get(), 0, &soon, nullptr);
  });
  EXPECT_EQ(Value(t), 1u);
}

class SignalFdTest : public testing::Test {
 protected:
  void SetUp() override {
    sigemptyset(&set_);
    sigaddset(&set_, SIGUSR1);
    sigaddset(&set_, SIGRTMIN + 1);
    sigaddset(&set_, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set_, &old_);
  }
  void TearDown() override {
    const timespec zero{0, 0};
    while (sigtimedwait(&set_, nullptr, &zero) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }
  sigset_t set_, old_;
};

TEST_F(SignalFdTest, ReadsWhatIsPending) {
  const Owned s(signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC));
  ASSERT_TRUE(s.ok());
  signalfd_siginfo info[2];
  EXPECT_FAILS(read(s.get(), info, sizeof(info)), EAGAIN);
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(PollOne(s.get(), POLLIN), POLLIN);
  ASSERT_EQ(read(s.get(), info, sizeof(info)), static_cast<ssize_t>(sizeof(info[0])));
  EXPECT_EQ(info[0].ssi_signo, static_cast<uint32_t>(SIGUSR1));
  EXPECT_EQ(info[0].ssi_pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(info[0].ssi_uid, getuid());
  EXPECT_EQ(info[0].ssi_code, SI_USER);
  EXPECT_EQ(PollOne(s.get(), POLLIN), 0);
  EXPECT_FAILS(read(s.get(), info, 100), EINVAL);
}

TEST_F(SignalFdTest, QueuedSignalsCarryValues) {
  const Owned s(signalfd(-1, &set_, SFD_NONBLOCK));
  for (int i = 0; i < 3; ++i) {
    sigval v{};
    v.sival_int = 100 + i;
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN + 1, v), 0);
  }
  signalfd_siginfo info[4];
  ASSERT_EQ(read(s.get(), info, sizeof(info)), static_cast<ssize_t>(3 * sizeof(info[0])));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(info[i].ssi_int, 100 + i);
    EXPECT_EQ(info[i].ssi_code, SI_QUEUE);
  }
}

TEST_F(SignalFdTest, ArgumentsAreChecked) {
  EXPECT_FAILS(signalfd(-1, &set_, 1), EINVAL);
  const Owned e(eventfd(0, 0));
  EXPECT_FAILS(signalfd(e.get(), &set_, 0), EINVAL);
  EXPECT_FAILS(signalfd(9999, &set_, 0), EBADF);
  EXPECT_FAILS(syscall(SYS_signalfd4, -1, &set_, 4, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_signalfd4, -1, test::BadAddress(), 8, 0), EFAULT);
}

TEST_F(SignalFdTest, MaskIsChangedInPlace) {
  sigset_t none;
  sigemptyset(&none);
  const Owned s(signalfd(-1, &none, SFD_NONBLOCK));
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(PollOne(s.get(), POLLIN), 0);
  EXPECT_EQ(signalfd(s.get(), &set_, 0), s.get());
  EXPECT_EQ(PollOne(s.get(), POLLIN), POLLIN);
}

TEST_F(SignalFdTest, BlockedReadIsWoken) {
  const Owned s(signalfd(-1, &set_, 0));
  const Later kick(40, [&] { kill(getpid(), SIGUSR1); });
  signalfd_siginfo info{};
  EXPECT_EQ(read(s.get(), &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
}

TEST_F(SignalFdTest, ChildStatusArrives) {
  const Owned s(signalfd(-1, &set_, 0));
  const pid_t child = fork();
  if (child == 0) _exit(7);
  signalfd_siginfo info{};
  ASSERT_EQ(read(s.get(), &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGCHLD));
  EXPECT_EQ(info.ssi_pid, static_cast<uint32_t>(child));
  EXPECT_EQ(info.ssi_status, 7);
  EXPECT_EQ(info.ssi_code, CLD_EXITED);
  waitpid(child, nullptr, 0);
}

TEST_F(SignalFdTest, EpollWakesForIt) {
  const Owned s(signalfd(-1, &set_, SFD_NONBLOCK)), e(epoll_create1(0));
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(e.get(), EPOLL_CTL_ADD, s.get(), &event), 0);
  const Later kick(40, [&] { kill(getpid(), SIGUSR1); });
  EXPECT_EQ(epoll_wait(e.get(), &event, 1, 3000), 1);
}

TEST_F(SignalFdTest, ThreadDirectedSignalIsThatThreads) {
  const Owned s(signalfd(-1, &set_, SFD_NONBLOCK));
  pthread_kill(pthread_self(), SIGUSR1);
  ssize_t other = 0;
  std::thread reader([&] {
    signalfd_siginfo info{};
    other = read(s.get(), &info, sizeof(info));
  });
  reader.join();
  EXPECT_EQ(other, -1);
  signalfd_siginfo info{};
  EXPECT_EQ(read(s.get(), &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
  EXPECT_EQ(info.ssi_code, SI_TKILL);
}

}  // namespace
