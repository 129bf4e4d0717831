// process_mrelease(2), remap_file_pages(2), memfd_secret(2), cachestat(2), map_shadow_stack(2).
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <csetjmp>
#include <cstring>
#include <fstream>

#include "scratch.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif

namespace {

constexpr size_t kPage = 4096;

int Pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
long Mrelease(int pidfd, unsigned flags = 0) { return syscall(SYS_process_mrelease, pidfd, flags); }

TEST(ProcessMrelease, OnlyOfTheDying) {
  const int self = Pidfd(getpid());
  ASSERT_GE(self, 0);
  EXPECT_FAILS(Mrelease(self), EINVAL);
  EXPECT_FAILS(Mrelease(self, 1), EINVAL);
  EXPECT_FAILS(Mrelease(-1), EBADF);
  EXPECT_FAILS(Mrelease(0), EBADF);
  close(self);
}

TEST(ProcessMrelease, GivesBackTheMemoryOfAKilledProcess) {
  int ready[2];
  ASSERT_WORKS(pipe(ready));
  const pid_t child = fork();
  if (child == 0) {
    void* big = mmap(nullptr, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(big, 1, 16 << 20);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    while (true) pause();
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  const int pidfd = Pidfd(child);
  EXPECT_FAILS(Mrelease(pidfd), EINVAL);
  ASSERT_WORKS(kill(child, SIGKILL));
  const long result = Mrelease(pidfd);
  EXPECT_TRUE(result == 0 || errno == ESRCH) << errno;  // it may be gone already
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FAILS(Mrelease(pidfd), ESRCH);
  close(pidfd);
}

TEST(RemapFilePages, ShowsOtherPagesOfTheFile) {
  const int fd = memfd_create("remap", 0);
  ASSERT_WORKS(ftruncate(fd, 4 * kPage));
  char* at = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(at, MAP_FAILED);
  for (int i = 0; i < 4; ++i) at[i * kPage] = static_cast<char>('a' + i);
  EXPECT_WORKS(remap_file_pages(at, kPage, 0, 3, 0));
  EXPECT_EQ(at[0], 'd');
  EXPECT_EQ(at[kPage], 'b');
  at[1] = 'z';
  EXPECT_EQ(at[3 * kPage + 1], 'z');
  EXPECT_WORKS(remap_file_pages(at + kPage, 2 * kPage, 0, 0, MAP_NONBLOCK));
  EXPECT_EQ(at[kPage], 'a');
  EXPECT_EQ(at[2 * kPage], 'b');
  EXPECT_FAILS(remap_file_pages(at, kPage, PROT_READ, 0, 0), EINVAL);
  EXPECT_FAILS(remap_file_pages(at, 0, 0, 0, 0), EINVAL);
  EXPECT_FAILS(remap_file_pages(at, kPage, 0, ~size_t{0}, 0), EINVAL);
  EXPECT_FAILS(remap_file_pages(at + 3 * kPage, 64 * kPage, 0, 0, 0), EINVAL);
  munmap(at, 4 * kPage);
  close(fd);
}

TEST(RemapFilePages, WantsASharedMapping) {
  char* at = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_FAILS(remap_file_pages(at, kPage, 0, 1, 0), EINVAL);
  munmap(at, 2 * kPage);
  EXPECT_FAILS(remap_file_pages(at, kPage, 0, 1, 0), EINVAL);
  char* shared = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  shared[0] = 'x';
  shared[kPage] = 'y';
  EXPECT_WORKS(remap_file_pages(shared, kPage, 0, 1, 0));
  EXPECT_EQ(shared[0], 'y');
  munmap(shared, 2 * kPage);
}

class Secret : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = static_cast<int>(syscall(SYS_memfd_secret, 0));
    if (fd_ < 0 && errno == ENOSYS) GTEST_SKIP() << "a kernel without secret memory (secretmem.enable)";
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override { close(fd_); }
  int fd_ = -1;
};

TEST_F(Secret, IsOnlyThereForThoseWhoMapIt) {
  EXPECT_FAILS(syscall(SYS_memfd_secret, 1), EINVAL);
  ASSERT_WORKS(ftruncate(fd_, 2 * kPage));
  EXPECT_FAILS(ftruncate(fd_, kPage), EINVAL);
  char buffer[16] = {};
  EXPECT_EQ(read(fd_, buffer, 1), -1);
  EXPECT_FAILS(write(fd_, buffer, 1), EINVAL);
  EXPECT_FAILS(lseek(fd_, 0, SEEK_SET), ESPIPE);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd_, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  char* at = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
  ASSERT_NE(at, MAP_FAILED);
  strcpy(at, "hidden");
  char* again = static_cast<char*>(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd_, 0));
  ASSERT_NE(again, MAP_FAILED);
  EXPECT_STREQ(again, "hidden");
  // Its own system calls may use it.
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  EXPECT_EQ(write(pipes[1], at, 7), 7);
  EXPECT_EQ(read(pipes[0], buffer, 7), 7);
  EXPECT_STREQ(buffer, "hidden");
  iovec mine{buffer, 7}, theirs{at, 7};
  EXPECT_FAILS(process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0), EFAULT);
  const int mem = open("/proc/self/mem", O_RDONLY);
  EXPECT_EQ(pread(mem, buffer, 7, reinterpret_cast<off_t>(at)), -1);
  close(mem);
  std::ifstream maps("/proc/self/maps");
  bool named = false;
  for (std::string line; std::getline(maps, line);) named |= line.find("/secretmem (deleted)") != std::string::npos;
  EXPECT_TRUE(named);
}

TEST_F(Secret, CountsAsLockedMemory) {
  ASSERT_WORKS(ftruncate(fd_, 64 * kPage));
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    const rlimit limit{4 * kPage, 4 * kPage};
    IN_CHILD(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    IN_CHILD(mmap(nullptr, 4 * kPage, PROT_READ, MAP_SHARED, fd_, 0) != MAP_FAILED);
    IN_CHILD(mmap(nullptr, 8 * kPage, PROT_READ, MAP_SHARED, fd_, 0) == MAP_FAILED && errno == EAGAIN);
    return 0;
  }), 0);
}

struct Range {
  unsigned long offset, length;
};
struct Stat {
  unsigned long cache, dirty, writeback, evicted, recently_evicted;
};
long Cachestat(int fd, const Range* range, Stat* out, unsigned flags = 0) { return syscall(SYS_cachestat, fd, range, out, flags); }

TEST(Cachestat, CountsTheCachedPagesOfARange) {
  const int fd = memfd_create("cache", 0);
  const std::string data(5 * kPage - 100, 'x');
  ASSERT_EQ(write(fd, data.data(), data.size()), static_cast<ssize_t>(data.size()));
  ASSERT_WORKS(ftruncate(fd, 100 * kPage));
  Range range{0, 0};
  Stat stat{9, 9, 9, 9, 9};
  ASSERT_WORKS(Cachestat(fd, &range, &stat));
  EXPECT_EQ(stat.cache, 5u);
  EXPECT_EQ(stat.dirty, 0u);
  EXPECT_EQ(stat.writeback, 0u);
  EXPECT_EQ(stat.evicted, 0u);
  const struct {
    Range range;
    unsigned long pages;
  } cases[] = {{{kPage, kPage}, 1}, {{kPage - 1, 2}, 2}, {{4 * kPage, 50 * kPage}, 1}, {{5 * kPage, kPage}, 0}, {{0, ~0ul}, 5}, {{1ul << 40, 0}, 0}};
  for (const auto& c : cases) {
    ASSERT_WORKS(Cachestat(fd, &c.range, &stat));
    EXPECT_EQ(stat.cache, c.pages) << c.range.offset << "+" << c.range.length;
  }
  close(fd);
}

TEST(Cachestat, OfAFileThatWasJustWritten) {
  char path[] = "/tmp/cachestat-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  const std::string data(8 * kPage, 'x');
  ASSERT_EQ(write(fd, data.data(), data.size()), static_cast<ssize_t>(data.size()));
  ASSERT_WORKS(fsync(fd));
  const Range range{0, 0};
  Stat stat{};
  ASSERT_WORKS(Cachestat(fd, &range, &stat));
  EXPECT_EQ(stat.cache + stat.evicted, 8u);
  EXPECT_EQ(stat.dirty, 0u);
  unlink(path);
  close(fd);
}

TEST(Cachestat, ChecksItsArguments) {
  const int fd = memfd_create("cache", 0);
  const Range range{0, 0};
  Stat stat{};
  EXPECT_FAILS(Cachestat(-1, &range, &stat), EBADF);
  EXPECT_FAILS(Cachestat(fd, nullptr, &stat), EFAULT);
  EXPECT_FAILS(Cachestat(fd, &range, nullptr), EFAULT);
  EXPECT_FAILS(Cachestat(fd, &range, &stat, 1), EINVAL);
  const int path = open("/tmp", O_PATH);
  EXPECT_FAILS(Cachestat(path, &range, &stat), EBADF);
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  stat.cache = 7;
  EXPECT_WORKS(Cachestat(pipes[0], &range, &stat));
  EXPECT_EQ(stat.cache, 0u);
  close(path);
  close(fd);
}

}  // namespace
