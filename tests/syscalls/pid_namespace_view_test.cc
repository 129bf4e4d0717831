// pid_namespaces(7): by which number who is seen: signals, /proc, credentials, locks, groups and sessions, ptrace, System V objects, timers.
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

#include <cstring>

#include "pid_namespace_support.h"

namespace pidns {
namespace {

using scratch::InChild;
using scratch::Passes;

// The last signal, as its handler saw it.
volatile sig_atomic_t g_signo = 0, g_code = 0, g_pid = -1;
void Note(int signo, siginfo_t* info, void*) {
  g_code = info->si_code;
  g_pid = info->si_pid;
  g_signo = signo;
}
void Handle(int signo) {
  struct sigaction action {};
  action.sa_sigaction = Note;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(signo, &action, nullptr);
  g_signo = 0;
}
bool Came(int signo) {
  return Eventually([signo] { return g_signo == signo; });
}

// --- signals

TEST(PidNamespaceSignal, ProcessOneIsNotEndedFromWithin) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    Handle(SIGUSR1);
    IN_CHILD(kill(1, SIGTERM) == 0 && kill(1, SIGKILL) == 0 && kill(1, SIGSTOP) == 0);
    const pid_t child = fork();
    if (child == 0) _exit(kill(1, SIGKILL) == 0 && kill(1, SIGTERM) == 0 && kill(1, SIGUSR1) == 0 ? 0 : 1);
    IN_CHILD(Ended(child) == 0);
    IN_CHILD(Came(SIGUSR1) && g_pid == 2 && g_code == SI_USER);
    return 0;
  }));
}

TEST(PidNamespaceSignal, ProcessOneIsEndedFromOutside) {
  NEEDS_NAMESPACES();
  const pid_t pid = Start(Sleep);
  EXPECT_EQ(kill(pid, SIGTERM), 0);  // its default action is not taken
  usleep(20000);
  EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), 0);
  EXPECT_EQ(kill(pid, SIGSTOP), 0);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(kill(pid, SIGCONT), 0);
  EXPECT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_EQ(StatusOf(pid), SIGKILL);
}

TEST(PidNamespaceSignal, WhoIsOutsideIsNobody) {
  NEEDS_NAMESPACES();
  Gate ready;
  const pid_t pid = Start([&ready] {
    Handle(SIGUSR1);
    Handle(SIGUSR2);
    ready.Open();
    IN_CHILD(Came(SIGUSR1) && g_pid == 0 && g_code == SI_USER);
    kill(1, SIGCONT);
    ready.Open();
    IN_CHILD(Came(SIGUSR2) && g_pid == 0 && g_code == SI_QUEUE);
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(kill(pid, SIGUSR1), 0);
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(sigqueue(pid, SIGUSR2, {}), 0);
  EXPECT_EQ(Ended(pid), 0);
}

TEST(PidNamespaceSignal, TheParentHearsOfAChildByItsOwnNumber) {
  NEEDS_NAMESPACES();
  Handle(SIGCHLD);
  const pid_t pid = Start([] { return 3; });
  EXPECT_TRUE(Came(SIGCHLD));
  EXPECT_EQ(g_pid, pid);
  EXPECT_EQ(Ended(pid), 3);
  signal(SIGCHLD, SIG_DFL);
  Passes(InNew([] {
    Handle(SIGCHLD);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    IN_CHILD(Came(SIGCHLD) && g_pid == 2);
    IN_CHILD(Ended(child) == 0);
    return 0;
  }));
}

TEST(PidNamespaceSignal, EverybodyIsWhoIsThere) {
  NEEDS_NAMESPACES();
  Gate ready;
  const pid_t bystander = fork();
  if (bystander == 0) Sleep();
  Passes(InNew([&ready] {
    for (int i = 0; i < 2; ++i) {
      if (fork() == 0) {
        ready.Open();
        Sleep();
      }
    }
    IN_CHILD(ready.Wait() && ready.Wait());
    Handle(SIGUSR1);
    IN_CHILD(kill(-1, SIGKILL) == 0);
    IN_CHILD(StatusOf(2) == SIGKILL && StatusOf(3) == SIGKILL);
    IN_CHILD_FAILS(kill(-1, SIGKILL), ESRCH);
    return 0;
  }));
  EXPECT_EQ(waitpid(bystander, nullptr, WNOHANG), 0);
  kill(bystander, SIGKILL);
  EXPECT_EQ(StatusOf(bystander), SIGKILL);
}

TEST(PidNamespaceSignal, ThreadsAreNamedByTheNumbersThere) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    Handle(SIGUSR1);
    IN_CHILD(syscall(SYS_tgkill, 1, 1, SIGUSR1) == 0);
    IN_CHILD(Came(SIGUSR1) && g_pid == 1 && g_code == SI_TKILL);
    IN_CHILD_FAILS(syscall(SYS_tgkill, 1, 2, SIGUSR1), ESRCH);
    IN_CHILD_FAILS(syscall(SYS_tkill, 2, SIGUSR1), ESRCH);
    pthread_t thread;
    Gate told;
    g_signo = 0;
    static pid_t tid = 0;
    IN_CHILD(pthread_create(&thread, nullptr, [](void* gate) -> void* {
      tid = static_cast<pid_t>(syscall(SYS_gettid));
      static_cast<Gate*>(gate)->Open();
      Came(SIGUSR1);
      return nullptr;
    }, &told) == 0);
    IN_CHILD(told.Wait() && tid == 2);
    IN_CHILD(syscall(SYS_tgkill, 1, 2, SIGUSR1) == 0);
    IN_CHILD(Came(SIGUSR1) && pthread_join(thread, nullptr) == 0);
    return 0;
  }));
}

// --- /proc

// In the child: a proc of its own on `where`.
int MountProc(const char* where) {
  IN_CHILD(unshare(CLONE_NEWNS) == 0);
  IN_CHILD(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  (void)mkdir(where, 0755);
  IN_CHILD(mount("proc", where, "proc", 0, nullptr) == 0);
  return 0;
}

std::string Numbers(const std::string& directory) {
  std::string out;
  for (int pid = 1; pid < 100; ++pid) {
    if (access((directory + "/" + std::to_string(pid) + "/stat").c_str(), F_OK) == 0) out += std::to_string(pid) + " ";
  }
  return out;
}

TEST(PidNamespaceProc, AMountShowsTheNamespaceOfWhoMadeIt) {
  NEEDS_NAMESPACES();
  const std::string where = "/tmp/rampart-pidns-" + std::to_string(getpid());
  Gate ready, checked;
  const pid_t pid = Start([&] {
    if (const int failed = MountProc(where.c_str()); failed != 0) return failed;
    const pid_t child = fork();
    if (child == 0) Sleep();
    IN_CHILD(Numbers(where) == "1 2 ");
    IN_CHILD(Link(where + "/self") == "1" && Link(where + "/thread-self") == "1/task/1");
    IN_CHILD(Field(where + "/2/status", "PPid:\t") == "1" && Field(where + "/2/status", "NSpid:\t") == "2");
    IN_CHILD(Field(where + "/2/stat", "2 (").ends_with(" 0 0 0") || !Field(where + "/2/stat", "2 (").empty());
    IN_CHILD(Field(where + "/1/status", "PPid:\t") == "0");
    IN_CHILD(Field(where + "/1/task/1/children", "") == "2 ");
    IN_CHILD(access((where + "/1/task/1/stat").c_str(), F_OK) == 0);
    ready.Open();
    checked.Wait();
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  const std::string outer = "/proc/" + std::to_string(pid);
  EXPECT_EQ(Field(outer + "/status", "NSpid:\t"), std::to_string(pid) + "\t1");
  EXPECT_EQ(Field(outer + "/status", "NStgid:\t"), std::to_string(pid) + "\t1");
  EXPECT_EQ(Field(outer + "/status", "NSsid:\t"), std::to_string(getsid(0)) + "\t0");
  EXPECT_EQ(Field(outer + "/status", "Pid:\t"), std::to_string(pid));
  EXPECT_EQ(Field(outer + "/status", "PPid:\t"), std::to_string(getpid()));
  // Seen from here, we are not there.
  EXPECT_EQ(Link(outer + "/root" + where + "/self"), "errno " + std::to_string(ENOENT));
  EXPECT_EQ(Field(outer + "/root" + where + "/2/status", "PPid:\t"), "1");
  checked.Open();
  EXPECT_EQ(Ended(pid), 0);
  rmdir(where.c_str());
}

TEST(PidNamespaceProc, SelfInTheOuterOneIsTheOuterNumber) {
  NEEDS_NAMESPACES();
  Gate told;
  int numbers[2];
  ASSERT_EQ(pipe(numbers), 0);
  const pid_t pid = Start([&numbers] {
    const std::string self = Link("/proc/self");
    (void)!write(numbers[1], self.c_str(), self.size() + 1);
    return 0;
  });
  char text[32] = {};
  EXPECT_GT(read(numbers[0], text, sizeof(text)), 0);
  EXPECT_EQ(text, std::to_string(pid));
  EXPECT_EQ(Ended(pid), 0);
  close(numbers[0]);
  close(numbers[1]);
}

TEST(PidNamespaceProc, APidfdIsDescribedInTheNumbersOfTheMount) {
  NEEDS_NAMESPACES();
  const pid_t pid = Start(Sleep);
  const auto pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  ASSERT_GE(pidfd, 0);
  const std::string info = "/proc/self/fdinfo/" + std::to_string(pidfd);
  EXPECT_EQ(Field(info, "Pid:\t"), std::to_string(pid));
  EXPECT_EQ(Field(info, "NSpid:\t"), std::to_string(pid) + "\t1");
  kill(pid, SIGKILL);
  EXPECT_EQ(StatusOf(pid), SIGKILL);
  EXPECT_EQ(Field(info, "Pid:\t"), "-1");
  close(pidfd);
}

// --- groups and sessions

TEST(PidNamespaceGroup, ThoseOfOutsideHaveNoNumber) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    IN_CHILD(getpgrp() == 0 && getpgid(1) == 0 && getsid(0) == 0);
    IN_CHILD(setsid() == 1);
    IN_CHILD(getpgrp() == 1 && getsid(0) == 1);
    const pid_t child = fork();
    if (child == 0) {
      if (getpgrp() != 1 || setpgid(0, 0) != 0 || getpgrp() != 2) _exit(1);
      Sleep();
    }
    IN_CHILD(Eventually([] { return getpgid(2) == 2; }));
    IN_CHILD(getsid(2) == 1);
    IN_CHILD_FAILS(setpgid(2, 40), EPERM);
    IN_CHILD_FAILS(getpgid(40), ESRCH);
    IN_CHILD_FAILS(kill(-40, 0), ESRCH);
    IN_CHILD(kill(-2, SIGKILL) == 0);
    int status = 0;
    IN_CHILD(waitpid(-2, &status, 0) == 2 && status == SIGKILL);
    return 0;
  }));
}

TEST(PidNamespaceGroup, TheOuterNumberIsSeenOutside) {
  NEEDS_NAMESPACES();
  Gate ready, done;
  const pid_t pid = Start([&] {
    IN_CHILD(setsid() == 1);
    ready.Open();
    done.Wait();
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(getpgid(pid), pid);
  EXPECT_EQ(getsid(pid), pid);
  EXPECT_EQ(kill(-pid, 0), 0);
  done.Open();
  EXPECT_EQ(Ended(pid), 0);
}

TEST(PidNamespaceGroup, ATerminalsAreNamedByTheNumbersThere) {
  NEEDS_NAMESPACES();
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(master, 0);
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  const std::string name = ptsname(master);
  Gate ready, done;
  const pid_t pid = Start([&] {
    IN_CHILD(setsid() == 1);
    const int terminal = open(name.c_str(), O_RDWR);
    IN_CHILD(terminal >= 0);
    IN_CHILD(tcgetpgrp(terminal) == 1 && tcgetsid(terminal) == 1);
    IN_CHILD_FAILS(tcsetpgrp(terminal, 40), ESRCH);
    ready.Open();
    done.Wait();
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(tcgetpgrp(master), pid);
  EXPECT_EQ(tcgetsid(master), pid);
  done.Open();
  EXPECT_EQ(Ended(pid), 0);
  close(master);
}

// --- other calls that name processes

TEST(PidNamespaceCalls, TakeTheNumbersThere) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    const pid_t child = fork();
    if (child == 0) Sleep();
    rlimit64 limit{};
    IN_CHILD(prlimit64(2, RLIMIT_NOFILE, nullptr, &limit) == 0);
    IN_CHILD_FAILS(prlimit64(3, RLIMIT_NOFILE, nullptr, &limit), ESRCH);
    cpu_set_t set;
    IN_CHILD(sched_getaffinity(2, sizeof(set), &set) == 0);
    IN_CHILD_FAILS(sched_getaffinity(3, sizeof(set), &set), ESRCH);
    IN_CHILD(sched_getscheduler(2) == SCHED_OTHER);
    IN_CHILD(setpriority(PRIO_PROCESS, 2, 5) == 0 && getpriority(PRIO_PROCESS, 2) == 5);
    IN_CHILD_FAILS(setpriority(PRIO_PGRP, 44, 5), ESRCH);
    static int word = 42;
    int copy = 0;
    iovec local{&copy, sizeof(copy)}, remote{&word, sizeof(word)};
    IN_CHILD(process_vm_readv(2, &local, 1, &remote, 1, 0) == sizeof(word) && copy == 42);
    IN_CHILD_FAILS(process_vm_readv(3, &local, 1, &remote, 1, 0), ESRCH);
    IN_CHILD(syscall(SYS_kcmp, 1, 2, 0, 0, 0) == 0);
    clockid_t clock = 0;
    timespec time{};
    IN_CHILD(clock_getcpuclockid(2, &clock) == 0 && clock_gettime(clock, &time) == 0);
    IN_CHILD(clock_getcpuclockid(3, &clock) == ESRCH);
    IN_CHILD(kill(2, SIGKILL) == 0 && StatusOf(2) == SIGKILL);
    return 0;
  }));
}

TEST(PidNamespaceCalls, APriorityForAUserReachesWhoIsSeen) {
  NEEDS_NAMESPACES();
  Passes(scratch::InChild([] {
    const pid_t outside = getpid();
    IN_CHILD(setpriority(PRIO_PROCESS, 0, 1) == 0);
    IN_CHILD(setresuid(54321, 0, 0) == 0);  // a user of whom there are no others
    IN_CHILD(InNew([] {
               IN_CHILD(setpriority(PRIO_USER, 54321, 7) == 0);
               IN_CHILD(getpriority(PRIO_PROCESS, 0) == 7);
               return 0;
             }) == 0);
    IN_CHILD(getpriority(PRIO_PROCESS, static_cast<id_t>(outside)) == 1);
    return 0;
  }));
}

TEST(PidNamespaceCalls, ATimersThreadIsNamedByTheNumberThere) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    Handle(SIGUSR1);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = 1;
    timer_t timer;
    IN_CHILD(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    itimerspec soon{};
    soon.it_value.tv_nsec = 1000000;
    IN_CHILD(timer_settime(timer, 0, &soon, nullptr) == 0);
    IN_CHILD(Came(SIGUSR1));
    event._sigev_un._tid = 9;
    IN_CHILD_FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    return 0;
  }));
}

// --- files

TEST(PidNamespaceFiles, LocksAndOwnersAreToldInTheReadersNumbers) {
  NEEDS_NAMESPACES();
  char name[] = "/tmp/rampart-pidns-lock-XXXXXX";
  const int file = mkstemp(name);
  ASSERT_GE(file, 0);
  struct flock mine {};
  mine.l_type = F_WRLCK, mine.l_start = 0, mine.l_len = 1;
  ASSERT_EQ(fcntl(file, F_SETLK, &mine), 0);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  ASSERT_EQ(fcntl(ends[0], F_SETOWN, getpid()), 0);
  Gate ready, done;
  const pid_t pid = Start([&] {
    struct flock seen {};
    seen.l_type = F_WRLCK, seen.l_len = 1;
    IN_CHILD(fcntl(file, F_GETLK, &seen) == 0 && seen.l_type == F_WRLCK && seen.l_pid == 0);
    struct flock own {};
    own.l_type = F_WRLCK, own.l_start = 8, own.l_len = 1;
    IN_CHILD(fcntl(file, F_SETLK, &own) == 0);
    IN_CHILD(fcntl(ends[0], F_GETOWN) == 0);
    IN_CHILD_FAILS(fcntl(ends[1], F_SETOWN, 40), ESRCH);
    IN_CHILD(fcntl(ends[1], F_SETOWN, 1) == 0 && fcntl(ends[1], F_GETOWN) == 1);
    const pid_t child = fork();
    if (child == 0) {
      seen.l_start = 8;
      _exit(fcntl(file, F_GETLK, &seen) == 0 && seen.l_pid == 1 ? 0 : 1);
    }
    IN_CHILD(Ended(child) == 0);
    ready.Open();
    done.Wait();
    return 0;
  });
  EXPECT_TRUE(Eventually([&] {
    struct flock seen {};
    seen.l_type = F_WRLCK, seen.l_start = 8, seen.l_len = 1;
    return fcntl(file, F_GETLK, &seen) == 0 && seen.l_type == F_WRLCK && seen.l_pid == pid;
  }));
  ASSERT_TRUE(ready.Wait());
  EXPECT_EQ(fcntl(ends[1], F_GETOWN), pid);
  done.Open();
  EXPECT_EQ(Ended(pid), 0);
  unlink(name);
  close(file);
  close(ends[0]);
  close(ends[1]);
}

// --- sockets

ucred Peer(int fd) {
  ucred out{};
  socklen_t length = sizeof(out);
  EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &out, &length), 0);
  return out;
}

// Sends a byte, with credentials of that number if it is not 0.
bool SendAs(int fd, pid_t pid) {
  char byte = 'c';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))] = {};
  msghdr message{};
  message.msg_iov = &data, message.msg_iovlen = 1;
  if (pid != 0) {
    message.msg_control = control, message.msg_controllen = sizeof(control);
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_CREDENTIALS, head->cmsg_len = CMSG_LEN(sizeof(ucred));
    const ucred credentials{pid, getuid(), getgid()};
    memcpy(CMSG_DATA(head), &credentials, sizeof(credentials));
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL) == 1;
}
pid_t SenderOfNext(int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))] = {};
  msghdr message{};
  message.msg_iov = &data, message.msg_iovlen = 1, message.msg_control = control, message.msg_controllen = sizeof(control);
  if (recvmsg(fd, &message, 0) != 1) return -1;
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head == nullptr || head->cmsg_type != SCM_CREDENTIALS) return -2;
  ucred credentials{};
  memcpy(&credentials, CMSG_DATA(head), sizeof(credentials));
  return credentials.pid;
}

TEST(PidNamespaceSocket, CredentialsAreInTheReceiversNumbers) {
  NEEDS_NAMESPACES();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
  const int on = 1;
  for (const int end : ends) ASSERT_EQ(setsockopt(end, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  const pid_t pid = Start([&ends] {
    IN_CHILD(Peer(ends[1]).pid == 0);
    IN_CHILD(SendAs(ends[1], 0) && SendAs(ends[1], 1));
    errno = 0;
    IN_CHILD(!SendAs(ends[1], 40) && errno == ESRCH);
    IN_CHILD(SenderOfNext(ends[1]) == 0);
    const pid_t child = fork();
    if (child == 0) _exit(SendAs(ends[1], 0) ? 0 : 1);
    IN_CHILD(Ended(child) == 0);
    int inner[2];
    IN_CHILD(socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0);
    IN_CHILD(Peer(inner[0]).pid == 1);
    return 0;
  });
  EXPECT_EQ(SenderOfNext(ends[0]), pid);
  EXPECT_EQ(SenderOfNext(ends[0]), pid);
  EXPECT_TRUE(SendAs(ends[0], 0));
  EXPECT_EQ(Ended(pid), 0);
  // The sender has gone, and is told all the same.
  EXPECT_GT(SenderOfNext(ends[0]), pid);
  close(ends[0]);
  close(ends[1]);
}

// A process 1 that has gone is still told to those in its namespace.
TEST(PidNamespaceSocket, TheDeadAreTold) {
  NEEDS_NAMESPACES();
  Passes(InNew([] {
    int ends[2];
    IN_CHILD(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    const int on = 1;
    IN_CHILD(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
    const pid_t child = fork();
    if (child == 0) _exit(SendAs(ends[1], 0) ? 0 : 1);
    IN_CHILD(Ended(child) == 0);
    IN_CHILD(SenderOfNext(ends[0]) == 2);
    return 0;
  }));
}

// --- System V objects

TEST(PidNamespaceIpc, UsersAreToldInTheReadersNumbers) {
  NEEDS_NAMESPACES();
  const int sem = semget(IPC_PRIVATE, 1, 0600), shm = shmget(IPC_PRIVATE, 4096, 0600), msg = msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(sem, 0);
  ASSERT_GE(shm, 0);
  ASSERT_GE(msg, 0);
  Gate ready, done;
  const pid_t pid = Start([&] {
    shmid_ds segment{};
    IN_CHILD(shmctl(shm, IPC_STAT, &segment) == 0 && segment.shm_cpid == 0);
    sembuf up{0, 1, 0};
    IN_CHILD(semop(sem, &up, 1) == 0 && semctl(sem, 0, GETPID) == 1);
    void* const at = shmat(shm, nullptr, 0);
    IN_CHILD(at != MAP_FAILED && shmctl(shm, IPC_STAT, &segment) == 0 && segment.shm_lpid == 1);
    const struct {
      long type = 1;
      char text[4] = {};
    } message;
    msqid_ds queue{};
    IN_CHILD(msgsnd(msg, &message, sizeof(message.text), 0) == 0 && msgctl(msg, IPC_STAT, &queue) == 0 && queue.msg_lspid == 1);
    ready.Open();
    done.Wait();
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  shmid_ds segment{};
  msqid_ds queue{};
  EXPECT_EQ(semctl(sem, 0, GETPID), pid);
  EXPECT_EQ(shmctl(shm, IPC_STAT, &segment), 0);
  EXPECT_EQ(segment.shm_cpid, getpid());
  EXPECT_EQ(segment.shm_lpid, pid);
  EXPECT_EQ(msgctl(msg, IPC_STAT, &queue), 0);
  EXPECT_EQ(queue.msg_lspid, pid);
  done.Open();
  EXPECT_EQ(Ended(pid), 0);
  semctl(sem, 0, IPC_RMID);
  shmctl(shm, IPC_RMID, nullptr);
  msgctl(msg, IPC_RMID, nullptr);
}

// --- futexes

TEST(PidNamespaceFutex, LocksOfThreadsHoldTheNumberThere) {
  NEEDS_NAMESPACES();
  Passes(InNew([] { return InChild([] {  // glibc knows a thread's number after fork only
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    IN_CHILD(pthread_mutexattr_setprotocol(&kind, PTHREAD_PRIO_INHERIT) == 0);
    IN_CHILD(pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST) == 0);
    static pthread_mutex_t mutex;
    IN_CHILD(pthread_mutex_init(&mutex, &kind) == 0);
    IN_CHILD(pthread_mutex_lock(&mutex) == 0);
    IN_CHILD((*reinterpret_cast<const int*>(&mutex) & 0x3fffffff) == 2);  // glibc's lock word: the owner
    pthread_t thread;
    IN_CHILD(pthread_create(&thread, nullptr, [](void*) -> void* {
      return reinterpret_cast<void*>(static_cast<intptr_t>(pthread_mutex_lock(&mutex)));  // and ends with it
    }, nullptr) == 0);
    usleep(20000);
    IN_CHILD(pthread_mutex_unlock(&mutex) == 0);
    void* result = nullptr;
    IN_CHILD(pthread_join(thread, &result) == 0 && result == nullptr);
    IN_CHILD(pthread_mutex_lock(&mutex) == EOWNERDEAD);
    return 0;
  }); }));
}

// --- ptrace(2)

TEST(PidNamespacePtrace, EventsAreToldInTheTracersNumbers) {
  NEEDS_NAMESPACES();
  const auto trace = [](pid_t first, pid_t second) {
    int status = 0;
    IN_CHILD(waitpid(first, &status, 0) == first && WIFSTOPPED(status));
    IN_CHILD(ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACEFORK) == 0);
    IN_CHILD(ptrace(PTRACE_CONT, first, 0, 0) == 0);
    IN_CHILD(waitpid(first, &status, 0) == first && status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8));
    unsigned long message = 0;
    IN_CHILD(ptrace(PTRACE_GETEVENTMSG, first, 0, &message) == 0);
    if (second != 0) IN_CHILD(static_cast<pid_t>(message) == second);
    const auto born = static_cast<pid_t>(message);
    IN_CHILD(waitpid(born, &status, __WALL) == born && WIFSTOPPED(status));
    IN_CHILD(Field("/proc/" + std::to_string(born) + "/status", "NSpid:") != "" || second != 0);
    IN_CHILD(ptrace(PTRACE_DETACH, born, 0, 0) == 0 && ptrace(PTRACE_DETACH, first, 0, 0) == 0);
    IN_CHILD(Ended(first) == 0);
    return 0;
  };
  const auto tracee = [] {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) return 1;
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTRAP);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    return Ended(child);
  };
  Passes(InNew([&] {
    const pid_t pid = fork();
    if (pid == 0) _exit(tracee());
    return trace(2, 3);
  }));
  Passes(InChild([&] { return trace(Start(tracee), 0); }));
}

TEST(PidNamespacePtrace, ATracerOutsideHasNoNumber) {
  NEEDS_NAMESPACES();
  const std::string where = "/tmp/rampart-pidns-trace-" + std::to_string(getpid());
  Gate ready, traced, done;
  const pid_t pid = Start([&] {
    if (const int failed = MountProc(where.c_str()); failed != 0) return failed;
    ready.Open();
    traced.Wait();
    IN_CHILD(Field(where + "/self/status", "TracerPid:\t") == "0");
    done.Open();
    return 0;
  });
  ASSERT_TRUE(ready.Wait());
  ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
  EXPECT_EQ(Field("/proc/" + std::to_string(pid) + "/status", "TracerPid:\t"), std::to_string(getpid()));
  traced.Open();
  EXPECT_TRUE(done.Wait());
  EXPECT_EQ(Ended(pid), 0);
  rmdir(where.c_str());
}

}  // namespace
}  // namespace pidns
