#include "sentry/strace/formats.h"

#include <algorithm>

namespace rampart::strace {
namespace {

using enum Format;
using enum abi::Sysno;
using Row = std::array<Format, 6>;

struct Entry {
  abi::Sysno number;
  Row row;
};

constexpr Entry kRows[] = {
    {read, {kFd, kBufferOut, kUint}},
    {write, {kFd, kBufferIn, kUint}},
    {pread64, {kFd, kBufferOut, kUint, kUint}},
    {pwrite64, {kFd, kBufferIn, kUint, kUint}},
    {readv, {kFd, kIovOut, kUint}},
    {writev, {kFd, kIovIn, kUint}},
    {preadv, {kFd, kIovOut, kUint, kUint}},
    {pwritev, {kFd, kIovIn, kUint, kUint}},
    {open, {kPath, kOpenFlags, kOctal}},
    {openat, {kDirFd, kPath, kOpenFlags, kOctal}},
    {creat, {kPath, kOctal}},
    {close, {kFd}},
    {stat, {kPath, kPointer}},
    {lstat, {kPath, kPointer}},
    {fstat, {kFd, kPointer}},
    {newfstatat, {kDirFd, kPath, kPointer, kAtFlags}},
    {statx, {kDirFd, kPath, kAtFlags, kHex, kPointer}},
    {access, {kPath, kOctal}},
    {faccessat, {kDirFd, kPath, kOctal}},
    {faccessat2, {kDirFd, kPath, kOctal, kAtFlags}},
    {lseek, {kFd, kUint, kWhence}},
    {fcntl, {kFd, kFcntlCommand, kHex}},
    {ioctl, {kFd, kHex, kHex}},
    {dup, {kFd}},
    {dup2, {kFd, kFd}},
    {dup3, {kFd, kFd, kOpenFlags}},
    {pipe, {kFdPairOut}},
    {pipe2, {kFdPairOut, kOpenFlags}},
    {mmap, {kPointer, kUint, kProt, kMapFlags, kFd, kHex}},
    {mprotect, {kPointer, kUint, kProt}},
    {munmap, {kPointer, kUint}},
    {brk, {kPointer}},
    {execve, {kPath, kStringsIn, kPointer}},
    {execveat, {kDirFd, kPath, kStringsIn, kPointer, kAtFlags}},
    {clone, {kCloneFlags, kPointer, kPointer, kPointer, kPointer}},
    {wait4, {kInt, kIntOut, kHex, kPointer}},
    {kill, {kInt, kSignal}},
    {tkill, {kInt, kSignal}},
    {tgkill, {kInt, kInt, kSignal}},
    {rt_sigaction, {kSignal, kPointer, kPointer, kUint}},
    {rt_sigprocmask, {kSigMaskHow, kSigSetIn, kPointer, kUint}},
    {rt_sigsuspend, {kSigSetIn, kUint}},
    {futex, {kPointer, kFutexOp, kUint, kTimespecIn, kPointer, kHex}},
    {nanosleep, {kTimespecIn, kTimespecOut}},
    {clock_nanosleep, {kClockId, kInt, kTimespecIn, kTimespecOut}},
    {clock_gettime, {kClockId, kTimespecOut}},
    {clock_getres, {kClockId, kTimespecOut}},
    {getcwd, {kBufferOut, kUint}},
    {chdir, {kPath}},
    {mkdir, {kPath, kOctal}},
    {mkdirat, {kDirFd, kPath, kOctal}},
    {rmdir, {kPath}},
    {unlink, {kPath}},
    {unlinkat, {kDirFd, kPath, kAtFlags}},
    {rename, {kPath, kPath}},
    {renameat, {kDirFd, kPath, kDirFd, kPath}},
    {renameat2, {kDirFd, kPath, kDirFd, kPath, kHex}},
    {link, {kPath, kPath}},
    {symlink, {kPath, kPath}},
    {symlinkat, {kPath, kDirFd, kPath}},
    {readlink, {kPath, kBufferOut, kUint}},
    {readlinkat, {kDirFd, kPath, kBufferOut, kUint}},
    {chmod, {kPath, kOctal}},
    {fchmod, {kFd, kOctal}},
    {fchmodat, {kDirFd, kPath, kOctal}},
    {chown, {kPath, kInt, kInt}},
    {fchownat, {kDirFd, kPath, kInt, kInt, kAtFlags}},
    {umask, {kOctal}},
    {poll, {kPollFds, kUint, kInt}},
    {ppoll, {kPollFds, kUint, kTimespecIn, kSigSetIn, kUint}},
    {socket, {kSocketFamily, kSocketType, kInt}},
    {socketpair, {kSocketFamily, kSocketType, kInt, kFdPairOut}},
    {bind, {kFd, kSockaddrIn, kInt}},
    {connect, {kFd, kSockaddrIn, kInt}},
    {accept, {kFd, kSockaddrOut, kPointer}},
    {accept4, {kFd, kSockaddrOut, kPointer, kHex}},
    {getsockname, {kFd, kSockaddrOut, kPointer}},
    {getpeername, {kFd, kSockaddrOut, kPointer}},
    {sendto, {kFd, kBufferIn, kUint, kHex, kSockaddrIn, kInt}},
    {recvfrom, {kFd, kBufferOut, kUint, kHex, kSockaddrOut, kPointer}},
    {getrandom, {kBufferOut, kUint, kHex}},
    {prlimit64, {kInt, kResource, kPointer, kPointer}},
    {getrlimit, {kResource, kPointer}},
    {setrlimit, {kResource, kPointer}},
    {memfd_create, {kPath, kHex}},
    {sendfile, {kFd, kFd, kPointer, kUint}},
    {ftruncate, {kFd, kUint}},
    {truncate, {kPath, kUint}},
    {getdents64, {kFd, kPointer, kUint}},
    {eventfd2, {kUint, kOpenFlags}},
    {epoll_create1, {kOpenFlags}},
    {timerfd_create, {kClockId, kOpenFlags}},
    {shmget, {kHex, kUint, kOctal}},
    {shmat, {kInt, kPointer, kOctal}},
    {shmdt, {kPointer}},
    {shmctl, {kInt, kInt, kPointer}},
    {semget, {kHex, kInt, kOctal}},
    {semop, {kInt, kPointer, kUint}},
    {semtimedop, {kInt, kPointer, kUint, kTimespecIn}},
    {semctl, {kInt, kInt, kInt, kHex}},
    {msgget, {kHex, kOctal}},
    {msgsnd, {kInt, kPointer, kUint, kOctal}},
    {msgrcv, {kInt, kPointer, kUint, kInt, kOctal}},
    {msgctl, {kInt, kInt, kPointer}},
    {mq_open, {kPath, kOpenFlags, kOctal, kPointer}},
    {mq_unlink, {kPath}},
    {mq_timedsend, {kFd, kBufferIn, kUint, kUint, kTimespecIn}},
    {mq_timedreceive, {kFd, kBufferOut, kUint, kPointer, kTimespecIn}},
    {mq_notify, {kFd, kPointer}},
    {mq_getsetattr, {kFd, kPointer, kPointer}},
};

constexpr auto MakeIndex() {
  std::array<int16_t, abi::kMaxSysno + 1> index{};
  for (int16_t& i : index) i = -1;
  for (size_t i = 0; i < std::size(kRows); ++i) index[static_cast<size_t>(kRows[i].number)] = static_cast<int16_t>(i);
  return index;
}
constexpr auto kIndex = MakeIndex();

}  // namespace

const std::array<Format, 6>* FormatsOf(uint32_t number) {
  if (number > abi::kMaxSysno || kIndex[number] < 0) return nullptr;
  return &kRows[kIndex[number]].row;
}

bool IsOutput(Format format) {
  switch (format) {
    case kBufferOut:
    case kIovOut:
    case kSockaddrOut:
    case kTimespecOut:
    case kIntOut:
    case kFdPairOut:
    case kUint64Out:
      return true;
    default:
      return false;
  }
}

}  // namespace rampart::strace
