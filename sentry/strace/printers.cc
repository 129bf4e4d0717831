#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "abi/signal.h"
#include "abi/types.h"
#include "sentry/strace/formats.h"

namespace rampart::strace {
namespace {

constexpr size_t kMaxBytes = 64;    // of a buffer or string shown
constexpr size_t kMaxItems = 8;     // of an array shown

void Append(std::string& out, const char* format, unsigned long long value) {
  char text[32];
  std::snprintf(text, sizeof(text), format, value);
  out += text;
}
void PrintHexOrNull(std::string& out, uint64_t value) { value == 0 ? void(out += "NULL") : Append(out, "%#llx", value); }

struct Name {
  uint64_t value;
  const char* name;
};

// "A|B|0x40"; `zero` when no bit is set.
void PrintFlags(std::string& out, uint64_t value, std::span<const Name> names, const char* zero) {
  bool first = true;
  for (const Name& n : names) {
    if ((value & n.value) != n.value) continue;
    value &= ~n.value;
    out += first ? "" : "|";
    out += n.name;
    first = false;
  }
  if (value != 0) {
    out += first ? "" : "|";
    Append(out, "%#llx", value);
  } else if (first) {
    out += zero;
  }
}

void PrintNamed(std::string& out, uint64_t value, std::span<const Name> names) {
  for (const Name& n : names) {
    if (n.value == value) {
      out += n.name;
      return;
    }
  }
  Append(out, "%lld", value);
}

// O_SYNC contains O_DSYNC, O_TMPFILE contains O_DIRECTORY: the larger ones first.
constexpr Name kOpenNames[] = {{O_CREAT, "O_CREAT"},       {O_EXCL, "O_EXCL"},         {O_NOCTTY, "O_NOCTTY"},     {O_TRUNC, "O_TRUNC"},
                               {O_APPEND, "O_APPEND"},     {O_NONBLOCK, "O_NONBLOCK"}, {04010000, "O_SYNC"},       {010000, "O_DSYNC"},
                               {020000, "O_ASYNC"},        {040000, "O_DIRECT"},       {020200000, "O_TMPFILE"},   {0200000, "O_DIRECTORY"},
                               {0400000, "O_NOFOLLOW"},    {01000000, "O_NOATIME"},    {02000000, "O_CLOEXEC"},    {010000000, "O_PATH"},
                               {0100000, "O_LARGEFILE"}};
constexpr Name kAtNames[] = {{0x100, "AT_SYMLINK_NOFOLLOW"}, {0x200, "AT_REMOVEDIR"}, {0x400, "AT_SYMLINK_FOLLOW"}, {0x1000, "AT_EMPTY_PATH"}};
constexpr Name kProtNames[] = {{PROT_READ, "PROT_READ"}, {PROT_WRITE, "PROT_WRITE"}, {PROT_EXEC, "PROT_EXEC"}, {0x01000000, "PROT_GROWSDOWN"}};
constexpr Name kMapNames[] = {{3, "MAP_SHARED_VALIDATE"}, {1, "MAP_SHARED"},         {2, "MAP_PRIVATE"},     {0x10, "MAP_FIXED"},
                              {0x20, "MAP_ANONYMOUS"},    {0x40, "MAP_32BIT"},       {0x100, "MAP_GROWSDOWN"}, {0x800, "MAP_DENYWRITE"},
                              {0x2000, "MAP_LOCKED"},     {0x4000, "MAP_NORESERVE"}, {0x8000, "MAP_POPULATE"}, {0x20000, "MAP_STACK"},
                              {0x40000, "MAP_HUGETLB"},   {0x100000, "MAP_FIXED_NOREPLACE"}};
constexpr Name kCloneNames[] = {{0x100, "CLONE_VM"},           {0x200, "CLONE_FS"},           {0x400, "CLONE_FILES"},
                                {0x800, "CLONE_SIGHAND"},      {0x1000, "CLONE_PIDFD"},       {0x4000, "CLONE_VFORK"},
                                {0x8000, "CLONE_PARENT"},      {0x10000, "CLONE_THREAD"},     {0x20000, "CLONE_NEWNS"},
                                {0x40000, "CLONE_SYSVSEM"},    {0x80000, "CLONE_SETTLS"},     {0x100000, "CLONE_PARENT_SETTID"},
                                {0x200000, "CLONE_CHILD_CLEARTID"}, {0x1000000, "CLONE_CHILD_SETTID"}, {0x10000000, "CLONE_NEWUSER"},
                                {0x20000000, "CLONE_NEWPID"},  {0x40000000, "CLONE_NEWNET"}};
constexpr Name kFutexNames[] = {{0, "FUTEX_WAIT"},        {1, "FUTEX_WAKE"},        {3, "FUTEX_REQUEUE"},         {4, "FUTEX_CMP_REQUEUE"},
                                {5, "FUTEX_WAKE_OP"},     {6, "FUTEX_LOCK_PI"},     {7, "FUTEX_UNLOCK_PI"},       {8, "FUTEX_TRYLOCK_PI"},
                                {9, "FUTEX_WAIT_BITSET"}, {10, "FUTEX_WAKE_BITSET"}, {11, "FUTEX_WAIT_REQUEUE_PI"}, {12, "FUTEX_CMP_REQUEUE_PI"},
                                {13, "FUTEX_LOCK_PI2"}};
constexpr Name kWhenceNames[] = {{0, "SEEK_SET"}, {1, "SEEK_CUR"}, {2, "SEEK_END"}, {3, "SEEK_DATA"}, {4, "SEEK_HOLE"}};
constexpr Name kHowNames[] = {{0, "SIG_BLOCK"}, {1, "SIG_UNBLOCK"}, {2, "SIG_SETMASK"}};
constexpr Name kClockNames[] = {{0, "CLOCK_REALTIME"},         {1, "CLOCK_MONOTONIC"},     {2, "CLOCK_PROCESS_CPUTIME_ID"},
                                {3, "CLOCK_THREAD_CPUTIME_ID"}, {4, "CLOCK_MONOTONIC_RAW"}, {5, "CLOCK_REALTIME_COARSE"},
                                {6, "CLOCK_MONOTONIC_COARSE"}, {7, "CLOCK_BOOTTIME"},      {11, "CLOCK_TAI"}};
constexpr Name kFamilyNames[] = {{1, "AF_UNIX"}, {2, "AF_INET"}, {10, "AF_INET6"}, {16, "AF_NETLINK"}, {17, "AF_PACKET"}};
constexpr Name kTypeNames[] = {{1, "SOCK_STREAM"}, {2, "SOCK_DGRAM"}, {3, "SOCK_RAW"}, {5, "SOCK_SEQPACKET"}};
constexpr Name kFcntlNames[] = {{0, "F_DUPFD"}, {1, "F_GETFD"},  {2, "F_SETFD"},  {3, "F_GETFL"},  {4, "F_SETFL"},   {5, "F_GETLK"},
                                {6, "F_SETLK"}, {7, "F_SETLKW"}, {8, "F_SETOWN"}, {9, "F_GETOWN"}, {1030, "F_DUPFD_CLOEXEC"},
                                {1031, "F_SETPIPE_SZ"}, {1032, "F_GETPIPE_SZ"}, {1033, "F_ADD_SEALS"}, {1034, "F_GET_SEALS"}};
constexpr Name kResourceNames[] = {{0, "RLIMIT_CPU"},   {1, "RLIMIT_FSIZE"},  {2, "RLIMIT_DATA"},    {3, "RLIMIT_STACK"},
                                   {4, "RLIMIT_CORE"},  {5, "RLIMIT_RSS"},    {6, "RLIMIT_NPROC"},   {7, "RLIMIT_NOFILE"},
                                   {8, "RLIMIT_MEMLOCK"}, {9, "RLIMIT_AS"},   {10, "RLIMIT_LOCKS"},  {11, "RLIMIT_SIGPENDING"},
                                   {12, "RLIMIT_MSGQUEUE"}, {13, "RLIMIT_NICE"}, {14, "RLIMIT_RTPRIO"}, {15, "RLIMIT_RTTIME"}};
constexpr Name kPollNames[] = {{1, "POLLIN"}, {2, "POLLPRI"}, {4, "POLLOUT"}, {8, "POLLERR"}, {16, "POLLHUP"}, {32, "POLLNVAL"}, {0x2000, "POLLRDHUP"}};

template <class T>
bool Read(mm::UserMemory& memory, UserAddr from, T& value) {
  const Result<size_t> n = memory.CopyInPartial(from, std::as_writable_bytes(std::span(&value, 1)));
  return n.ok() && *n == sizeof(T);
}

void PrintBuffer(std::string& out, mm::UserMemory& memory, UserAddr address, uint64_t length) {
  std::array<std::byte, kMaxBytes> bytes;
  const size_t want = std::min<uint64_t>(length, kMaxBytes);
  const Result<size_t> n = memory.CopyInPartial(address, std::span(bytes).first(want));
  if (want != 0 && !n.ok()) return PrintHexOrNull(out, address);
  PrintQuoted(out, std::span(bytes).first(want == 0 ? 0 : *n), length > kMaxBytes);
}

void PrintString(std::string& out, mm::UserMemory& memory, UserAddr address) {
  std::array<std::byte, 4 * kMaxBytes> bytes;
  const Result<size_t> n = memory.CopyInPartial(address, bytes);
  if (!n.ok()) return PrintHexOrNull(out, address);
  const auto end = std::find(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(*n), std::byte{0});
  const auto length = static_cast<size_t>(end - bytes.begin());
  PrintQuoted(out, std::span(bytes).first(length), length == *n);
}

void PrintIov(std::string& out, const PrintContext& c, bool output) {
  const uint64_t count = std::min<uint64_t>(c.args[c.index + 1], kMaxItems);
  uint64_t left = output ? static_cast<uint64_t>(std::max<int64_t>(c.result, 0)) : UINT64_MAX;
  out += '[';
  for (uint64_t i = 0; i < count; ++i) {
    abi::Iovec iov{};
    if (!Read(c.memory, c.args[c.index] + i * sizeof(iov), iov)) break;
    out += i == 0 ? "{" : ", {";
    const uint64_t shown = std::min(iov.len, left);
    PrintBuffer(out, c.memory, iov.base, shown);
    left -= output ? shown : 0;
    Append(out, ", %llu}", iov.len);
  }
  out += c.args[c.index + 1] > count ? ", …]" : "]";
}

void PrintSockaddr(std::string& out, mm::UserMemory& memory, UserAddr address, uint64_t length) {
  std::array<std::byte, 128> bytes{};
  if (address == 0) {
    out += "NULL";
    return;
  }
  const size_t n = std::min<uint64_t>(length, 110);
  const Result<size_t> got = memory.CopyInPartial(address, std::span(bytes).first(n));
  if (n < 2 || !got.ok() || *got < 2) return PrintHexOrNull(out, address);
  uint16_t family = 0;
  uint16_t port = 0;
  std::memcpy(&family, bytes.data(), 2);
  std::memcpy(&port, bytes.data() + 2, 2);
  out += '{';
  PrintNamed(out, family, kFamilyNames);
  char text[INET6_ADDRSTRLEN] = "?";
  if (family == AF_UNIX) {
    const std::span<const std::byte> path = std::span(bytes).subspan(2, *got - 2);
    const auto end = path.empty() || path[0] == std::byte{0} ? path.end() : std::find(path.begin(), path.end(), std::byte{0});
    out += ", ";
    PrintQuoted(out, path.first(static_cast<size_t>(end - path.begin())), false);
  } else if (family == AF_INET) {
    inet_ntop(AF_INET, bytes.data() + 4, text, sizeof(text));
    (out += ", ") += text;
    Append(out, ":%llu", ntohs(port));
  } else if (family == AF_INET6) {
    inet_ntop(AF_INET6, bytes.data() + 8, text, sizeof(text));
    ((out += ", [") += text) += ']';
    Append(out, ":%llu", ntohs(port));
  }
  out += '}';
}

void PrintTimespec(std::string& out, mm::UserMemory& memory, UserAddr address) {
  abi::Timespec t{};
  if (address == 0 || !Read(memory, address, t)) return PrintHexOrNull(out, address);
  char text[64];
  std::snprintf(text, sizeof(text), "{%lld, %lld}", static_cast<long long>(t.tv_sec), static_cast<long long>(t.tv_nsec));
  out += text;
}

void PrintSigSet(std::string& out, mm::UserMemory& memory, UserAddr address) {
  abi::SigSet set = 0;
  if (address == 0 || !Read(memory, address, set)) return PrintHexOrNull(out, address);
  // As strace: a mostly full set is shown by what is missing.
  const bool inverted = __builtin_popcountll(set) > 32;
  if (inverted) set = ~set;
  out += inverted ? "~[" : "[";
  bool first = true;
  for (int signo = 1; signo <= abi::kSigMax; ++signo) {
    if ((set & abi::SigBit(signo)) == 0) continue;
    out += first ? "" : " ";
    signo < abi::kSigRtMin ? void(out += SignalName(signo) + 3) : Append(out, "RT_%llu", static_cast<unsigned>(signo - abi::kSigRtMin));
    first = false;
  }
  out += ']';
}

void PrintStrings(std::string& out, mm::UserMemory& memory, UserAddr address) {
  if (address == 0) {
    out += "NULL";
    return;
  }
  out += '[';
  for (size_t i = 0;; ++i) {
    uint64_t pointer = 0;
    if (!Read(memory, address + i * 8, pointer) || pointer == 0) break;
    out += i == 0 ? "" : ", ";
    if (i == 2 * kMaxItems) {
      out += "…";
      break;
    }
    PrintString(out, memory, pointer);
  }
  out += ']';
}

void PrintPollFds(std::string& out, const PrintContext& c) {
  struct PollFd {
    int32_t fd;
    uint16_t events, revents;
  };
  const uint64_t count = std::min<uint64_t>(c.args[c.index + 1], kMaxItems);
  out += '[';
  for (uint64_t i = 0; i < count; ++i) {
    PollFd p{};
    if (!Read(c.memory, c.args[c.index] + i * sizeof(p), p)) break;
    out += i == 0 ? "{" : ", {";
    out += std::to_string(p.fd) + ", ";
    PrintFlags(out, p.events, kPollNames, "0");
    out += '}';
  }
  out += c.args[c.index + 1] > count ? ", …]" : "]";
}

void PrintOpenFlags(std::string& out, uint64_t flags) {
  constexpr const char* kModes[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
  out += kModes[flags & 3];
  flags &= 0xffffffffu & ~3ull;
  if (flags == 0) return;
  out += '|';
  PrintFlags(out, flags, kOpenNames, "");
}

void PrintOutputs(std::string& out, Format format, const PrintContext& c) {
  const uint64_t value = c.args[c.index];
  if (c.result < 0 || value == 0) return PrintHexOrNull(out, value);
  switch (format) {
    case Format::kBufferOut:
      return PrintBuffer(out, c.memory, value, static_cast<uint64_t>(c.result));
    case Format::kIovOut:
      return PrintIov(out, c, true);
    case Format::kSockaddrOut: {
      uint32_t length = 0;
      (void)Read(c.memory, c.args[c.index + 1], length);
      return PrintSockaddr(out, c.memory, value, length);
    }
    case Format::kTimespecOut:
      return PrintTimespec(out, c.memory, value);
    case Format::kIntOut: {
      int32_t number = 0;
      if (!Read(c.memory, value, number)) return PrintHexOrNull(out, value);
      ((out += '[') += std::to_string(number)) += ']';
      return;
    }
    case Format::kFdPairOut: {
      std::array<int32_t, 2> fds{};
      if (!Read(c.memory, value, fds)) return PrintHexOrNull(out, value);
      out += '[' + std::to_string(fds[0]) + ", " + std::to_string(fds[1]) + ']';
      return;
    }
    default: {
      uint64_t number = 0;
      if (!Read(c.memory, value, number)) return PrintHexOrNull(out, value);
      return Append(out, "[%llu]", number);
    }
  }
}

}  // namespace

void PrintQuoted(std::string& out, std::span<const std::byte> bytes, bool shortened) {
  out += '"';
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += static_cast<char>(c);
    } else if (c == '"' || c == '\\') {
      (out += '\\') += static_cast<char>(c);
    } else {
      Append(out, "\\x%02llx", c);
    }
  }
  out += shortened ? "\"…" : "\"";
}

const char* SignalName(int signo) {
  static constexpr const char* kNames[] = {"SIG0",    "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",  "SIGTRAP", "SIGABRT",  "SIGBUS",
                                           "SIGFPE",  "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM",  "SIGTERM",
                                           "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU",  "SIGURG",
                                           "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",  "SIGPWR",   "SIGSYS"};
  return signo >= 0 && signo < static_cast<int>(std::size(kNames)) ? kNames[signo] : "SIG?";
}

void PrintArgument(std::string& out, Format format, const PrintContext& c) {
  const uint64_t value = c.args[c.index];
  const auto low = static_cast<uint32_t>(value);
  if (IsOutput(format)) return PrintOutputs(out, format, c);
  switch (format) {
    case Format::kInt:
    case Format::kFd: out += std::to_string(static_cast<int32_t>(low)); return;
    case Format::kUint: return Append(out, "%llu", value);
    case Format::kHex: return Append(out, "%#llx", value);
    case Format::kOctal: return Append(out, "%#llo", low);
    case Format::kDirFd:
      out += static_cast<int32_t>(low) == -100 ? "AT_FDCWD" : std::to_string(static_cast<int32_t>(low));
      return;
    case Format::kPath: return PrintString(out, c.memory, value);
    case Format::kOpenFlags: return PrintOpenFlags(out, value);
    case Format::kAtFlags: return PrintFlags(out, low, kAtNames, "0");
    case Format::kBufferIn: return PrintBuffer(out, c.memory, value, c.args[c.index + 1]);
    case Format::kIovIn: return PrintIov(out, c, false);
    case Format::kSockaddrIn: return PrintSockaddr(out, c.memory, value, c.args[c.index + 1]);
    case Format::kSignal:
      low < 32 ? void(out += SignalName(static_cast<int>(low))) : Append(out, "%llu", low);
      return;
    case Format::kSigSetIn: return PrintSigSet(out, c.memory, value);
    case Format::kSigMaskHow: return PrintNamed(out, low, kHowNames);
    case Format::kTimespecIn: return PrintTimespec(out, c.memory, value);
    case Format::kProt: return PrintFlags(out, value, kProtNames, "PROT_NONE");
    case Format::kMapFlags: return PrintFlags(out, value, kMapNames, "0");
    case Format::kCloneFlags:
      PrintFlags(out, value & ~0xffull, kCloneNames, "0");
      if ((value & 0xff) != 0) (out += '|') += SignalName(static_cast<int>(value & 0xff));
      return;
    case Format::kFutexOp:
      PrintNamed(out, low & ~0x180u, kFutexNames);
      out += (low & FUTEX_PRIVATE_FLAG) != 0 ? "_PRIVATE" : "";
      out += (low & FUTEX_CLOCK_REALTIME) != 0 ? "|FUTEX_CLOCK_REALTIME" : "";
      return;
    case Format::kWhence: return PrintNamed(out, low, kWhenceNames);
    case Format::kStringsIn: return PrintStrings(out, c.memory, value);
    case Format::kClockId: return PrintNamed(out, low, kClockNames);
    case Format::kSocketFamily: return PrintNamed(out, low, kFamilyNames);
    case Format::kSocketType:
      PrintNamed(out, low & 0xf, kTypeNames);
      out += (low & SOCK_NONBLOCK) != 0 ? "|SOCK_NONBLOCK" : "";
      out += (low & SOCK_CLOEXEC) != 0 ? "|SOCK_CLOEXEC" : "";
      return;
    case Format::kFcntlCommand: return PrintNamed(out, low, kFcntlNames);
    case Format::kPollFds: return PrintPollFds(out, c);
    case Format::kResource: return PrintNamed(out, low, kResourceNames);
    default: return PrintHexOrNull(out, value);
  }
}

}  // namespace rampart::strace
