// What a handler does to a call that waits: with SA_RESTART it goes on where Linux says so, without it is EINTR; some calls always are.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace {

std::atomic<int> handled{0};

// Runs `call` in a thread, sends it a signal while it waits, then lets it finish with `release`. Returns the call's errno, 0 for success.
int Interrupted(bool restart, const std::function<long()>& call, const std::function<void()>& release) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) { ++handled; };
  action.sa_flags = restart ? SA_RESTART : 0;
  sigaction(SIGUSR1, &action, &old);
  std::atomic<int> result{-1};
  std::atomic<pid_t> tid{0};
  std::thread waiter([&] {
    tid = gettid();
    const long value = call();
    result = value >= 0 ? 0 : errno;
  });
  while (tid == 0) usleep(1000);
  // Until it sleeps.
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/stat";
  for (int i = 0; i < 500; ++i) {
    char text[256] = {};
    const int fd = open(path.c_str(), O_RDONLY);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) close(fd);
    const char* end = n > 0 ? strrchr(text, ')') : nullptr;
    if (end != nullptr && end[2] == 'S') break;
    usleep(2000);
  }
  usleep(10'000);
  const int before = handled;
  syscall(SYS_tgkill, getpid(), tid.load(), SIGUSR1);
  for (int i = 0; i < 1000 && handled == before; ++i) usleep(2000);
  EXPECT_GT(handled, before);
  usleep(20'000);
  if (result == -1) release();
  waiter.join();
  sigaction(SIGUSR1, &old, nullptr);
  return result;
}

// Expects EINTR without SA_RESTART, and `with` with it.
void Expect(const char* name, int with, const std::function<long()>& call, const std::function<void()>& release) {
  SCOPED_TRACE(name);
  EXPECT_EQ(Interrupted(false, call, release), EINTR) << name;
  EXPECT_EQ(Interrupted(true, call, release), with) << name << " with SA_RESTART";
  if (with == EINTR) return;
}

TEST(Restart, ReadAndWriteOfPipes) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  char c = 0;
  Expect("read", 0, [&] { return read(fds[0], &c, 1); }, [&] { EXPECT_EQ(write(fds[1], "x", 1), 1); });
  std::string big(1 << 16, 'x');
  ASSERT_EQ(write(fds[1], big.data(), big.size()), static_cast<ssize_t>(big.size()));
  Expect("write", 0, [&] { return write(fds[1], "y", 1); }, [&] { EXPECT_EQ(read(fds[0], big.data(), 8192), 8192); });
  close(fds[0]);
  close(fds[1]);
}

TEST(Restart, Sockets) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  char c = 0;
  Expect("recv", 0, [&] { return recv(pair[0], &c, 1, 0); }, [&] { EXPECT_EQ(send(pair[1], "x", 1, 0), 1); });
  iovec segment{&c, 1};
  msghdr header{};
  header.msg_iov = &segment;
  header.msg_iovlen = 1;
  Expect("recvmsg", 0, [&] { return recvmsg(pair[0], &header, 0); }, [&] { EXPECT_EQ(send(pair[1], "x", 1, 0), 1); });
  // With a time limit it never goes on.
  const timeval limit{10, 0};
  ASSERT_EQ(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
  Expect("recv with SO_RCVTIMEO", EINTR, [&] { return recv(pair[0], &c, 1, 0); }, [] {});
  close(pair[0]);
  close(pair[1]);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 8), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  Expect(
      "accept", 0,
      [&] {
        const int fd = accept(listener, nullptr, nullptr);
        const int error = errno;
        if (fd >= 0) close(fd);
        errno = error;
        return fd;
      },
      [&] {
        const int client = socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        close(client);
      });
  close(listener);
}

TEST(Restart, WaitForChildren) {
  pid_t pid = 0;
  const auto start = [&] {
    pid = fork();
    if (pid == 0) {
      while (true) pause();
    }
  };
  const auto finish = [&] { kill(pid, SIGKILL); };
  start();
  Expect("wait4", 0, [&] { return waitpid(pid, nullptr, 0); }, finish);
  start();
  siginfo_t info{};
  Expect("waitid", 0, [&] { return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED); }, finish);
}

TEST(Restart, Locks) {
  char path[] = "/tmp/restart_test_XXXXXX";
  const int held = mkstemp(path);
  const int other = open(path, O_RDWR);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  Expect("flock", 0, [&] { return flock(other, LOCK_EX); }, [&] { flock(held, LOCK_UN); });
  flock(other, LOCK_UN);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  ASSERT_EQ(fcntl(held, F_OFD_SETLK, &lock), 0);
  struct flock wanted = lock;
  Expect("F_OFD_SETLKW", 0, [&] { return fcntl(other, F_OFD_SETLKW, &wanted); },
         [&] {
           lock.l_type = F_UNLCK;
           fcntl(held, F_OFD_SETLK, &lock);
         });
  close(held);
  close(other);
  unlink(path);
}

TEST(Restart, Futex) {
  static std::atomic<uint32_t> word;
  word = 0;
  Expect("futex wait", 0, [] { return syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, nullptr, nullptr, 0); },
         [] { syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0); });
  const timespec limit{20, 0};
  // With a relative limit: through restart_syscall, whatever the flags say.
  EXPECT_EQ(Interrupted(true, [&] { return syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &limit, nullptr, 0); },
                        [] { syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0); }),
            EINTR);
}

TEST(Restart, EventfdAndTimerfd) {
  const int event = eventfd(0, 0);
  uint64_t value = 0;
  Expect("eventfd", 0, [&] { return read(event, &value, sizeof(value)); }, [&] { EXPECT_EQ(eventfd_write(event, 1), 0); });
  close(event);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const itimerspec far{{0, 0}, {100, 0}}, near{{0, 0}, {0, 1'000'000}};
  ASSERT_EQ(timerfd_settime(timer, 0, &far, nullptr), 0);
  Expect("timerfd", 0, [&] { return read(timer, &value, sizeof(value)); }, [&] { timerfd_settime(timer, 0, &near, nullptr); });
  close(timer);
}

TEST(Restart, WhatNeverDoes) {
  const timespec longer{20, 0};
  Expect("nanosleep", EINTR, [&] { return nanosleep(&longer, nullptr); }, [] {});
  Expect("clock_nanosleep", EINTR,
         [&] {
           const int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &longer, nullptr);
           errno = error;
           return error == 0 ? 0 : -1;
         },
         [] {});
  Expect("pause", EINTR, [] { return pause(); }, [] {});
  Expect("poll", EINTR, [] { return poll(nullptr, 0, 20'000); }, [] {});
  Expect("select", EINTR,
         [] {
           timeval limit{20, 0};
           return select(0, nullptr, nullptr, nullptr, &limit);
         },
         [] {});
  const int epoll = epoll_create1(0);
  epoll_event event{};
  Expect("epoll_wait", EINTR, [&] { return epoll_wait(epoll, &event, 1, 20'000); }, [] {});
  close(epoll);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  Expect("sigtimedwait", EINTR, [&] { return sigtimedwait(&set, nullptr, &longer); }, [] {});
  Expect("sigsuspend", EINTR,
         [] {
           sigset_t none;
           sigemptyset(&none);
           return sigsuspend(&none);
         },
         [] {});
}

TEST(Restart, OpenOfAFifo) {
  const std::string path = "/tmp/restart_test_fifo_" + std::to_string(getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  Expect(
      "open", 0,
      [&] {
        const int fd = open(path.c_str(), O_RDONLY);
        const int error = errno;
        if (fd >= 0) close(fd);
        errno = error;
        return fd;
      },
      [&] {
        const int fd = open(path.c_str(), O_WRONLY);
        EXPECT_GE(fd, 0);
        close(fd);
      });
  unlink(path.c_str());
}

TEST(Restart, AStopAndContinueDoesNotEndASleep) {
  const pid_t pid = fork();
  if (pid == 0) {
    timespec begin{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    const timespec want{0, 400'000'000};
    const int result = nanosleep(&want, nullptr);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const int64_t slept = (end.tv_sec - begin.tv_sec) * 1'000'000'000 + end.tv_nsec - begin.tv_nsec;
    pollfd none{-1, 0, 0};
    const int polled = poll(&none, 1, 100);
    _exit(result == 0 && slept >= 400'000'000 && polled == 0 ? 0 : 1);
  }
  for (int i = 0; i < 3; ++i) {
    usleep(60'000);
    kill(pid, SIGSTOP);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    kill(pid, SIGCONT);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(Restart, NanosleepTellsWhatIsLeft) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &old);
  ualarm(50'000, 0);
  const timespec want{10, 0};
  timespec left{};
  EXPECT_EQ(nanosleep(&want, &left), -1);
  EXPECT_EQ(errno, EINTR);
  EXPECT_GE(left.tv_sec, 8);
  EXPECT_LT(left.tv_sec, 10);
  sigaction(SIGALRM, &old, nullptr);
}

}  // namespace
