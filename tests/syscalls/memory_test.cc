// mmap and its relatives, what fork does to memory, faults as signals, and what a program finds at its start.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr int kAnon = MAP_PRIVATE | MAP_ANONYMOUS;

char* Map(size_t length, int prot = PROT_READ | PROT_WRITE, int flags = kAnon) {
  void* p = mmap(nullptr, length, prot, flags, -1, 0);
  EXPECT_NE(p, MAP_FAILED) << strerror(errno);
  return static_cast<char*>(p);
}

sigjmp_buf g_jump;
siginfo_t g_info;
void OnFault(int, siginfo_t* info, void*) {
  g_info = *info;
  siglongjmp(g_jump, 1);
}

// The signal that `act` raises, 0 if none; g_info has its details.
template <class F>
int FaultOf(F act) {
  struct sigaction action {};
  struct sigaction old_segv {};
  struct sigaction old_bus {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  int signo = 0;
  if (sigsetjmp(g_jump, 1) == 0) {
    act();
  } else {
    signo = g_info.si_signo;
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  return signo;
}
void Poke(char* p) { *static_cast<volatile char*>(p) = 1; }
char Peek(const char* p) { return *static_cast<const volatile char*>(p); }

int ExitOfChild(int (*body)(char*), char* argument) {
  const pid_t child = fork();
  if (child == 0) _exit(body(argument));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(Mmap, FreshMemoryIsZero) {
  char* p = Map(64 * kPage);
  for (size_t i = 0; i < 64 * kPage; ++i) ASSERT_EQ(p[i], 0);
  EXPECT_EQ(munmap(p, 64 * kPage), 0);
}

TEST(Mmap, RefusesNonsense) {
  EXPECT_EQ(mmap(nullptr, 0, PROT_READ, kAnon, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_ANONYMOUS, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(mmap(reinterpret_cast<void*>(0x100001), kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(mmap(nullptr, SIZE_MAX - kPage, PROT_READ, kAnon, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(munmap(reinterpret_cast<void*>(1), kPage), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(Mmap, FixedReplacesAndNoReplaceDoesNot) {
  char* p = Map(4 * kPage);
  std::memset(p, 7, 4 * kPage);
  ASSERT_EQ(mmap(p + kPage, kPage, PROT_READ | PROT_WRITE, kAnon | MAP_FIXED, -1, 0), p + kPage);
  EXPECT_EQ(p[kPage], 0);
  EXPECT_EQ(p[0], 7);
  EXPECT_EQ(p[2 * kPage], 7);
  EXPECT_EQ(mmap(p, kPage, PROT_READ, kAnon | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EEXIST);
  munmap(p, 4 * kPage);
}

TEST(Fault, CodesTellUnmappedFromForbidden) {
  char* p = Map(2 * kPage, PROT_READ);
  EXPECT_EQ(FaultOf([&] { Poke(p + 5); }), SIGSEGV);
  EXPECT_EQ(g_info.si_code, SEGV_ACCERR);
  EXPECT_EQ(g_info.si_addr, p + 5);
  munmap(p, 2 * kPage);
  EXPECT_EQ(FaultOf([&] { (void)Peek(p + 9); }), SIGSEGV);
  EXPECT_EQ(g_info.si_code, SEGV_MAPERR);
  EXPECT_EQ(g_info.si_addr, p + 9);
}

TEST(Fault, BeyondAFileIsSigbus) {
  const int fd = memfd_create("t", 0);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, 100), 0);
  char* p = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_EQ(FaultOf([&] { Poke(p + 3000); }), 0);
  EXPECT_EQ(FaultOf([&] { Poke(p + kPage); }), SIGBUS);
  EXPECT_EQ(g_info.si_code, BUS_ADRERR);
  munmap(p, 2 * kPage);
  close(fd);
}

TEST(Mprotect, TakesAndGivesRights) {
  char* p = Map(3 * kPage);
  std::memset(p, 1, 3 * kPage);
  ASSERT_EQ(mprotect(p + kPage, kPage, PROT_NONE), 0);
  EXPECT_EQ(FaultOf([&] { (void)Peek(p + kPage); }), SIGSEGV);
  EXPECT_EQ(FaultOf([&] { Poke(p + 2 * kPage); }), 0);
  ASSERT_EQ(mprotect(p + kPage, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(p[kPage], 1);
  munmap(p + kPage, kPage);
  EXPECT_EQ(mprotect(p, 3 * kPage, PROT_READ), -1);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(FaultOf([&] { Poke(p); }), SIGSEGV);  // what lies before the hole was changed
  munmap(p, 3 * kPage);
}

TEST(Fork, PrivateMemoryIsCopiedAndSharedIsNot) {
  char* mine = Map(64 * kPage);
  char* ours = Map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  std::memset(mine, 5, 64 * kPage);
  char* both[2] = {mine, ours};
  EXPECT_EQ(ExitOfChild([](char* a) {
              char** maps = reinterpret_cast<char**>(a);
              for (size_t i = 0; i < 64; ++i) {
                if (maps[0][i * kPage] != 5) return 1;
                maps[0][i * kPage] = 6;
              }
              maps[1][0] = 9;
              return 0;
            }, reinterpret_cast<char*>(both)), 0);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(mine[i * kPage], 5);
  EXPECT_EQ(ours[0], 9);
  munmap(mine, 64 * kPage);
  munmap(ours, kPage);
}

TEST(Fork, AdviceIsFollowed) {
  char* wiped = Map(kPage);
  char* gone = Map(kPage);
  *wiped = *gone = 3;
  ASSERT_EQ(madvise(wiped, kPage, MADV_WIPEONFORK), 0);
  ASSERT_EQ(madvise(gone, kPage, MADV_DONTFORK), 0);
  EXPECT_EQ(ExitOfChild([](char* p) { return static_cast<int>(*p); }, wiped), 0);
  EXPECT_EQ(ExitOfChild([](char* p) { return static_cast<int>(*p); }, gone), 1000 + SIGSEGV);
  munmap(wiped, kPage);
  munmap(gone, kPage);
}

TEST(Mremap, MovesGrowsAndShrinks) {
  char* p = Map(2 * kPage);
  p[0] = 1;
  p[kPage] = 2;
  char* q = static_cast<char*>(mremap(p, 2 * kPage, 100 * kPage, MREMAP_MAYMOVE));
  ASSERT_NE(q, MAP_FAILED);
  EXPECT_EQ(q[0], 1);
  EXPECT_EQ(q[kPage], 2);
  EXPECT_EQ(q[99 * kPage], 0);
  EXPECT_EQ(mremap(q, 100 * kPage, kPage, 0), q);
  EXPECT_EQ(FaultOf([&] { (void)Peek(q + kPage); }), SIGSEGV);
  char* room = Map(4 * kPage);
  EXPECT_EQ(mremap(q, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, room + kPage), room + kPage);
  EXPECT_EQ(room[kPage], 1);
  EXPECT_EQ(mremap(room, kPage, 0, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  munmap(room, 4 * kPage);
  EXPECT_EQ(mremap(room, kPage, 2 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
  EXPECT_EQ(errno, EFAULT);
}

TEST(Brk, MovesTheEndOfTheHeap) {
  auto* start = static_cast<char*>(sbrk(0));
  ASSERT_EQ(brk(start + 10 * kPage), 0);
  start[10 * kPage - 1] = 1;
  ASSERT_EQ(brk(start), 0);
  EXPECT_EQ(sbrk(0), start);
  EXPECT_EQ(syscall(SYS_brk, 0L), reinterpret_cast<long>(start));
  EXPECT_EQ(syscall(SYS_brk, 1L), reinterpret_cast<long>(start));
}

TEST(Madvise, DontNeedZeroes) {
  char* p = Map(4 * kPage);
  std::memset(p, 1, 4 * kPage);
  ASSERT_EQ(madvise(p + kPage, kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(p[kPage], 0);
  EXPECT_EQ(p[0], 1);
  EXPECT_EQ(madvise(p + 1, kPage, MADV_DONTNEED), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(madvise(p, kPage, 9999), -1);
  EXPECT_EQ(errno, EINVAL);
  munmap(p + kPage, kPage);
  EXPECT_EQ(madvise(p, 4 * kPage, MADV_DONTNEED), -1);
  EXPECT_EQ(errno, ENOMEM);
  munmap(p, 4 * kPage);
}

TEST(Mincore, TellsTouchedFromUntouched) {
  char* p = Map(256 * kPage);
  p[0] = 1;
  std::vector<unsigned char> there(256);
  ASSERT_EQ(mincore(p, 256 * kPage, there.data()), 0);
  EXPECT_EQ(there[0] & 1, 1);
  EXPECT_EQ(there[255] & 1, 0);
  munmap(p, 256 * kPage);
  EXPECT_EQ(mincore(p, kPage, there.data()), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(Msync, ChecksItsArguments) {
  char* p = Map(kPage);
  EXPECT_EQ(msync(p, kPage, MS_SYNC), 0);
  EXPECT_EQ(msync(p, kPage, MS_SYNC | MS_ASYNC), -1);
  EXPECT_EQ(errno, EINVAL);
  munmap(p, kPage);
  EXPECT_EQ(msync(p, kPage, MS_ASYNC), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(Mlock, WorksAndChecks) {
  char* p = Map(2 * kPage);
  EXPECT_EQ(mlock(p, kPage), 0);
  EXPECT_EQ(munlock(p, kPage), 0);
  EXPECT_EQ(mlockall(0), -1);
  EXPECT_EQ(errno, EINVAL);
  munmap(p, 2 * kPage);
  EXPECT_EQ(mlock(p, kPage), -1);
  EXPECT_EQ(errno, ENOMEM);
}

constexpr long kSysProcessMadvise = 440, kSysMseal = 462;

TEST(Mseal, SealedAreasStayAsTheyAre) {
  char* p = Map(4 * kPage);
  p[0] = 'x';
  EXPECT_EQ(syscall(kSysMseal, p, kPage, 1), -1);
  if (errno == ENOSYS) GTEST_SKIP() << "this kernel has no mseal";
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(kSysMseal, p + 1, kPage, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(syscall(kSysMseal, p, 2 * kPage, 0), 0);
  ASSERT_EQ(syscall(kSysMseal, p, 2 * kPage, 0), 0);
  const auto refused = [](long result) { return result == -1 && errno == EPERM; };
  EXPECT_TRUE(refused(munmap(p, 4 * kPage)));
  EXPECT_TRUE(refused(mprotect(p, kPage, PROT_READ)));
  EXPECT_TRUE(refused(reinterpret_cast<long>(mremap(p, 2 * kPage, kPage, 0))));
  EXPECT_TRUE(refused(reinterpret_cast<long>(mmap(p, kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0))));
  EXPECT_EQ(madvise(p, kPage, MADV_DONTNEED), 0);  // it may write there anyway
  p[0] = 'y';
  char* q = Map(kPage, PROT_READ);
  ASSERT_EQ(syscall(kSysMseal, q, kPage, 0), 0);
  EXPECT_TRUE(refused(madvise(q, kPage, MADV_DONTNEED)));
  EXPECT_EQ(madvise(q, kPage, MADV_WILLNEED), 0);
  EXPECT_EQ(munmap(p + 2 * kPage, 2 * kPage), 0);
  EXPECT_EQ(syscall(kSysMseal, p, 3 * kPage, 0), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(ProcessVm, CopiesBetweenProcesses) {
  char* theirs = Map(2 * kPage);
  strcpy(theirs, "before");
  int gate[2], told[2];
  ASSERT_EQ(pipe(gate), 0);
  ASSERT_EQ(pipe(told), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    strcpy(theirs, "child");
    char c = 0;
    if (write(told[1], "r", 1) != 1 || read(gate[0], &c, 1) != 1) _exit(2);
    _exit(strcmp(theirs, "WORLD") == 0 && strcmp(theirs + kPage - 3, "abcdef") == 0 ? 0 : 1);
  }
  char c = 0;
  ASSERT_EQ(read(told[0], &c, 1), 1);
  char buffer[16] = {};
  const iovec mine{buffer, 6};
  const iovec other{theirs, 6};
  EXPECT_EQ(process_vm_readv(child, &mine, 1, &other, 1, 0), 6);
  EXPECT_STREQ(buffer, "child");
  EXPECT_STREQ(theirs, "before");
  char world[] = "WORLD", letters[] = "abcdef";
  const iovec from[2] = {{world, 6}, {letters, 7}};
  const iovec to[2] = {{theirs, 6}, {theirs + kPage - 3, 7}};
  EXPECT_EQ(process_vm_writev(child, from, 2, to, 2, 0), 13);
  EXPECT_EQ(process_vm_readv(child, &mine, 1, &other, 1, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  const iovec nowhere{nullptr, 6};
  EXPECT_EQ(process_vm_readv(child, &mine, 1, &nowhere, 1, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  // What comes before a hole is copied.
  const iovec both[2] = {{theirs, 3}, {nullptr, 3}};
  EXPECT_EQ(process_vm_readv(child, &mine, 1, both, 2, 0), 3);
  EXPECT_EQ(write(gate[1], "g", 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(process_vm_readv(child, &mine, 1, &other, 1, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  for (const int fd : {gate[0], gate[1], told[0], told[1]}) close(fd);
}

TEST(ProcessVm, AWriteIsSeenByWhoeverSpinsThere) {
  char* page = Map(kPage);
  auto* word = reinterpret_cast<volatile int*>(page);
  *word = 1;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (*word == 1) {  // reads a page that it still shares with its parent, and makes no system call
    }
    _exit(*word == 2 ? 0 : 1);
  }
  usleep(50000);
  int two = 2;
  const iovec mine{&two, sizeof two};
  const iovec other{page, sizeof two};
  EXPECT_EQ(process_vm_writev(child, &mine, 1, &other, 1, 0), static_cast<ssize_t>(sizeof two));
  int status = 0;
  for (int i = 0; i < 200 && waitpid(child, &status, WNOHANG) == 0; ++i) usleep(20000);
  EXPECT_EQ(*word, 1);
  if (kill(child, SIGKILL) == 0) waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(ProcessMadvise, OfOnesOwn) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  ASSERT_GE(pidfd, 0);
  char* p = Map(2 * kPage);
  const iovec vec[2] = {{p, kPage}, {p + kPage, kPage}};
  EXPECT_EQ(syscall(kSysProcessMadvise, pidfd, vec, 2, MADV_COLD, 0), static_cast<long>(2 * kPage)) << strerror(errno);
  EXPECT_EQ(syscall(kSysProcessMadvise, pidfd, vec, 2, MADV_COLD, 1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(syscall(kSysProcessMadvise, -1, vec, 2, MADV_COLD, 0), -1);
  EXPECT_EQ(errno, EBADF);
  munmap(p + kPage, kPage);
  EXPECT_EQ(syscall(kSysProcessMadvise, pidfd, vec, 2, MADV_COLD, 0), static_cast<long>(kPage));
  close(pidfd);
}

TEST(Stack, GrowsWhenUsed) {
  // 2 MiB at once, touched from the far end.
  volatile char deep[2 << 20];
  deep[0] = 1;
  EXPECT_EQ(deep[0], 1);
}

TEST(Kernel, CopiesIntoUntouchedAndSharedPages) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  char* p = Map(16 * kPage);
  ASSERT_EQ(write(fds[1], p, kPage), static_cast<ssize_t>(kPage));  // untouched: zeroes
  ASSERT_EQ(read(fds[0], p + 5 * kPage + 100, kPage), static_cast<ssize_t>(kPage));
  EXPECT_EQ(p[6 * kPage], 0);
  ASSERT_EQ(mprotect(p, kPage, PROT_READ), 0);
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  EXPECT_EQ(read(fds[0], p, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  munmap(p, 16 * kPage);
  close(fds[0]);
  close(fds[1]);
}

TEST(Vdso, AgreesWithSystemCalls) {
  EXPECT_NE(getauxval(AT_SYSINFO_EHDR), 0u);
  const auto nanos = [](const timespec& t) { return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec; };
  for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
    timespec a{}, b{}, c{};
    for (int i = 0; i < 1000; ++i) {
      ASSERT_EQ(clock_gettime(clock, &a), 0);
      ASSERT_EQ(syscall(SYS_clock_gettime, clock, &b), 0);
      ASSERT_EQ(clock_gettime(clock, &c), 0);
      ASSERT_LE(nanos(a), nanos(b)) << clock;
      ASSERT_LE(nanos(b), nanos(c)) << clock;
    }
  }
}

TEST(AuxiliaryVector, IsComplete) {
  EXPECT_EQ(getauxval(AT_PAGESZ), kPage);
  EXPECT_EQ(getauxval(AT_CLKTCK), 100u);
  EXPECT_NE(getauxval(AT_RANDOM), 0u);
  EXPECT_NE(getauxval(AT_PHDR), 0u);
  EXPECT_NE(getauxval(AT_ENTRY), 0u);
  EXPECT_EQ(getauxval(AT_UID), getuid());
  EXPECT_EQ(getauxval(AT_EGID), getegid());
  EXPECT_EQ(getauxval(AT_SECURE), 0u);
  EXPECT_STREQ(reinterpret_cast<const char*>(getauxval(AT_PLATFORM)), "x86_64");
  EXPECT_NE(getauxval(AT_EXECFN), 0u);
}

}  // namespace
