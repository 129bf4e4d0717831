#include "tests/security/random_calls/arguments.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/un.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include <cstring>

#include "tests/security/random_calls/raw_call.h"

namespace random_calls {
namespace {

constexpr size_t kStacks = 8;
constexpr size_t kStackBytes = 32 << 10;

constexpr uint64_t kHostile[] = {
    0, 1, 7, 0xfff, 0x1000, 0x7fff'ffff'f000, 0x7fff'ffff'efff, 0x7fff'ffff'ffff, 0x8000'0000'0000, 0xffff'8000'0000'0000,
    0xffff'ffff'ff60'0000, 0xffff'ffff'8100'0000, 0xffff'ffff'ffff'ffff, 0xffff'ffff'ffff'f000, 0x4141'4141'4141'4141, 0x5555'5555'5000,
    0x7fff'ff00'0000, 0x7fff'fe00'0000, 0xffff'ffff, 0x1'0000'0000,
};

constexpr const char* kPaths[] = {
    "/", ".", "..", "", "/tmp", "/tmp/a", "/tmp/b", "/tmp/dir", "/tmp/dir/a", "/tmp/dir/../dir/b", "/tmp/link", "/tmp/loop", "/tmp/fifo",
    "/tmp/sock", "a", "b", "dir", "dir/c", "./../tmp//a/", "/proc", "/proc/self", "/proc/self/fd", "/proc/self/fd/3", "/proc/self/maps",
    "/proc/self/mem", "/proc/self/exe", "/proc/self/cwd", "/proc/self/root", "/proc/self/task", "/proc/self/status", "/proc/self/stat",
    "/proc/self/environ", "/proc/self/cmdline", "/proc/self/comm", "/proc/self/mounts", "/proc/self/mountinfo", "/proc/self/limits",
    "/proc/self/oom_score_adj", "/proc/self/fdinfo/0", "/proc/thread-self/fd/0", "/proc/1", "/proc/1/fd", "/proc/1/maps", "/proc/1/root/..",
    "/proc/2/status", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/random/uuid", "/proc/sys/kernel/hostname", "/proc/meminfo", "/proc/stat",
    "/proc/cpuinfo", "/proc/mounts", "/proc/filesystems", "/proc/net", "/proc/self/ns/net", "/proc/self/uid_map", "/proc/self/attr/current",
    "/dev", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/pts/0",
    "/dev/pts/ptmx", "/dev/shm", "/dev/shm/x", "/dev/stdin", "/dev/fd/1", "/dev/console", "/sys", "/sys/devices/system/cpu", "/etc",
    "/etc/passwd", "/etc/hostname", "/etc/mtab", "/bin/true", "/bin/sh", "/usr/bin/env", "/lib", "/usr/share", "/usr", "/root", "/var/tmp",
    "/nonexistent/x", "/etc/passwd/x", "/tmp/\xff\xfe\x01", "////", "/tmp/./././a", "../../../../../../../../etc/shadow",
};

constexpr const char* kNames[] = {"user.a", "user.", "security.selinux", "system.posix_acl_access", "trusted.x", "tmpfs", "proc", "sysfs", "bind",
                                  "overlay", "size=1m", "mode=7777", "", "user.long.name.that.goes.on", "devpts", "nosuch", "x"};

constexpr uint64_t kSizes[] = {0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 24, 31, 32, 63, 64, 100, 127, 128, 255, 256, 512, 1023, 1024, 1025, 4095, 4096,
                               4097, 8192, 16384, 65535, 65536, 1 << 20, 0x7fff'f000, 0x7fff'ffff, 0x8000'0000, 0xffff'ffff, 0x1'0000'0000,
                               0x7fff'ffff'f000, 0x7fff'ffff'ffff'ffff, 0x8000'0000'0000'0000, 0xffff'ffff'ffff'f000, ~uint64_t{0}, ~uint64_t{7}};

constexpr uint32_t kIoctls[] = {
    TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCSWINSZ, TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSCTTY, TIOCNOTTY, TIOCSTI, TIOCEXCL,
    TIOCNXCL, TIOCGPTN, TIOCSPTLCK, TIOCPKT, TIOCOUTQ, FIONREAD, FIONBIO, FIOASYNC, FIOCLEX, FIONCLEX, FIOQSIZE, TCFLSH, TCXONC, TCSBRK,
    TIOCGPTPEER, TIOCGLCKTRMIOS, TCGETA, TIOCCONS, TIOCLINUX, TIOCVHANGUP, 0x8912 /* SIOCGIFCONF */, 0x8913, 0x8915, 0x8927, 0x8933, 0x8906,
    0x80045430, 0x5401, 0x4c00, 0xc0185879, 0x40086602 /* FS_IOC_SETFLAGS */, 0x80086601, 0x40049409 /* FICLONE */, 0x125e, 0x1260,
};

constexpr int kPrctls[] = {PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_KEEPCAPS,
                           PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_TIMERSLACK, PR_SET_MM, PR_SET_CHILD_SUBREAPER,
                           PR_SET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS, PR_SET_THP_DISABLE, PR_CAP_AMBIENT, PR_SET_VMA, PR_SET_TAGGED_ADDR_CTRL,
                           PR_SET_PTRACER, PR_SCHED_CORE, PR_SET_SYSCALL_USER_DISPATCH, PR_SET_IO_FLUSHER, PR_SET_TSC, PR_SET_FP_MODE};

constexpr uint64_t kCloneFlags[] = {
    0, SIGCHLD, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, CLONE_VM | CLONE_FILES, CLONE_FILES | CLONE_FS,
    CLONE_VM | CLONE_VFORK | SIGCHLD, CLONE_PARENT | SIGCHLD, CLONE_NEWUSER | SIGCHLD, CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET, CLONE_PIDFD,
    CLONE_VM | CLONE_SIGHAND | SIGUSR1, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID};

uint64_t Flags(Rng& rng, uint64_t bits) {
  uint64_t flags = 0;
  for (uint64_t i = rng.Below(4); i > 0; --i) flags |= uint64_t{1} << rng.Below(bits);
  return flags;
}

uint64_t MemoryFlags(Rng& rng) {
  constexpr uint64_t kBase[] = {MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE};
  uint64_t flags = rng.Pick(kBase);
  if (rng.OneIn(2)) flags |= MAP_FIXED;
  if (rng.OneIn(8)) flags |= MAP_GROWSDOWN;
  if (rng.OneIn(8)) flags |= MAP_NORESERVE;
  if (rng.OneIn(8)) flags |= MAP_POPULATE;
  if (rng.OneIn(8)) flags |= Flags(rng, 32);
  return flags;
}

template <typename T>
T* At(uint64_t address) {
  // SAFETY: addresses come from the worker's own pools; if a call took them away the worker dies, which is meant to happen.
  return reinterpret_cast<T*>(address);
}

uint64_t AddressOf(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

}  // namespace

void Arguments::MapPools() {
  const auto map = [](uint64_t pages, uint64_t prot, uint64_t flags, int64_t fd) {
    const int64_t at = RawCall(SYS_mmap, 0, pages * kPage, prot, flags, static_cast<uint64_t>(fd), 0);
    return at < 0 ? uint64_t{0} : static_cast<uint64_t>(at);
  };
  constexpr uint64_t kRw = PROT_READ | PROT_WRITE;
  constexpr uint64_t kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;
  pools_[0] = map(kPoolPages, kRw, kPrivate, -1);
  pools_[1] = map(kPoolPages, kRw, kPrivate, -1);
  RawCall(SYS_munmap, pools_[1] + kPoolPages / 2 * kPage, kPoolPages / 2 * kPage);
  pools_[2] = map(kPoolPages, kRw, MAP_SHARED | MAP_ANONYMOUS, -1);
  pools_[3] = map(kPoolPages, PROT_READ, kPrivate, -1);
  pools_[4] = map(kPoolPages, PROT_NONE, kPrivate, -1);
  const int64_t fd = RawCall(SYS_memfd_create, AddressOf("pool"), 0);
  RawCall(SYS_ftruncate, static_cast<uint64_t>(fd), 3 * kPage + 100);
  pools_[5] = map(kPoolPages, kRw, MAP_SHARED, fd);
  stacks_ = map(kStacks * kStackBytes / kPage, kRw, kPrivate, -1);
}

uint64_t Arguments::StackTop(Rng& rng) { return stacks_ + (1 + rng.Below(kStacks)) * kStackBytes; }

uint64_t Arguments::Good(Rng& rng, size_t length) {
  const uint64_t room = kPoolPages * kPage - length;
  return pools_[0] + (rng.Below(room) & ~uint64_t{7});
}

uint64_t Arguments::Pointer(Rng& rng) {
  switch (rng.Below(16)) {
    case 0: return rng.Pick(kHostile);
    case 1: return pools_[1] + kPoolPages / 2 * kPage - rng.Below(64);                       // its end is not mapped
    case 2: return pools_[rng.Below(kPools)] + rng.Below(kPoolPages * kPage);                // any, unaligned
    case 3: return pools_[5] + rng.Below(kPoolPages * kPage);                                // beyond the end of a file
    case 4: return pools_[3 + rng.Below(2)] + (rng.Below(kPoolPages * kPage) & ~uint64_t{7});  // not writable, not readable
    case 5: return pools_[2] + rng.Below(kPoolPages * kPage);
    case 6: return rng.OneIn(4) ? rng.Next() : 0;
    default: return Good(rng, 8 * kPage);
  }
}

uint64_t Arguments::Length(Rng& rng) {
  switch (rng.Below(8)) {
    case 0: return rng.Below(1 << 20);
    case 1: return rng.Below(16) * kPage;
    case 2: return rng.Next();
    default: return rng.Pick(kSizes);
  }
}

uint64_t Arguments::Path(Rng& rng) {
  if (rng.OneIn(16)) return Pointer(rng);
  const uint64_t at = rng.OneIn(16) ? pools_[1] + kPoolPages / 2 * kPage - 32 : Good(rng, 2 * kPage);
  char* out = At<char>(at);
  if (rng.OneIn(32)) {  // long
    const size_t length = rng.OneIn(2) ? 4095 + rng.Below(3) : rng.Below(6000);
    for (size_t i = 0; i < length; ++i) out[i] = i % (1 + rng.Below(300)) == 0 ? '/' : 'x';
    out[length] = 0;
    return at;
  }
  const char* path = rng.Pick(kPaths);
  size_t length = 0;
  for (; path[length] != 0 && length < 31; ++length) out[length] = path[length];
  if (rng.OneIn(8)) out[length++] = '/';
  if (rng.OneIn(8) && length > 4) length = rng.Below(length);
  out[length] = 0;
  return at;
}

uint64_t Arguments::RandomWords(Rng& rng, size_t count) {
  const uint64_t at = Good(rng, count * 8);
  const uint64_t style = rng.Below(4);
  for (size_t i = 0; i < count; ++i) {
    At<uint64_t>(at)[i] = style == 0 ? 0 : style == 1 ? rng.Below(32) : rng.OneIn(2) ? Anything(rng) : rng.Below(4) << rng.Below(60);
  }
  return at;
}

uint64_t Arguments::IoVectors(Rng& rng) {
  const size_t count = rng.OneIn(64) ? 1024 : 1 + rng.Below(8);
  const uint64_t at = Good(rng, count * sizeof(iovec));
  for (size_t i = 0; i < count; ++i) {
    At<iovec>(at)[i] = {At<void>(Pointer(rng)), rng.OneIn(8) ? Length(rng) : rng.Below(2 * kPage)};
  }
  return at;
}

uint64_t Arguments::SocketAddress(Rng& rng) {
  const uint64_t at = Good(rng, 256);
  auto* bytes = At<uint8_t>(at);
  constexpr uint16_t kFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_UNSPEC, AF_PACKET, 0xffff};
  const uint16_t family = rng.Pick(kFamilies);
  for (size_t i = 0; i < 128; ++i) bytes[i] = static_cast<uint8_t>(rng.OneIn(2) ? rng.Next() : 0);
  std::memcpy(bytes, &family, sizeof(family));
  if (family == AF_UNIX) {
    const char* path = rng.OneIn(2) ? "/tmp/sock" : rng.OneIn(2) ? "\0abstract" : "sock2";
    std::memcpy(bytes + 2, path, 10);
  } else if (!rng.OneIn(4)) {  // loopback, a few ports
    bytes[2] = 0x40;
    bytes[3] = static_cast<uint8_t>(rng.Below(8));
    constexpr uint8_t kFour[4] = {127, 0, 0, 1};
    if (family == AF_INET) std::memcpy(bytes + 4, kFour, 4);
    if (family == AF_INET6) {
      std::memset(bytes + 4, 0, 24);
      bytes[23] = 1;
    }
  }
  return at;
}

void Arguments::FillMessageHeader(Rng& rng, uint64_t at) {
  auto* header = At<msghdr>(at);
  header->msg_name = At<void>(rng.OneIn(2) ? 0 : SocketAddress(rng));
  header->msg_namelen = static_cast<uint32_t>(rng.OneIn(4) ? Length(rng) : rng.Below(130));
  header->msg_iov = At<iovec>(rng.OneIn(8) ? Pointer(rng) : IoVectors(rng));
  header->msg_iovlen = rng.OneIn(8) ? Length(rng) : rng.Below(4);
  header->msg_control = nullptr;
  header->msg_controllen = 0;
  header->msg_flags = static_cast<int>(rng.Next());
  if (rng.OneIn(2)) return;
  const uint64_t control = Good(rng, 512);
  auto* part = At<cmsghdr>(control);
  const size_t descriptors = rng.OneIn(16) ? 300 : rng.Below(4);
  part->cmsg_len = rng.OneIn(8) ? Length(rng) : sizeof(cmsghdr) + 4 * descriptors;
  part->cmsg_level = rng.OneIn(8) ? static_cast<int>(rng.Below(20)) : SOL_SOCKET;
  part->cmsg_type = static_cast<int>(rng.OneIn(8) ? rng.Below(8) : 1 + rng.Below(2));
  for (size_t i = 0; i < 4; ++i) At<int32_t>(control + sizeof(cmsghdr))[i] = static_cast<int32_t>(Make(rng, 'f'));
  header->msg_control = At<void>(control);
  header->msg_controllen = rng.OneIn(8) ? Length(rng) : rng.OneIn(2) ? part->cmsg_len : rng.Below(200);
}

uint64_t Arguments::MessageHeader(Rng& rng) {
  const uint64_t at = Good(rng, sizeof(msghdr));
  FillMessageHeader(rng, at);
  return at;
}

uint64_t Arguments::Strings(Rng& rng) {
  const size_t count = rng.OneIn(32) ? 500 : rng.Below(4);
  const uint64_t at = Good(rng, (count + 1) * 8);
  for (size_t i = 0; i < count; ++i) At<uint64_t>(at)[i] = Path(rng);
  At<uint64_t>(at)[count] = rng.OneIn(32) ? Pointer(rng) : 0;
  return at;
}

uint64_t Arguments::Structure(Rng& rng, char letter) {
  switch (letter) {
    case 'z': {
      const char* name = rng.Pick(kNames);
      const uint64_t at = Good(rng, 64);
      std::memcpy(At<char>(at), name, std::strlen(name) + 1);
      return at;
    }
    case 'L': {
      const uint64_t at = RandomWords(rng, 2);
      if (!rng.OneIn(4)) *At<uint32_t>(at) = static_cast<uint32_t>(rng.Below(140));
      return at;
    }
    case 'M': {
      const uint64_t at = Good(rng, 4 * sizeof(mmsghdr));
      for (size_t i = 0; i < 4; ++i) FillMessageHeader(rng, at + i * sizeof(mmsghdr));
      return at;
    }
    case 't':
    case 'I': {  // short times, so that the worker goes on
      const uint64_t at = RandomWords(rng, 4);
      if (!rng.OneIn(8)) {
        for (size_t i = 0; i < 4; i += 2) At<uint64_t>(at)[i] = 0;
        for (size_t i = 1; i < 4; i += 2) At<uint64_t>(at)[i] = rng.Below(letter == 't' ? 2'000'000 : 5'000);
      }
      return rng.OneIn(16) ? 0 : at;
    }
    case 'g': {
      const uint64_t at = RandomWords(rng, 4);
      At<uint64_t>(at)[0] = rng.OneIn(2) ? rng.Below(2) : Anything(rng);  // SIG_DFL, SIG_IGN, or into the wild
      return rng.OneIn(4) ? 0 : at;
    }
    case 'w': {
      const uint64_t at = RandomWords(rng, 2);
      if (rng.OneIn(2)) *At<uint64_t>(at) = uint64_t{1} << rng.Below(64);
      return rng.OneIn(8) ? 0 : at;
    }
    case 'e': {
      const uint64_t at = RandomWords(rng, 2);
      *At<uint32_t>(at) = static_cast<uint32_t>(Flags(rng, 32) | EPOLLIN);
      return at;
    }
    case 'P': {
      const uint64_t at = Good(rng, 32 * sizeof(pollfd));
      for (size_t i = 0; i < 32; ++i) {
        At<pollfd>(at)[i] = {static_cast<int>(Make(rng, 'f')), static_cast<int16_t>(rng.Next()), static_cast<int16_t>(rng.Next())};
      }
      return at;
    }
    case 'H': {
      const uint64_t at = RandomWords(rng, 3);
      if (rng.OneIn(2)) {
        At<uint64_t>(at)[0] = Pointer(rng);
        At<uint64_t>(at)[1] = 0;
        At<uint64_t>(at)[2] = Length(rng);
      }
      return at;
    }
    default: return RandomWords(rng, 64);
  }
}

uint64_t Arguments::Number(Rng& rng, char letter) {
  switch (letter) {
    case 'f': {
      constexpr int64_t kOdd[] = {-1, AT_FDCWD, 0x7fff'ffff, -0x8000'0000l, 1024, 1 << 20, 255, -100, -9999};
      return rng.OneIn(16) ? static_cast<uint64_t>(rng.Pick(kOdd)) : rng.OneIn(4) ? rng.Below(64) : rng.Below(20);
    }
    case 'k': return rng.OneIn(16) ? Length(rng) : rng.Below(8);
    case 'l': return rng.OneIn(4) ? Length(rng) : rng.OneIn(2) ? 16 : rng.Below(130);
    case 'S': return rng.OneIn(8) ? rng.Below(70) : rng.OneIn(8) ? rng.Next() : 32 + rng.Below(33);
    case 'p': {
      if (peers_ != nullptr && rng.OneIn(4)) return static_cast<uint64_t>(int64_t{peers_[rng.Below(peer_count_)]});
      constexpr int64_t kOdd[] = {0, 0, 0, -1, 1, 2, 3, -0x8000'0000l, 0x7fff'ffff, -2, 4'194'304};
      if (rng.OneIn(2)) return static_cast<uint64_t>(RawCall(SYS_gettid));
      return rng.OneIn(4) ? rng.Below(64) : static_cast<uint64_t>(rng.Pick(kOdd));
    }
    case 'F': return rng.OneIn(3) ? 0 : Flags(rng, 32);
    case 'O': return (rng.Below(4)) | Flags(rng, 24) | (rng.OneIn(2) ? O_CREAT : 0) | (rng.OneIn(2) ? O_NONBLOCK : 0);
    case 'o': return rng.OneIn(2) ? rng.Below(1 << 16) : Length(rng);
    case 'R': return rng.OneIn(8) ? Flags(rng, 32) : rng.Below(8);
    case 'Y': return MemoryFlags(rng);
    case 'W': return rng.OneIn(16) ? Length(rng) : 8;
    case 'c': return rng.OneIn(8) ? rng.Next() : rng.Below(12);
    case 'd': return rng.OneIn(8) ? Length(rng) : rng.Below(24);
    case 'U': return rng.OneIn(2) ? 0 : rng.OneIn(2) ? 1000 + rng.Below(3) : rng.Next();
    case 'C': return rng.Pick(kCloneFlags) | (rng.OneIn(4) ? Flags(rng, 40) : 0);
    case 'j': return rng.OneIn(8) ? rng.Next() : rng.Pick(kIoctls);
    case 'h': return rng.Below(010000) | (rng.OneIn(4) ? uint64_t{010000} << rng.Below(5) : 0);
    case 'D': return rng.OneIn(8) ? rng.Below(50) : rng.OneIn(2) ? AF_UNIX : rng.OneIn(2) ? AF_INET : AF_INET6;
    case 'T': return (1 + rng.Below(5)) | (rng.OneIn(2) ? SOCK_NONBLOCK : 0) | (rng.OneIn(8) ? Flags(rng, 32) : 0);
    case 'y': {
      constexpr uint64_t kLevels[] = {SOL_SOCKET, SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP};
      return rng.OneIn(8) ? rng.Below(300) : rng.Pick(kLevels);
    }
    case 'X': return rng.Below(16) | (rng.OneIn(2) ? FUTEX_PRIVATE_FLAG : 0) | (rng.OneIn(8) ? FUTEX_CLOCK_REALTIME : 0) | (rng.OneIn(16) ? Flags(rng, 32) : 0);
    case 'N': return rng.OneIn(3) ? 1024 + rng.Below(20) : rng.Below(42);
    case 'E': return 1 + rng.Below(rng.OneIn(8) ? 6 : 3);
    case 'K': return rng.OneIn(2) ? CLOSE_RANGE_CLOEXEC : CLOSE_RANGE_UNSHARE;
    case 'J': return rng.OneIn(8) ? rng.Below(120) : rng.Below(26);
    case 'Q': return static_cast<uint64_t>(rng.OneIn(8) ? static_cast<int>(rng.Below(80)) : rng.Pick(kPrctls));
    case '8': return rng.OneIn(2) ? 24 : rng.OneIn(2) ? 88 : Length(rng);
    default: return Anything(rng);
  }
}

uint64_t Arguments::Anything(Rng& rng) {
  switch (rng.Below(8)) {
    case 0: return rng.Next();
    case 1: return rng.Next() & 0xffff'ffff;
    case 2: return rng.Pick(kHostile);
    case 3: return rng.Pick(kSizes);
    case 4: return rng.Below(256);
    case 5: return uint64_t{1} << rng.Below(64);
    case 6: return pools_[rng.Below(kPools)] + rng.Below(kPoolPages * kPage);
    default: return static_cast<uint64_t>(-static_cast<int64_t>(rng.Below(200)));
  }
}

uint64_t Arguments::Make(Rng& rng, char letter) {
  if (rng.OneIn(24)) return Anything(rng);
  switch (letter) {
    case 'b': return Pointer(rng);
    case 'n': return Length(rng);
    case 's': return Path(rng);
    case 'i': return rng.OneIn(16) ? Pointer(rng) : IoVectors(rng);
    case 'a': return rng.OneIn(16) ? Pointer(rng) : SocketAddress(rng);
    case 'm': return rng.OneIn(16) ? Pointer(rng) : MessageHeader(rng);
    case 'V': return rng.OneIn(16) ? Pointer(rng) : Strings(rng);
    case 'u': return rng.OneIn(8) ? Pointer(rng) : pools_[rng.OneIn(2) ? 0 : 2] + 4 * rng.Below(4);
    case 'A': {
      if (rng.OneIn(8)) return Pointer(rng);
      if (rng.OneIn(16)) return rng.Next() & 0x7fff'ffff'f000;
      return pools_[rng.Below(kPools)] + rng.Below(kPoolPages) * kPage;
    }
    case 'z':
    case 'L':
    case 'M':
    case 't':
    case 'I':
    case 'g':
    case 'w':
    case 'e':
    case 'P':
    case 'H':
    case 'r':
    case 'B': return rng.OneIn(16) ? Pointer(rng) : Structure(rng, letter);
    default: return Number(rng, letter);
  }
}

}  // namespace random_calls
