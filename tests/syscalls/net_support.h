// What the tests of descriptors share: owned descriptors, errno-checking macros, helpers that run something a little later.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "expect.h"

namespace test {

// A descriptor that closes itself.
class Owned {
 public:
  Owned() = default;
  explicit Owned(int fd) : fd_(fd) {}
  Owned(Owned&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Owned& operator=(Owned&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Owned() { Close(); }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// An address that is not mapped, and a number, that the compiler knows nothing of.
inline char* BadAddress() {
  static volatile uintptr_t address = 16;
  return reinterpret_cast<char*>(address);
}
template <class T>
T Opaque(T value) {
  volatile T hidden = value;
  return hidden;
}

inline void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

inline int64_t NowMs() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

inline void SetNonblocking(int fd, bool on = true) {
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

// What poll(2) shows of one descriptor.
inline short PollOne(int fd, short events, int timeout_ms = 0) {
  pollfd p{fd, events, 0};
  const int n = poll(&p, 1, timeout_ms);
  return n <= 0 ? short{0} : p.revents;
}

// A pair of descriptors as pipe(2) and socketpair(2) give them.
struct Pair {
  Owned a, b;
};
inline Pair MakePipe(int flags = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(pipe2(fds, flags), 0);
  return {Owned(fds[0]), Owned(fds[1])};
}
inline Pair MakeSocketPair(int type, int family = AF_UNIX) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(family, type, 0, fds), 0);
  return {Owned(fds[0]), Owned(fds[1])};
}

// Runs `f` in a thread after `ms` milliseconds; joined by the destructor.
class Later {
 public:
  Later(int ms, std::function<void()> f)
      : thread_([ms, f = std::move(f)] {
          SleepMs(ms);
          f();
        }) {}
  ~Later() { thread_.join(); }
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;

 private:
  std::thread thread_;
};

// A signal that is handled (counted) for as long as this lives. `flags`: SA_….
class Handled {
 public:
  explicit Handled(int signal, int flags = 0) : signal_(signal) {
    Count().store(0);
    struct sigaction action {};
    action.sa_handler = [](int) { Count().fetch_add(1); };
    action.sa_flags = flags;
    sigaction(signal, &action, &old_);
  }
  ~Handled() { sigaction(signal_, &old_, nullptr); }
  Handled(const Handled&) = delete;
  Handled& operator=(const Handled&) = delete;
  static std::atomic<int>& Count() {
    static std::atomic<int> count{0};
    return count;
  }

 private:
  int signal_;
  struct sigaction old_ {};
};

inline void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}
inline std::string ReadSome(int fd, size_t room = 4096) {
  std::string text(room, '\0');
  const ssize_t n = read(fd, text.data(), room);
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}
inline std::string ReadExactly(int fd, size_t size) {
  std::string text;
  while (text.size() < size) {
    const std::string some = ReadSome(fd, size - text.size());
    if (some.empty()) break;
    text += some;
  }
  return text;
}

// The exit status of a child that runs `f`; -signal if one killed it.
inline int RunChild(const std::function<int()>& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace test
