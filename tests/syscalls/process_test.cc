// Processes as a program makes, replaces, ends and awaits them.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace {

// Runs `body` in a child; its return value is the exit status.
pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
// The wait status of a child.
int Wait(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
  return status;
}
int ExitOf(pid_t pid) {
  const int status = Wait(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
int RunChild(const std::function<int()>& body) { return ExitOf(Fork(body)); }

struct Pipe {
  int fds[2] = {-1, -1};
  explicit Pipe(int flags = 0) { EXPECT_EQ(pipe2(fds, flags), 0); }
  ~Pipe() { CloseBoth(); }
  void CloseWriter() { Close(fds[1]); }
  void CloseReader() { Close(fds[0]); }
  void CloseBoth() { CloseReader(), CloseWriter(); }
  char Get() {
    char c = 0;
    return read(fds[0], &c, 1) == 1 ? c : '\0';
  }
  void Put(char c) { EXPECT_EQ(write(fds[1], &c, 1), 1); }
  std::string All() {
    CloseWriter();
    std::string text;
    char block[512];
    for (ssize_t n = 0; (n = read(fds[0], block, sizeof(block))) > 0;) text.append(block, static_cast<size_t>(n));
    return text;
  }

 private:
  static void Close(int& fd) {
    if (fd >= 0) close(fd);
    fd = -1;
  }
};

std::string TempFile(const char* content, mode_t mode) {
  char path[] = "/tmp/process_test_XXXXXX";
  const int fd = mkstemp(path);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(write(fd, content, strlen(content)), static_cast<ssize_t>(strlen(content)));
  EXPECT_EQ(fchmod(fd, mode), 0);
  close(fd);
  return path;
}

// Standard output of a program run with `argv`, and its exit status.
std::string Capture(const char* path, std::vector<std::string> argv, int* status, std::vector<std::string> envp = {"PATH=/usr/bin:/bin"}) {
  Pipe out;
  const pid_t pid = Fork([&] {
    dup2(out.fds[1], 1);
    out.CloseBoth();
    std::vector<char*> args, env;
    for (std::string& a : argv) args.push_back(a.data());
    for (std::string& e : envp) env.push_back(e.data());
    args.push_back(nullptr);
    env.push_back(nullptr);
    execve(path, args.data(), env.data());
    return 100 + errno;
  });
  std::string text = out.All();
  *status = ExitOf(pid);
  return text;
}

long Clone3(clone_args args) { return syscall(SYS_clone3, &args, sizeof(args)); }

// --- fork, vfork, clone

TEST(Fork, ChildHasItsOwnMemoryAndAnotherPid) {
  int value = 1;
  const pid_t self = getpid();
  EXPECT_EQ(RunChild([&] {
              value = 2;
              return getpid() != self && getppid() == self && value == 2 ? 0 : 1;
            }),
            0);
  EXPECT_EQ(value, 1);
}

TEST(Fork, ExitStatusIsTheLowByte) {
  EXPECT_EQ(RunChild([] { return 0x1ab; }), 0xab);
}

TEST(Fork, SharedMappingsAreShared) {
  auto* shared = static_cast<std::atomic<int>*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(shared, MAP_FAILED);
  EXPECT_EQ(RunChild([&] {
              shared->store(77);
              return 0;
            }),
            0);
  EXPECT_EQ(shared->load(), 77);
  munmap(shared, 4096);
}

TEST(Fork, DescriptorsShareTheirPosition) {
  const std::string path = TempFile("abcdef", 0600);
  const int fd = open(path.c_str(), O_RDONLY);
  EXPECT_EQ(RunChild([&] {
              char c = 0;
              return read(fd, &c, 1) == 1 && c == 'a' ? 0 : 1;
            }),
            0);
  char c = 0;
  EXPECT_EQ(read(fd, &c, 1), 1);
  EXPECT_EQ(c, 'b');
  close(fd);
  unlink(path.c_str());
}

TEST(Fork, ManyInARow) {
  for (int i = 0; i < 100; ++i) ASSERT_EQ(RunChild([i] { return i; }), i);
}

TEST(Fork, NestedDeeply) {
  std::function<int(int)> nest = [&](int depth) { return depth == 0 ? 5 : RunChild([&] { return nest(depth - 1); }); };
  EXPECT_EQ(nest(12), 5);
}

TEST(Fork, OnlyTheCallingThreadIsCopied) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) usleep(1000);
  });
  EXPECT_EQ(RunChild([] {
              // One entry: us.
              struct stat st {};
              return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3 ? 0 : 1;
            }),
            0);
  stop = true;
  other.join();
}

// Counts in the program's data, in two mappings and in the forking thread's own data; a thread raises them in a fixed order.
std::atomic<uint64_t> counter_in_data{1};
thread_local std::atomic<uint64_t> counter_in_thread{1};

TEST(Fork, TheChildSeesAMomentOfTheOtherThreadsWrites) {
  auto* low = new (mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) std::atomic<uint64_t>{1};
  const std::vector<char> heap(1 << 20);
  auto* high = new (mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) std::atomic<uint64_t>{1};
  std::vector<std::atomic<uint64_t>*> order = {low, &counter_in_data, &counter_in_thread, high};
  for (int permutation = 0; permutation < 4; ++permutation) {
    std::atomic<bool> stop{false};
    for (auto* counter : order) *counter = 1;
    std::thread writer([&] {
      for (uint64_t i = 2; !stop; ++i) {
        for (auto* counter : order) *counter = i;
      }
    });
    int torn = 0;
    for (int i = 0; i < 25; ++i) {
      torn += RunChild([&] {
        // Every one is as high as its predecessor or one behind, and at most one step down in all.
        for (size_t k = 1; k < order.size(); ++k) {
          if (*order[k] > *order[k - 1]) return 1;
        }
        return *order.front() - *order.back() <= 1 ? 0 : 1;
      });
    }
    stop = true;
    writer.join();
    EXPECT_EQ(torn, 0) << "of 25 children, in order " << permutation;
    std::rotate(order.begin(), order.begin() + 1, order.end());
  }
  munmap(low, 4096);
  munmap(high, 4096);
}

TEST(Vfork, ParentWaitsForExit) {
  volatile int value = 0;
  const pid_t pid = vfork();
  if (pid == 0) {
    value = 42;  // the parent's memory
    _exit(3);
  }
  EXPECT_EQ(value, 42);
  EXPECT_EQ(ExitOf(pid), 3);
}

TEST(Vfork, ParentWaitsForExec) {
  const pid_t pid = vfork();
  if (pid == 0) {
    execl("/bin/sh", "sh", "-c", "exit 4", nullptr);
    _exit(127);
  }
  EXPECT_EQ(ExitOf(pid), 4);
}

TEST(Vfork, AKilledChildReleasesTheParent) {
  const pid_t pid = vfork();
  if (pid == 0) {
    kill(getpid(), SIGKILL);
    _exit(0);
  }
  const int status = Wait(pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

alignas(16) char clone_stack[64 * 1024];

TEST(Clone, VmWithoutThreadIsAProcessThatSharesMemory) {
  static std::atomic<int> value;
  value = 0;
  const int pid = clone(
      [](void*) {
        value = getpid();
        return 9;
      },
      clone_stack + sizeof(clone_stack), CLONE_VM | SIGCHLD, nullptr);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(ExitOf(pid), 9);
  EXPECT_EQ(value, pid);
}

TEST(Clone, FilesAreSharedOnlyWithTheFlag) {
  for (const int flags : {0, CLONE_FILES}) {
    const int fd = open("/dev/null", O_RDONLY);
    const int pid = clone(
        [](void* argument) {
          close(*static_cast<int*>(argument));
          return 0;
        },
        clone_stack + sizeof(clone_stack), flags | SIGCHLD, const_cast<int*>(&fd));
    ASSERT_GT(pid, 0);
    EXPECT_EQ(ExitOf(pid), 0);
    EXPECT_EQ(fcntl(fd, F_GETFD) < 0, flags == CLONE_FILES);
    if (flags == 0) close(fd);
  }
}

TEST(Clone, FsSharesTheWorkingDirectory) {
  char before[4096];
  ASSERT_NE(getcwd(before, sizeof(before)), nullptr);
  const int pid = clone([](void*) { umask(0123);
        return chdir("/"); }, clone_stack + sizeof(clone_stack), CLONE_FS | SIGCHLD, nullptr);
  EXPECT_EQ(ExitOf(pid), 0);
  char now[4096];
  ASSERT_NE(getcwd(now, sizeof(now)), nullptr);
  EXPECT_STREQ(now, "/");
  EXPECT_EQ(umask(022), 0123u);
  ASSERT_EQ(chdir(before), 0);
}

TEST(Clone, TidsAreWrittenAndCleared) {
  pid_t parent_tid = 0;
  auto* child_tid = static_cast<std::atomic<pid_t>*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const long pid = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &parent_tid, child_tid, 0);
  if (pid == 0) _exit(child_tid->load() == getpid() ? 0 : 1);
  EXPECT_EQ(parent_tid, pid);
  EXPECT_EQ(ExitOf(static_cast<pid_t>(pid)), 0);
  EXPECT_EQ(child_tid->load(), pid);
  munmap(child_tid, 4096);
}

TEST(Clone, BadFlagCombinationsAreEinval) {
  EXPECT_EQ(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Clone, ExitSignalIsWhatTheParentGets) {
  struct sigaction action {}, old {};
  static std::atomic<int> got;
  got = 0;
  action.sa_handler = [](int signo) { got = signo; };
  ASSERT_EQ(sigaction(SIGUSR1, &action, &old), 0);
  const int pid = clone([](void*) { return 0; }, clone_stack + sizeof(clone_stack), SIGUSR1, nullptr);
  ASSERT_GT(pid, 0);
  int status = 0;
  // A child with another signal is a "clone" child.
  EXPECT_EQ(waitpid(pid, &status, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  while (waitpid(pid, &status, __WCLONE) != pid) ASSERT_EQ(errno, EINTR);
  EXPECT_EQ(got, SIGUSR1);
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(Clone, CloneParentMakesASibling) {
  Pipe p;
  const pid_t self = getpid();
  const pid_t middle = Fork([&] {
    const long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(getppid() == self ? 21 : 1);
    const int32_t told = static_cast<int32_t>(pid);
    return write(p.fds[1], &told, sizeof(told)) == sizeof(told) ? 0 : 1;
  });
  int32_t sibling = 0;
  ASSERT_EQ(read(p.fds[0], &sibling, sizeof(sibling)), static_cast<ssize_t>(sizeof(sibling)));
  EXPECT_EQ(ExitOf(middle), 0);
  EXPECT_EQ(ExitOf(sibling), 21);
}

TEST(Clone3, ForksAndGivesAPidfd) {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const long pid = Clone3(args);
  if (pid == 0) _exit(6);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
  pollfd ready{pidfd, POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 10'000), 1);
  siginfo_t info{};
  EXPECT_EQ(waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED), 0);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(info.si_status, 6);
  close(pidfd);
}

TEST(Pidfd, ADirectoryOfProcIsOneForSignals) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const std::string directory = "/proc/" + std::to_string(child);
  const auto send = [](int fd, int signo) { return syscall(SYS_pidfd_send_signal, fd, signo, nullptr, 0); };
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int path_only = open(directory.c_str(), O_PATH | O_CLOEXEC);
  const int thread = open((directory + "/task/" + std::to_string(child)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(thread, 0);
  EXPECT_EQ(send(fd, 0), 0) << strerror(errno);
  EXPECT_EQ(send(path_only, 0), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(send(thread, 0), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(send(fd, SIGKILL), 0);
  kill(child, SIGKILL);  // so that a failure is not a hang
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(send(fd, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  for (const int each : {fd, path_only, thread}) close(each);
}

TEST(Clone3, BadArguments) {
  clone_args args{};
  args.exit_signal = 1000;
  EXPECT_EQ(Clone3(args), -1);
  EXPECT_EQ(errno, EINVAL);
  args = {};
  args.flags = CLONE_THREAD;
  EXPECT_EQ(Clone3(args), -1);
  EXPECT_EQ(errno, EINVAL);
  args = {};
  args.exit_signal = SIGCHLD;
  args.stack = 4096;  // without a size
  EXPECT_EQ(Clone3(args), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_clone3, &args, 8), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_clone3, nullptr, sizeof(args)), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(Clone3, ClearSighandResetsHandlers) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR2, &action, &old), 0);
  clone_args args{};
  args.flags = CLONE_CLEAR_SIGHAND;
  args.exit_signal = SIGCHLD;
  const long pid = Clone3(args);
  if (pid == 0) {
    struct sigaction now {};
    _exit(sigaction(SIGUSR2, nullptr, &now) == 0 && now.sa_handler == SIG_DFL ? 0 : 1);
  }
  EXPECT_EQ(ExitOf(static_cast<pid_t>(pid)), 0);
  sigaction(SIGUSR2, &old, nullptr);
}

// --- exec

TEST(Exec, ArgumentsAndEnvironmentArrive) {
  int status = 0;
  EXPECT_EQ(Capture("/bin/sh", {"name", "-c", "echo \"$0|$1|$2|$VALUE\"", "zero", "a b", ""}, &status, {"VALUE=x y"}), "zero|a b||x y\n");
  EXPECT_EQ(status, 0);
}

TEST(Exec, ErrorsLeaveTheCallerRunning) {
  const std::string text = TempFile("not a program", 0755), plain = TempFile("#!/bin/sh\n", 0644), empty = TempFile("", 0755);
  char* const argv[] = {const_cast<char*>("x"), nullptr};
  EXPECT_EQ(execve("/nowhere/at/all", argv, nullptr), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(execve("/tmp", argv, nullptr), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(execve(text.c_str(), argv, nullptr), -1);
  EXPECT_EQ(errno, ENOEXEC);
  EXPECT_EQ(execve(empty.c_str(), argv, nullptr), -1);
  EXPECT_EQ(errno, ENOEXEC);
  EXPECT_EQ(execve(plain.c_str(), argv, nullptr), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(execve((text + "/below").c_str(), argv, nullptr), -1);
  EXPECT_EQ(errno, ENOTDIR);
  EXPECT_EQ(syscall(SYS_execve, nullptr, argv, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(execve("/bin/true", reinterpret_cast<char**>(8), nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(execve(std::string(5000, 'x').c_str(), argv, nullptr), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  for (const std::string& path : {text, plain, empty}) unlink(path.c_str());
}

TEST(Exec, OneArgumentOf128KiBIsTooLong) {
  std::string longest(32 * 4096 - 1, 'x');
  int status = 0;
  EXPECT_EQ(Capture("/bin/sh", {"sh", "-c", "echo ${#1}", "sh", longest}, &status), "131071\n");
  longest += 'x';
  Capture("/bin/sh", {"sh", "-c", "echo ${#1}", "sh", longest}, &status);
  EXPECT_EQ(status, 100 + E2BIG);
}

TEST(Exec, ArgumentsInAllAreAQuarterOfTheStackLimit) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > (64u << 20)) limit.rlim_cur = 8u << 20;
  EXPECT_EQ(RunChild([&] {
              setrlimit(RLIMIT_STACK, &limit);
              int status = 0;
              const std::string piece(100'000, 'y');
              const size_t fits = limit.rlim_cur / 4 / piece.size() - 2;
              std::vector<std::string> argv = {"true"};
              argv.insert(argv.end(), fits, piece);
              Capture("/bin/true", argv, &status);
              if (status != 0) return 1;
              argv.insert(argv.end(), 4, piece);
              Capture("/bin/true", argv, &status);
              return status == 100 + E2BIG ? 0 : 2;
            }),
            0);
}

TEST(Exec, EmptyArgvBecomesOneEmptyString) {
  Pipe out;
  const std::string script = TempFile("#!/bin/sh\necho \"<$0>$#\"\n", 0755);
  const pid_t pid = Fork([&] {
    dup2(out.fds[1], 1);
    out.CloseBoth();
    char* const none[] = {nullptr};
    execve(script.c_str(), none, none);
    return 1;
  });
  EXPECT_EQ(out.All(), "<" + script + ">0\n");
  EXPECT_EQ(ExitOf(pid), 0);
  unlink(script.c_str());
}

TEST(Exec, ScriptsGetTheirInterpretersArgument) {
  const std::string script = TempFile("#! /bin/sh -e  \nfalse\nexit 0\n", 0755);
  int status = 0;
  Capture(script.c_str(), {"whatever", "x"}, &status);
  EXPECT_EQ(status, 1);
  unlink(script.c_str());
  const std::string shows = TempFile("#!/bin/echo one  two\n", 0755);
  EXPECT_EQ(Capture(shows.c_str(), {"zero", "a", "b"}, &status), "one  two " + shows + " a b\n");
  unlink(shows.c_str());
}

TEST(Exec, ScriptsOfScriptsWorkFourDeep) {
  std::vector<std::string> files = {TempFile("#!/bin/echo end\n", 0755)};
  int status = 0;
  for (int depth = 1; depth <= 6; ++depth) {
    const std::string output = Capture(files.back().c_str(), {"s"}, &status);
    if (depth <= 5) {
      EXPECT_EQ(status, 0) << depth;
      EXPECT_EQ(output.substr(0, 4), "end ") << depth;
    } else {
      EXPECT_EQ(status, 100 + ELOOP);
    }
    files.push_back(TempFile(("#!" + files.back() + "\n").c_str(), 0755));
  }
  for (const std::string& file : files) unlink(file.c_str());
}

TEST(Exec, AMissingInterpreterIsEnoent) {
  const std::string script = TempFile("#!/no/such/interpreter\n", 0755);
  int status = 0;
  Capture(script.c_str(), {"s"}, &status);
  EXPECT_EQ(status, 100 + ENOENT);
  unlink(script.c_str());
}

TEST(Exec, CloseOnExecDescriptorsGo) {
  const int stays = open("/dev/null", O_RDONLY), goes = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int status = 0;
  const std::string script = "[ -e /proc/self/fd/" + std::to_string(stays) + " ] && echo stays; [ -e /proc/self/fd/" + std::to_string(goes) + " ] || echo gone";
  EXPECT_EQ(Capture("/bin/sh", {"sh", "-c", script}, &status), "stays\ngone\n");
  close(stays);
  close(goes);
}

TEST(Exec, HandlersAreResetAndIgnoredSignalsStayIgnored) {
  const pid_t pid = Fork([] {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, [](int) {});
    execl("/bin/sh", "sh", "-c", "kill -USR1 $$; kill -USR2 $$; exit 0", nullptr);
    return 1;
  });
  const int status = Wait(pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGUSR2);
}

TEST(Exec, TheMaskAndPendingSignalsStay) {
  EXPECT_EQ(RunChild([] {
              sigset_t set;
              sigemptyset(&set);
              sigaddset(&set, SIGUSR1);
              sigprocmask(SIG_BLOCK, &set, nullptr);
              raise(SIGUSR1);
              execl("/bin/grep", "grep", "-q", "^SigBlk:.*200$", "/proc/self/status", nullptr);
              return 9;
            }),
            0);
}

TEST(Exec, FromAThreadTakesOverTheProcess) {
  Pipe out;
  const pid_t pid = Fork([&] {
    dup2(out.fds[1], 1);
    std::thread other([] {
      while (true) pause();
    });
    std::thread runs([] { execl("/bin/sh", "sh", "-c", "echo $$; ls /proc/self/task | wc -l", nullptr); });
    while (true) pause();
    return 1;
  });
  EXPECT_EQ(out.All(), std::to_string(pid) + "\n1\n");
  EXPECT_EQ(ExitOf(pid), 0);
}

TEST(Exec, NameOfTheProcessIsTheFilesName) {
  int status = 0;
  EXPECT_EQ(Capture("/bin/cat", {"other", "/proc/self/comm"}, &status), "cat\n");
}

TEST(Exec, AnOpenForWritingFileIsBusy) {
  const std::string copy = TempFile("", 0700);
  ASSERT_EQ(system(("cp /bin/true " + copy).c_str()), 0);
  const int writer = open(copy.c_str(), O_WRONLY);
  ASSERT_GE(writer, 0);
  int status = 0;
  Capture(copy.c_str(), {"true"}, &status);
  EXPECT_EQ(status, 100 + ETXTBSY);
  close(writer);
  Capture(copy.c_str(), {"true"}, &status);
  EXPECT_EQ(status, 0);
  unlink(copy.c_str());
}

TEST(Exec, ARunningProgramCannotBeWritten) {
  const std::string copy = TempFile("", 0700);
  ASSERT_EQ(system(("cp /bin/sleep " + copy).c_str()), 0);
  Pipe started(O_CLOEXEC);
  const pid_t pid = Fork([&] {
    execl(copy.c_str(), "sleep", "100", nullptr);
    return 1;
  });
  started.CloseWriter();
  started.Get();  // the end of file comes with the exec
  EXPECT_EQ(open(copy.c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, ETXTBSY);
  EXPECT_EQ(truncate(copy.c_str(), 0), -1);
  EXPECT_EQ(errno, ETXTBSY);
  kill(pid, SIGKILL);
  Wait(pid);
  const int fd = open(copy.c_str(), O_WRONLY);  // the program is let go of before its end is reported
  EXPECT_GE(fd, 0);
  close(fd);
  unlink(copy.c_str());
}

TEST(Exec, FexecveRunsADescriptor) {
  const int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(RunChild([&] {
              char* const argv[] = {const_cast<char*>("true"), nullptr};
              fexecve(fd, argv, argv + 1);
              return 1;
            }),
            0);
  close(fd);
}

TEST(Exec, ExecveatBadFlagsAndPaths) {
  char* const argv[] = {const_cast<char*>("x"), nullptr};
  EXPECT_EQ(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, nullptr, 0x4000'0000), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(SYS_execveat, AT_FDCWD, "", argv, nullptr, 0), -1);
  EXPECT_EQ(errno, ENOENT);
  const std::string link = "/tmp/process_test_link_" + std::to_string(getpid());
  ASSERT_EQ(symlink("/bin/true", link.c_str()), 0);
  EXPECT_EQ(syscall(SYS_execveat, AT_FDCWD, link.c_str(), argv, nullptr, AT_SYMLINK_NOFOLLOW), -1);
  EXPECT_EQ(errno, ELOOP);
  unlink(link.c_str());
}

}  // namespace
