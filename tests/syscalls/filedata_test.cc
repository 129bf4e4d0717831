// What is in files: reading and writing at all offsets, holes, truncation, allocation, copies between descriptors, mappings.
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <chrono>
#include <climits>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

using scratch::InChild;
using scratch::Passes;

constexpr size_t kPage = 4096;

// An address that is never mapped, and that the compiler does not know.
void* Nowhere() {
  volatile uintptr_t address = 8;
  return reinterpret_cast<void*>(address);
}

class FileData : public scratch::Scratch {
 protected:
  static int New(const char* name = "f", int flags = 0) { return open(name, O_CREAT | O_RDWR | flags, 0644); }
  static std::string At(int fd, off_t offset, size_t length) {
    std::string text(length, '?');
    const ssize_t n = pread(fd, text.data(), length, offset);
    text.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return text;
  }
  static off_t Size(int fd) {
    struct stat st {};
    EXPECT_EQ(fstat(fd, &st), 0);
    return st.st_size;
  }
};
ON_ALL_PLACES(FileData);

TEST_P(FileData, ReadsAndWritesMoveThePosition) {
  const int fd = New();
  EXPECT_EQ(write(fd, "hello world", 11), 11);
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 11);
  char text[32] = {};
  EXPECT_EQ(read(fd, text, sizeof(text)), 0);
  EXPECT_EQ(lseek(fd, 6, SEEK_SET), 6);
  EXPECT_EQ(read(fd, text, 3), 3);
  EXPECT_STREQ(text, "wor");
  EXPECT_EQ(pread(fd, text, 5, 0), 5);
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 9);
  EXPECT_EQ(pwrite(fd, "J", 1, 0), 1);
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 9);
  EXPECT_EQ(At(fd, 0, 100), "Jello world");
  EXPECT_EQ(lseek(fd, -1, SEEK_END), 10);
  EXPECT_EQ(lseek(fd, 100, SEEK_END), 111);
  EXPECT_EQ(read(fd, text, 1), 0);
  EXPECT_EQ(Size(fd), 11);
  EXPECT_EQ(write(fd, "x", 1), 1);
  EXPECT_EQ(Size(fd), 112);
  EXPECT_EQ(At(fd, 10, 4), std::string("d\0\0\0", 4));
  close(fd);
}

TEST_P(FileData, SeekErrors) {
  const int fd = New();
  EXPECT_FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
  EXPECT_FAILS(lseek(fd, -1, SEEK_CUR), EINVAL);
  EXPECT_FAILS(lseek(fd, 0, 99), EINVAL);
  EXPECT_FAILS(lseek(999, 0, SEEK_SET), EBADF);
  EXPECT_FAILS(pread(fd, Nowhere(), 1, -1), EINVAL);
  EXPECT_FAILS(pwrite(fd, "x", 1, -1), EINVAL);
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  EXPECT_FAILS(lseek(fds[0], 0, SEEK_CUR), ESPIPE);
  char c = 0;
  EXPECT_FAILS(pread(fds[0], &c, 1, 0), ESPIPE);
  close(fds[0]);
  close(fds[1]);
  close(fd);
}

TEST_P(FileData, BadBuffers) {
  const int fd = New();
  ASSERT_EQ(write(fd, "0123456789", 10), 10);
  EXPECT_FAILS(pread(fd, Nowhere(), 5, 0), EFAULT);
  EXPECT_FAILS(pwrite(fd, Nowhere(), 5, 0), EFAULT);
  EXPECT_EQ(pread(fd, Nowhere(), 0, 0), 0);
  EXPECT_EQ(pread(fd, Nowhere(), 5, 10), 0) << "nothing is touched at the end";
  char* two = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(two, MAP_FAILED);
  ASSERT_WORKS(munmap(two + kPage, kPage));
  EXPECT_EQ(pread(fd, two + kPage - 4, 10, 0), 4) << "as far as it went";
  EXPECT_EQ(memcmp(two + kPage - 4, "0123", 4), 0);
  EXPECT_EQ(pwrite(fd, two + kPage - 4, 10, 20), 4);
  EXPECT_EQ(Size(fd), 24);
  munmap(two, kPage);
  close(fd);
}

TEST_P(FileData, VectorsGoInOrder) {
  const int fd = New();
  char a[] = "abc", b[] = "defgh", e[] = "";
  const iovec out[3] = {{a, 3}, {e, 0}, {b, 5}};
  EXPECT_EQ(writev(fd, out, 3), 8);
  EXPECT_EQ(pwritev(fd, out, 3, 4), 8);
  EXPECT_EQ(At(fd, 0, 100), "abcdabcdefgh");
  char x[4] = {}, y[16] = {};
  const iovec in[2] = {{x, 3}, {y, 15}};
  EXPECT_EQ(preadv(fd, in, 2, 2), 10);
  EXPECT_STREQ(x, "cda");
  EXPECT_STREQ(y, "bcdefgh");
  EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
  EXPECT_EQ(readv(fd, in, 1), 3);
  EXPECT_EQ(readv(fd, in, 0), 0);
  EXPECT_FAILS(syscall(SYS_readv, fd, in, -1L), EINVAL);
  EXPECT_FAILS(syscall(SYS_readv, fd, in, IOV_MAX + 1L), EINVAL);
  EXPECT_FAILS(preadv(fd, in, 2, -1), EINVAL);
  const iovec bad[1] = {{x, SIZE_MAX}};
  EXPECT_FAILS(readv(fd, bad, 1), EINVAL);
  EXPECT_FAILS(syscall(SYS_readv, fd, 8L, 1), EFAULT);
  close(fd);
}

TEST_P(FileData, Preadv2Flags) {
  const int fd = New();
  char a[] = "abc", x[8] = {};
  const iovec out{a, 3}, in{x, 3};
  EXPECT_EQ(pwritev2(fd, &out, 1, -1, 0), 3);
  EXPECT_EQ(pwritev2(fd, &out, 1, 0, RWF_APPEND), 3) << "at the end, whatever the offset says";
  EXPECT_EQ(Size(fd), 6);
  EXPECT_EQ(pwritev2(fd, &out, 1, 0, RWF_SYNC), 3);
  EXPECT_EQ(pwritev2(fd, &out, 1, 0, RWF_DSYNC), 3);
  EXPECT_EQ(preadv2(fd, &in, 1, 1, 0), 3);
  EXPECT_STREQ(x, "bca");
  EXPECT_EQ(preadv2(fd, &in, 1, -1, 0), 3);
  EXPECT_EQ(preadv2(fd, &in, 1, 0, RWF_HIPRI), 3);
  EXPECT_FAILS(preadv2(fd, &in, 1, 0, 0x8000), EOPNOTSUPP);
  close(fd);
}

TEST_P(FileData, AppendGoesToTheEnd) {
  const int a = New("f", O_APPEND), b = New("f");
  EXPECT_EQ(write(b, "0123", 4), 4);
  EXPECT_EQ(write(a, "abc", 3), 3);
  EXPECT_EQ(lseek(a, 0, SEEK_CUR), 7);
  EXPECT_EQ(lseek(a, 0, SEEK_SET), 0);
  EXPECT_EQ(write(a, "def", 3), 3);
  EXPECT_EQ(pwrite(a, "ghi", 3, 0), 3) << "appends, against POSIX, as Linux does";
  EXPECT_EQ(Get("f"), "0123abcdefghi");
  close(a);
  close(b);
}

TEST_P(FileData, AppendsFromManyAreNotLost) {
  constexpr int kWriters = 4, kWrites = 200;
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([i] {
      const int fd = New("f", O_APPEND);
      const std::string line(16, static_cast<char>('a' + i));
      for (int n = 0; n < kWrites; ++n) EXPECT_EQ(write(fd, line.data(), line.size()), 16);
      close(fd);
    });
  }
  for (std::thread& t : writers) t.join();
  const std::string all = Get("f");
  ASSERT_EQ(all.size(), static_cast<size_t>(kWriters * kWrites * 16));
  for (size_t at = 0; at < all.size(); at += 16) EXPECT_EQ(all.substr(at, 16), std::string(16, all[at]));
}

TEST_P(FileData, TruncateCutsAndGrows) {
  const int fd = New();
  ASSERT_EQ(write(fd, "0123456789", 10), 10);
  EXPECT_WORKS(ftruncate(fd, 4));
  EXPECT_EQ(Get("f"), "0123");
  EXPECT_WORKS(ftruncate(fd, 8));
  EXPECT_EQ(Get("f"), std::string("0123\0\0\0\0", 8));
  EXPECT_WORKS(truncate("f", 2));
  EXPECT_EQ(Get("f"), "01");
  EXPECT_FAILS(ftruncate(fd, -1), EINVAL);
  EXPECT_FAILS(truncate("none", 0), ENOENT);
  EXPECT_FAILS(truncate(".", 0), EISDIR);
  EXPECT_FAILS(ftruncate(999, 0), EBADF);
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 10);
  close(fd);
}

TEST_P(FileData, BigOffsetsAndSparseFiles) {
  const int fd = New();
  const off_t far = off_t{3} << 30;
  EXPECT_EQ(pwrite(fd, "end", 3, far), 3);
  EXPECT_EQ(Size(fd), far + 3);
  EXPECT_EQ(At(fd, far - 2, 100), std::string("\0\0end", 5));
  struct stat st {};
  ASSERT_WORKS(fstat(fd, &st));
  EXPECT_LT(st.st_blocks, 1024) << "the hole takes no space";
  EXPECT_EQ(lseek(fd, 0, SEEK_DATA), far);
  EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
  EXPECT_EQ(lseek(fd, far, SEEK_HOLE), far + 3);
  EXPECT_FAILS(lseek(fd, far + 3, SEEK_DATA), ENXIO);
  EXPECT_FAILS(lseek(fd, far + 3, SEEK_HOLE), ENXIO);
  EXPECT_FAILS(pwrite(fd, "x", 1, INT64_MAX), EINVAL);
  close(fd);
}

TEST_P(FileData, Fallocate) {
  const int fd = New();
  EXPECT_WORKS(fallocate(fd, 0, 0, 10'000));
  EXPECT_EQ(Size(fd), 10'000);
  EXPECT_WORKS(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100'000));
  EXPECT_EQ(Size(fd), 10'000);
  const std::string text(10'000, 'x');
  ASSERT_EQ(pwrite(fd, text.data(), text.size(), 0), 10'000);
  EXPECT_WORKS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000));
  EXPECT_EQ(At(fd, 98, 4), std::string("xx\0\0", 4));
  EXPECT_EQ(At(fd, 5098, 4), std::string("\0\0xx", 4));
  EXPECT_EQ(Size(fd), 10'000);
  EXPECT_FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100), EOPNOTSUPP);
  EXPECT_FAILS(fallocate(fd, 0, 0, 0), EINVAL);
  EXPECT_FAILS(fallocate(fd, 0, -1, 10), EINVAL);
  EXPECT_FAILS(fallocate(fd, 0, INT64_MAX, 10), EFBIG);
  EXPECT_FAILS(fallocate(999, 0, 0, 10), EBADF);
  const int ro = open("f", O_RDONLY);
  EXPECT_FAILS(fallocate(ro, 0, 0, 10), EBADF);
  close(ro);
  EXPECT_WORKS(posix_fallocate(fd, 0, 20'000));
  EXPECT_EQ(Size(fd), 20'000);
  close(fd);
}

TEST_P(FileData, FileSizeLimit) {
  Passes(InChild([] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, RLIM_INFINITY};
    IN_CHILD(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const int fd = New();
    const std::string text(1500, 'x');
    IN_CHILD(write(fd, text.data(), text.size()) == 1000);
    IN_CHILD_FAILS(write(fd, "x", 1), EFBIG);
    IN_CHILD_FAILS(ftruncate(fd, 2000), EFBIG);
    IN_CHILD(ftruncate(fd, 500) == 0);
    IN_CHILD_FAILS(pwrite(fd, "x", 1, 1000), EFBIG);
    IN_CHILD_FAILS(fallocate(fd, 0, 0, 2000), EFBIG);
    return 0;
  }));
  Passes(InChild([] {
    const rlimit limit{10, RLIM_INFINITY};
    IN_CHILD(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const pid_t child = fork();
    if (child == 0) {
      const int fd = New("g");
      (void)!write(fd, "0123456789", 10);
      (void)!write(fd, "x", 1);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    IN_CHILD(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    return 0;
  }));
}

TEST_P(FileData, UnnamedFiles) {
  const int fd = open(".", O_TMPFILE | O_RDWR, 0640);
  ASSERT_GE(fd, 0) << errno;
  EXPECT_EQ(write(fd, "hidden", 6), 6);
  struct stat st {};
  ASSERT_WORKS(fstat(fd, &st));
  EXPECT_EQ(st.st_nlink, 0u);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  ASSERT_WORKS(linkat(AT_FDCWD, link.c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  EXPECT_EQ(Get("named"), "hidden");
  EXPECT_EQ(Stat("named").st_nlink, 1u);
  close(fd);
  const int never = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  ASSERT_GE(never, 0);
  EXPECT_FAILS(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(never)).c_str(), AT_FDCWD, "no", AT_SYMLINK_FOLLOW), ENOENT);
  close(never);
  EXPECT_FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
  EXPECT_FAILS(open("named", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
  EXPECT_FAILS(open("none", O_TMPFILE | O_RDWR, 0600), ENOENT);
}

TEST_P(FileData, SendfileCopies) {
  const int in = New("in"), out = New("out");
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += static_cast<char>('a' + i % 26);
  ASSERT_EQ(write(in, text.data(), text.size()), 20'000);
  off_t offset = 5;
  EXPECT_EQ(sendfile(out, in, &offset, 100), 100);
  EXPECT_EQ(offset, 105);
  EXPECT_EQ(lseek(in, 0, SEEK_CUR), 20'000) << "an offset leaves the position alone";
  EXPECT_EQ(At(out, 0, 1000), text.substr(5, 100));
  ASSERT_EQ(lseek(in, 0, SEEK_SET), 0);
  ASSERT_EQ(lseek(out, 0, SEEK_SET), 0);
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = sendfile(out, in, nullptr, text.size() - sent);
    ASSERT_GT(n, 0);
    sent += static_cast<size_t>(n);
  }
  EXPECT_EQ(sendfile(out, in, nullptr, 10), 0);
  EXPECT_EQ(Get("out"), text);
  offset = -1;
  EXPECT_FAILS(sendfile(out, in, &offset, 1), EINVAL);
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  offset = 0;
  EXPECT_EQ(sendfile(fds[1], in, &offset, 10), 10);
  char back[16] = {};
  EXPECT_EQ(read(fds[0], back, sizeof(back)), 10);
  EXPECT_EQ(back, text.substr(0, 10));
  EXPECT_FAILS(sendfile(out, fds[0], nullptr, 1), EINVAL);
  const int wo = open("in", O_WRONLY), ro = open("out", O_RDONLY);
  EXPECT_FAILS(sendfile(out, wo, nullptr, 1), EBADF);
  EXPECT_FAILS(sendfile(ro, in, nullptr, 1), EBADF);
  const int append = open("out", O_WRONLY | O_APPEND);
  EXPECT_FAILS(sendfile(append, in, nullptr, 1), EINVAL);
  for (const int fd : {in, out, fds[0], fds[1], wo, ro, append}) close(fd);
}

TEST_P(FileData, SendfileIntoSocketSendsAll) {
  const int in = New("in");
  const std::string text(300'000, 's');
  ASSERT_EQ(write(in, text.data(), text.size()), 300'000);
  int sockets[2];
  ASSERT_WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  size_t got = 0;
  std::thread reader([&] {
    std::vector<char> buffer(10'000);
    ssize_t n = 0;
    while ((n = read(sockets[1], buffer.data(), buffer.size())) > 0) got += static_cast<size_t>(n);
  });
  off_t offset = 0;
  while (offset < 300'000) ASSERT_GT(sendfile(sockets[0], in, &offset, 300'000), 0);
  close(sockets[0]);
  reader.join();
  EXPECT_EQ(got, text.size());
  close(sockets[1]);
  close(in);
}

TEST_P(FileData, CopyFileRange) {
  const int in = New("in"), out = New("out");
  const std::string text = "0123456789abcdef";
  ASSERT_EQ(write(in, text.data(), text.size()), 16);
  off_t from = 2, to = 1;
  EXPECT_EQ(copy_file_range(in, &from, out, &to, 5, 0), 5);
  EXPECT_EQ(from, 7);
  EXPECT_EQ(to, 6);
  EXPECT_EQ(Get("out"), std::string("\0", 1) + "23456");
  ASSERT_EQ(lseek(in, 10, SEEK_SET), 10);
  EXPECT_EQ(copy_file_range(in, nullptr, out, nullptr, 100, 0), 6);
  EXPECT_EQ(lseek(in, 0, SEEK_CUR), 16);
  EXPECT_EQ(lseek(out, 0, SEEK_CUR), 6);
  EXPECT_EQ(copy_file_range(in, nullptr, out, nullptr, 100, 0), 0);
  from = 0, to = 4;
  EXPECT_FAILS(copy_file_range(in, &from, in, &to, 8, 0), EINVAL);  // overlaps itself
  from = 0, to = 100;
  EXPECT_EQ(copy_file_range(in, &from, in, &to, 8, 0), 8);
  EXPECT_FAILS(copy_file_range(in, nullptr, out, nullptr, 1, 1), EINVAL);
  const int ro = open("out", O_RDONLY), dir = open(".", O_RDONLY);
  EXPECT_FAILS(copy_file_range(in, nullptr, ro, nullptr, 1, 0), EBADF);
  EXPECT_FAILS(copy_file_range(dir, nullptr, out, nullptr, 1, 0), EISDIR);
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  EXPECT_FAILS(copy_file_range(fds[0], nullptr, out, nullptr, 1, 0), EINVAL);
  for (const int fd : {in, out, ro, dir, fds[0], fds[1]}) close(fd);
}

TEST_P(FileData, SpliceMovesBothWays) {
  const int in = New("in"), out = New("out");
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += static_cast<char>('a' + i % 23);
  ASSERT_EQ(write(in, text.data(), text.size()), 30'000);
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  off_t from = 10, to = 0;
  size_t moved = 0;
  while (moved < 29'990) {
    const ssize_t n = splice(in, &from, fds[1], nullptr, 29'990 - moved, 0);
    ASSERT_GT(n, 0) << errno;
    ssize_t left = n;
    while (left > 0) {
      const ssize_t put = splice(fds[0], nullptr, out, &to, static_cast<size_t>(left), SPLICE_F_MOVE);
      ASSERT_GT(put, 0) << errno;
      left -= put;
    }
    moved += static_cast<size_t>(n);
  }
  EXPECT_EQ(from, 30'000);
  EXPECT_EQ(to, 29'990);
  EXPECT_EQ(Get("out"), text.substr(10));
  EXPECT_EQ(splice(in, &from, fds[1], nullptr, 10, 0), 0) << "the end of the file";
  EXPECT_FAILS(splice(fds[0], nullptr, out, nullptr, 10, SPLICE_F_NONBLOCK), EAGAIN);
  EXPECT_EQ(splice(in, nullptr, fds[1], nullptr, 0, 0), 0);
  EXPECT_FAILS(splice(in, nullptr, out, nullptr, 10, 0), EINVAL);
  EXPECT_FAILS(splice(fds[0], nullptr, fds[1], nullptr, 10, 0), EINVAL);
  EXPECT_FAILS(splice(fds[0], &to, out, nullptr, 10, 0), ESPIPE);
  EXPECT_FAILS(splice(in, nullptr, fds[1], nullptr, 10, 0x100), EINVAL);
  EXPECT_FAILS(splice(fds[1], nullptr, out, nullptr, 10, 0), EBADF);
  EXPECT_FAILS(splice(999, nullptr, fds[1], nullptr, 10, 0), EBADF);
  const int append = open("out", O_WRONLY | O_APPEND);
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  EXPECT_FAILS(splice(fds[0], nullptr, append, nullptr, 1, 0), EINVAL);
  for (const int fd : {in, out, fds[0], fds[1], append}) close(fd);
}

TEST_P(FileData, SpliceLosesNothing) {
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  ASSERT_EQ(write(fds[1], "precious", 8), 8);
  int sockets[2];
  ASSERT_WORKS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets));
  const std::vector<char> filler(64 * 1024);
  while (write(sockets[0], filler.data(), filler.size()) > 0) {
  }
  while (write(sockets[0], filler.data(), 1) > 0) {
  }
  EXPECT_FAILS(splice(fds[0], nullptr, sockets[0], nullptr, 8, 0), EAGAIN);
  char text[16] = {};
  EXPECT_EQ(read(fds[0], text, sizeof(text)), 8);
  EXPECT_STREQ(text, "precious");
  for (const int fd : {fds[0], fds[1], sockets[0], sockets[1]}) close(fd);
}

TEST_P(FileData, TeeCopiesBetweenPipes) {
  int a[2], b[2];
  ASSERT_WORKS(pipe(a));
  ASSERT_WORKS(pipe(b));
  ASSERT_EQ(write(a[1], "shared", 6), 6);
  EXPECT_EQ(tee(a[0], b[1], 4, 0), 4);
  char text[16] = {};
  EXPECT_EQ(read(b[0], text, sizeof(text)), 4);
  EXPECT_STREQ(text, "shar");
  EXPECT_EQ(splice(a[0], nullptr, b[1], nullptr, 100, 0), 6);
  EXPECT_EQ(read(b[0], text, sizeof(text)), 6);
  EXPECT_STREQ(text, "shared");
  EXPECT_FAILS(tee(a[0], b[1], 4, SPLICE_F_NONBLOCK), EAGAIN);
  EXPECT_FAILS(tee(a[0], a[1], 4, 0), EINVAL);
  const int fd = New();
  EXPECT_FAILS(tee(fd, a[1], 4, 0), EINVAL);
  close(a[1]);
  EXPECT_EQ(tee(a[0], b[1], 4, 0), 0);
  for (const int n : {a[0], b[0], b[1], fd}) close(n);
}

TEST_P(FileData, VmspliceGivesMemory) {
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  char text[] = "from memory", back[32] = {};
  const iovec out{text, 11}, in{back, 31};
  EXPECT_EQ(vmsplice(fds[1], &out, 1, 0), 11);
  EXPECT_EQ(vmsplice(fds[0], &in, 1, 0), 11);
  EXPECT_STREQ(back, "from memory");
  EXPECT_FAILS(vmsplice(fds[0], &in, 1, SPLICE_F_NONBLOCK), EAGAIN);
  const int fd = New();
  EXPECT_FAILS(vmsplice(fd, &out, 1, 0), EBADF);
  for (const int n : {fds[0], fds[1], fd}) close(n);
}

char* Map(int fd, size_t length, int prot, int flags, off_t offset = 0) {
  void* p = mmap(nullptr, length, prot, flags, fd, offset);
  EXPECT_NE(p, MAP_FAILED) << strerror(errno);
  return static_cast<char*>(p);
}

TEST_P(FileData, SharedMappingsAreCoherent) {
  const int fd = New();
  ASSERT_WORKS(ftruncate(fd, 3 * kPage));
  char* shared = Map(fd, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* other = Map(fd, kPage, PROT_READ, MAP_SHARED, kPage);
  EXPECT_EQ(pwrite(fd, "written", 7, kPage + 5), 7);
  EXPECT_EQ(memcmp(shared + kPage + 5, "written", 7), 0);
  EXPECT_EQ(memcmp(other + 5, "written", 7), 0);
  memcpy(shared + 100, "mapped", 6);
  EXPECT_EQ(At(fd, 100, 6), "mapped");
  EXPECT_WORKS(msync(shared, kPage, MS_SYNC));
  const pid_t child = fork();
  if (child == 0) {
    memcpy(shared + 200, "child", 5);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(At(fd, 200, 5), "child");
  EXPECT_WORKS(close(fd));
  memcpy(shared + 300, "later", 5);
  EXPECT_EQ(Get("f").substr(300, 5), "later");
  EXPECT_WORKS(unlink("f"));
  EXPECT_EQ(memcmp(shared + 300, "later", 5), 0);
  munmap(shared, 3 * kPage);
  munmap(other, kPage);
}

TEST_P(FileData, PrivateMappingsKeepTheirWrites) {
  const int fd = New();
  const std::string text(2 * kPage, 'a');
  ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  char* mine = Map(fd, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  mine[0] = 'X';
  EXPECT_EQ(At(fd, 0, 1), "a");
  EXPECT_EQ(pwrite(fd, "b", 1, kPage), 1);
  EXPECT_EQ(mine[kPage], 'b') << "not copied yet: the file's page";
  EXPECT_EQ(pwrite(fd, "c", 1, 0), 1);
  EXPECT_EQ(mine[0], 'X');
  munmap(mine, 2 * kPage);
  close(fd);
}

TEST_P(FileData, MmapRights) {
  Put("f", std::string(kPage, 'x'));
  const int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), rw = open("f", O_RDWR);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_WRITE | PROT_READ, MAP_SHARED, ro, 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, wo, 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, rw, 1), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(mmap(nullptr, 0, PROT_READ, MAP_SHARED, rw, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  const int dir = open(".", O_RDONLY);
  EXPECT_EQ(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, dir, 0), MAP_FAILED);
  EXPECT_EQ(errno, ENODEV);
  char* p = Map(ro, kPage, PROT_READ, MAP_SHARED);
  EXPECT_FAILS(mprotect(p, kPage, PROT_READ | PROT_WRITE), EACCES);
  munmap(p, kPage);
  char* mine = Map(ro, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  mine[0] = 'y';
  munmap(mine, kPage);
  for (const int fd : {ro, wo, rw, dir}) close(fd);
}

sigjmp_buf g_jump;
void OnFault(int) { siglongjmp(g_jump, 1); }
bool Faults(const volatile char* at) {
  struct sigaction action {}, old {};
  action.sa_handler = OnFault;
  sigaction(SIGBUS, &action, &old);
  const bool faulted = sigsetjmp(g_jump, 1) != 0;
  if (!faulted) (void)*at;
  sigaction(SIGBUS, &old, nullptr);
  return faulted;
}

TEST_P(FileData, MappingsFollowTheSize) {
  const int fd = New();
  ASSERT_EQ(write(fd, "abc", 3), 3);
  char* p = Map(fd, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_EQ(p[0], 'a');
  EXPECT_EQ(p[100], 0) << "the rest of the last page is zero";
  EXPECT_TRUE(Faults(p + kPage));
  ASSERT_WORKS(ftruncate(fd, 2 * kPage));
  EXPECT_FALSE(Faults(p + kPage));
  EXPECT_EQ(p[kPage], 0);
  p[kPage] = 'z';
  EXPECT_EQ(At(fd, kPage, 1), "z");
  ASSERT_WORKS(ftruncate(fd, 1));
  EXPECT_TRUE(Faults(p + kPage));
  EXPECT_EQ(p[0], 'a');
  ASSERT_WORKS(ftruncate(fd, 2 * kPage));
  EXPECT_EQ(p[1], 0) << "what was cut is gone";
  EXPECT_EQ(p[kPage], 0);
  munmap(p, 3 * kPage);
  close(fd);
}

// A model: random operations on a file and on a string must agree.
TEST_P(FileData, RandomOperationsAgreeWithAModel) {
  const int fd = New();
  constexpr size_t kMax = 8 * kPage;
  std::string model;
  char* map = Map(fd, kMax, PROT_READ | PROT_WRITE, MAP_SHARED);
  std::minstd_rand random(42);
  const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  for (int step = 0; step < 3000; ++step) {
    const size_t at = below(kMax - 1), n = 1 + below(std::min<size_t>(kMax - at, 5000));
    const char c = static_cast<char>('a' + step % 26);
    switch (below(6)) {
      case 0:
      case 1: {
        const std::string text(n, c);
        ASSERT_EQ(pwrite(fd, text.data(), n, static_cast<off_t>(at)), static_cast<ssize_t>(n));
        if (model.size() < at + n) model.resize(at + n);
        model.replace(at, n, text);
        break;
      }
      case 2:
        if (below(4) != 0) break;
        ASSERT_WORKS(ftruncate(fd, static_cast<off_t>(at)));
        model.resize(at);
        break;
      case 3:
        if (model.empty()) break;
        map[at % model.size()] = c;
        model[at % model.size()] = c;
        break;
      case 4:
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at), static_cast<off_t>(n)) == 0) {
          for (size_t i = at; i < std::min(at + n, model.size()); ++i) model[i] = 0;
        }
        break;
      default:
        if (!model.empty()) {
          ASSERT_EQ(map[at % model.size()], model[at % model.size()]) << step;
        }
        ASSERT_EQ(At(fd, static_cast<off_t>(at), n), at < model.size() ? model.substr(at, n) : "") << step;
    }
  }
  EXPECT_EQ(Get("f"), model);
  munmap(map, kMax);
  close(fd);
}

TEST_P(FileData, SyncFamily) {
  const int fd = New();
  ASSERT_EQ(write(fd, "x", 1), 1);
  EXPECT_WORKS(fsync(fd));
  EXPECT_WORKS(fdatasync(fd));
  EXPECT_WORKS(syncfs(fd));
  EXPECT_WORKS(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
  EXPECT_WORKS(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  EXPECT_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
  EXPECT_WORKS(readahead(fd, 0, 10));
  EXPECT_FAILS(fsync(999), EBADF);
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  EXPECT_FAILS(fsync(fds[0]), EINVAL);
  EXPECT_EQ(posix_fadvise(fds[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
  const int dir = open(".", O_RDONLY);
  EXPECT_WORKS(fsync(dir));
  for (const int n : {fd, fds[0], fds[1], dir}) close(n);
}

TEST(Splice, VmspliceAddsWhatFits) {
  int fds[2];
  ASSERT_WORKS(pipe(fds));
  const int capacity = fcntl(fds[1], F_GETPIPE_SZ);
  const size_t size = static_cast<size_t>(capacity) * 2;
  void* const bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);  // whole pages
  ASSERT_NE(bytes, MAP_FAILED);
  iovec all{bytes, size};
  EXPECT_EQ(vmsplice(fds[1], &all, 1, 0), capacity);  // and does not wait for the rest
  EXPECT_FAILS(vmsplice(fds[1], &all, 1, SPLICE_F_NONBLOCK), EAGAIN);
  std::thread reader([&] {
    std::string some(static_cast<size_t>(capacity), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(read(fds[0], some.data(), some.size()), capacity);
  });
  iovec little{bytes, 10};
  EXPECT_EQ(vmsplice(fds[1], &little, 1, 0), 10);  // waited
  reader.join();
  close(fds[0]), close(fds[1]);
  munmap(bytes, size);
}

}  // namespace
