// The first things any program asks of a kernel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace {

TEST(Basic, GetpidIsStableAndPositive) {
  const pid_t pid = getpid();
  EXPECT_GT(pid, 0);
  EXPECT_EQ(syscall(SYS_getpid), pid);
  EXPECT_EQ(syscall(SYS_gettid), pid);
}

TEST(Basic, UnameNamesLinux) {
  utsname names{};
  ASSERT_EQ(uname(&names), 0);
  EXPECT_STREQ(names.sysname, "Linux");
  EXPECT_STREQ(names.machine, "x86_64");
}

TEST(Basic, WriteToABadDescriptorIsEbadf) {
  EXPECT_EQ(write(-1, "x", 1), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(Basic, WriteFromABadAddressIsEfault) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  EXPECT_EQ(syscall(SYS_write, fds[1], 1L, 10L), -1);
  EXPECT_EQ(errno, EFAULT);
  close(fds[0]);
  close(fds[1]);
}

TEST(Basic, UnknownSystemCallIsEnosys) {
  EXPECT_EQ(syscall(100000), -1);
  EXPECT_EQ(errno, ENOSYS);
}

TEST(Basic, ForkedChildReturnsItsStatus) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(42);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Basic, ForkedChildHasItsOwnMemory) {
  static volatile int value = 1;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    value = 2;
    _exit(value == 2 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(value, 1);
}

TEST(Basic, ThreadsShareMemory) {
  int value = 0;
  for (int i = 0; i < 10; ++i) std::thread([&] { ++value; }).join();
  EXPECT_EQ(value, 10);
}

TEST(Basic, FileInTmpIsWrittenAndRead) {
  char name[] = "/tmp/rampart-basic-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(write(fd, "hello", 5), 5);
  char back[8] = {};
  EXPECT_EQ(pread(fd, back, sizeof(back), 0), 5);
  EXPECT_STREQ(back, "hello");
  struct stat st {};
  EXPECT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, 5);
  EXPECT_EQ(unlink(name), 0);
  close(fd);
}

}  // namespace
