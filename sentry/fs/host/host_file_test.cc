#include "sentry/fs/host/host_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace rampart::fs {
namespace {

struct HostPipe {
  UniqueFd reader, writer;
  HostPipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    reader = UniqueFd(fds[0]);
    writer = UniqueFd(fds[1]);
  }
};

Result<std::string> Read(vfs::FileDescription& file, size_t max) {
  KernelCaller caller;
  std::string text(max, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
  text.resize(TRY(file.Read(caller, dst, 0)));
  return text;
}
Result<size_t> Write(vfs::FileDescription& file, std::string_view text) {
  KernelCaller caller;
  mm::BufferSrc src(std::as_bytes(std::span(text)));
  return file.Write(caller, src, 0);
}

TEST(HostFile, ReadOfAnEmptyPipeDoesNotBlock) {
  HostPipe p;
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(p.reader));
  EXPECT_EQ(Read(*file, 10).error(), Errno::kEAGAIN);
  EXPECT_EQ(write(p.writer.get(), "abc", 3), 3);
  EXPECT_EQ(*Read(*file, 10), "abc");
  p.writer.Reset();
  EXPECT_EQ(*Read(*file, 10), "");
}

TEST(HostFile, WriteToAFullPipeIsAgainAndToAClosedOneEpipe) {
  HostPipe p;
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(p.writer));
  const std::string big(1 << 20, 'x');
  const Result<size_t> n = Write(*file, big);
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(*n, 65536u);
  EXPECT_EQ(Write(*file, big).error(), Errno::kEAGAIN);
  p.reader.Reset();
  EXPECT_EQ(Write(*file, big).error(), Errno::kEPIPE);
}

TEST(HostFile, AWaiterIsTold) {
  HostPipe p;
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(p.reader));
  wait::Sleeper sleeper;
  for (int round = 0; round < 3; ++round) {
    wait::SleeperEntry entry(sleeper);
    file->EventRegister(entry, abi::kPollIn);
    EXPECT_EQ(file->Readiness(abi::kPollIn), 0u);
    EXPECT_EQ(sleeper.Sleep(Deadline::After(20 * kNanosPerMilli)), wait::Sleeper::Outcome::kTimedOut);
    EXPECT_EQ(write(p.writer.get(), "x", 1), 1);
    EXPECT_EQ(sleeper.Sleep(Deadline::After(5 * kNanosPerSecond)), wait::Sleeper::Outcome::kWoken);
    EXPECT_EQ(file->Readiness(abi::kPollIn), abi::kPollIn);
    EXPECT_EQ(*Read(*file, 10), "x");
    file->EventUnregister(entry);
  }
}

TEST(HostFile, HostFlagsStayAsTheyWere) {
  HostPipe p;
  const int fd = p.reader.get();
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(p.reader));
  KernelCaller caller;
  EXPECT_TRUE(file->SetFlags(caller, abi::kONonblock).ok());
  EXPECT_TRUE(file->nonblocking());
  EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

TEST(HostFile, RegularFileSharesThePosition) {
  char name[] = "/tmp/host_file_testXXXXXX";
  UniqueFd fd(mkstemp(name));
  unlink(name);
  UniqueFd other(dup(fd.get()));
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(fd));
  EXPECT_EQ(*Write(*file, "hello"), 5u);
  EXPECT_EQ(lseek(other.get(), 0, SEEK_CUR), 5);
  KernelCaller caller;
  EXPECT_EQ(*file->Seek(caller, 1, abi::kSeekSet), 1u);
  EXPECT_EQ(*Read(*file, 10), "ello");
  EXPECT_TRUE(file->seekable());
  EXPECT_FALSE(file->pollable());
}

TEST(HostFile, TerminalPassesOnlyKnownCommands) {
  UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_TRUE(master.valid());
  ASSERT_EQ(grantpt(master.get()), 0);
  ASSERT_EQ(unlockpt(master.get()), 0);
  UniqueFd slave(open(ptsname(master.get()), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(slave.valid());
  Ref<vfs::FileDescription> file = *NewHostFile(std::move(slave));
  EXPECT_EQ(Read(*file, 10).error(), Errno::kEAGAIN);
  EXPECT_EQ(write(master.get(), "ls\n", 3), 3);
  EXPECT_EQ(*Read(*file, 10), "ls\n");
  EXPECT_EQ(*Write(*file, std::string(1000, 'a')), 1000u);
}

}  // namespace
}  // namespace rampart::fs
