// poll(2), ppoll(2), select(2), pselect6(2) on each kind of file; time-outs, signals and masks.
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <vector>

#include "net_support.h"

namespace {

using test::Handled;
using test::Later;
using test::MakePipe;
using test::MakeSocketPair;
using test::NowMs;
using test::Owned;
using test::Pair;
using test::PollOne;
using test::ReadSome;
using test::SleepMs;

constexpr short kAll = POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND;

TEST(Poll, BadDescriptorIsPollnvalAndCounts) {
  const Pair p = MakePipe();
  pollfd fds[3] = {{-1, POLLIN, 99}, {99999, POLLIN, 0}, {p.b.get(), POLLOUT, 0}};
  EXPECT_EQ(poll(fds, 3, 1000), 2);
  EXPECT_EQ(fds[0].revents, 0);
  EXPECT_EQ(fds[1].revents, POLLNVAL);
  EXPECT_EQ(fds[2].revents, POLLOUT);
}

TEST(Poll, PathDescriptorIsPollnval) {
  const Owned path(open("/", O_PATH));
  EXPECT_EQ(PollOne(path.get(), POLLIN), POLLNVAL);
}

TEST(Poll, NothingToWaitForIsASleep) {
  const int64_t start = NowMs();
  EXPECT_EQ(poll(nullptr, 0, 50), 0);
  EXPECT_GE(NowMs() - start, 49);
}

TEST(Poll, ArgumentsAreChecked) {
  pollfd fd{0, POLLIN, 0};
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_FAILS(syscall(SYS_poll, &fd, limit.rlim_cur + 1, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_poll, test::BadAddress(), 1, 0), EFAULT);
  timespec t{0, 1000000000};
  EXPECT_FAILS(ppoll(&fd, 0, &t, nullptr), EINVAL);
  t = {-1, 0};
  EXPECT_FAILS(ppoll(&fd, 0, &t, nullptr), EINVAL);
  EXPECT_FAILS(syscall(SYS_ppoll, &fd, 0, nullptr, &fd, 4), EINVAL);
}

TEST(Poll, EveryKindOfFileShowsItsState) {
  const Owned file(open("/proc/self/exe", O_RDONLY)), dir(open("/tmp", O_RDONLY)), null(open("/dev/null", O_RDWR)), zero(open("/dev/zero", O_RDONLY));
  for (const Owned* f : {&file, &dir, &null, &zero}) EXPECT_EQ(PollOne(f->get(), kAll), POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
  const Pair p = MakePipe();
  EXPECT_EQ(PollOne(p.a.get(), kAll), 0);
  EXPECT_EQ(PollOne(p.b.get(), kAll), POLLOUT | POLLWRNORM);
  const Owned event(eventfd(0, 0));
  EXPECT_EQ(PollOne(event.get(), kAll), POLLOUT);
  eventfd_write(event.get(), 1);
  EXPECT_EQ(PollOne(event.get(), kAll), POLLOUT | POLLIN);
  const Owned timer(timerfd_create(CLOCK_MONOTONIC, 0));
  EXPECT_EQ(PollOne(timer.get(), kAll), 0);
  sigset_t none;
  sigemptyset(&none);
  const Owned signals(signalfd(-1, &none, 0));
  EXPECT_EQ(PollOne(signals.get(), kAll), 0);
}

TEST(Poll, SocketsShowTheirState) {
  const Owned fresh(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(PollOne(fresh.get(), kAll), POLLOUT | POLLWRNORM | POLLWRBAND | POLLHUP);
  const Owned tcp(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(PollOne(tcp.get(), kAll), POLLOUT | POLLWRNORM | POLLHUP);
  const Owned udp(socket(AF_INET, SOCK_DGRAM, 0));
  EXPECT_EQ(PollOne(udp.get(), kAll), POLLOUT | POLLWRNORM | POLLWRBAND);
  const Owned dgram(socket(AF_UNIX, SOCK_DGRAM, 0));
  EXPECT_EQ(PollOne(dgram.get(), kAll), POLLOUT | POLLWRNORM | POLLWRBAND);
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Pair s = MakeSocketPair(type);
    EXPECT_EQ(PollOne(s.a.get(), POLLIN | POLLOUT | POLLRDHUP), POLLOUT);
    ASSERT_EQ(send(s.b.get(), "x", 1, 0), 1);
    EXPECT_EQ(PollOne(s.a.get(), POLLIN | POLLOUT | POLLRDHUP), POLLOUT | POLLIN);
    ASSERT_EQ(shutdown(s.b.get(), SHUT_WR), 0);
    EXPECT_EQ(PollOne(s.a.get(), POLLIN | POLLOUT | POLLRDHUP), POLLOUT | POLLIN | POLLRDHUP);
    s.b.Close();
    EXPECT_EQ(PollOne(s.a.get(), POLLIN | POLLOUT | POLLRDHUP), POLLOUT | POLLIN | POLLRDHUP | POLLHUP);
  }
}

TEST(Poll, WaitsForTheFirstOfMany) {
  std::vector<Pair> pipes;
  std::vector<pollfd> fds;
  for (int i = 0; i < 40; ++i) {
    pipes.push_back(MakePipe());
    fds.push_back({pipes.back().a.get(), POLLIN, 0});
  }
  const Later writer(40, [&] { (void)!write(pipes[33].b.get(), "x", 1); });
  EXPECT_EQ(poll(fds.data(), fds.size(), 5000), 1);
  EXPECT_EQ(fds[33].revents, POLLIN);
}

TEST(Poll, SameDescriptorTwice) {
  const Pair p = MakePipe();
  (void)!write(p.b.get(), "x", 1);
  pollfd fds[2] = {{p.a.get(), POLLIN, 0}, {p.a.get(), POLLRDNORM, 0}};
  EXPECT_EQ(poll(fds, 2, 0), 2);
  EXPECT_EQ(fds[0].revents, POLLIN);
  EXPECT_EQ(fds[1].revents, POLLRDNORM);
}

TEST(Poll, ManyThreadsWaitForOneEvent) {
  const Pair p = MakePipe();
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      if (PollOne(p.a.get(), POLLIN, 5000) == POLLIN) ++woken;
    });
  }
  SleepMs(50);
  (void)!write(p.b.get(), "x", 1);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(woken, 6);
}

TEST(Poll, SignalIsEintrEvenWithRestart) {
  const pthread_t self = pthread_self();
  const Handled usr(SIGUSR1, SA_RESTART);
  const Later kick(40, [&] { pthread_kill(self, SIGUSR1); });
  EXPECT_FAILS(poll(nullptr, 0, 3000), EINTR);
}

TEST(Poll, StoppedAndContinuedGoesOn) {
  const pid_t child = fork();
  if (child == 0) {
    const int64_t start = NowMs();
    const int n = poll(nullptr, 0, 300);
    _exit(n == 0 && NowMs() - start >= 299 && NowMs() - start < 3000 ? 0 : 1);
  }
  SleepMs(50);
  kill(child, SIGSTOP);
  SleepMs(50);
  kill(child, SIGCONT);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Poll, PpollMaskIsForTheCallOnly) {
  const Handled usr(SIGUSR1, 0);
  sigset_t block, none, old, now;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  raise(SIGUSR1);
  timespec zero{0, 0}, second{1, 0};
  const Pair p = MakePipe();
  pollfd ready{p.b.get(), POLLOUT, 0};
  EXPECT_EQ(ppoll(&ready, 1, &second, &none), 1);  // ready: the signal stays pending
  EXPECT_EQ(Handled::Count(), 0);
  EXPECT_FAILS(ppoll(nullptr, 0, &second, &none), EINTR);
  EXPECT_EQ(Handled::Count(), 1);
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_TRUE(sigismember(&now, SIGUSR1));
  EXPECT_EQ(ppoll(nullptr, 0, &zero, &block), 0);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

TEST(Poll, RawPpollTellsTheTimeLeft) {
  timespec t{5, 0};
  const Pair p = MakePipe();
  pollfd fd{p.a.get(), POLLIN, 0};
  const Later writer(50, [&] { (void)!write(p.b.get(), "x", 1); });
  EXPECT_EQ(syscall(SYS_ppoll, &fd, 1, &t, nullptr, 8), 1);
  EXPECT_EQ(t.tv_sec, 4);
  EXPECT_GT(t.tv_nsec, 0);
}

class Set {
 public:
  Set() { FD_ZERO(&set_); }
  Set(std::initializer_list<int> fds) : Set() {
    for (const int fd : fds) FD_SET(fd, &set_);
  }
  fd_set* get() { return &set_; }
  bool Has(int fd) const { return FD_ISSET(fd, &set_); }

 private:
  fd_set set_;
};

TEST(Select, TellsEachSet) {
  const Pair p = MakePipe(), q = MakePipe();
  (void)!write(p.b.get(), "x", 1);
  Set read{p.a.get(), q.a.get()}, write_set{p.b.get(), q.b.get()}, except{p.a.get()};
  timeval t{1, 0};
  EXPECT_EQ(select(q.b.get() + 1, read.get(), write_set.get(), except.get(), &t), 3);
  EXPECT_TRUE(read.Has(p.a.get()));
  EXPECT_FALSE(read.Has(q.a.get()));
  EXPECT_TRUE(write_set.Has(p.b.get()));
  EXPECT_TRUE(write_set.Has(q.b.get()));
  EXPECT_FALSE(except.Has(p.a.get()));
}

TEST(Select, EndOfFileIsReadable) {
  Pair p = MakePipe();
  p.b.Close();
  Set read{p.a.get()};
  timeval t{1, 0};
  EXPECT_EQ(select(p.a.get() + 1, read.get(), nullptr, nullptr, &t), 1);
}

TEST(Select, BrokenPipeIsWritable) {
  Pair p = MakePipe();
  p.a.Close();
  Set out{p.b.get()};
  timeval t{1, 0};
  EXPECT_EQ(select(p.b.get() + 1, nullptr, out.get(), nullptr, &t), 1);
}

TEST(Select, ArgumentsAreChecked) {
  Set read{200};
  timeval t{0, 0};
  EXPECT_FAILS(select(-1, nullptr, nullptr, nullptr, &t), EINVAL);
  t = {-1, 0};
  EXPECT_FAILS(select(0, nullptr, nullptr, nullptr, &t), EINVAL);
  t = {0, 0};
  const Pair p = MakePipe();
  Set closed{p.a.get()};
  close(p.a.get());
  EXPECT_FAILS(select(p.a.get() + 1, closed.get(), nullptr, nullptr, &t), EBADF);
  EXPECT_FAILS(select(1, reinterpret_cast<fd_set*>(test::BadAddress()), nullptr, nullptr, &t), EFAULT);
}

TEST(Select, TimeLeftIsTold) {
  timeval t{0, 40000};
  EXPECT_EQ(select(0, nullptr, nullptr, nullptr, &t), 0);
  EXPECT_EQ(t.tv_sec, 0);
  EXPECT_EQ(t.tv_usec, 0);
  const Pair p = MakePipe();
  Set read{p.a.get()};
  t = {1000, 0};
  const Later writer(50, [&] { (void)!write(p.b.get(), "x", 1); });
  EXPECT_EQ(select(p.a.get() + 1, read.get(), nullptr, nullptr, &t), 1);
  EXPECT_LT(t.tv_sec, 1000);
  EXPECT_GE(t.tv_sec, 900);  // the machine may be slow
}

TEST(Select, SignalIsEintrAndSetsAreKept) {
  const pthread_t self = pthread_self();
  const Handled usr(SIGUSR1, SA_RESTART);
  const Pair p = MakePipe();
  Set read{p.a.get()};
  const Later kick(40, [&] { pthread_kill(self, SIGUSR1); });
  timeval t{3, 0};
  EXPECT_FAILS(select(p.a.get() + 1, read.get(), nullptr, nullptr, &t), EINTR);
  EXPECT_TRUE(read.Has(p.a.get()));
}

TEST(Select, PselectMask) {
  const Handled usr(SIGUSR1, 0);
  sigset_t block, none, old;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  raise(SIGUSR1);
  timespec t{2, 0};
  EXPECT_FAILS(pselect(0, nullptr, nullptr, nullptr, &t, &none), EINTR);
  EXPECT_EQ(Handled::Count(), 1);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

TEST(Select, HighDescriptors) {
  const Pair p = MakePipe();
  const Owned high(fcntl(p.a.get(), F_DUPFD, 700));
  if (!high.ok()) GTEST_SKIP() << "RLIMIT_NOFILE is low";
  (void)!write(p.b.get(), "x", 1);
  Set read{high.get()};
  timeval t{1, 0};
  EXPECT_EQ(select(high.get() + 1, read.get(), nullptr, nullptr, &t), 1);
  EXPECT_TRUE(read.Has(high.get()));
}

}  // namespace
