// Extended attributes; flock, POSIX and open-file-description locks; leases; SIGIO.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <set>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

using scratch::AsUser;
using scratch::InChild;
using scratch::Passes;

constexpr long kSetxattrat = 463, kGetxattrat = 464, kListxattrat = 465, kRemovexattrat = 466;
struct XattrArgs {
  uint64_t value;
  uint32_t size;
  uint32_t flags;
};

class Xattr : public scratch::Scratch {
 protected:
  void SetUp() override {
    Scratch::SetUp();
    if (IsSkipped()) return;
    Put("f", "x");
    if (setxattr("f", "user.probe", "", 0, 0) != 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "no user.* attributes here";
    removexattr("f", "user.probe");
  }
  static std::string Value(const char* file, const char* name) {
    char text[256];
    const ssize_t n = getxattr(file, name, text, sizeof(text));
    return n < 0 ? std::string("<") + strerrorname_np(errno) + ">" : std::string(text, static_cast<size_t>(n));
  }
};
ON_ALL_PLACES(Xattr);

TEST_P(Xattr, SetGetListRemove) {
  EXPECT_WORKS(setxattr("f", "user.a", "one", 3, 0));
  EXPECT_EQ(Value("f", "user.a"), "one");
  EXPECT_WORKS(setxattr("f", "user.a", "", 0, 0));
  EXPECT_EQ(Value("f", "user.a"), "");
  EXPECT_FAILS(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
  EXPECT_FAILS(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
  EXPECT_WORKS(setxattr("f", "user.b", "two", 3, XATTR_CREATE));
  EXPECT_WORKS(setxattr("f", "user.b", "three", 5, XATTR_REPLACE));
  EXPECT_EQ(getxattr("f", "user.b", nullptr, 0), 5);
  char small[2];
  EXPECT_FAILS(getxattr("f", "user.b", small, sizeof(small)), ERANGE);
  EXPECT_FAILS(getxattr("f", "user.none", small, sizeof(small)), ENODATA);
  char list[256];
  const ssize_t n = listxattr("f", list, sizeof(list));
  ASSERT_GT(n, 0);
  EXPECT_EQ(listxattr("f", nullptr, 0), n);
  EXPECT_FAILS(listxattr("f", list, 3), ERANGE);
  std::set<std::string> names;
  for (const char* p = list; p < list + n; p += strlen(p) + 1) names.insert(p);
  EXPECT_EQ(names.count("user.a"), 1u);
  EXPECT_EQ(names.count("user.b"), 1u);
  EXPECT_WORKS(removexattr("f", "user.a"));
  EXPECT_FAILS(removexattr("f", "user.a"), ENODATA);
  EXPECT_EQ(Value("f", "user.a"), "<ENODATA>");
}

TEST_P(Xattr, BadNamesAndSizes) {
  EXPECT_FAILS(setxattr("f", "", "x", 1, 0), ERANGE);
  EXPECT_FAILS(setxattr("f", (std::string("user.") + std::string(251, 'n')).c_str(), "x", 1, 0), ERANGE);
  EXPECT_FAILS(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
  EXPECT_FAILS(setxattr("f", "bogus.x", "x", 1, 0), EOPNOTSUPP);
  EXPECT_FAILS(setxattr("f", "user.a", "x", 1, 4), EINVAL);
  std::vector<char> big(65537);
  EXPECT_FAILS(setxattr("f", "user.a", big.data(), big.size(), 0), E2BIG);
  EXPECT_FAILS(setxattr("none", "user.a", "x", 1, 0), ENOENT);
  EXPECT_FAILS(fsetxattr(999, "user.a", "x", 1, 0), EBADF);
  EXPECT_FAILS(syscall(SYS_setxattr, "f", 1L, "x", 1, 0), EFAULT);
  EXPECT_FAILS(syscall(SYS_setxattr, "f", "user.a", 1L, 1, 0), EFAULT);
  EXPECT_FAILS(getxattr("f", "bogus.x", nullptr, 0), EOPNOTSUPP);
}

TEST_P(Xattr, LinksDirectoriesAndDescriptors) {
  ASSERT_WORKS(symlink("f", "s"));
  ASSERT_WORKS(mkdir("d", 0755));
  EXPECT_WORKS(setxattr("s", "user.a", "through", 7, 0));
  EXPECT_EQ(Value("f", "user.a"), "through");
  EXPECT_FAILS(lsetxattr("s", "user.a", "x", 1, 0), EPERM);
  EXPECT_FAILS(lgetxattr("s", "user.a", nullptr, 0), ENODATA);
  EXPECT_WORKS(setxattr("d", "user.d", "dir", 3, 0));
  EXPECT_EQ(Value("d", "user.d"), "dir");
  const int fd = open("f", O_RDONLY);
  EXPECT_WORKS(fsetxattr(fd, "user.fd", "1", 1, 0));
  char c = 0;
  EXPECT_EQ(fgetxattr(fd, "user.fd", &c, 1), 1);
  EXPECT_WORKS(fremovexattr(fd, "user.fd"));
  close(fd);
  const int path_fd = open("f", O_PATH);
  EXPECT_FAILS(fsetxattr(path_fd, "user.fd", "1", 1, 0), EBADF);
  close(path_fd);
  EXPECT_WORKS(rename("f", "g"));
  EXPECT_EQ(Value("g", "user.a"), "through");
  ASSERT_WORKS(mkfifo("p", 0666));
  EXPECT_FAILS(setxattr("p", "user.a", "x", 1, 0), EPERM);
}

TEST_P(Xattr, OtherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_WORKS(setxattr("f", "trusted.t", "secret", 6, 0));
  EXPECT_EQ(Value("f", "trusted.t"), "secret");
  EXPECT_WORKS(setxattr("f", "user.u", "open", 4, 0));
  Passes(AsUser(1234, [] {
    char text[64];
    IN_CHILD(getxattr("f", "user.u", text, sizeof(text)) == 4);
    IN_CHILD_FAILS(setxattr("f", "user.u", "x", 1, 0), EACCES);
    IN_CHILD_FAILS(getxattr("f", "trusted.t", text, sizeof(text)), ENODATA);
    IN_CHILD_FAILS(setxattr("f", "trusted.t", "x", 1, 0), EPERM);
    const ssize_t n = listxattr("f", text, sizeof(text));
    IN_CHILD(n >= 0 && std::string(text, static_cast<size_t>(n)).find("trusted") == std::string::npos);
    return 0;
  }));
}

TEST_P(Xattr, AtCalls) {
  XattrArgs args{reinterpret_cast<uint64_t>("value"), 5, 0};
  if (syscall(kSetxattrat, AT_FDCWD, "f", 0, "user.at", &args, sizeof(args)) != 0 && errno == ENOSYS) {
    GTEST_SKIP() << "this kernel has no *xattrat";
  }
  EXPECT_EQ(Value("f", "user.at"), "value");
  char text[64] = {};
  XattrArgs get{reinterpret_cast<uint64_t>(text), sizeof(text), 0};
  EXPECT_EQ(syscall(kGetxattrat, AT_FDCWD, "f", 0, "user.at", &get, sizeof(get)), 5);
  EXPECT_STREQ(text, "value");
  EXPECT_EQ(syscall(kListxattrat, AT_FDCWD, "f", 0, text, sizeof(text)), static_cast<long>(sizeof("user.at")));
  const int fd = open("f", O_RDONLY);
  EXPECT_EQ(syscall(kGetxattrat, fd, "", AT_EMPTY_PATH, "user.at", &get, sizeof(get)), 5);
  EXPECT_FAILS(syscall(kGetxattrat, fd, "", 0, "user.at", &get, sizeof(get)), ENOENT);
  EXPECT_FAILS(syscall(kGetxattrat, AT_FDCWD, "f", 0x40000, "user.at", &get, sizeof(get)), EINVAL);
  EXPECT_FAILS(syscall(kGetxattrat, AT_FDCWD, "f", 0, "user.at", &get, 8L), EINVAL);
  get.flags = XATTR_CREATE;
  EXPECT_FAILS(syscall(kGetxattrat, AT_FDCWD, "f", 0, "user.at", &get, sizeof(get)), EINVAL);
  args.flags = XATTR_CREATE;
  EXPECT_FAILS(syscall(kSetxattrat, AT_FDCWD, "f", 0, "user.at", &args, sizeof(args)), EEXIST);
  EXPECT_EQ(syscall(kRemovexattrat, AT_FDCWD, "f", 0, "user.at"), 0);
  EXPECT_FAILS(syscall(kRemovexattrat, AT_FDCWD, "f", 0, "user.at"), ENODATA);
  ASSERT_WORKS(symlink("f", "s"));
  EXPECT_FAILS(syscall(kSetxattrat, AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, "user.x", &args, sizeof(args)), EPERM);
  close(fd);
}

class Locks : public scratch::Scratch {
 protected:
  void SetUp() override {
    Scratch::SetUp();
    if (!IsSkipped()) Put("f", std::string(100, 'x'));
  }
  static int Lock(int fd, int command, short type, off_t start, off_t length, struct flock* out = nullptr) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    const int result = fcntl(fd, command, &lock);
    if (out != nullptr) *out = lock;
    return result;
  }
};
ON_ALL_PLACES(Locks);

TEST_P(Locks, FlockExcludesByDescription) {
  const int a = open("f", O_RDWR), b = open("f", O_RDWR);
  EXPECT_WORKS(flock(a, LOCK_EX | LOCK_NB));
  EXPECT_FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  EXPECT_FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  const int copy = dup(a);
  EXPECT_WORKS(flock(copy, LOCK_EX | LOCK_NB));
  EXPECT_WORKS(flock(a, LOCK_SH | LOCK_NB));
  EXPECT_WORKS(flock(b, LOCK_SH | LOCK_NB));
  EXPECT_FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  EXPECT_WORKS(flock(a, LOCK_UN));
  EXPECT_WORKS(flock(b, LOCK_EX | LOCK_NB));
  close(b);
  EXPECT_WORKS(flock(a, LOCK_EX | LOCK_NB)) << "closing gave it up";
  EXPECT_FAILS(flock(a, LOCK_SH | LOCK_EX), EINVAL);
  EXPECT_FAILS(flock(999, LOCK_SH), EBADF);
  close(a);
  const int c = open("f", O_RDWR);
  EXPECT_FAILS(flock(c, LOCK_EX | LOCK_NB), EWOULDBLOCK);  // the copy still holds it
  close(copy);
  EXPECT_WORKS(flock(c, LOCK_EX | LOCK_NB));
  close(c);
}

TEST_P(Locks, FlockWaits) {
  const int a = open("f", O_RDWR);
  ASSERT_WORKS(flock(a, LOCK_EX));
  std::thread waiter([] {
    const int b = open("f", O_RDWR);
    EXPECT_WORKS(flock(b, LOCK_EX));
    close(b);
  });
  usleep(50'000);
  close(a);
  waiter.join();
}

TEST_P(Locks, PosixLocksBelongToProcesses) {
  const int fd = open("f", O_RDWR);
  EXPECT_WORKS(Lock(fd, F_SETLK, F_WRLCK, 0, 10));
  EXPECT_WORKS(Lock(fd, F_SETLK, F_RDLCK, 20, 10));
  struct flock lock {};
  EXPECT_WORKS(Lock(fd, F_GETLK, F_WRLCK, 0, 0, &lock));
  EXPECT_EQ(lock.l_type, F_UNLCK) << "one's own locks do not conflict";
  const pid_t parent = getpid();
  Passes(InChild([&] {
    struct flock held {};
    IN_CHILD_FAILS(Lock(fd, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
    IN_CHILD_FAILS(Lock(fd, F_SETLK, F_RDLCK, 9, 1), EAGAIN);
    IN_CHILD(Lock(fd, F_SETLK, F_WRLCK, 10, 10) == 0);
    IN_CHILD(Lock(fd, F_SETLK, F_RDLCK, 20, 10) == 0);
    IN_CHILD_FAILS(Lock(fd, F_SETLK, F_WRLCK, 20, 10), EAGAIN);
    IN_CHILD(Lock(fd, F_GETLK, F_WRLCK, 3, 0, &held) == 0);
    IN_CHILD(held.l_type == F_WRLCK && held.l_start == 0 && held.l_len == 10 && held.l_pid == parent && held.l_whence == SEEK_SET);
    return 0;
  }));
  close(open("f", O_RDONLY));  // any close of the file drops all locks of the process
  Passes(InChild([&] {
    IN_CHILD(Lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
    return 0;
  }));
  close(fd);
}

TEST_P(Locks, PosixLocksSplitAndMerge) {
  const int fd = open("f", O_RDWR);
  EXPECT_WORKS(Lock(fd, F_SETLK, F_WRLCK, 0, 100));
  EXPECT_WORKS(Lock(fd, F_SETLK, F_UNLCK, 40, 20));
  EXPECT_WORKS(Lock(fd, F_SETLK, F_RDLCK, 80, 10));
  Passes(InChild([&] {
    struct flock held {};
    IN_CHILD(Lock(fd, F_SETLK, F_WRLCK, 40, 20) == 0);
    IN_CHILD_FAILS(Lock(fd, F_SETLK, F_WRLCK, 39, 1), EAGAIN);
    IN_CHILD_FAILS(Lock(fd, F_SETLK, F_RDLCK, 60, 1), EAGAIN);
    IN_CHILD(Lock(fd, F_SETLK, F_RDLCK, 80, 10) == 0);
    IN_CHILD(Lock(fd, F_GETLK, F_RDLCK, 60, 0, &held) == 0);
    IN_CHILD(held.l_start == 60 && held.l_len == 20);
    return 0;
  }));
  EXPECT_WORKS(Lock(fd, F_SETLK, F_WRLCK, 40, 20));
  Passes(InChild([&] {
    struct flock held {};
    IN_CHILD(Lock(fd, F_GETLK, F_RDLCK, 0, 0, &held) == 0);
    IN_CHILD(held.l_start == 0 && held.l_len == 80);  // merged again
    return 0;
  }));
  close(fd);
}

TEST_P(Locks, PosixErrors) {
  const int fd = open("f", O_RDWR), ro = open("f", O_RDONLY), wo = open("f", O_WRONLY);
  EXPECT_FAILS(Lock(ro, F_SETLK, F_WRLCK, 0, 1), EBADF);
  EXPECT_FAILS(Lock(wo, F_SETLK, F_RDLCK, 0, 1), EBADF);
  EXPECT_FAILS(Lock(fd, F_SETLK, 17, 0, 1), EINVAL);
  EXPECT_FAILS(Lock(fd, F_SETLK, F_RDLCK, -1, 1), EINVAL);
  EXPECT_WORKS(Lock(fd, F_SETLK, F_RDLCK, 10, -5));
  EXPECT_FAILS(Lock(fd, F_SETLK, F_RDLCK, 3, -5), EINVAL);
  EXPECT_FAILS(Lock(fd, F_GETLK, F_UNLCK, 0, 1), EINVAL);
  EXPECT_FAILS(Lock(999, F_SETLK, F_RDLCK, 0, 1), EBADF);
  EXPECT_FAILS(fcntl(fd, F_SETLK, 1L), EFAULT);
  struct flock end {};
  end.l_type = F_WRLCK;
  end.l_whence = SEEK_END;
  end.l_start = -10;
  EXPECT_WORKS(fcntl(fd, F_SETLK, &end));
  Passes(InChild([&] {
    struct flock held {};
    IN_CHILD(Lock(fd, F_GETLK, F_RDLCK, 0, 0, &held) == 0);
    IN_CHILD(held.l_type == F_WRLCK && held.l_start == 90 && held.l_len == 0);
    return 0;
  }));
  close(fd);
  close(ro);
  close(wo);
}

TEST_P(Locks, PosixWaitsAndFindsDeadlocks) {
  const int fd = open("f", O_RDWR);
  ASSERT_WORKS(Lock(fd, F_SETLK, F_WRLCK, 0, 1));
  int ready[2];
  ASSERT_WORKS(pipe(ready));
  const pid_t child = fork();
  if (child == 0) {
    if (Lock(fd, F_SETLK, F_WRLCK, 1, 1) != 0) _exit(1);
    if (write(ready[1], "x", 1) != 1) _exit(2);
    _exit(Lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0 ? 0 : 3);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  usleep(100'000);  // the child waits by now
  EXPECT_FAILS(Lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
  EXPECT_WORKS(Lock(fd, F_SETLK, F_UNLCK, 0, 1));
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  close(fd);
  close(ready[0]);
  close(ready[1]);
}

void Ignore(int) {}

TEST_P(Locks, WaitIsInterrupted) {
  const int fd = open("f", O_RDWR);
  ASSERT_WORKS(Lock(fd, F_SETLK, F_WRLCK, 0, 1));
  Passes(InChild([&] {
    struct sigaction action {};
    action.sa_handler = Ignore;
    IN_CHILD(sigaction(SIGALRM, &action, nullptr) == 0);
    const itimerval soon{{0, 0}, {0, 50'000}};
    IN_CHILD(setitimer(ITIMER_REAL, &soon, nullptr) == 0);
    IN_CHILD_FAILS(Lock(fd, F_SETLKW, F_WRLCK, 0, 1), EINTR);
    return 0;
  }));
  close(fd);
}

TEST_P(Locks, OfdLocksBelongToDescriptions) {
  const int a = open("f", O_RDWR), b = open("f", O_RDWR);
  EXPECT_WORKS(Lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  EXPECT_FAILS(Lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
  struct flock held {};
  EXPECT_WORKS(Lock(b, F_OFD_GETLK, F_WRLCK, 0, 0, &held));
  EXPECT_EQ(held.l_type, F_WRLCK);
  EXPECT_EQ(held.l_pid, -1);
  EXPECT_FAILS(Lock(b, F_SETLK, F_WRLCK, 0, 1), EAGAIN);  // both kinds exclude each other
  close(open("f", O_RDONLY));
  EXPECT_FAILS(Lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);  // another close does not matter
  Passes(InChild([&] {
    IN_CHILD(Lock(a, F_OFD_SETLK, F_RDLCK, 0, 10) == 0);  // the same description
    return 0;
  }));
  EXPECT_WORKS(Lock(b, F_OFD_SETLK, F_RDLCK, 5, 1));
  struct flock with_pid {};
  with_pid.l_type = F_WRLCK;
  with_pid.l_pid = 1;
  EXPECT_FAILS(fcntl(a, F_OFD_SETLK, &with_pid), EINVAL);
  close(a);
  EXPECT_WORKS(Lock(b, F_OFD_SETLK, F_WRLCK, 0, 0));
  close(b);
}

TEST_P(Locks, HardLinksShareLocks) {
  ASSERT_WORKS(link("f", "g"));
  const int a = open("f", O_RDWR), b = open("g", O_RDWR);
  EXPECT_WORKS(flock(a, LOCK_EX | LOCK_NB));
  EXPECT_FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  close(a);
  close(b);
}

TEST_P(Locks, LeasesAreBroken) {
  const int fd = open("f", O_RDONLY);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fcntl(fd, F_GETLEASE), F_UNLCK);
  const int writer = open("f", O_WRONLY);
  EXPECT_FAILS(fcntl(fd, F_SETLEASE, F_RDLCK), EAGAIN);
  close(writer);
  struct sigaction action {};
  action.sa_handler = Ignore;
  ASSERT_WORKS(sigaction(SIGIO, &action, nullptr));
  ASSERT_WORKS(fcntl(fd, F_SETLEASE, F_RDLCK));
  EXPECT_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
  EXPECT_FAILS(fcntl(fd, F_SETLEASE, 17), EINVAL);
  const int reader = open("f", O_RDONLY);
  EXPECT_GE(reader, 0) << "readers do not break a read lease";
  close(reader);
  sigset_t io, old;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  ASSERT_WORKS(sigprocmask(SIG_BLOCK, &io, &old));
  EXPECT_FAILS(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
  const timespec patience{5, 0};
  EXPECT_EQ(sigtimedwait(&io, nullptr, &patience), SIGIO);
  EXPECT_EQ(fcntl(fd, F_GETLEASE), F_UNLCK) << "what it must become";
  std::thread opener([] {
    const int w = open("f", O_WRONLY);
    EXPECT_GE(w, 0);
    close(w);
  });
  usleep(50'000);
  EXPECT_WORKS(fcntl(fd, F_SETLEASE, F_UNLCK));
  opener.join();
  sigprocmask(SIG_SETMASK, &old, nullptr);
  close(fd);
  const int rw = open("f", O_RDWR);
  EXPECT_FAILS(fcntl(rw, F_SETLEASE, F_RDLCK), EAGAIN);
  EXPECT_WORKS(fcntl(rw, F_SETLEASE, F_WRLCK));
  EXPECT_EQ(fcntl(rw, F_GETLEASE), F_WRLCK);
  close(rw);
  const int dir = open(".", O_RDONLY);
  EXPECT_FAILS(fcntl(dir, F_SETLEASE, F_RDLCK), EINVAL);
  close(dir);
}

volatile sig_atomic_t g_signal, g_signal_fd;
void OnSignal(int signo, siginfo_t* info, void*) {
  g_signal = signo;
  g_signal_fd = info->si_fd;
}

TEST_P(Locks, SigioTellsOfInput) {
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  struct sigaction action {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO;
  ASSERT_WORKS(sigaction(SIGIO, &action, nullptr));
  ASSERT_WORKS(sigaction(SIGRTMIN + 3, &action, nullptr));
  ASSERT_WORKS(fcntl(fds[0], F_SETOWN, getpid()));
  EXPECT_EQ(fcntl(fds[0], F_GETOWN), getpid());
  ASSERT_WORKS(fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK));
  g_signal = 0;
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  for (int i = 0; i < 100 && g_signal == 0; ++i) usleep(10'000);
  EXPECT_EQ(g_signal, SIGIO);
  ASSERT_WORKS(fcntl(fds[0], F_SETSIG, SIGRTMIN + 3));
  EXPECT_EQ(fcntl(fds[0], F_GETSIG), SIGRTMIN + 3);
  char c = 0;
  ASSERT_EQ(read(fds[0], &c, 1), 1);
  g_signal = 0;
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  for (int i = 0; i < 100 && g_signal == 0; ++i) usleep(10'000);
  EXPECT_EQ(g_signal, SIGRTMIN + 3);
  EXPECT_EQ(g_signal_fd, fds[0]);
  ASSERT_WORKS(fcntl(fds[0], F_SETFL, O_NONBLOCK));
  g_signal = 0;
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  usleep(50'000);
  EXPECT_EQ(g_signal, 0) << "O_ASYNC is off";
  EXPECT_FAILS(fcntl(fds[0], F_SETSIG, 1000), EINVAL);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
