// Which of several faults a call complains about, and small facts beside; found by tests/differential.
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/fsuid.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>

#include "tests/syscalls/scratch.h"

namespace {

constexpr int kNone = 999;  // no such descriptor

class ArgumentOrder : public scratch::Scratch {};
ON_ALL_PLACES(ArgumentOrder);

TEST_P(ArgumentOrder, NamesAreReadBeforeDescriptors) {
  EXPECT_FAILS(openat(kNone, "", O_RDONLY), ENOENT);
  EXPECT_FAILS(openat(kNone, "x", O_RDONLY), EBADF);
  EXPECT_FAILS(unlinkat(kNone, "", AT_REMOVEDIR), ENOENT);
  struct stat st {};
  EXPECT_FAILS(fstatat(kNone, "", &st, 0), ENOENT);
  EXPECT_FAILS(fstatat(kNone, "", &st, AT_EMPTY_PATH), EBADF);
  EXPECT_FAILS(faccessat(kNone, "", F_OK, AT_EMPTY_PATH), EBADF);
  EXPECT_FAILS(symlinkat("x", kNone, ""), ENOENT);
}

TEST_P(ArgumentOrder, TheFirstNameIsWalkedBeforeTheSecondIsLookedAt) {
  EXPECT_FAILS(renameat2(kNone, "a", AT_FDCWD, "b", 8), EINVAL);
  EXPECT_FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, std::string(5000, 'x').c_str(), RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
  EXPECT_FAILS(renameat2(AT_FDCWD, "none/a", kNone, "b", 0), ENOENT);
  EXPECT_FAILS(renameat2(AT_FDCWD, "a", kNone, "b", 0), EBADF);
  EXPECT_FAILS(linkat(AT_FDCWD, "none", kNone, "b", 0), ENOENT);
  Put("f", "");
  EXPECT_FAILS(linkat(AT_FDCWD, "f", kNone, "b", 0), EBADF);
}

TEST_P(ArgumentOrder, TimesAreJudgedOnceTheFileIsFound) {
  const timespec bad[2] = {{1, 1'000'000'000}, {1, 0}}, omitted[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  EXPECT_FAILS(utimensat(AT_FDCWD, "none", bad, 0), ENOENT);
  Put("f", "");
  EXPECT_FAILS(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
  EXPECT_WORKS(utimensat(AT_FDCWD, "none", omitted, 0));
}

TEST_P(ArgumentOrder, FlagsOfVectorCallsComeLast) {
  Put("f", "0123456789");
  const int fd = open("f", O_RDWR | O_APPEND), reads = open("f", O_RDONLY);
  char text[4] = {'a', 'b', 'c', 'd'};
  const iovec piece{text, sizeof(text)};
  EXPECT_FAILS(syscall(SYS_preadv2, kNone, &piece, 1, 0L, 0L, 1 << 20), EBADF);
  EXPECT_FAILS(syscall(SYS_pwritev2, reads, &piece, 1, 0L, 0L, 1 << 20), EBADF);
  EXPECT_FAILS(syscall(SYS_preadv2, fd, &piece, 1, 0L, 0L, 1 << 20), EOPNOTSUPP);
  EXPECT_EQ(syscall(SYS_preadv2, fd, &piece, 0, 0L, 0L, 1 << 20), 0);  // nothing to do is done
  close(fd);
  close(reads);
}

// RWF_NOAPPEND (Linux 6.9): at the offset, although the description appends.
TEST_P(ArgumentOrder, NoappendWritesAtTheOffset) {
  constexpr int kAppend = 0x10, kNoAppend = 0x20;
  Put("f", "0123456789");
  const int fd = open("f", O_RDWR | O_APPEND);
  const iovec piece{const_cast<char*>("ab"), 2};
  const long n = syscall(SYS_pwritev2, fd, &piece, 1, 3L, 0L, kNoAppend);
  if (n < 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "a kernel before 6.9";
  EXPECT_EQ(n, 2);
  EXPECT_EQ(Get("f"), "012ab56789");
  EXPECT_EQ(syscall(SYS_pwritev2, fd, &piece, 1, 3L, 0L, 0), 2);
  EXPECT_EQ(Get("f"), "012ab56789ab");
  EXPECT_FAILS(syscall(SYS_pwritev2, fd, &piece, 1, 3L, 0L, kAppend | kNoAppend), EINVAL);
  close(fd);
}

TEST_P(ArgumentOrder, CopiesWithinAFileCountOnlyWhatIsThere) {
  Put("f", "0123456789");
  const int fd = open("f", O_RDWR);
  off64_t from = 5, to = 10;
  // The ranges asked for overlap, those that exist do not.
  EXPECT_EQ(copy_file_range(fd, &from, fd, &to, 4096, 0), 5);
  EXPECT_EQ(Get("f"), "012345678956789");
  from = 100;
  to = 102;
  EXPECT_EQ(copy_file_range(fd, &from, fd, &to, 4096, 0), 0);
  from = 0;
  to = 2;
  EXPECT_FAILS(copy_file_range(fd, &from, fd, &to, 4096, 0), EINVAL);
  EXPECT_FAILS(copy_file_range(kNone, nullptr, fd, nullptr, 1, 1), EBADF);
  close(fd);
}

TEST_P(ArgumentOrder, AllocationModesComeBeforeTheDescriptorsRights) {
  Put("f", "x");
  const int reads = open("f", O_RDONLY);
  EXPECT_FAILS(fallocate(reads, 0x1000, 0, 1), EOPNOTSUPP);
  EXPECT_FAILS(fallocate(reads, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
  EXPECT_FAILS(fallocate(reads, 0, 0, 1), EBADF);
  close(reads);
}

TEST_P(ArgumentOrder, FlockJudgesTheOperationFirst) {
  EXPECT_FAILS(flock(kNone, LOCK_NB), EINVAL);
  Put("f", "");
  const int neither = open("f", O_ACCMODE);
  ASSERT_GE(neither, 0);
  EXPECT_FAILS(flock(neither, LOCK_SH), EBADF);
  EXPECT_WORKS(flock(neither, LOCK_UN));
  close(neither);
}

// Linux 6.5: F_UNLCK asks for the locks of the description itself.
TEST_P(ArgumentOrder, OfdGetlkFindsOwnLocks) {
  Put("f", "");
  const int fd = open("f", O_RDWR);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_start = 10;
  lock.l_len = 5;
  ASSERT_WORKS(fcntl(fd, F_OFD_SETLK, &lock));
  struct flock asked {};
  asked.l_type = F_UNLCK;
  if (fcntl(fd, F_OFD_GETLK, &asked) != 0 && errno == EINVAL) GTEST_SKIP() << "a kernel before 6.5";
  EXPECT_EQ(asked.l_type, F_WRLCK);
  EXPECT_EQ(asked.l_start, 10);
  EXPECT_EQ(asked.l_len, 5);
  asked = {};
  asked.l_type = F_UNLCK;
  EXPECT_FAILS(fcntl(fd, F_GETLK, &asked), EINVAL);
  close(fd);
}

TEST_P(ArgumentOrder, APrefixIsNoAttributeName) {
  Put("f", "");
  if (setxattr("f", "user.x", "1", 1, 0) != 0) GTEST_SKIP() << "no user attributes here";
  char value[8];
  EXPECT_FAILS(setxattr("f", "user.", "1", 1, 0), EINVAL);
  EXPECT_FAILS(getxattr("f", "user.", value, sizeof(value)), EINVAL);
  EXPECT_FAILS(removexattr("f", "user."), EINVAL);
}

TEST(ArgumentOrderTest, Sendfile) {
  int pipe[2], broken[2];
  ASSERT_WORKS(pipe2(pipe, O_NONBLOCK));
  ASSERT_WORKS(pipe2(broken, O_NONBLOCK));
  const int file = memfd_create("f", 0);
  off_t offset = 0;
  EXPECT_FAILS(sendfile(kNone, pipe[0], &offset, 1), ESPIPE);
  EXPECT_FAILS(sendfile(pipe[1], pipe[0], nullptr, 1), EINVAL);
  offset = INT64_MAX;
  EXPECT_FAILS(sendfile(pipe[1], file, &offset, 511), EINVAL);
  signal(SIGPIPE, SIG_IGN);
  close(broken[0]);
  EXPECT_FAILS(sendfile(broken[1], file, nullptr, 511), EPIPE);  // although there is nothing to send
}

TEST(ArgumentOrderTest, SpliceOffsetsOfPipes) {
  int pipe[2];
  ASSERT_WORKS(pipe2(pipe, O_NONBLOCK));
  off64_t offset = 0;
  EXPECT_FAILS(splice(pipe[1], nullptr, pipe[0], &offset, 1, 0), ESPIPE);
  EXPECT_FAILS(splice(pipe[1], nullptr, pipe[0], nullptr, 1, 0), EBADF);
}

TEST(ArgumentOrderTest, AdviceAndAllocationOnWhatHasNoPages) {
  int pair[2], pipe[2];
  ASSERT_WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  ASSERT_WORKS(pipe2(pipe, 0));
  EXPECT_EQ(posix_fadvise(pair[0], 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(posix_fadvise(pair[0], 0, 0, 99), EINVAL);
  EXPECT_EQ(posix_fadvise(pipe[0], 0, 0, 99), ESPIPE);
  EXPECT_FAILS(fallocate(pair[0], 0, 0, 1), ENODEV);
  EXPECT_FAILS(fallocate(pipe[1], 0, 0, 1), ESPIPE);
}

TEST(ArgumentOrderTest, NoBytesOfAStream) {
  int pair[2], pipe[2];
  ASSERT_WORKS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
  ASSERT_WORKS(pipe2(pipe, O_NONBLOCK));
  char byte = 'x';
  EXPECT_EQ(read(pair[0], &byte, 0), 0);
  EXPECT_EQ(read(pipe[0], &byte, 0), 0);
  EXPECT_FAILS(recv(pair[0], &byte, 0, 0), EAGAIN);
  // Nothing is there: where it would go is not looked at.
  EXPECT_FAILS(recv(pair[0], reinterpret_cast<void*>(16), 1, 0), EAGAIN);
  ASSERT_EQ(send(pair[1], &byte, 1, 0), 1);
  EXPECT_EQ(recv(pair[0], &byte, 0, 0), 0);
  EXPECT_FAILS(recv(pair[0], reinterpret_cast<void*>(16), 1, 0), EFAULT);
  EXPECT_EQ(recv(pair[0], &byte, 1, 0), 1);
  close(pipe[0]);
  signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(write(pipe[1], &byte, 0), 0);
}

TEST(ArgumentOrderTest, FlagsOfNewDescriptors) {
  int pipe[2];
  ASSERT_WORKS(pipe2(pipe, O_DIRECT | O_NONBLOCK));
  EXPECT_EQ(fcntl(pipe[0], F_GETFL), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(fcntl(pipe[1], F_GETFL), O_WRONLY | O_NONBLOCK | O_DIRECT);
  constexpr int kLargeFile = 0100000;  // glibc's O_LARGEFILE is 0
  EXPECT_EQ(fcntl(memfd_create("f", 0), F_GETFL), O_RDWR | kLargeFile);
}

TEST(ArgumentOrderTest, LocalAddressesWithoutAName) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const int fd = socket(AF_UNIX, type, 0);
    EXPECT_FAILS(connect(fd, reinterpret_cast<sockaddr*>(&address), offsetof(sockaddr_un, sun_path)), EINVAL);
    close(fd);
  }
}

TEST(ArgumentOrderTest, FutexesJudgeTimesAndBitsBeforeTheWord) {
  const timespec bad{0, -1};
  auto* const nowhere = reinterpret_cast<uint32_t*>(16);
  EXPECT_FAILS(syscall(SYS_futex, nowhere, FUTEX_WAIT, 0, &bad, nullptr, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_futex, nowhere, FUTEX_LOCK_PI, 0, &bad, nullptr, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_futex, nowhere, FUTEX_WAKE_BITSET, 1, nullptr, nullptr, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_futex, reinterpret_cast<char*>(nowhere) + 1, FUTEX_UNLOCK_PI, 0, nullptr, nullptr, 0), EFAULT);
}

TEST(ArgumentOrderTest, Memory) {
  constexpr size_t kPage = 4096;
  auto* const area = static_cast<char*>(mmap(nullptr, 16 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  EXPECT_FAILS(madvise(area, kPage, 23 /* MADV_POPULATE_WRITE */), EINVAL);
  ASSERT_WORKS(munmap(area + kPage, kPage));
  EXPECT_FAILS(madvise(area, 2 * kPage, 23), EINVAL);  // before the hole is met
  EXPECT_FAILS(madvise(area, 2 * kPage, 22 /* MADV_POPULATE_READ */), ENOMEM);
  // Nothing of a private area can be had twice.
  EXPECT_EQ(mremap(area + 2 * kPage, 0, kPage, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  // What a move cuts off need not be there.
  ASSERT_WORKS(munmap(area + 4 * kPage, kPage));
  EXPECT_EQ(mremap(area + 3 * kPage, 4 * kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, area + 10 * kPage), area + 10 * kPage);
}

TEST(ArgumentOrderTest, UnknownCommandsOfEpoll) {
  const int epoll = epoll_create1(0);
  int value = 0;
  if (ioctl(epoll, 0x1234, &value) != 0 && errno == ENOTTY) GTEST_SKIP() << "a kernel before 6.9";
  EXPECT_FAILS(ioctl(epoll, 0x1234, &value), EINVAL);
}

// Named after the filesystem's own root, which no directory of the process leads to.
TEST(ArgumentOrderTest, LinksOfMessageQueues) {
  const std::string name = "argument-order-" + std::to_string(getpid());
  const auto fd = static_cast<int>(syscall(SYS_mq_open, name.c_str(), O_RDWR | O_CREAT, 0600, nullptr));
  ASSERT_GE(fd, 0);
  char text[100] = {};
  EXPECT_GT(readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof(text) - 1), 0);
  EXPECT_EQ(std::string(text), "/" + name);
  EXPECT_WORKS(syscall(SYS_mq_unlink, name.c_str()));
}

// The dead are there for those who wait for the dead.
TEST(ArgumentOrderTest, WaitidOfAZombieWithoutWexited) {
  const pid_t child = fork();
  if (child == 0) _exit(3);
  siginfo_t info{};
  ASSERT_WORKS(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT));
  EXPECT_FAILS(waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED | WNOHANG), ECHILD);
  EXPECT_FAILS(waitid(P_PID, static_cast<id_t>(child), &info, WCONTINUED), ECHILD);
  EXPECT_WORKS(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED));
}

// A group that is orphaned as it is does not become so when one member ends, whoever else is stopped.
TEST(ArgumentOrderTest, NoHangUpWithinAnOrphanedGroup) {
  scratch::Passes(scratch::InChild([] {
    IN_CHILD(setsid() > 0);
    const pid_t stopped = fork();
    if (stopped == 0) {
      raise(SIGSTOP);
      _exit(0);
    }
    siginfo_t info{};
    IN_CHILD(waitid(P_PID, static_cast<id_t>(stopped), &info, WSTOPPED) == 0);
    const pid_t other = fork();
    if (other == 0) _exit(0);
    IN_CHILD(waitid(P_PID, static_cast<id_t>(other), &info, WEXITED) == 0);
    IN_CHILD(waitid(P_PID, static_cast<id_t>(stopped), &info, WEXITED | WCONTINUED | WNOHANG) == 0 && info.si_pid == 0);
    kill(stopped, SIGKILL);
    return 0;
  }));
}

// Since Linux 6.3: what changes nothing leaves the filesystem's id alone.
TEST(ArgumentOrderTest, SetresgidOfNothingKeepsTheFilesystemsId) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  scratch::Passes(scratch::InChild([] {
    setfsgid(1001);
    setfsuid(1001);
    IN_CHILD(syscall(SYS_setresgid, -1, -1, -1) == 0);
    IN_CHILD(syscall(SYS_setresuid, -1, -1, -1) == 0);
    IN_CHILD(setfsgid(static_cast<gid_t>(-1)) == 1001);
    IN_CHILD(setfsuid(static_cast<uid_t>(-1)) == 1001);
    IN_CHILD(syscall(SYS_setresuid, -1, 0, -1) == 0);  // the effective one is 0 already, but the filesystem's is not
    IN_CHILD(setfsuid(static_cast<uid_t>(-1)) == 0);
    return 0;
  }));
}

TEST(ArgumentOrderTest, TheTargetOfConnectIsLookedAtBeforeTheSocket) {
  int pair[2];
  ASSERT_WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = std::string(1, '\0') + "argument-order-" + std::to_string(getpid());
  name.copy(address.sun_path, name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  const int target = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_WORKS(bind(target, reinterpret_cast<sockaddr*>(&address), length));
  EXPECT_FAILS(connect(pair[0], reinterpret_cast<sockaddr*>(&address), length), ECONNREFUSED);
  ASSERT_WORKS(listen(target, 1));
  EXPECT_FAILS(connect(pair[0], reinterpret_cast<sockaddr*>(&address), length), EISCONN);
  EXPECT_FAILS(connect(target, reinterpret_cast<sockaddr*>(&address), length), EINVAL);
}

TEST(ArgumentOrderTest, TypeOfServiceIsAByte) {
  const int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
  int value = 300;
  socklen_t length = sizeof(value);
  EXPECT_WORKS(setsockopt(udp, IPPROTO_IP, IP_TOS, &value, length));
  EXPECT_WORKS(getsockopt(udp, IPPROTO_IP, IP_TOS, &value, &length));
  EXPECT_EQ(value, 300 & 0xff);
  value = 0xff;
  EXPECT_WORKS(setsockopt(tcp, IPPROTO_IP, IP_TOS, &value, length));
  EXPECT_WORKS(getsockopt(tcp, IPPROTO_IP, IP_TOS, &value, &length));
  EXPECT_EQ(value, 0xfc);
  EXPECT_WORKS(getsockopt(tcp, SOL_SOCKET, SO_NO_CHECK, &value, &length));
}

TEST(ArgumentOrderTest, SealsAreRefusedToReaders) {
  int pipe[2];
  ASSERT_WORKS(pipe2(pipe, 0));
  EXPECT_FAILS(fcntl(pipe[0], F_ADD_SEALS, F_SEAL_GROW), EPERM);
  EXPECT_FAILS(fcntl(pipe[1], F_ADD_SEALS, F_SEAL_GROW), EINVAL);
}

TEST(ArgumentOrderTest, DirectoriesAreAskedForBeforeRights) {
  char buffer[512];
  const int file = open("/dev/shm", O_TMPFILE | O_WRONLY, 0600);
  ASSERT_GE(file, 0);
  EXPECT_FAILS(syscall(SYS_getdents64, file, buffer, sizeof(buffer)), ENOTDIR);
  EXPECT_FAILS(syscall(SYS_getdents64, open("/", O_PATH), buffer, sizeof(buffer)), EBADF);
  EXPECT_FAILS(fcntl(file, F_GETPIPE_SZ), EBADF);
  EXPECT_WORKS(mprotect(reinterpret_cast<void*>(4096), 0, 0x1000000));  // nothing, whichever way
  EXPECT_FAILS(accept4(kNone, nullptr, nullptr, 1), EBADF);
}

TEST(ArgumentOrderTest, AttributesOfNoKnownKind) {
  char value[8];
  EXPECT_FAILS(getxattr("/dev/shm", "nothing", value, sizeof(value)), EOPNOTSUPP);
}

// Since Linux 5.19.
TEST(ArgumentOrderTest, NoCopyBetweenFilesystems) {
  const int in = open("/proc/self/exe", O_RDONLY), out = memfd_create("f", 0);
  EXPECT_FAILS(copy_file_range(in, nullptr, out, nullptr, 10, 0), EXDEV);
}

TEST(ArgumentOrderTest, SpliceWithWhatCannot) {
  int pipe[2];
  ASSERT_WORKS(pipe2(pipe, O_NONBLOCK));
  const int epoll = epoll_create1(0);
  EXPECT_FAILS(splice(pipe[0], nullptr, epoll, nullptr, 10, SPLICE_F_NONBLOCK), EINVAL);
  EXPECT_FAILS(splice(epoll, nullptr, pipe[1], nullptr, 10, SPLICE_F_NONBLOCK), EINVAL);
  close(pipe[0]);
  signal(SIGPIPE, SIG_IGN);
  EXPECT_FAILS(splice(epoll, nullptr, pipe[1], nullptr, 10, SPLICE_F_NONBLOCK), EPIPE);
}

TEST(ArgumentOrderTest, AccessModeThreeMayMakeUnnamedFiles) {
  const int fd = open("/dev/shm", O_TMPFILE | O_ACCMODE, 0600);
  ASSERT_GE(fd, 0) << errno;
  char byte = 0;
  EXPECT_FAILS(read(fd, &byte, 1), EBADF);
  EXPECT_FAILS(write(fd, &byte, 1), EBADF);
}

}  // namespace
