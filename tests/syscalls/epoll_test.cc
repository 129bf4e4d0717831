// epoll(7): triggering, one-shot, exclusive, nesting, life times, races.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <map>
#include <vector>

#include "net_support.h"

namespace {

using test::Handled;
using test::Later;
using test::MakePipe;
using test::Owned;
using test::Pair;
using test::PollOne;
using test::ReadSome;
using test::SleepMs;

Owned NewEpoll() { return Owned(epoll_create1(EPOLL_CLOEXEC)); }

int Control(const Owned& epoll, int operation, int fd, uint32_t events, uint64_t data = 0) {
  epoll_event e{};
  e.events = events;
  e.data.u64 = data;
  return epoll_ctl(epoll.get(), operation, fd, &e);
}

std::vector<epoll_event> Wait(const Owned& epoll, int timeout_ms = 0, int max = 16) {
  std::vector<epoll_event> events(static_cast<size_t>(max));
  const int n = epoll_wait(epoll.get(), events.data(), max, timeout_ms);
  events.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return events;
}

// Past the C library, whose declaration the compiler checks arguments against.
long RawWait(int epoll, void* events, int max, int timeout_ms) { return syscall(SYS_epoll_wait, epoll, events, max, timeout_ms); }

TEST(Epoll, ArgumentsAreChecked) {
  EXPECT_FAILS(epoll_create(0), EINVAL);
  EXPECT_FAILS(epoll_create1(1), EINVAL);
  const Owned e = NewEpoll();
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(fcntl(e.get(), F_GETFD), FD_CLOEXEC);
  const Pair p = MakePipe();
  epoll_event event{};
  EXPECT_FAILS(RawWait(e.get(), &event, 0, 0), EINVAL);
  EXPECT_FAILS(RawWait(e.get(), &event, -1, 0), EINVAL);
  EXPECT_FAILS(RawWait(p.a.get(), &event, 1, 0), EINVAL);
  EXPECT_FAILS(RawWait(-1, &event, 1, 0), EBADF);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, -1, EPOLLIN), EBADF);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, e.get(), EPOLLIN), EINVAL);
  EXPECT_FAILS(epoll_ctl(p.a.get(), EPOLL_CTL_ADD, p.b.get(), &event), EINVAL);
  EXPECT_FAILS(epoll_ctl(e.get(), EPOLL_CTL_ADD, p.a.get(), nullptr), EFAULT);
  EXPECT_FAILS(epoll_ctl(e.get(), 77, p.a.get(), &event), EINVAL);
  EXPECT_FAILS(Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLIN), ENOENT);
  EXPECT_FAILS(Control(e, EPOLL_CTL_DEL, p.a.get(), 0), ENOENT);
  EXPECT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN), 0);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN), EEXIST);
  EXPECT_EQ(epoll_ctl(e.get(), EPOLL_CTL_DEL, p.a.get(), nullptr), 0);
}

TEST(Epoll, RegularFilesAreEperm) {
  const Owned e = NewEpoll();
  const Owned file(open("/proc/self/exe", O_RDONLY));
  const Owned dir(open("/", O_RDONLY | O_DIRECTORY));
  const Owned null(open("/dev/null", O_RDWR));
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, file.get(), EPOLLIN), EPERM);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, dir.get(), EPOLLIN), EPERM);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, null.get(), EPOLLIN), EPERM);
}

TEST(Epoll, LevelTriggeredIsToldUntilItIsOver) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN, 42), 0);
  EXPECT_TRUE(Wait(e).empty());
  ASSERT_EQ(write(p.b.get(), "ab", 2), 2);
  for (int i = 0; i < 3; ++i) {
    const auto events = Wait(e);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLIN));
    EXPECT_EQ(events[0].data.u64, 42u);
  }
  ReadSome(p.a.get());
  EXPECT_TRUE(Wait(e).empty());
}

TEST(Epoll, EdgeTriggeredIsToldOncePerWrite) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "0", 1), 1);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN | EPOLLET), 0);
  EXPECT_EQ(Wait(e).size(), 1u);  // it was ready when added
  EXPECT_TRUE(Wait(e).empty());
  ASSERT_EQ(write(p.b.get(), "1", 1), 1);
  EXPECT_EQ(Wait(e).size(), 1u);  // not read meanwhile, still an edge
  EXPECT_TRUE(Wait(e).empty());
  ASSERT_EQ(Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLIN | EPOLLET), 0);
  EXPECT_EQ(Wait(e).size(), 1u);  // a change looks again
}

TEST(Epoll, EdgeTriggeredWriterIsToldWhenRoomComes) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.b.get(), EPOLLOUT | EPOLLET), 0);
  EXPECT_EQ(Wait(e).size(), 1u);
  const std::string page(4096, 'x');
  while (write(p.b.get(), page.data(), page.size()) > 0) {
  }
  EXPECT_TRUE(Wait(e).empty());
  ReadSome(p.a.get(), 4096);
  EXPECT_EQ(Wait(e).size(), 1u);
}

TEST(Epoll, OneShotIsSilentUntilModified) {
  const Owned e = NewEpoll();
  Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN | EPOLLONESHOT, 7), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  EXPECT_EQ(Wait(e).size(), 1u);
  EXPECT_TRUE(Wait(e).empty());
  p.b.Close();  // not even the hang-up
  EXPECT_TRUE(Wait(e).empty());
  ASSERT_EQ(Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLIN | EPOLLONESHOT, 8), 0);
  const auto events = Wait(e);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLIN | EPOLLHUP));
  EXPECT_EQ(events[0].data.u64, 8u);
}

TEST(Epoll, ErrorsAndHangupsAreAlwaysTold) {
  const Owned e = NewEpoll();
  Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), 0), 0);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.b.get(), 0), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  EXPECT_TRUE(Wait(e).empty());
  p.b.Close();
  auto events = Wait(e);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLHUP));
  Pair q = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, q.b.get(), 0, 9), 0);
  ASSERT_EQ(Control(e, EPOLL_CTL_DEL, p.a.get(), 0), 0);
  q.a.Close();
  events = Wait(e);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLERR));
}

TEST(Epoll, ReadyOnesTakeTurns) {
  const Owned e = NewEpoll();
  std::vector<Pair> pipes;
  for (uint64_t i = 0; i < 4; ++i) {
    pipes.push_back(MakePipe(O_NONBLOCK));
    ASSERT_EQ(Control(e, EPOLL_CTL_ADD, pipes.back().a.get(), EPOLLIN, i), 0);
    ASSERT_EQ(write(pipes.back().b.get(), "x", 1), 1);
  }
  std::map<uint64_t, int> seen;
  for (int round = 0; round < 4; ++round) {
    for (const epoll_event& event : Wait(e, 0, 2)) ++seen[event.data.u64];
  }
  EXPECT_EQ(seen.size(), 4u);
  for (const auto& [which, times] : seen) EXPECT_EQ(times, 2) << which;
}

TEST(Epoll, OneFileUnderTwoDescriptors) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  Owned second(dup(p.a.get()));
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN, 1), 0);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, second.get(), EPOLLIN, 2), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  EXPECT_EQ(Wait(e).size(), 2u);
  second.Close();  // the description lives on, and so does this interest
  EXPECT_EQ(Wait(e).size(), 2u);
}

TEST(Epoll, LastCloseRemovesTheInterest) {
  const Owned e = NewEpoll();
  Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  p.a.Close();
  EXPECT_TRUE(Wait(e).empty());
}

TEST(Epoll, NestedEpollsPassReadinessOn) {
  const Owned outer = NewEpoll(), inner = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(inner, EPOLL_CTL_ADD, p.a.get(), EPOLLIN, 1), 0);
  ASSERT_EQ(Control(outer, EPOLL_CTL_ADD, inner.get(), EPOLLIN, 2), 0);
  EXPECT_EQ(PollOne(outer.get(), POLLIN), 0);
  const Later writer(30, [&] { (void)!write(p.b.get(), "x", 1); });
  auto events = Wait(outer, 2000);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].data.u64, 2u);
  EXPECT_EQ(PollOne(outer.get(), POLLIN), POLLIN);
  EXPECT_EQ(PollOne(inner.get(), POLLIN), POLLIN);
  EXPECT_EQ(Wait(inner).size(), 1u);
  ReadSome(p.a.get());
  EXPECT_TRUE(Wait(outer).empty());
}

TEST(Epoll, CirclesAndDeepChainsAreEloop) {
  const Owned a = NewEpoll(), b = NewEpoll();
  ASSERT_EQ(Control(a, EPOLL_CTL_ADD, b.get(), EPOLLIN), 0);
  EXPECT_FAILS(Control(b, EPOLL_CTL_ADD, a.get(), EPOLLIN), ELOOP);
  std::vector<Owned> chain;
  chain.push_back(NewEpoll());
  int depth = 0;
  while (depth < 10) {
    chain.push_back(NewEpoll());
    if (Control(chain[chain.size() - 1], EPOLL_CTL_ADD, chain[chain.size() - 2].get(), EPOLLIN) != 0) break;
    ++depth;
  }
  EXPECT_EQ(errno, ELOOP);
  EXPECT_EQ(depth, 4);
}

TEST(Epoll, ExclusiveRulesAreLinuxs) {
  const Owned e = NewEpoll(), inner = NewEpoll();
  const Owned event(eventfd(0, EFD_NONBLOCK));
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
  EXPECT_FAILS(Control(e, EPOLL_CTL_ADD, inner.get(), EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
  EXPECT_FAILS(Control(e, EPOLL_CTL_MOD, event.get(), EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLEXCLUSIVE), 0);
  EXPECT_FAILS(Control(e, EPOLL_CTL_MOD, event.get(), EPOLLIN), EINVAL);
  ASSERT_EQ(Control(e, EPOLL_CTL_DEL, event.get(), 0), 0);
}

// Several epolls watch one file exclusively: an event wakes at least one of those that wait, and not all.
TEST(Epoll, ExclusiveWakesNotAll) {
  const Owned event(eventfd(0, EFD_NONBLOCK));
  constexpr int kWaiters = 4;
  std::vector<Owned> epolls;
  for (int i = 0; i < kWaiters; ++i) {
    epolls.push_back(NewEpoll());
    ASSERT_EQ(Control(epolls.back(), EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLEXCLUSIVE | EPOLLET), 0);
  }
  std::atomic<int> woken{0}, ready{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&, i] {
      ++ready;
      if (!Wait(epolls[static_cast<size_t>(i)], 400).empty()) ++woken;
    });
  }
  while (ready < kWaiters) SleepMs(1);
  SleepMs(100);
  ASSERT_EQ(eventfd_write(event.get(), 1), 0);
  for (std::thread& t : waiters) t.join();
  EXPECT_GE(woken, 1);
  EXPECT_LT(woken, kWaiters);
}

// The same when those that were asked first do not wait at all: the event must reach the one that does.
TEST(Epoll, ExclusiveIsNotLostOnAnIdleEpoll) {
  const Owned event(eventfd(0, EFD_NONBLOCK));
  const Owned idle = NewEpoll(), waiting = NewEpoll();
  ASSERT_EQ(Control(idle, EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLEXCLUSIVE), 0);
  ASSERT_EQ(Control(waiting, EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLEXCLUSIVE), 0);
  const Later writer(50, [&] { eventfd_write(event.get(), 1); });
  EXPECT_EQ(Wait(waiting, 3000).size(), 1u);
}

TEST(Epoll, OneOfManyWaitersIsWokenPerEdge) {
  const Owned e = NewEpoll();
  const Owned event(eventfd(0, EFD_NONBLOCK));
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, event.get(), EPOLLIN | EPOLLET), 0);
  std::atomic<int> woken{0}, ready{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      ++ready;
      if (!Wait(e, 400).empty()) ++woken;
    });
  }
  while (ready < 4) SleepMs(1);
  SleepMs(100);
  ASSERT_EQ(eventfd_write(event.get(), 1), 0);
  for (std::thread& t : waiters) t.join();
  EXPECT_EQ(woken, 1);
}

TEST(Epoll, OneShotGivesEachEventToOneThread) {
  const Owned e = NewEpoll();
  constexpr int kPipes = 8, kThreads = 4, kRounds = 200;
  std::vector<Pair> pipes;
  for (uint64_t i = 0; i < kPipes; ++i) {
    pipes.push_back(MakePipe(O_NONBLOCK));
    ASSERT_EQ(Control(e, EPOLL_CTL_ADD, pipes.back().a.get(), EPOLLIN | EPOLLONESHOT, i), 0);
  }
  std::atomic<int> got{0}, clashes{0};
  std::atomic<int> busy[kPipes] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      while (got < kPipes * kRounds) {
        for (const epoll_event& event : Wait(e, 20, 4)) {
          const size_t i = event.data.u64;
          if (busy[i].fetch_add(1) != 0) ++clashes;
          char c = 0;
          while (read(pipes[i].a.get(), &c, 1) == 1) ++got;
          busy[i].fetch_sub(1);
          Control(e, EPOLL_CTL_MOD, pipes[i].a.get(), EPOLLIN | EPOLLONESHOT, i);
        }
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    for (const Pair& p : pipes) ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(got, kPipes * kRounds);
  EXPECT_EQ(clashes, 0);
}

TEST(Epoll, AddWhileWaitingWakes) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  const Later add(50, [&] { Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN, 5); });
  EXPECT_EQ(Wait(e, 3000).size(), 1u);
}

TEST(Epoll, ModifyWhileWaitingWakes) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), 0), 0);
  const Later modify(50, [&] { Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLIN, 5); });
  EXPECT_EQ(Wait(e, 3000).size(), 1u);
}

TEST(Epoll, DeleteWhileWaitingIsSilent) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN), 0);
  const Later remove(30, [&] {
    Control(e, EPOLL_CTL_DEL, p.a.get(), 0);
    (void)!write(p.b.get(), "x", 1);
  });
  EXPECT_TRUE(Wait(e, 150).empty());
}

TEST(Epoll, ChurnOfInterestsUnderFire) {
  const Owned e = NewEpoll();
  std::atomic<bool> stop{false};
  std::thread waiter([&] {
    while (!stop) Wait(e, 5);
  });
  std::thread nested([&] {
    while (!stop) {
      const Owned inner = NewEpoll();
      const Owned event(eventfd(1, 0));
      Control(inner, EPOLL_CTL_ADD, event.get(), EPOLLIN);
      Control(e, EPOLL_CTL_ADD, inner.get(), EPOLLIN);
    }
  });
  for (int i = 0; i < 300; ++i) {
    Pair p = MakePipe(O_NONBLOCK);
    ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN | (i % 2 != 0 ? EPOLLET : 0u)), 0);
    ASSERT_EQ(write(p.b.get(), "x", 1), 1);
    if (i % 3 == 0) {
      EXPECT_EQ(Control(e, EPOLL_CTL_DEL, p.a.get(), 0), 0);
    } else if (i % 3 == 1) {
      EXPECT_EQ(Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLOUT), 0);
    }
  }
  stop = true;
  waiter.join();
  nested.join();
  EXPECT_TRUE(Wait(e).empty());
}

TEST(Epoll, TimeoutIsKept) {
  const Owned e = NewEpoll();
  const int64_t start = test::NowMs();
  EXPECT_TRUE(Wait(e, 60).empty());
  EXPECT_GE(test::NowMs() - start, 59);
}

TEST(Epoll, SignalInterruptsEvenWithRestart) {
  const Owned e = NewEpoll();
  const Handled usr(SIGUSR1, SA_RESTART);
  const pthread_t self = pthread_self();
  const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
  epoll_event event{};
  EXPECT_FAILS(RawWait(e.get(), &event, 1, 3000), EINTR);
}

TEST(Epoll, PwaitAppliesItsMask) {
  const Owned e = NewEpoll();
  const Handled usr(SIGUSR1, 0);
  sigset_t block, none;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigset_t old;
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &block, &old), 0);
  raise(SIGUSR1);
  epoll_event event{};
  EXPECT_EQ(epoll_wait(e.get(), &event, 1, 0), 0);
  EXPECT_EQ(Handled::Count(), 0);
  EXPECT_FAILS(epoll_pwait(e.get(), &event, 1, 3000, &none), EINTR);
  EXPECT_EQ(Handled::Count(), 1);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_TRUE(sigismember(&now, SIGUSR1));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

TEST(Epoll, FaultingBufferLosesNoEvent) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN | EPOLLONESHOT, 3), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  EXPECT_FAILS(RawWait(e.get(), test::BadAddress(), 1, 0), EFAULT);
  EXPECT_EQ(Wait(e).size(), 1u);
  // Room for the first only, at the end of a page: one is told, the other is kept.
  const Pair q = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(q.b.get(), "x", 1), 1);
  ASSERT_EQ(Control(e, EPOLL_CTL_MOD, p.a.get(), EPOLLIN | EPOLLET, 3), 0);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, q.a.get(), EPOLLIN | EPOLLET, 4), 0);
  auto* const pages = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(mprotect(pages + 4096, 4096, PROT_NONE), 0);
  EXPECT_EQ(RawWait(e.get(), pages + 4096 - sizeof(epoll_event), 4, 0), 1);
  EXPECT_EQ(Wait(e).size(), 1u);
  munmap(pages, 8192);
}

TEST(Epoll, ManyEventsAtOnce) {
  const Owned e = NewEpoll();
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int count = limit.rlim_cur < 700 ? 100 : 300;
  std::vector<Owned> events;
  for (int i = 0; i < count; ++i) {
    events.emplace_back(eventfd(1, 0));
    ASSERT_EQ(Control(e, EPOLL_CTL_ADD, events.back().get(), EPOLLIN, static_cast<uint64_t>(i)), 0);
  }
  EXPECT_EQ(Wait(e, 0, 1024).size(), static_cast<size_t>(count));
}

TEST(Epoll, SocketsShowRdhup) {
  const Owned e = NewEpoll();
  Pair p = test::MakeSocketPair(SOCK_STREAM);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN | EPOLLRDHUP | EPOLLET), 0);
  EXPECT_TRUE(Wait(e).empty());
  ASSERT_EQ(shutdown(p.b.get(), SHUT_WR), 0);
  auto events = Wait(e, 1000);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLIN | EPOLLRDHUP));
  p.b.Close();
  events = Wait(e, 1000);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].events, static_cast<uint32_t>(EPOLLIN | EPOLLRDHUP | EPOLLHUP));
}

TEST(Epoll, SurvivesFork) {
  const Owned e = NewEpoll();
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(Control(e, EPOLL_CTL_ADD, p.a.get(), EPOLLIN, 1), 0);
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  EXPECT_EQ(test::RunChild([&] { return static_cast<int>(Wait(e).size()); }), 1);
  EXPECT_EQ(Wait(e).size(), 1u);
}

}  // namespace
