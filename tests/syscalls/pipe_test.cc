// pipe(7) and fifo(7): capacity, atomicity, packets, ends, signals, races.
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <vector>

#include "net_support.h"

namespace {

using test::Handled;
using test::Later;
using test::MakePipe;
using test::Owned;
using test::Pair;
using test::PollOne;
using test::ReadSome;
using test::SetNonblocking;
using test::SleepMs;

size_t FillUp(int fd, size_t chunk) {
  const std::string bytes(chunk, 'x');
  size_t total = 0;
  while (true) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0) return total;
    total += static_cast<size_t>(n);
  }
}

TEST(Pipe, CarriesBytesInOrder) {
  const Pair p = MakePipe();
  EXPECT_EQ(write(p.b.get(), "hello ", 6), 6);
  EXPECT_EQ(write(p.b.get(), "world", 5), 5);
  EXPECT_EQ(ReadSome(p.a.get(), 4), "hell");
  EXPECT_EQ(ReadSome(p.a.get()), "o world");
}

TEST(Pipe, EndsAreOneWay) {
  const Pair p = MakePipe();
  char c = 0;
  EXPECT_FAILS(write(p.a.get(), "x", 1), EBADF);
  EXPECT_FAILS(read(p.b.get(), &c, 1), EBADF);
  EXPECT_FAILS(lseek(p.a.get(), 0, SEEK_CUR), ESPIPE);
  EXPECT_FAILS(pread(p.a.get(), &c, 1, 0), ESPIPE);
  EXPECT_FAILS(pwrite(p.b.get(), &c, 1, 0), ESPIPE);
  EXPECT_FAILS(ftruncate(p.b.get(), 0), EINVAL);
  EXPECT_FAILS(fsync(p.b.get()), EINVAL);
}

TEST(Pipe, FlagsAreSetAndUnknownOnesRefused) {
  const Pair p = MakePipe(O_NONBLOCK | O_CLOEXEC);
  EXPECT_EQ(fcntl(p.a.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(p.a.get(), F_GETFL), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(fcntl(p.b.get(), F_GETFL), O_WRONLY | O_NONBLOCK);
  int fds[2];
  EXPECT_FAILS(pipe2(fds, O_APPEND), EINVAL);
  EXPECT_FAILS(pipe2(reinterpret_cast<int*>(test::BadAddress()), 0), EFAULT);
}

TEST(Pipe, IsAFifoForStat) {
  const Pair p = MakePipe();
  struct stat a {}, b {};
  ASSERT_EQ(fstat(p.a.get(), &a), 0);
  ASSERT_EQ(fstat(p.b.get(), &b), 0);
  EXPECT_TRUE(S_ISFIFO(a.st_mode));
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_EQ(a.st_mode & 0777, 0600u);
  EXPECT_EQ(a.st_uid, geteuid());
}

TEST(Pipe, EmptyNonblockingReadIsEagain) {
  const Pair p = MakePipe(O_NONBLOCK);
  char c = 0;
  EXPECT_FAILS(read(p.a.get(), &c, 1), EAGAIN);
  EXPECT_EQ(read(p.a.get(), &c, 0), 0);
}

TEST(Pipe, EndOfFileAfterTheLastWriter) {
  Pair p = MakePipe();
  Owned second(dup(p.b.get()));
  ASSERT_EQ(write(p.b.get(), "x", 1), 1);
  p.b.Close();
  SetNonblocking(p.a.get());
  char c = 0;
  EXPECT_EQ(read(p.a.get(), &c, 1), 1);
  EXPECT_FAILS(read(p.a.get(), &c, 1), EAGAIN);
  second.Close();
  EXPECT_EQ(read(p.a.get(), &c, 1), 0);
  EXPECT_EQ(PollOne(p.a.get(), POLLIN), POLLHUP);
}

TEST(Pipe, DefaultCapacityIs64KiB) {
  const Pair p = MakePipe(O_NONBLOCK);
  EXPECT_EQ(fcntl(p.a.get(), F_GETPIPE_SZ), 65536);
  EXPECT_EQ(FillUp(p.b.get(), 4096), 65536u);
  int n = 0;
  EXPECT_EQ(ioctl(p.a.get(), FIONREAD, &n), 0);
  EXPECT_EQ(n, 65536);
  EXPECT_EQ(PollOne(p.b.get(), POLLOUT), 0);
}

TEST(Pipe, CapacityCountsPages) {
  const Pair p = MakePipe(O_NONBLOCK);
  // Writes of a page and a bit take two buffers each, but the odd end of the next goes where it fits.
  EXPECT_EQ(FillUp(p.b.get(), 16), 65536u);
  const Pair q = MakePipe(O_NONBLOCK);
  const std::string big(4097, 'y');
  int n = 0;
  while (write(q.b.get(), big.data(), big.size()) == 4097) ++n;
  EXPECT_GE(n, 8);
}

TEST(Pipe, ReadingPartOfABufferDoesNotFreeItsSlot) {
  const Pair p = MakePipe(O_NONBLOCK);
  FillUp(p.b.get(), 4096);
  EXPECT_EQ(ReadSome(p.a.get(), 100).size(), 100u);
  EXPECT_FAILS(write(p.b.get(), "x", 1), EAGAIN);
  EXPECT_EQ(PollOne(p.b.get(), POLLOUT), 0);
  EXPECT_EQ(ReadSome(p.a.get(), 3996).size(), 3996u);
  EXPECT_EQ(PollOne(p.b.get(), POLLOUT), POLLOUT);
  EXPECT_EQ(write(p.b.get(), "x", 1), 1);
}

TEST(Pipe, SetSizeRoundsUpAndKeepsTheBytes) {
  const Pair p = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "keep", 4), 4);
  EXPECT_EQ(fcntl(p.b.get(), F_SETPIPE_SZ, 1), 4096);
  EXPECT_EQ(fcntl(p.b.get(), F_GETPIPE_SZ), 4096);
  EXPECT_EQ(fcntl(p.a.get(), F_SETPIPE_SZ, 5000), 8192);
  EXPECT_EQ(ReadSome(p.a.get()), "keep");
  EXPECT_EQ(FillUp(p.b.get(), 4096), 8192u);
  EXPECT_FAILS(fcntl(p.b.get(), F_SETPIPE_SZ, 4096), EBUSY);
  EXPECT_EQ(fcntl(p.b.get(), F_SETPIPE_SZ, 65536 * 2), 65536 * 2);
  EXPECT_FAILS(fcntl(p.b.get(), F_SETPIPE_SZ, 0), EBUSY);  // one page
  EXPECT_FAILS(fcntl(p.b.get(), F_SETPIPE_SZ, -1), EINVAL);
  Owned null(open("/dev/null", O_RDWR));
  EXPECT_FAILS(fcntl(null.get(), F_GETPIPE_SZ), EBADF);
}

TEST(Pipe, GrowingWakesAWriter) {
  const Pair p = MakePipe(O_NONBLOCK);
  FillUp(p.b.get(), 4096);
  SetNonblocking(p.b.get(), false);
  const Later grow(30, [&] { fcntl(p.a.get(), F_SETPIPE_SZ, 1 << 18); });
  EXPECT_EQ(write(p.b.get(), "more", 4), 4);
}

TEST(Pipe, SmallWritesAreAllOrNothing) {
  const Pair p = MakePipe(O_NONBLOCK);
  FillUp(p.b.get(), 4096);
  ReadSome(p.a.get(), 4096);
  const std::string small(4000, 's');
  EXPECT_EQ(write(p.b.get(), small.data(), 4000), 4000);
  EXPECT_EQ(write(p.b.get(), small.data(), 50), 50);     // fits in the odd end
  EXPECT_FAILS(write(p.b.get(), small.data(), 100), EAGAIN);
  EXPECT_EQ(write(p.b.get(), small.data(), 46), 46);
}

TEST(Pipe, LargeNonblockingWriteIsPartial) {
  const Pair p = MakePipe(O_NONBLOCK);
  const std::string big(100000, 'b');
  EXPECT_EQ(write(p.b.get(), big.data(), big.size()), 65536);
  EXPECT_FAILS(write(p.b.get(), big.data(), big.size()), EAGAIN);
}

TEST(Pipe, LargeBlockingWriteWritesAll) {
  const Pair p = MakePipe();
  const std::string big(1 << 20, 'b');
  ssize_t written = 0;
  std::thread writer([&] { written = write(p.b.get(), big.data(), big.size()); });
  EXPECT_EQ(test::ReadExactly(p.a.get(), big.size()), big);
  writer.join();
  EXPECT_EQ(written, static_cast<ssize_t>(big.size()));
}

TEST(Pipe, PacketModeKeepsBoundaries) {
  const Pair p = MakePipe(O_DIRECT | O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "one", 3), 3);
  ASSERT_EQ(write(p.b.get(), "twotwo", 6), 6);
  ASSERT_EQ(write(p.b.get(), "three", 5), 5);
  EXPECT_EQ(ReadSome(p.a.get()), "one");
  EXPECT_EQ(ReadSome(p.a.get(), 3), "two");  // the rest is gone
  EXPECT_EQ(ReadSome(p.a.get()), "three");
  const std::string big(5000, 'p');
  ASSERT_EQ(write(p.b.get(), big.data(), big.size()), 5000);
  EXPECT_EQ(ReadSome(p.a.get(), 8192).size(), 4096u);
  EXPECT_EQ(ReadSome(p.a.get(), 8192).size(), 904u);
}

TEST(Pipe, WritingWithoutReaderIsSigpipe) {
  Pair p = MakePipe();
  p.a.Close();
  EXPECT_EQ(PollOne(p.b.get(), POLLOUT), POLLOUT | POLLERR);
  const int status = test::RunChild([&] {
    (void)!write(p.b.get(), "x", 1);
    return 0;
  });
  EXPECT_EQ(status, -SIGPIPE);
  const Handled pipe(SIGPIPE);
  EXPECT_FAILS(write(p.b.get(), "x", 1), EPIPE);
  EXPECT_EQ(Handled::Count(), 1);
  EXPECT_EQ(write(p.b.get(), "x", 0), 0);  // nothing to write: nothing said
}

TEST(Pipe, ReaderThatGoesWakesABlockedWriter) {
  Pair p = MakePipe(O_NONBLOCK);
  FillUp(p.b.get(), 4096);
  SetNonblocking(p.b.get(), false);
  const Handled pipe(SIGPIPE);
  const Later gone(30, [&] { p.a.Close(); });
  EXPECT_FAILS(write(p.b.get(), "x", 1), EPIPE);
  EXPECT_EQ(Handled::Count(), 1);
}

TEST(Pipe, PartialWriteBeforeTheReaderGoesIsReported) {
  Pair p = MakePipe();
  const Handled pipe(SIGPIPE);
  const std::string big(100000, 'b');
  const Later gone(30, [&] { p.a.Close(); });
  EXPECT_EQ(write(p.b.get(), big.data(), big.size()), 65536);
  EXPECT_EQ(Handled::Count(), 1);
}

TEST(Pipe, SignalInterruptsOrRestartsARead) {
  const Pair p = MakePipe();
  const pthread_t self = pthread_self();
  char c = 0;
  {
    const Handled usr(SIGUSR1, 0);
    const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
    EXPECT_FAILS(read(p.a.get(), &c, 1), EINTR);
  }
  const Handled usr(SIGUSR1, SA_RESTART);
  const Later kick(30, [&] {
    pthread_kill(self, SIGUSR1);
    SleepMs(30);
    (void)!write(p.b.get(), "r", 1);
  });
  EXPECT_EQ(read(p.a.get(), &c, 1), 1);
  EXPECT_EQ(Handled::Count(), 1);
}

TEST(Pipe, InterruptedLargeWriteTellsWhatWent) {
  const Pair p = MakePipe();
  const pthread_t self = pthread_self();
  const Handled usr(SIGUSR1, 0);
  const std::string big(100000, 'b');
  const Later kick(50, [&] { pthread_kill(self, SIGUSR1); });
  EXPECT_EQ(write(p.b.get(), big.data(), big.size()), 65536);
}

TEST(Pipe, FaultsAreEfaultOrShort) {
  const Pair p = MakePipe(O_NONBLOCK);
  EXPECT_FAILS(write(p.b.get(), test::BadAddress(), 5), EFAULT);
  ASSERT_EQ(write(p.b.get(), "hello", 5), 5);
  EXPECT_FAILS(read(p.a.get(), test::BadAddress(), 5), EFAULT);
  EXPECT_EQ(ReadSome(p.a.get()), "hello");
}

TEST(Pipe, VectorsAreOneWrite) {
  const Pair p = MakePipe();
  char a[] = "abc", b[] = "def";
  iovec out[3] = {{a, 3}, {nullptr, 0}, {b, 3}};
  EXPECT_EQ(writev(p.b.get(), out, 3), 6);
  char c[4] = {}, d[4] = {};
  iovec in[2] = {{c, 2}, {d, 4}};
  EXPECT_EQ(readv(p.a.get(), in, 2), 6);
  EXPECT_EQ(std::string(c, 2) + std::string(d, 4), "abcdef");
  iovec bad[1] = {{a, static_cast<size_t>(-1)}};
  EXPECT_FAILS(writev(p.b.get(), bad, 1), EINVAL);
  EXPECT_FAILS(writev(p.b.get(), out, test::Opaque(-1)), EINVAL);
  EXPECT_FAILS(writev(p.b.get(), out, test::Opaque(1025)), EINVAL);
}

TEST(Pipe, ManyWritersStayAtomic) {
  const Pair p = MakePipe();
  constexpr int kWriters = 4, kRounds = 200, kSize = 1500;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      const std::string record(kSize, static_cast<char>('a' + w));
      for (int i = 0; i < kRounds; ++i) EXPECT_EQ(write(p.b.get(), record.data(), record.size()), kSize);
    });
  }
  int torn = 0;
  for (int i = 0; i < kWriters * kRounds; ++i) {
    const std::string record = test::ReadExactly(p.a.get(), kSize);
    if (record != std::string(kSize, record[0])) ++torn;
  }
  EXPECT_EQ(torn, 0);
  for (std::thread& t : writers) t.join();
}

TEST(Pipe, ManyReadersShareTheBytes) {
  Pair p = MakePipe();
  std::atomic<size_t> total{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 4; ++r) {
    readers.emplace_back([&] {
      while (true) {
        const std::string some = ReadSome(p.a.get(), 777);
        if (some.empty()) return;
        total += some.size();
      }
    });
  }
  const std::string bytes(1 << 19, 'q');
  test::SendAll(p.b.get(), bytes);
  p.b.Close();
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(total, bytes.size());
}

TEST(Pipe, PingPongBetweenProcesses) {
  const Pair there = MakePipe(), back = MakePipe();
  const pid_t child = fork();
  if (child == 0) {
    char c = 0;
    while (read(there.a.get(), &c, 1) == 1 && c != 'q') (void)!write(back.b.get(), &c, 1);
    _exit(0);
  }
  for (int i = 0; i < 2000; ++i) {
    char c = static_cast<char>('a' + i % 10);
    ASSERT_EQ(write(there.b.get(), &c, 1), 1);
    char d = 0;
    ASSERT_EQ(read(back.a.get(), &d, 1), 1);
    ASSERT_EQ(c, d);
  }
  ASSERT_EQ(write(there.b.get(), "q", 1), 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Pipe, SpliceAndTeeMoveBytes) {
  const Pair p = MakePipe(O_NONBLOCK), q = MakePipe(O_NONBLOCK);
  ASSERT_EQ(write(p.b.get(), "abcdef", 6), 6);
  EXPECT_EQ(tee(p.a.get(), q.b.get(), 3, SPLICE_F_NONBLOCK), 3);
  EXPECT_EQ(ReadSome(q.a.get()), "abc");
  EXPECT_EQ(splice(p.a.get(), nullptr, q.b.get(), nullptr, 4, SPLICE_F_NONBLOCK), 4);
  EXPECT_EQ(ReadSome(q.a.get()), "abcd");
  EXPECT_EQ(ReadSome(p.a.get()), "ef");
  EXPECT_FAILS(splice(p.a.get(), nullptr, q.b.get(), nullptr, 4, SPLICE_F_NONBLOCK), EAGAIN);
  EXPECT_FAILS(tee(p.a.get(), p.b.get(), 4, SPLICE_F_NONBLOCK), EINVAL);
}

class FifoTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = "/tmp/fifo_test." + std::to_string(getpid());
    unlink(path_.c_str());
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  }
  void TearDown() override { unlink(path_.c_str()); }
  std::string path_;
};

TEST_F(FifoTest, NonblockingWriterWithoutReaderIsEnxio) {
  EXPECT_FAILS(open(path_.c_str(), O_WRONLY | O_NONBLOCK), ENXIO);
  const Owned reader(open(path_.c_str(), O_RDONLY | O_NONBLOCK));
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(PollOne(reader.get(), POLLIN), 0);  // nobody has come yet: no hang-up
  char c = 0;
  EXPECT_EQ(read(reader.get(), &c, 1), 0);
  {
    const Owned writer(open(path_.c_str(), O_WRONLY | O_NONBLOCK));
    ASSERT_TRUE(writer.ok());
    EXPECT_FAILS(read(reader.get(), &c, 1), EAGAIN);
    EXPECT_EQ(write(writer.get(), "z", 1), 1);
    EXPECT_EQ(PollOne(reader.get(), POLLIN), POLLIN);
  }
  EXPECT_EQ(PollOne(reader.get(), POLLIN), POLLIN | POLLHUP);
  EXPECT_EQ(ReadSome(reader.get()), "z");
  EXPECT_EQ(PollOne(reader.get(), POLLIN), POLLHUP);
}

TEST_F(FifoTest, OpenWaitsForTheOtherEnd) {
  Owned writer;
  const Later open_writer(50, [&] { writer = Owned(open(path_.c_str(), O_WRONLY)); });
  const int64_t start = test::NowMs();
  const Owned reader(open(path_.c_str(), O_RDONLY));
  ASSERT_TRUE(reader.ok());
  EXPECT_GE(test::NowMs() - start, 30);
}

TEST_F(FifoTest, BlockedOpenIsInterrupted) {
  const pthread_t self = pthread_self();
  const Handled usr(SIGUSR1, 0);
  const Later kick(30, [&] { pthread_kill(self, SIGUSR1); });
  EXPECT_FAILS(open(path_.c_str(), O_RDONLY), EINTR);
}

TEST_F(FifoTest, ReadWriteOpenNeverBlocks) {
  const Owned both(open(path_.c_str(), O_RDWR));
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(write(both.get(), "self", 4), 4);
  EXPECT_EQ(ReadSome(both.get()), "self");
  EXPECT_EQ(PollOne(both.get(), POLLIN | POLLOUT), POLLOUT);
}

TEST_F(FifoTest, BytesVanishWithTheLastOpening) {
  {
    const Owned both(open(path_.c_str(), O_RDWR));
    ASSERT_EQ(write(both.get(), "gone", 4), 4);
  }
  const Owned reader(open(path_.c_str(), O_RDONLY | O_NONBLOCK));
  char c = 0;
  EXPECT_EQ(read(reader.get(), &c, 1), 0);
}

TEST_F(FifoTest, ManyRendezvous) {
  std::thread reader([&] {
    for (int i = 0; i < 50; ++i) {
      Owned r(open(path_.c_str(), O_RDONLY));
      EXPECT_EQ(ReadSome(r.get()), "hi");
      r.Close();
      const Owned w(open(path_.c_str(), O_WRONLY));
      EXPECT_EQ(write(w.get(), "yo", 2), 2);
    }
  });
  for (int i = 0; i < 50; ++i) {
    {
      const Owned w(open(path_.c_str(), O_WRONLY));
      EXPECT_EQ(write(w.get(), "hi", 2), 2);
    }
    const Owned r(open(path_.c_str(), O_RDONLY));
    EXPECT_EQ(ReadSome(r.get()), "yo");
  }
  reader.join();
}

TEST_F(FifoTest, ReopenThroughProcSelfFd) {
  const Pair p = MakePipe();
  const std::string name = "/proc/self/fd/" + std::to_string(p.b.get());
  const Owned again(open(name.c_str(), O_WRONLY));
  ASSERT_TRUE(again.ok());
  ASSERT_EQ(write(again.get(), "via proc", 8), 8);
  EXPECT_EQ(ReadSome(p.a.get()), "via proc");
}

}  // namespace
