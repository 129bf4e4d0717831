// Asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_pgetevents(2), io_cancel(2), io_destroy(2), and the ring that libaio reads.
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

constexpr uint16_t kCmdPoll = 5;

long MakeContext(unsigned n, aio_context_t* context) { return syscall(SYS_io_setup, n, context); }
long Destroy(aio_context_t context) { return syscall(SYS_io_destroy, context); }
long Submit(aio_context_t context, std::vector<iocb*> requests) { return syscall(SYS_io_submit, context, requests.size(), requests.data()); }
long Get(aio_context_t context, long least, long most, io_event* events, timespec* timeout = nullptr) {
  return syscall(SYS_io_getevents, context, least, most, events, timeout);
}
uint64_t Address(const void* p) { return reinterpret_cast<uint64_t>(p); }

iocb Request(uint16_t opcode, int fd, const void* buffer = nullptr, size_t length = 0, int64_t offset = 0) {
  iocb request{};
  request.aio_data = 0x1234;
  request.aio_lio_opcode = opcode;
  request.aio_fildes = static_cast<uint32_t>(fd);
  request.aio_buf = Address(buffer);
  request.aio_nbytes = length;
  request.aio_offset = offset;
  return request;
}

// The head of the mapped ring (Linux: struct aio_ring); the events come after it.
struct Ring {
  unsigned id, count, head, tail, magic, compatible, incompatible, header_length;
  const io_event& Event(unsigned index) const { return reinterpret_cast<const io_event*>(this + 1)[index]; }
};

class Aio : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_WORKS(MakeContext(16, &context_));
    file_ = memfd_create("aio", 0);
    ASSERT_GE(file_, 0);
  }
  void TearDown() override {
    if (context_ != 0) {
      EXPECT_WORKS(Destroy(context_));
    }
    close(file_);
  }
  // Submits one and takes its event.
  int64_t Run(iocb request) {
    errno = 0;
    if (Submit(context_, {&request}) != 1) return -10000 - errno;
    io_event event{};
    EXPECT_EQ(Get(context_, 1, 1, &event), 1);
    EXPECT_EQ(event.obj, Address(&request));
    EXPECT_EQ(event.data, 0x1234u);
    EXPECT_EQ(event.res2, 0);
    return event.res;
  }
  int SubmitError(iocb request) {
    errno = 0;
    EXPECT_EQ(Submit(context_, {&request}), -1);
    return errno;
  }
  const Ring* ring() const { return reinterpret_cast<const Ring*>(context_); }

  aio_context_t context_ = 0;
  int file_ = -1;
};

TEST(IoSetup, ChecksItsArguments) {
  aio_context_t context = 1;
  EXPECT_FAILS(MakeContext(1, &context), EINVAL);
  context = 0;
  EXPECT_FAILS(MakeContext(0, &context), EINVAL);
  EXPECT_FAILS(MakeContext(~0u, &context), EINVAL);
  EXPECT_FAILS(MakeContext(1, nullptr), EFAULT);
  EXPECT_FAILS(MakeContext(1 << 22, &context), EAGAIN);  // aio-max-nr
  EXPECT_EQ(context, 0u);
  EXPECT_FAILS(Destroy(0), EINVAL);
  EXPECT_FAILS(Destroy(~0ul), EINVAL);
}

TEST_F(Aio, TheRingIsMappedAndSaysWhatItIs) {
  EXPECT_EQ(ring()->magic, 0xa10a10a1u);
  EXPECT_EQ(ring()->header_length, 32u);
  EXPECT_EQ(ring()->compatible, 1u);
  EXPECT_EQ(ring()->incompatible, 0u);
  EXPECT_GE(ring()->count, 32u);
  std::ifstream maps("/proc/self/maps");
  bool named = false;
  for (std::string line; std::getline(maps, line);) named |= line.find("/[aio] (deleted)") != std::string::npos;
  EXPECT_TRUE(named);
}

TEST_F(Aio, WritesAndReads) {
  char text[] = "hello, world", back[32] = {};
  EXPECT_EQ(Run(Request(IOCB_CMD_PWRITE, file_, text, 12, 5)), 12);
  EXPECT_EQ(Run(Request(IOCB_CMD_PREAD, file_, back, 32, 5)), 12);
  EXPECT_STREQ(back, text);
  EXPECT_EQ(lseek(file_, 0, SEEK_CUR), 0);
  iovec parts[2] = {{text, 5}, {text + 7, 5}};
  EXPECT_EQ(Run(Request(IOCB_CMD_PWRITEV, file_, parts, 2, 100)), 10);
  iovec into[2] = {{back, 3}, {back + 3, 20}};
  EXPECT_EQ(Run(Request(IOCB_CMD_PREADV, file_, into, 2, 100)), 10);
  EXPECT_EQ(std::string(back, 10), "helloworld");
  EXPECT_EQ(Run(Request(IOCB_CMD_PREAD, file_, back, 4, 1 << 20)), 0);
  EXPECT_EQ(Run(Request(IOCB_CMD_FSYNC, file_)), 0);
  EXPECT_EQ(Run(Request(IOCB_CMD_FDSYNC, file_)), 0);
}

TEST_F(Aio, ErrorsOfTheTransferAreInTheEvent) {
  char c = 'x';
  EXPECT_EQ(Run(Request(IOCB_CMD_PWRITE, file_, &c, 1)), 1);
  EXPECT_EQ(Run(Request(IOCB_CMD_PREAD, file_, reinterpret_cast<void*>(16), 1)), -EFAULT);
  int pipes[2];
  ASSERT_WORKS(pipe2(pipes, O_NONBLOCK));
  EXPECT_EQ(Run(Request(IOCB_CMD_PREAD, pipes[0], &c, 1)), -EAGAIN);
  EXPECT_EQ(Run(Request(IOCB_CMD_PWRITE, pipes[1], &c, 1)), 1);
  EXPECT_EQ(Run(Request(IOCB_CMD_PREAD, pipes[0], &c, 1)), 1);
  close(pipes[0]);
  close(pipes[1]);
}

TEST_F(Aio, WhatIsWrongWithTheRequestIsToldAtOnce) {
  char c = 0;
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PREAD, -1, &c, 1)), EBADF);
  EXPECT_EQ(SubmitError(Request(4, file_, &c, 1)), EINVAL);
  EXPECT_EQ(SubmitError(Request(6, file_, &c, 1)), EINVAL);
  EXPECT_EQ(SubmitError(Request(99, file_, &c, 1)), EINVAL);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PREAD, file_, &c, 1, -1)), EINVAL);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PREAD, file_, &c, ~size_t{0})), EINVAL);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_FSYNC, file_, &c, 1)), EINVAL);
  const int readonly = open("/proc/self/exe", O_RDONLY);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PWRITE, readonly, &c, 1)), EBADF);
  close(readonly);
  const int directory = open("/tmp", O_RDONLY);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PREAD, directory, &c, 1)), EINVAL);
  close(directory);
  const int path = open("/tmp", O_PATH);
  EXPECT_EQ(SubmitError(Request(IOCB_CMD_PREAD, path, &c, 1)), EBADF);
  close(path);
  iocb reserved = Request(IOCB_CMD_PREAD, file_, &c, 1);
  reserved.aio_reserved2 = 1;
  EXPECT_EQ(SubmitError(reserved), EINVAL);
  iocb flagged = Request(IOCB_CMD_PREAD, file_, &c, 1);
  flagged.aio_rw_flags = 0x40000000;
  EXPECT_EQ(SubmitError(flagged), EOPNOTSUPP);
  iocb priority = Request(IOCB_CMD_PREAD, file_, &c, 1);
  priority.aio_flags = 2;  // IOCB_FLAG_IOPRIO
  priority.aio_reqprio = static_cast<int16_t>(4 << 13);
  EXPECT_EQ(SubmitError(priority), EINVAL);
  priority.aio_reqprio = 2 << 13;
  EXPECT_EQ(Run(priority), 0);
  EXPECT_FAILS(Submit(context_, {nullptr}), EFAULT);
  EXPECT_FAILS(syscall(SYS_io_submit, context_, -1L, nullptr), EINVAL);
  EXPECT_FAILS(syscall(SYS_io_submit, context_, 1L, nullptr), EFAULT);
  EXPECT_EQ(syscall(SYS_io_submit, context_, 0L, nullptr), 0);
  EXPECT_FAILS(syscall(SYS_io_submit, 0L, 0L, nullptr), EINVAL);
  // What came before the bad one is done.
  iocb good = Request(IOCB_CMD_PREAD, file_, &c, 1), bad = Request(99, file_);
  EXPECT_EQ(Submit(context_, {&good, &bad}), 1);
  io_event event{};
  EXPECT_EQ(Get(context_, 1, 2, &event), 1);
}

TEST_F(Aio, GetEventsChecksItsArguments) {
  io_event event{};
  timespec zero{};
  EXPECT_FAILS(Get(0, 0, 1, &event, &zero), EINVAL);
  EXPECT_FAILS(Get(context_, -1, 1, &event, &zero), EINVAL);
  EXPECT_FAILS(Get(context_, 2, 1, &event, &zero), EINVAL);
  EXPECT_FAILS(Get(context_, 0, 1, &event, reinterpret_cast<timespec*>(8)), EFAULT);
  EXPECT_EQ(Get(context_, 0, 1, &event, nullptr), 0);
  EXPECT_EQ(Get(context_, 1, 1, &event, &zero), 0);
  const auto before = std::chrono::steady_clock::now();
  timespec soon{0, 30'000'000};
  EXPECT_EQ(Get(context_, 1, 1, &event, &soon), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(25));
  char c = 0;
  iocb request = Request(IOCB_CMD_PREAD, file_, &c, 1);
  ASSERT_EQ(Submit(context_, {&request}), 1);
  EXPECT_FAILS(Get(context_, 1, 1, reinterpret_cast<io_event*>(8), nullptr), EFAULT);
  EXPECT_EQ(Get(context_, 1, 1, &event, nullptr), 1);  // it is still there
}

TEST_F(Aio, TheApplicationMayTakeEventsFromTheRing) {
  char c = 'x';
  iocb request = Request(IOCB_CMD_PWRITE, file_, &c, 1);
  auto* const mine = reinterpret_cast<Ring*>(context_);
  for (unsigned i = 0; i < ring()->count * 2; ++i) {
    ASSERT_EQ(Submit(context_, {&request}), 1);
    ASSERT_NE(ring()->head, ring()->tail);
    const io_event& event = ring()->Event(ring()->head);
    ASSERT_EQ(event.obj, Address(&request));
    ASSERT_EQ(event.res, 1);
    mine->head = (mine->head + 1) % mine->count;
  }
  timespec zero{};
  io_event event{};
  EXPECT_EQ(Get(context_, 0, 1, &event, &zero), 0);
}

TEST_F(Aio, ThereIsRoomForSoManyEventsOnly) {
  char c = 'x';
  iocb request = Request(IOCB_CMD_PWRITE, file_, &c, 1);
  unsigned n = 0;
  errno = 0;
  while (n < ring()->count + 1 && Submit(context_, {&request}) == 1) ++n;
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_LE(n, ring()->count - 1);
  EXPECT_GE(n, 16u);
  std::vector<io_event> events(n);
  EXPECT_EQ(Get(context_, n, n, events.data()), n);
  EXPECT_EQ(Submit(context_, {&request}), 1);
}

TEST_F(Aio, ResultsAreCountedByAnEventfd) {
  const int counter = eventfd(0, EFD_NONBLOCK);
  char c = 'x';
  iocb request = Request(IOCB_CMD_PWRITE, file_, &c, 1);
  request.aio_flags = IOCB_FLAG_RESFD;
  request.aio_resfd = static_cast<uint32_t>(counter);
  EXPECT_EQ(Submit(context_, {&request, &request, &request}), 3);
  uint64_t value = 0;
  EXPECT_EQ(read(counter, &value, 8), 8);
  EXPECT_EQ(value, 3u);
  request.aio_resfd = static_cast<uint32_t>(file_);
  EXPECT_EQ(SubmitError(request), EINVAL);
  request.aio_resfd = ~0u;
  EXPECT_EQ(SubmitError(request), EBADF);
  close(counter);
}

TEST_F(Aio, PollCompletesWhenTheFileIsReady) {
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  iocb poll = Request(kCmdPoll, pipes[0]);
  poll.aio_buf = POLLIN;
  ASSERT_EQ(Submit(context_, {&poll}), 1);
  io_event event{};
  timespec soon{0, 20'000'000};
  EXPECT_EQ(Get(context_, 1, 1, &event, &soon), 0);
  std::thread later([&] {
    usleep(20000);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
  });
  EXPECT_EQ(Get(context_, 1, 1, &event), 1);
  later.join();
  EXPECT_EQ(event.obj, Address(&poll));
  EXPECT_NE(event.res & POLLIN, 0);  // with whatever else the wake-up told
  // It is ready now, and once only.
  EXPECT_EQ(Run(poll), POLLIN);
  EXPECT_EQ(Get(context_, 1, 1, &event, &soon), 0);
  poll.aio_buf = 1 << 16;
  EXPECT_EQ(SubmitError(poll), EINVAL);
  poll.aio_buf = POLLIN;
  poll.aio_nbytes = 1;
  EXPECT_EQ(SubmitError(poll), EINVAL);
  close(pipes[0]);
  close(pipes[1]);
}

TEST_F(Aio, WhatWaitsCanBeCancelled) {
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  iocb poll = Request(kCmdPoll, pipes[0]);
  poll.aio_buf = POLLIN;
  io_event event{};
  const auto cancel = [&](iocb* request) { return syscall(SYS_io_cancel, context_, request, &event); };
  EXPECT_FAILS(cancel(&poll), EINVAL);
  ASSERT_EQ(Submit(context_, {&poll}), 1);
  EXPECT_FAILS(cancel(&poll), EINPROGRESS);
  EXPECT_EQ(Get(context_, 1, 1, &event), 1);
  EXPECT_EQ(event.obj, Address(&poll));
  EXPECT_EQ(event.res, 0);
  EXPECT_FAILS(cancel(&poll), EINVAL);
  EXPECT_FAILS(cancel(nullptr), EFAULT);
  close(pipes[0]);
  close(pipes[1]);
}

TEST_F(Aio, DestroyForgetsWhatWaitsAndUnmapsTheRing) {
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  iocb poll = Request(kCmdPoll, pipes[0]);
  poll.aio_buf = POLLIN;
  ASSERT_EQ(Submit(context_, {&poll}), 1);
  const aio_context_t old = context_;
  ASSERT_WORKS(Destroy(std::exchange(context_, 0)));
  EXPECT_EQ(write(pipes[1], "x", 1), 1);
  EXPECT_FAILS(Destroy(old), EINVAL);
  EXPECT_FAILS(msync(reinterpret_cast<void*>(old), 4096, MS_ASYNC), ENOMEM);
  close(pipes[0]);
  close(pipes[1]);
}

void Nothing(int) {}

TEST_F(Aio, SignalsEndTheWait) {
  struct sigaction action{};
  action.sa_handler = Nothing;
  ASSERT_WORKS(sigaction(SIGUSR1, &action, nullptr));
  std::atomic<bool> done{false};
  const pthread_t self = pthread_self();
  std::thread disturber([&] {
    while (!done) {
      usleep(10000);
      pthread_kill(self, SIGUSR1);
    }
  });
  io_event event{};
  EXPECT_FAILS(Get(context_, 1, 1, &event), EINTR);
  sigset_t none;
  sigemptyset(&none);
  struct {
    const sigset_t* set;
    size_t size;
  } mask{&none, 8};
  EXPECT_FAILS(syscall(SYS_io_pgetevents, context_, 1L, 1L, &event, nullptr, &mask), EINTR);
  done = true;
  disturber.join();
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &old), 0);
  pthread_kill(self, SIGUSR1);
  timespec soon{0, 20'000'000};
  EXPECT_EQ(Get(context_, 1, 1, &event, &soon), 0);
  EXPECT_FAILS(syscall(SYS_io_pgetevents, context_, 1L, 1L, &event, nullptr, &mask), EINTR);  // the pending one comes through
  mask.size = 4;
  EXPECT_FAILS(syscall(SYS_io_pgetevents, context_, 0L, 1L, &event, nullptr, &mask), EINVAL);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

TEST_F(Aio, ContextsAreNotInheritedByChildren) {
  char c = 0;
  iocb request = Request(IOCB_CMD_PREAD, file_, &c, 1);
  EXPECT_EQ(scratch::InChild([&] {
    IN_CHILD_FAILS(Submit(context_, {&request}), EINVAL);
    IN_CHILD_FAILS(Destroy(context_), EINVAL);
    aio_context_t own = 0;
    IN_CHILD(MakeContext(4, &own) == 0);
    IN_CHILD(Submit(own, {&request}) == 1);
    return 0;
  }), 0);
  EXPECT_EQ(Submit(context_, {&request}), 1);
}

TEST(AioLimits, AreCountedForTheWholeSystem) {
  const auto used = [] {
    std::ifstream in("/proc/sys/fs/aio-nr");
    long n = -1;
    in >> n;
    return n;
  };
  const long before = used();
  ASSERT_GE(before, 0);
  aio_context_t context = 0;
  ASSERT_WORKS(MakeContext(100, &context));
  EXPECT_GE(used(), before + 100);
  ASSERT_WORKS(Destroy(context));
  for (int i = 0; i < 1000 && used() > before; ++i) usleep(5000);  // Linux frees them a moment later
  EXPECT_LE(used(), before);
}

TEST_F(Aio, ManyThreadsAtOnce) {
  constexpr int kThreads = 4, kEach = 300;
  std::atomic<long> seen{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      char c = static_cast<char>('a' + t);
      for (int i = 0; i < kEach; ++i) {
        iocb request = Request(IOCB_CMD_PWRITE, file_, &c, 1, t * 1000 + i);
        while (Submit(context_, {&request}) != 1) std::this_thread::yield();
        io_event event{};
        if (Get(context_, 1, 1, &event) == 1 && event.res == 1) ++seen;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(seen, kThreads * kEach);
}

}  // namespace
