// What random programs (tests/differential) found to be otherwise inside: each case a finding, named by what is so on Linux.
// differential_socket_test.cc has those about sockets.
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

#include "tests/syscalls/found_support.h"

namespace {

using found::Ends;
using found::Pair;
using found::Pipe;
using test::Owned;

using FoundPipe = found::Found;
using FoundMemory = found::Found;
using FoundKind = found::Found;

// ---- pipes, and what moves bytes

TEST_F(FoundPipe, AFilesPagesTakeABufferEach) {
  Ends pipe = Pipe();
  ASSERT_EQ(fcntl(pipe.a.get(), F_SETPIPE_SZ, 4096), 4096);
  const Owned file = File("f", 8192);
  ASSERT_EQ(lseek(file.get(), 2, SEEK_SET), 2);
  EXPECT_EQ(sendfile(pipe.b.get(), file.get(), nullptr, 8192), 4094);
  EXPECT_FAILS(sendfile(pipe.b.get(), file.get(), nullptr, 8192), EAGAIN);
  ASSERT_EQ(fcntl(pipe.a.get(), F_SETPIPE_SZ, 16384), 16384);
  loff_t at = 4095;
  EXPECT_EQ(splice(file.get(), &at, pipe.b.get(), nullptr, 2, 0), 2);
  EXPECT_FAILS(fcntl(pipe.a.get(), F_SETPIPE_SZ, 8192), EBUSY);  // three buffers
}

TEST_F(FoundPipe, NothingIsAddedToWhatWasSpliced) {
  Ends pipe = Pipe();
  ASSERT_EQ(fcntl(pipe.a.get(), F_SETPIPE_SZ, 4096), 4096);
  static const char kBytes[] = "ab";
  const iovec piece{const_cast<char*>(kBytes), 2};
  ASSERT_EQ(vmsplice(pipe.b.get(), &piece, 1, SPLICE_F_NONBLOCK), 2);
  EXPECT_FAILS(write(pipe.b.get(), "c", 1), EAGAIN);
}

TEST_F(FoundPipe, VmspliceTakesPacketsTogether) {
  Ends pipe = Pipe(O_DIRECT);
  ASSERT_EQ(write(pipe.b.get(), "ab", 2), 2);
  ASSERT_EQ(write(pipe.b.get(), "cd", 2), 2);
  char bytes[8] = {};
  const iovec piece{bytes, 3};
  EXPECT_EQ(vmsplice(pipe.a.get(), &piece, 1, SPLICE_F_NONBLOCK), 3);
  EXPECT_STREQ(bytes, "abc");
  EXPECT_EQ(read(pipe.a.get(), bytes, sizeof(bytes)), 1);
}

TEST_F(FoundPipe, VmspliceOfNothingIsOfAnyFile) {
  const Owned file = File("f");
  const iovec nothing{nullptr, 0};
  EXPECT_EQ(vmsplice(file.get(), &nothing, 1, 0), 0);
  const iovec byte{const_cast<char*>("x"), 1};
  EXPECT_FAILS(vmsplice(file.get(), &byte, 1, 0), EBADF);
}

TEST_F(FoundPipe, SendfileWithinOneDescription) {
  const Owned file = File("f", 8192);
  const Owned same(dup(file.get()));
  ASSERT_EQ(sendfile(file.get(), same.get(), nullptr, 1000), 1000);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_CUR), 1000);
}

TEST_F(FoundPipe, SendfileIntoAPipeThatAppends) {
  Ends pipe = Pipe();
  const Owned file = File("f", 10), other = File("g");
  ASSERT_WORKS(fcntl(pipe.b.get(), F_SETFL, O_APPEND | O_NONBLOCK));
  EXPECT_EQ(sendfile(pipe.b.get(), file.get(), nullptr, 10), 10);
  ASSERT_WORKS(fcntl(other.get(), F_SETFL, O_APPEND));
  EXPECT_FAILS(sendfile(other.get(), file.get(), nullptr, 10), EINVAL);
}

TEST_F(FoundPipe, PacketsBreakWithoutASignal) {
  const Owned file = File("f", 100);
  Ends ends = Pair(SOCK_SEQPACKET);
  ends.b.Close();
  sighandler_t old = signal(SIGPIPE, SIG_DFL);  // would end us
  EXPECT_FAILS(sendfile(ends.a.get(), file.get(), nullptr, 10), EPIPE);
  signal(SIGPIPE, old);
}

TEST_F(FoundPipe, CopiesAreAccessesAndModifications) {
  const Owned file = File("f", 10), other = File("g");
  const Owned watch(inotify_init1(IN_NONBLOCK));
  ASSERT_EQ(inotify_add_watch(watch.get(), ".", IN_ACCESS | IN_MODIFY), 1);
  const auto events = [&] {
    alignas(8) char buffer[4096];
    std::string text;
    const ssize_t n = read(watch.get(), buffer, sizeof(buffer));
    for (ssize_t at = 0; at < n;) {
      inotify_event event;
      memcpy(&event, buffer + at, sizeof(event));
      text += std::string(event.mask == IN_ACCESS ? "a" : "m") + (buffer + at + sizeof(event)) + " ";
      at += static_cast<ssize_t>(sizeof(event)) + event.len;
    }
    return text;
  };
  ASSERT_EQ(sendfile(other.get(), file.get(), nullptr, 5), 5);
  EXPECT_EQ(events(), "af mg ");
  ASSERT_EQ(copy_file_range(file.get(), nullptr, other.get(), nullptr, 5, 0), 5);
  EXPECT_EQ(events(), "af mg ");
  EXPECT_EQ(readv(file.get(), nullptr, 0), 0);
  EXPECT_EQ(events(), "af ");
}

// Three pages that may be used, and one that may not.
char* BeforeTheEnd() {
  static char* const pages = [] {
    auto* const area = static_cast<char*>(mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memset(area, 'y', 3 * 4096);
    mprotect(area + 3 * 4096, 4096, PROT_NONE);
    return area;
  }();
  return pages + 3 * 4096;
}

TEST_F(FoundPipe, WholeBuffersBeforeWhatMayNotBeTouched) {
  char* const end = BeforeTheEnd();
  Ends pipe = Pipe();
  EXPECT_FAILS(write(pipe.b.get(), end - 1000, 2000), EFAULT);
  EXPECT_FAILS(write(pipe.b.get(), end - 4000, 9000), EFAULT);
  EXPECT_EQ(write(pipe.b.get(), end - 5000, 9000), 4096);
  EXPECT_EQ(write(pipe.b.get(), "xyz", 3), 3);
  EXPECT_FAILS(write(pipe.b.get(), end - 100, 4096 + 808), EFAULT);  // its odd end would be added to the last buffer first
  EXPECT_EQ(write(pipe.b.get(), end - 5000, 2 * 4096 + 808), 808 + 4096);
  const iovec pieces[2] = {{end - 300, 300}, {end - 200, 300}};
  EXPECT_FAILS(writev(pipe.b.get(), pieces, 2), EFAULT);
  EXPECT_FAILS(read(pipe.a.get(), end - 100, 4096), EFAULT);
  EXPECT_EQ(read(pipe.a.get(), end - 100, 100), 100);
  EXPECT_EQ(read(pipe.a.get(), end - 3996 - 800, 9000), 3996);
  EXPECT_EQ(read(pipe.a.get(), end - 811, 9000), 811);  // "xyz" and what was added to it
  const iovec little{end - 100, 200};
  EXPECT_FAILS(vmsplice(pipe.a.get(), &little, 1, SPLICE_F_NONBLOCK), EFAULT);
  int left = 0;
  ASSERT_WORKS(ioctl(pipe.a.get(), FIONREAD, &left));
  EXPECT_EQ(left, 4096);
}

TEST_F(FoundPipe, SendfileAsksThePipeBeforeTheSource) {
  Ends pipe = Pipe(), source = Pipe(), sockets = Pair(SOCK_STREAM);
  const Owned event(eventfd(1, EFD_NONBLOCK)), file = File("f", 16), directory(open("/", O_RDONLY));
  ASSERT_EQ(write(source.b.get(), "abc", 3), 3);
  ASSERT_EQ(send(sockets.b.get(), "hello", 5, 0), 5);
  for (const Owned* one : {&std::as_const(source.a), &event, &directory}) EXPECT_FAILS(sendfile(pipe.b.get(), one->get(), nullptr, 3), EINVAL);
  EXPECT_EQ(sendfile(pipe.b.get(), event.get(), nullptr, 0), 0);
  off_t at = 0;
  EXPECT_FAILS(sendfile(pipe.b.get(), sockets.a.get(), &at, 3), ESPIPE);
  EXPECT_EQ(sendfile(pipe.b.get(), sockets.a.get(), nullptr, 3), 3);
  EXPECT_EQ(sendfile(pipe.b.get(), sockets.a.get(), nullptr, 3), 2);
  EXPECT_FAILS(sendfile(pipe.b.get(), sockets.a.get(), nullptr, 3), EAGAIN);
  char bytes[8] = {};
  ASSERT_EQ(read(pipe.a.get(), bytes, sizeof(bytes)), 5);
  EXPECT_STREQ(bytes, "hello");
  pipe.a.Close();
  sighandler_t old = signal(SIGPIPE, SIG_IGN);
  for (const Owned* one : {&std::as_const(source.a), &event, &directory, &file}) EXPECT_FAILS(sendfile(pipe.b.get(), one->get(), nullptr, 0), EPIPE);
  signal(SIGPIPE, old);
}

// Inside, a standard stream is a file of the host's: under ctest a pipe.
TEST_F(FoundPipe, SendfileIntoStandardOutput) {
  const Owned file = File("f", 16);
  if ((fcntl(STDOUT_FILENO, F_GETFL) & O_APPEND) != 0) GTEST_SKIP() << "standard output is a file that is appended to: sendfile(2) refuses it";
  off_t at = 0;
  EXPECT_EQ(sendfile(STDOUT_FILENO, file.get(), &at, 16), 16);
  EXPECT_EQ(at, 16);
}

TEST_F(FoundPipe, SendfileGivesToFilesAndTheirLikeOnly) {
  const Owned file = File("f", 16), event(eventfd(1, EFD_NONBLOCK));
  off_t at = 0;
  EXPECT_FAILS(sendfile(event.get(), file.get(), &at, 8), EINVAL);
  EXPECT_EQ(at, 0);
  EXPECT_EQ(sendfile(event.get(), file.get(), &at, 0), 0);
  at = 16;
  EXPECT_EQ(sendfile(event.get(), file.get(), &at, 8), 0);  // there is nothing to give
  uint64_t value = 0;
  ASSERT_EQ(read(event.get(), &value, sizeof(value)), 8);
  EXPECT_EQ(value, 1u);
}

// ---- memory

TEST_F(FoundMemory, ThePlaceIsLookedAtBeforeTheFile) {
  const Owned file = File("f", 4096);
  const Owned writable(open("f", O_WRONLY));
  void* const taken = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(mmap(taken, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, writable.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, writable.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  const timespec times[2] = {{1000, 0}, {2000, 0}};
  ASSERT_WORKS(futimens(file.get(), times));
  EXPECT_EQ(mmap(taken, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file.get(), 0), MAP_FAILED);
  struct stat st {};
  ASSERT_WORKS(fstat(file.get(), &st));
  EXPECT_EQ(st.st_atime, 1000);  // nothing was accessed
  munmap(taken, 4096);
}

TEST_F(FoundMemory, RemovedPagesAreZeroEverywhere) {
  const Owned file = File("f", 8192);
  const Owned memory(memfd_create("m", 0));
  ASSERT_WORKS(ftruncate(memory.get(), 8192));
  for (const int fd : {file.get(), memory.get(), -1}) {
    const int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
    auto* const one = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, flags, fd, 0));
    ASSERT_NE(one, MAP_FAILED);
    memset(one, 'y', 8192);
    auto* const other = fd < 0 ? one : static_cast<char*>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0));
    EXPECT_EQ(other[0], 'y');
    ASSERT_WORKS(madvise(one, 4096, MADV_REMOVE));
    EXPECT_EQ(one[0], 0);
    EXPECT_EQ(other[4095], 0);
    EXPECT_EQ(other[4096], 'y');
    munmap(one, 8192);
    if (other != one) munmap(other, 8192);
  }
  auto* const mine = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0));
  EXPECT_FAILS(madvise(mine, 4096, MADV_REMOVE), EACCES);
  munmap(mine, 4096);
}

TEST_F(FoundMemory, OthersMayNotReadWhatMayOnlyBeWritten) {
  auto* const page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  page[0] = 'x';
  ASSERT_WORKS(mprotect(page, 4096, PROT_WRITE));
  char byte = 0;
  const iovec local{&byte, 1}, remote{page, 1};
  EXPECT_FAILS(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
  EXPECT_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), 1);
  munmap(page, 4096);
}

TEST_F(FoundMemory, WhatLiesBeforeAHoleIsLocked) {
  auto* const pages = static_cast<char*>(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_WORKS(munmap(pages + 4096, 4096));
  EXPECT_FAILS(mlock(pages, 8192), ENOMEM);
  EXPECT_FAILS(madvise(pages, 4096, MADV_DONTNEED), EINVAL);
  ASSERT_WORKS(munlock(pages, 4096));
  EXPECT_WORKS(madvise(pages, 4096, MADV_DONTNEED));
  munmap(pages, 4096);
}

TEST_F(FoundMemory, AMoveMayLeaveAnyMappingBehind) {
  const Owned file = File("f", 4096);
  auto* const from = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file.get(), 0));
  ASSERT_WORKS(mlock(from, 4096));
  void* const to = mremap(from, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  ASSERT_NE(to, MAP_FAILED);
  EXPECT_EQ(*static_cast<char*>(to), 'x');
  EXPECT_EQ(*from, 'x');
  EXPECT_WORKS(madvise(from, 4096, MADV_DONTNEED));
  EXPECT_FAILS(madvise(to, 4096, MADV_DONTNEED), EINVAL);
  munmap(from, 4096);
  munmap(to, 4096);
}

TEST_F(FoundMemory, NobodyWaitsForWhatNeverChanges) {
  auto* const page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_FAILS(syscall(SYS_futex, page, FUTEX_WAKE, 1, nullptr, nullptr, 0), EFAULT);
  EXPECT_WORKS(syscall(SYS_futex, page, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0));
  munmap(page, 4096);
}

TEST_F(FoundMemory, ASharedFutexIsFoundBeforeTheOperationIsRead) {
  auto* const pages = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pages[4096] = 1;
  constexpr unsigned kNoOperation = 0xffffffff;
  const auto wake_op = [&](int flags) { return syscall(SYS_futex, pages, FUTEX_WAKE_OP | flags, 1, 1, pages + 4096, kNoOperation); };
  EXPECT_FAILS(wake_op(0), ENOSYS);
  ASSERT_WORKS(mprotect(pages + 4096, 4096, PROT_READ));
  EXPECT_FAILS(wake_op(0), EFAULT);
  ASSERT_WORKS(mprotect(pages + 4096, 4096, PROT_WRITE));
  EXPECT_WORKS(syscall(SYS_futex, pages + 4096, FUTEX_WAKE, 1, nullptr, nullptr, 0));
  void* const program = mmap(nullptr, 4096, PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_FAILS(syscall(SYS_futex, program, FUTEX_WAKE, 1, nullptr, nullptr, 0), EFAULT);
  munmap(program, 4096);
  EXPECT_FAILS(syscall(SYS_futex, nullptr, FUTEX_REQUEUE, -1, 1, nullptr, 0), EINVAL);  // counts come first
  EXPECT_FAILS(syscall(SYS_futex, nullptr, FUTEX_CMP_REQUEUE, 1, -1, nullptr, 0), EINVAL);
  munmap(pages, 8192);
}

TEST_F(FoundMemory, SealsOfMemoryFiles) {
  const Owned memory(memfd_create("m", MFD_ALLOW_SEALING));
  ASSERT_WORKS(ftruncate(memory.get(), 20000));
  const std::string bytes(65536, 'x');
  ASSERT_WORKS(fcntl(memory.get(), F_ADD_SEALS, F_SEAL_GROW));
  EXPECT_EQ(write(memory.get(), bytes.data(), bytes.size()), 16384);  // page by page
  EXPECT_FAILS(write(memory.get(), bytes.data(), bytes.size()), EPERM);
  EXPECT_EQ(pwrite(memory.get(), bytes.data(), 0, 100000), 0);
  constexpr int kSealExec = 0x20;
  const Owned program(memfd_create("m", MFD_ALLOW_SEALING));
  ASSERT_WORKS(fcntl(program.get(), F_ADD_SEALS, kSealExec));
  EXPECT_EQ(fcntl(program.get(), F_GET_SEALS), kSealExec | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
  EXPECT_FAILS(fchmod(program.get(), 0644), EPERM);
  EXPECT_WORKS(fchmod(program.get(), 0755 | 022));
}

TEST_F(FoundMemory, AMoveThatUnmapsNothingCutsNothing) {
  auto* const area = static_cast<char*>(mmap(nullptr, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  auto* const to = static_cast<char*>(mmap(nullptr, 4 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  area[2 * 4096] = 'a';
  area[4 * 4096] = 'b';
  ASSERT_WORKS(mlock(area, 8 * 4096));
  void* const moved = mremap(area + 2 * 4096, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  ASSERT_NE(moved, MAP_FAILED);
  EXPECT_WORKS(madvise(area, 4096, MADV_DONTNEED));  // none of it is locked now
  // From the moved page on over its end, and then shorter: of one area only.
  ASSERT_EQ(mremap(area + 2 * 4096, 4 * 4096, 3 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
  EXPECT_EQ(to[0], 0);
  EXPECT_EQ(to[2 * 4096], 'b');
  munmap(moved, 4096);
  munmap(area, 8 * 4096);
  munmap(to, 4 * 4096);
}

// ---- kinds of descriptors

TEST_F(FoundKind, SelectOfAPathDescriptorIsReady) {
  const Owned path(open("/", O_PATH));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(path.get(), &set);
  timeval none{0, 0};
  EXPECT_EQ(select(path.get() + 1, nullptr, &set, nullptr, &none), 1);
}

TEST_F(FoundKind, SignalsAndTimersAreOnlyReadable) {
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, &old);
  const Owned fd(signalfd(-1, &set, SFD_NONBLOCK));
  siginfo_t info{};
  info.si_code = 1;  // nothing that SIGUSR1 knows: read as poll's
  info.si_pid = 77;
  info.si_value.sival_int = 55;
  ASSERT_WORKS(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
  pollfd asked{fd.get(), POLLIN | POLLRDNORM, 0};
  EXPECT_EQ(poll(&asked, 1, 0), 1);
  EXPECT_EQ(asked.revents, POLLIN);
  signalfd_siginfo got{};
  ASSERT_EQ(read(fd.get(), &got, sizeof(got)), static_cast<ssize_t>(sizeof(got)));
  EXPECT_EQ(got.ssi_pid, 0u);
  EXPECT_EQ(got.ssi_band, 77u);
  EXPECT_EQ(got.ssi_int, 0);
  ASSERT_WORKS(kill(getpid(), SIGUSR1));
  ASSERT_EQ(read(fd.get(), &got, sizeof(got)), static_cast<ssize_t>(sizeof(got)));
  EXPECT_EQ(got.ssi_pid, static_cast<unsigned>(getpid()));
  EXPECT_EQ(got.ssi_int, 0);
  sigprocmask(SIG_SETMASK, &old, nullptr);
}

TEST_F(FoundKind, AReadThatFaultsIsAnAccess) {
  const Owned memory(memfd_create("m", 0));
  ASSERT_EQ(write(memory.get(), "x", 1), 1);
  const timespec times[2] = {{1000, 0}, {2000, 0}};
  ASSERT_WORKS(futimens(memory.get(), times));
  ASSERT_EQ(lseek(memory.get(), 0, SEEK_SET), 0);
  EXPECT_FAILS(read(memory.get(), BeforeTheEnd(), 1), EFAULT);
  struct stat st {};
  ASSERT_WORKS(fstat(memory.get(), &st));
  EXPECT_GT(st.st_atime, 1000);
}

TEST_F(FoundKind, WhatCannotBeReadOrWrittenIsToldToAnyVector) {
  sigset_t none;
  sigemptyset(&none);
  mq_attr attributes{};
  attributes.mq_maxmsg = 2;
  attributes.mq_msgsize = 8;
  const std::string name = "/rampart-found-" + std::to_string(getpid());
  const Owned epoll(epoll_create1(0)), pidfd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))), timer(timerfd_create(CLOCK_MONOTONIC, 0)),
      signals(signalfd(-1, &none, 0)), queue(mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, &attributes)), event(eventfd(0, EFD_NONBLOCK)),
      names(open("/proc/self/ns/pid", O_RDONLY));
  mq_unlink(name.c_str());
  for (const Owned* one : {&epoll, &pidfd, &names}) EXPECT_FAILS(readv(one->get(), nullptr, 0), EINVAL);
  for (const Owned* one : {&timer, &signals, &queue, &event}) EXPECT_WORKS(readv(one->get(), nullptr, 0));
  for (const Owned* one : {&epoll, &pidfd, &timer, &signals, &queue}) EXPECT_FAILS(writev(one->get(), nullptr, 0), EINVAL);
  EXPECT_WORKS(writev(event.get(), nullptr, 0));
  EXPECT_FAILS(syscall(SYS_readv, epoll.get(), 8, 1), EINVAL);
  EXPECT_FAILS(syscall(SYS_readv, timer.get(), 8, 1), EFAULT);
  uint64_t value = 0;
  const iovec piece{&value, sizeof(value)};
  constexpr int kNoFlag = 1 << 20;
  EXPECT_FAILS(preadv2(epoll.get(), &piece, 1, -1, kNoFlag), EINVAL);
  EXPECT_FAILS(preadv2(event.get(), &piece, 1, -1, kNoFlag), EOPNOTSUPP);
  EXPECT_FAILS(pwritev2(timer.get(), &piece, 1, -1, kNoFlag), EINVAL);
}

TEST_F(FoundKind, APidfdOfNobodyHangsUp) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  const Owned fd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(fd.ok());
  struct stat st {};
  ASSERT_WORKS(fstat(fd.get(), &st));
  EXPECT_EQ(st.st_mode, 0700u);
  char byte = 0;
  EXPECT_FAILS(pread(fd.get(), &byte, 1, 0), EINVAL);
  EXPECT_FAILS(lseek(fd.get(), 0, SEEK_CUR), ESPIPE);
  EXPECT_FAILS(fsync(fd.get()), EINVAL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  pollfd asked{fd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&asked, 1, 0), 1);
  EXPECT_EQ(asked.revents, POLLIN | POLLHUP);
}

TEST_F(FoundKind, QueuesHaveNothingToSync) {
  const std::string name = "/rampart-found-" + std::to_string(getpid());
  mq_attr attributes{};
  attributes.mq_maxmsg = 2;
  attributes.mq_msgsize = 8;
  const Owned queue(mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, &attributes));
  ASSERT_TRUE(queue.ok());
  mq_unlink(name.c_str());
  EXPECT_FAILS(fsync(queue.get()), EINVAL);
  EXPECT_WORKS(sync_file_range(queue.get(), 0, 4096, 0));
  EXPECT_EQ(lseek(queue.get(), -10, SEEK_HOLE), 80);
  EXPECT_FAILS(lseek(queue.get(), -10, SEEK_DATA), EINVAL);
}

TEST_F(FoundKind, LinksToDescriptors) {
  const Owned file = File("f"), path(open("f", O_PATH));
  const auto link = [](int fd) { return "/proc/self/fd/" + std::to_string(fd); };
  struct stat st {};
  ASSERT_WORKS(lstat(link(file.get()).c_str(), &st));
  EXPECT_EQ(st.st_mode, S_IFLNK | 0700u);
  ASSERT_WORKS(lstat(link(path.get()).c_str(), &st));
  EXPECT_EQ(st.st_mode, S_IFLNK | 0u);
  EXPECT_WORKS(lchown(link(file.get()).c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1)));
  EXPECT_WORKS(utimensat(AT_FDCWD, link(file.get()).c_str(), nullptr, AT_SYMLINK_NOFOLLOW));
  EXPECT_FAILS(unlink(link(file.get()).c_str()), EPERM);
  EXPECT_FAILS(rmdir(link(file.get()).c_str()), ENOTDIR);
  EXPECT_WORKS(rename(link(file.get()).c_str(), link(file.get()).c_str()));
}

TEST_F(FoundKind, FlagsOfAnUnnamedFile) {
  const Owned file(open(".", O_TMPFILE | O_RDWR, 0600));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(fcntl(file.get(), F_GETFL) & O_TMPFILE, O_TMPFILE);
}

TEST_F(FoundKind, AVectorToAnEventfdIsAWriteForEachPiece) {
  const Owned fd(eventfd(0, EFD_NONBLOCK));
  uint64_t values[2] = {1, 2};
  const iovec halves[2] = {{values, 4}, {values, 4}}, wholes[2] = {{&values[0], 8}, {&values[1], 8}};
  EXPECT_FAILS(writev(fd.get(), halves, 2), EINVAL);
  EXPECT_EQ(writev(fd.get(), wholes, 2), 16);
  uint64_t sum = 0;
  ASSERT_EQ(read(fd.get(), &sum, sizeof(sum)), 8);
  EXPECT_EQ(sum, 3u);
  EXPECT_FAILS(pwritev2(fd.get(), wholes, 1, -1, RWF_DSYNC), EOPNOTSUPP);
}

TEST_F(FoundKind, SetIdBitsOfWhoMayKeepThem) {
  const Owned file = File("f");
  ASSERT_WORKS(fchmod(file.get(), 06711));
  ASSERT_EQ(write(file.get(), "x", 1), 1);
  ASSERT_WORKS(fallocate(file.get(), 0, 0, 100));
  ASSERT_WORKS(ftruncate(file.get(), 10));
  struct stat st {};
  ASSERT_WORKS(fstat(file.get(), &st));
  EXPECT_EQ(st.st_mode, S_IFREG | 06711u);
  ASSERT_WORKS(stat("f", &st));
  EXPECT_EQ(st.st_mode, S_IFREG | 06711u);
}

TEST_F(FoundKind, FilesKeepTheirAsyncFlag) {
  const Owned file(open("f", O_RDWR | O_CREAT | O_ASYNC, 0644));
  ASSERT_WORKS(fcntl(file.get(), F_SETFL, O_APPEND));
  EXPECT_EQ(fcntl(file.get(), F_GETFL) & (O_ASYNC | O_APPEND), O_ASYNC | O_APPEND);
}

TEST_F(FoundKind, OrderOfErrors) {
  const std::string too_long(300, 'x');
  EXPECT_FAILS(renameat(AT_FDCWD, too_long.c_str(), 1000, "t"), EBADF);
  EXPECT_FAILS(rename(too_long.c_str(), "none/t"), ENOENT);
  EXPECT_FAILS(rename(too_long.c_str(), "t"), ENAMETOOLONG);
  EXPECT_FAILS(mkdir(too_long.c_str(), 0755), ENAMETOOLONG);
  EXPECT_FAILS(open(too_long.c_str(), O_CREAT | O_RDWR, 0644), ENAMETOOLONG);
  EXPECT_FAILS(open((too_long + "/x").c_str(), O_RDONLY), ENAMETOOLONG);
  const timespec nothing[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  EXPECT_WORKS(syscall(SYS_utimensat, 1000, "none", nothing, 0x1));
  const Owned file(open("f", O_RDONLY | O_CREAT, 0644));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_pid = 1;
  EXPECT_FAILS(fcntl(file.get(), F_OFD_SETLK, &lock), EBADF);
  EXPECT_FAILS(sync_file_range(Owned(open("f", O_PATH)).get(), 0, 10, 0), EBADF);
}

TEST_F(FoundKind, LimitsOfFilesThatCannotGrowSo) {
  const Owned file = File("f", 100);
  rlimit old{};
  ASSERT_WORKS(getrlimit(RLIMIT_FSIZE, &old));
  const rlimit little{10000, old.rlim_max};
  const Owned memory(memfd_create("m", 0));
  sighandler_t handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_WORKS(setrlimit(RLIMIT_FSIZE, &little));
  EXPECT_FAILS(fallocate(memory.get(), FALLOC_FL_ZERO_RANGE, 0, 20000), EOPNOTSUPP);
  EXPECT_FAILS(fallocate(memory.get(), FALLOC_FL_KEEP_SIZE, 0, 20000), EFBIG);
  loff_t from = 0, to = 20000;
  EXPECT_FAILS(copy_file_range(file.get(), &from, memory.get(), &to, 0, 0), EXDEV);
  const Owned other = File("g");
  EXPECT_FAILS(copy_file_range(file.get(), &from, other.get(), &to, 10, 0), EFBIG);
  from = 100;
  EXPECT_FAILS(copy_file_range(file.get(), &from, other.get(), &to, 10, 0), EFBIG);
  EXPECT_EQ(pwrite(other.get(), "", 0, 20000), 0);
  to = INT64_MAX;
  EXPECT_FAILS(copy_file_range(file.get(), &from, other.get(), &to, 0, 0), EFBIG);
  ASSERT_WORKS(setrlimit(RLIMIT_FSIZE, &old));
  signal(SIGXFSZ, handler);
}

TEST_F(FoundKind, PathDescriptorsAreNothingElse) {
  const Owned path(open("/", O_PATH)), epoll(epoll_create1(0));
  epoll_event event{};
  EXPECT_FAILS(epoll_wait(path.get(), &event, 1, 0), EBADF);
  EXPECT_FAILS(epoll_ctl(path.get(), EPOLL_CTL_ADD, epoll.get(), &event), EBADF);
  EXPECT_FAILS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, path.get(), &event), EBADF);
  EXPECT_FAILS(inotify_add_watch(path.get(), "/", IN_ACCESS), EBADF);
  EXPECT_FAILS(inotify_rm_watch(path.get(), 1), EBADF);
  itimerspec setting{};
  EXPECT_FAILS(timerfd_settime(path.get(), 0, &setting, nullptr), EBADF);
  EXPECT_FAILS(timerfd_gettime(path.get(), &setting), EBADF);
  sigset_t set;
  sigemptyset(&set);
  EXPECT_FAILS(signalfd(path.get(), &set, 0), EBADF);
  char byte = 0;
  EXPECT_FAILS(pread(path.get(), &byte, 1, 0), EBADF);
  EXPECT_FAILS(preadv(path.get(), nullptr, 0, -5), EINVAL);
  EXPECT_FAILS(splice(path.get(), nullptr, path.get(), nullptr, 1, 0), EBADF);
}

TEST_F(FoundKind, APidfdIsOpenedAnewThroughItsLink) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const Owned fd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  const std::string link = "/proc/self/fd/" + std::to_string(fd.get());
  const Owned again(open(link.c_str(), O_RDONLY | O_CREAT, 0644));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(fcntl(again.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_FAILS(open(link.c_str(), O_RDWR | O_TRUNC), EOPNOTSUPP);
  EXPECT_FAILS(open(link.c_str(), O_RDONLY | O_DIRECTORY), ENOTDIR);
  EXPECT_WORKS(syscall(SYS_pidfd_send_signal, again.get(), SIGKILL, nullptr, 0));
  pollfd asked{again.get(), POLLIN, 0};
  EXPECT_EQ(poll(&asked, 1, 10000), 1);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_F(FoundKind, ASignalfdShowsTheSignalsOfWhoAsks) {
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, &old);
  const Owned fd(signalfd(-1, &set, SFD_NONBLOCK)), epoll(epoll_create1(0));
  epoll_event event{EPOLLIN, {}};
  ASSERT_WORKS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event));
  ASSERT_WORKS(kill(getpid(), SIGUSR1));
  const pid_t child = fork();  // inherits no pending signals
  if (child == 0) {
    int wrong = 0;
    pollfd asked{fd.get(), POLLIN, 0};
    if (poll(&asked, 1, 0) != 0) wrong |= 1;
    kill(getpid(), SIGUSR1);
    if (poll(&asked, 1, 0) != 1 || asked.revents != POLLIN) wrong |= 2;
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd.get(), &in);
    timeval none{0, 0};
    if (select(fd.get() + 1, &in, nullptr, nullptr, &none) != 1) wrong |= 4;
    signalfd_siginfo got{};
    if (read(fd.get(), &got, sizeof(got)) != sizeof(got) || got.ssi_pid != static_cast<unsigned>(getpid())) wrong |= 8;
    // One that sleeps is woken by its own signals, too.
    const pid_t waker = fork();
    if (waker == 0) {
      usleep(20000);
      _exit(kill(getppid(), SIGUSR1) == 0 ? 0 : 1);
    }
    if (poll(&asked, 1, 10000) != 1) wrong |= 16;
    waitpid(waker, nullptr, 0);
    _exit(wrong);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 0), 1);
  signalfd_siginfo got{};
  EXPECT_EQ(read(fd.get(), &got, sizeof(got)), static_cast<ssize_t>(sizeof(got)));
  sigprocmask(SIG_SETMASK, &old, nullptr);
}

}  // namespace
