// Descriptors of all kinds: copies and flags, eventfd, timerfd, signalfd, epoll, poll.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "tests/differential/operations.h"

namespace differential {
namespace {

void Dup(World& w, Rng& r) {
  w.MakeRoom(r);
  const int fd = w.Fd(r);
  const int wanted = r.OneIn(20) ? r.Pick({-1, 48, 60000}) : World::kFirstFd + static_cast<int>(r.Below(40));
  int made = -1;
  switch (r.Below(5)) {
    case 0: w.Say(made = dup(fd), "dup(%d)", fd); break;
    case 1: w.Say(made = dup2(fd, wanted), "dup2(%d, %d)", fd, wanted); break;
    case 2: {
      const int flags = r.Pick({0, O_CLOEXEC, O_NONBLOCK});
      w.Say(made = dup3(fd, wanted, flags), "dup3(%d, %d, %#x)", fd, wanted, static_cast<unsigned>(flags));
      break;
    }
    case 3: w.Say(made = fcntl(fd, F_DUPFD, wanted), "fcntl(%d, F_DUPFD, %d)", fd, wanted); break;
    default: w.Say(made = fcntl(fd, F_DUPFD_CLOEXEC, wanted), "fcntl(%d, F_DUPFD_CLOEXEC, %d)", fd, wanted); break;
  }
  w.Keep(made);
}

void CloseRange(World& w, Rng& r) {
  const unsigned from = 3 + static_cast<unsigned>(r.Below(40)), to = from + static_cast<unsigned>(r.Below(6)) - (r.OneIn(20) ? 3 : 0);
  const unsigned flags = r.Pick({0U, 4U, 4U, 1U});
  const long result = syscall(SYS_close_range, from, to, flags);
  w.Say(result, "close_range(%u, %u, %u)", from, to, flags);
  if (result == 0 && flags == 0)
    for (unsigned fd = from; fd <= to; ++fd) w.Forget(static_cast<int>(fd));
}

void Flags(World& w, Rng& r) {
  const int fd = w.Fd(r);
  switch (r.Below(6)) {
    case 0: return w.Say(fcntl(fd, F_GETFL), "fcntl(%d, F_GETFL)", fd);
    case 1: {
      const int flags = O_NONBLOCK | (r.OneIn(2) ? O_APPEND : 0) | (r.OneIn(6) ? O_NOATIME : 0) | (r.OneIn(8) ? O_RDWR | O_CREAT | O_SYNC : 0);
      return w.Say(fcntl(fd, F_SETFL, flags), "fcntl(%d, F_SETFL, %#x)", fd, static_cast<unsigned>(flags));
    }
    case 2: return w.Say(fcntl(fd, F_GETFD), "fcntl(%d, F_GETFD)", fd);
    case 3: {
      const int flags = r.Pick({0, FD_CLOEXEC, 2, 3});
      return w.Say(fcntl(fd, F_SETFD, flags), "fcntl(%d, F_SETFD, %d)", fd, flags);
    }
    case 4: {
      const int command = r.Pick({F_GETOWN, F_GETSIG, F_GETPIPE_SZ, F_GET_SEALS, F_GETLEASE, 9999});
      return w.Say(fcntl(fd, command), "fcntl(%d, %d)", fd, command);
    }
    default: {
      int value = -5;
      const unsigned long request = r.Pick<unsigned long>({FIONREAD, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TIOCGWINSZ, 0x1234});
      if (request == FIONBIO) value = 1;
      if ((w.KindOf(fd) & kDirectory) != 0) return;
      w.Say(ioctl(fd, request, &value), "ioctl(%d, %#lx)", fd, request);
      if ((w.KindOf(fd) & (kInotify | kTimer)) == 0) w.Note("%d", value);
    }
  }
}

void Fdinfo(World& w, Rng& r) {
  const int fd = w.Fd(r);
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
  std::string line;
  w.Say(info ? 0 : -1, "fdinfo(%d)", fd);
  while (std::getline(info, line)) {
    std::replace(line.begin(), line.end(), '\t', ' ');
    for (const char* key : {"pos:", "flags:", "eventfd-count:", "sigmask:"})
      if (line.starts_with(key) && ((w.KindOf(fd) & kDirectory) == 0 || line[0] == 'f')) w.Note("%s", line.c_str());
  }
}

void Eventfd(World& w, Rng& r) {
  w.MakeRoom(r);
  const unsigned initial = r.Pick({0U, 1U, 7U, ~0U});
  const int flags = EFD_NONBLOCK | (r.OneIn(2) ? EFD_SEMAPHORE : 0) | (r.OneIn(2) ? EFD_CLOEXEC : 0) | (r.OneIn(20) ? 0x10 : 0);
  const int fd = eventfd(initial, flags);
  w.Say(fd, "eventfd(%u, %#x)", initial, static_cast<unsigned>(flags));
  w.Keep(fd);
}

void EventfdUse(World& w, Rng& r) {
  const int fd = w.Fd(r, kEvent);
  if ((w.KindOf(fd) & kEvent) == 0) return Eventfd(w, r);
  uint64_t value = r.Pick<uint64_t>({0, 1, 2, 100, ~0ULL, ~0ULL - 1});
  if (r.OneIn(2)) {
    const long n = write(fd, &value, sizeof(value));
    w.Say(n, "write(eventfd %d, %lu)", fd, value);
  } else {
    const long n = read(fd, &value, sizeof(value));
    w.Say(n, "read(eventfd %d)", fd);
    if (n > 0) w.Note("%lu", value);
  }
}

void Timerfd(World& w, Rng& r) {
  w.MakeRoom(r);
  const int clock = r.Pick({CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID});
  const int flags = TFD_NONBLOCK | (r.OneIn(2) ? TFD_CLOEXEC : 0) | (r.OneIn(20) ? 0x10 : 0);
  const int fd = timerfd_create(clock, flags);
  w.Say(fd, "timerfd_create(%d, %#x)", clock, static_cast<unsigned>(flags));
  w.Keep(fd);
}

// Timers that are long past or far away, so that no clock decides.
void TimerfdUse(World& w, Rng& r) {
  const int fd = w.Fd(r, kTimer);
  if ((w.KindOf(fd) & kTimer) == 0) return Timerfd(w, r);
  itimerspec value{}, old{};
  switch (r.Below(3)) {
    case 0: {
      const int flags = r.Pick<int>({0, TFD_TIMER_ABSTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, 8});
      const bool absolute = (flags & TFD_TIMER_ABSTIME) != 0;
      value.it_value.tv_sec = r.Pick<long>({0, absolute ? 1 : 900000, 4000000000, -1});
      value.it_interval.tv_sec = r.OneIn(4) ? 5000000 : 0;
      if (r.OneIn(20)) value.it_value.tv_nsec = 1'000'000'000;
      if (absolute && value.it_value.tv_sec == 1) value.it_interval.tv_sec = 0;
      w.Say(timerfd_settime(fd, flags, &value, &old), "timerfd_settime(%d, %d, %ld, %ld)", fd, flags, value.it_value.tv_sec, value.it_interval.tv_sec);
      w.Note("old %s %ld", old.it_value.tv_sec == 0 ? "off" : "on", old.it_interval.tv_sec);
      return;
    }
    case 1: {
      const int result = timerfd_gettime(fd, &value);
      w.Say(result, "timerfd_gettime(%d)", fd);
      w.Note("%s %ld", value.it_value.tv_sec == 0 && value.it_value.tv_nsec == 0 ? "off" : "on", value.it_interval.tv_sec);
      return;
    }
    default: {
      uint64_t count = 0;
      const size_t size = r.OneIn(10) ? 4 : 8;
      const long n = read(fd, &count, size);
      w.Say(n, "read(timerfd %d, %zu)", fd, size);
      w.Note("%lu", count);
    }
  }
}

void Signalfd(World& w, Rng& r) {
  w.MakeRoom(r);
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGUSR1, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 2, SIGCHLD, SIGKILL})
    if (r.OneIn(2)) sigaddset(&set, signal);
  const int old = r.OneIn(3) ? w.Fd(r, kSignals) : -1;
  const int fd = signalfd(old, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  w.Say(fd, "signalfd(%d)", old);
  w.Keep(fd);
}

void SignalfdRead(World& w, Rng& r) {
  const int fd = w.Fd(r, kSignals);
  if ((w.KindOf(fd) & kSignals) == 0) return Signalfd(w, r);
  signalfd_siginfo info[3] = {};
  const size_t size = r.Pick<size_t>({1, 2, 3}) * sizeof(info[0]) - (r.OneIn(10) ? 1 : 0);
  const long n = read(fd, info, size);
  w.Say(n, "read(signalfd %d, %zu)", fd, size);
  for (long i = 0; i < n / static_cast<long>(sizeof(info[0])); ++i)
    w.Note("(%u %d %s %d %d)", info[i].ssi_signo, info[i].ssi_code, w.PidName(static_cast<int>(info[i].ssi_pid)).c_str(), info[i].ssi_int, info[i].ssi_status);
}

void Epoll(World& w, Rng& r) {
  w.MakeRoom(r);
  const int fd = epoll_create1(r.OneIn(2) ? EPOLL_CLOEXEC : 0);
  w.Say(fd, "epoll_create1()");
  w.Keep(fd);
}

uint32_t Events(Rng& r) {
  uint32_t events = r.Pick<uint32_t>({EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLOUT, EPOLLIN | EPOLLRDHUP, EPOLLPRI | EPOLLIN, 0});
  if (r.OneIn(3)) events |= EPOLLET;
  if (r.OneIn(4)) events |= EPOLLONESHOT;
  if (r.OneIn(16)) events |= EPOLLEXCLUSIVE;
  return events;
}

void EpollCtl(World& w, Rng& r) {
  const int epoll = w.Fd(r, kEpoll), fd = w.Fd(r);
  if ((w.KindOf(epoll) & kEpoll) == 0) return Epoll(w, r);
  // Whose signals an epoll hears of depends on who added the signalfd, and on whether that process is still there.
  if (w.depth > 0 && (w.KindOf(fd) & kSignals) != 0) return;
  const int operation = r.Pick({EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, 9});
  epoll_event event{};
  event.events = Events(r);
  event.data.u64 = r.Below(1000);
  w.Say(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl(%d, %d, %d, %#x, %lu)", epoll, operation, fd, event.events, static_cast<unsigned long>(event.data.u64));
}

void EpollWait(World& w, Rng& r) {
  const int epoll = w.Fd(r, kEpoll);
  epoll_event events[32];
  const int room = (w.KindOf(epoll) & kEpoll) != 0 && r.OneIn(20) ? 0 : 32;  // which of two errors comes first changed in Linux 6.14
  const int n = epoll_wait(epoll, events, room, 0);
  w.Say(n, "epoll_wait(%d, %d)", epoll, room);
  std::sort(events, events + std::max(n, 0), [](const epoll_event& a, const epoll_event& b) {
    return a.data.u64 != b.data.u64 ? a.data.u64 < b.data.u64 : a.events < b.events;
  });
  for (int i = 0; i < n; ++i) w.Note("(%lu %#x)", static_cast<unsigned long>(events[i].data.u64), events[i].events);
}

void Poll(World& w, Rng& r) {
  pollfd fds[6];
  const size_t count = r.Below(7);
  for (size_t i = 0; i < count; ++i) {
    fds[i] = {w.Fd(r), static_cast<short>(r.Pick({POLLIN, POLLOUT, POLLIN | POLLOUT, POLLIN | POLLPRI | POLLRDHUP, 0, POLLRDNORM | POLLWRNORM | POLLWRBAND})), 0};
  }
  w.Say(poll(fds, count, 0), "poll(%zu)", count);
  for (size_t i = 0; i < count; ++i) w.Note("%d:%#x>%#x", fds[i].fd, static_cast<unsigned>(fds[i].events), static_cast<unsigned>(fds[i].revents));
}

void Select(World& w, Rng& r) {
  fd_set sets[3];
  for (fd_set& set : sets) {
    FD_ZERO(&set);
    for (int i = 0; i < 3; ++i) {
      const int fd = w.Fd(r);
      if (fd >= 0) FD_SET(fd, &set);
    }
  }
  timeval zero{0, 0};
  const int result = select(World::kLastFd + 1, &sets[0], &sets[1], &sets[2], &zero);
  w.Say(result, "select()");
  if (result < 0) return;
  for (const fd_set& set : sets) {
    w.Note("/");
    for (int fd = 0; fd <= World::kLastFd; ++fd)
      if (FD_ISSET(fd, &set)) w.Note("%d", fd);
  }
}

constexpr Operation kOperations[] = {
    {"dup", 12, Dup},           {"close_range", 2, CloseRange}, {"flags", 12, Flags},          {"fdinfo", 5, Fdinfo},       {"eventfd", 4, Eventfd},
    {"eventfd_use", 8, EventfdUse}, {"timerfd", 2, Timerfd},    {"timerfd_use", 6, TimerfdUse}, {"signalfd", 3, Signalfd},   {"signalfd_read", 6, SignalfdRead},
    {"epoll", 2, Epoll},        {"epoll_ctl", 14, EpollCtl},    {"epoll_wait", 10, EpollWait}, {"poll", 10, Poll},          {"select", 4, Select},
};

}  // namespace

std::span<const Operation> DescriptorOperations() { return kOperations; }

}  // namespace differential
