#include "sentry/fs/host/host_file.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "abi/ioctl.h"
#include "abi/termios.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/terminal_ioctl.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

class HostFilesystem final : public vfs::Filesystem {
 public:
  HostFilesystem() : Filesystem("hostfs") {}
  Ref<vfs::Inode> root() override { return vfs::NewAnonymousInode(vfs::FileType::kDirectory, 0500, 0, 0); }
  Result<vfs::FsStats> StatFs(const Caller&) override {
    vfs::FsStats stats;
    stats.magic = 0x09041934;  // ANON_INODE_FS_MAGIC
    return stats;
  }
};
Ref<vfs::Filesystem> HostFs() {
  static HostFilesystem* const fs = MakeRef<HostFilesystem>().Leak();
  return Ref<vfs::Filesystem>::Share(fs);
}

// What is written to a terminal that poll(2) calls writable without asking again. A terminal says so when it has room for a few hundred bytes.
constexpr size_t kTerminalChunk = 256;
constexpr size_t kPipeChunk = 4096;  // PIPE_BUF: a pipe that is writable takes that much

Result<size_t> Moved(ssize_t n) {
  if (n >= 0) return static_cast<size_t>(n);
  if (errno == EINTR) return Errno::kEAGAIN;
  return ErrnoFromHost(errno);
}

HostInode::Kind KindOf(int fd, const struct stat& st) {
  if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode)) return HostInode::Kind::kSeekable;
  winsize size{};
  if (S_ISCHR(st.st_mode) && ioctl(fd, TIOCGWINSZ, &size) == 0) return HostInode::Kind::kTerminal;
  return HostInode::Kind::kStream;
}

Nanos ToNanos(const timespec& t) { return static_cast<Nanos>(t.tv_sec) * kNanosPerSecond + t.tv_nsec; }

// Cuts `segments` after `limit` bytes, into `cut`.
std::span<const iovec> Limit(std::span<const iovec> segments, size_t limit, std::array<iovec, 8>& cut) {
  size_t used = 0;
  for (const iovec& s : segments) {
    if (limit == 0 || used == cut.size()) break;
    cut[used] = {s.iov_base, std::min(s.iov_len, limit)};
    limit -= cut[used].iov_len;
    ++used;
  }
  return std::span<const iovec>(cut.data(), used);
}

int Count(std::span<const iovec> segments) { return static_cast<int>(std::min<size_t>(segments.size(), abi::kIovMax)); }

}  // namespace

HostInode::HostInode(UniqueFd fd, const struct stat& st, uint32_t open_flags, HostTerminals* terminals)
    : Inode(HostFs(), vfs::NextInodeNumber(), static_cast<vfs::FileType>(st.st_mode & S_IFMT)),
      fd_(std::move(fd)),
      events_(fd_.get()),
      kind_(KindOf(fd_.get(), st)),
      open_flags_(open_flags),
      terminal_(kind_ == Kind::kTerminal && terminals != nullptr ? RefPtr<HostTerminal>(terminals->Of(st.st_rdev)) : nullptr) {}

Result<vfs::Attr> HostInode::GetAttr(const Caller&) {
  struct stat st {};
  if (fstat(fd_.get(), &st) != 0) return ErrnoFromHost(errno);
  vfs::Attr attr;
  attr.type = static_cast<vfs::FileType>(st.st_mode & S_IFMT);
  attr.permissions = st.st_mode & 07777;
  attr.ino = terminal_ ? terminal_->ino() : ino();
  attr.nlink = st.st_nlink;
  attr.uid = st.st_uid;
  attr.gid = st.st_gid;
  attr.rdev = st.st_rdev;
  attr.size = static_cast<uint64_t>(st.st_size);
  attr.blocks = static_cast<uint64_t>(st.st_blocks);
  attr.block_size = static_cast<uint32_t>(st.st_blksize);
  attr.atime = ToNanos(st.st_atim);
  attr.mtime = ToNanos(st.st_mtim);
  attr.ctime = ToNanos(st.st_ctim);
  return attr;
}

Result<void> HostInode::SetAttr(const Caller&, const vfs::AttrChange& change) {
  if (!change.size || change.permissions || change.uid || change.gid) return Errno::kEPERM;
  if (kind_ != Kind::kSeekable || (open_flags_ & abi::kOAccMode) == abi::kORdOnly) return Errno::kEINVAL;
  if (*change.size > INT64_MAX) return Errno::kEFBIG;
  if (ftruncate(fd_.get(), static_cast<off_t>(*change.size)) != 0) return ErrnoFromHost(errno);
  return Ok();
}

// Whoever holds the descriptor was given its rights; the owner's ids are the host's and mean nothing inside.
Result<void> HostInode::CheckAccess(const Caller&, vfs::Access wanted) {
  const uint32_t mode = open_flags_ & abi::kOAccMode;
  if (vfs::Includes(wanted, vfs::Access::kExecute)) return Errno::kEACCES;
  if (vfs::Includes(wanted, vfs::Access::kWrite) && mode == abi::kORdOnly) return Errno::kEACCES;
  if (vfs::Includes(wanted, vfs::Access::kRead) && mode == abi::kOWrOnly) return Errno::kEACCES;
  return Ok();
}

Result<Ref<vfs::FileDescription>> HostInode::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<HostFile>(path, flags, ShareRef(this)));
}

Result<size_t> HostInode::ReadV(std::span<const iovec> segments) {
  if (kind_ == Kind::kSeekable) return Moved(preadv2(fd_.get(), segments.data(), Count(segments), -1, 0));
  if (kind_ == Kind::kStream && nowait_reads_.load(std::memory_order_relaxed)) {
    const ssize_t n = preadv2(fd_.get(), segments.data(), Count(segments), -1, RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP) return Moved(n);
    nowait_reads_.store(false, std::memory_order_relaxed);
  }
  if ((events_.Ready(abi::kPollIn) & (abi::kPollIn | abi::kPollHup | abi::kPollErr)) == 0) return Errno::kEAGAIN;
  return Moved(preadv2(fd_.get(), segments.data(), Count(segments), -1, 0));
}

Result<size_t> HostInode::WriteV(std::span<const iovec> segments) {
  if (kind_ == Kind::kSeekable) return Moved(pwritev2(fd_.get(), segments.data(), Count(segments), -1, 0));
  if (kind_ == Kind::kStream && nowait_writes_.load(std::memory_order_relaxed)) {
    const ssize_t n = pwritev2(fd_.get(), segments.data(), Count(segments), -1, RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP) return Moved(n);
    nowait_writes_.store(false, std::memory_order_relaxed);
  }
  // One piece at a time that a writable file is sure to take.
  std::array<iovec, 8> cut;
  size_t done = 0;
  const size_t chunk = kind_ == Kind::kTerminal ? kTerminalChunk : kPipeChunk;
  size_t offset = 0;
  while (!segments.empty()) {
    if ((events_.Ready(abi::kPollOut) & (abi::kPollOut | abi::kPollErr | abi::kPollHup)) == 0) {
      if (done == 0) return Errno::kEAGAIN;
      break;
    }
    std::array<iovec, 8> rest;
    size_t used = 0;
    for (const iovec& s : segments.first(std::min(segments.size(), rest.size()))) {
      const size_t skip = used == 0 ? offset : 0;
      rest[used++] = {static_cast<std::byte*>(s.iov_base) + skip, s.iov_len - skip};
    }
    const std::span<const iovec> piece = Limit(std::span<const iovec>(rest.data(), used), chunk, cut);
    const Result<size_t> n = Moved(pwritev2(fd_.get(), piece.data(), Count(piece), -1, 0));
    if (!n.ok()) {
      if (done == 0) return n;
      break;
    }
    if (*n == 0) break;
    done += *n;
    for (size_t left = *n; left > 0;) {
      const size_t here = std::min(left, segments.front().iov_len - offset);
      left -= here;
      offset += here;
      if (offset == segments.front().iov_len) segments = segments.subspan(1), offset = 0;
    }
    while (!segments.empty() && segments.front().iov_len == offset) segments = segments.subspan(1), offset = 0;
  }
  return done;
}

namespace {

Result<void> CheckTerminal(Caller& caller, const HostInode& host, kernel::TerminalAccess access,
                           HostTerminal::Freshness freshness = HostTerminal::Freshness::kNow) {
  if (!host.terminal() || caller.task() == nullptr) return Ok();
  return host.terminal()->CheckAccess(*caller.task(), access, freshness);
}

bool CanRead(HostInode& host) { return (host.events().Ready(abi::kPollIn) & (abi::kPollIn | abi::kPollHup | abi::kPollErr)) != 0; }

// Raw mode with VMIN and VTIME 0 does not wait.
Result<size_t> NothingTyped(int fd) {
  abi::Termios settings{};
  if (ioctl(fd, abi::kTcGets, &settings) != 0) return Errno::kEAGAIN;
  if ((settings.lflag & abi::kICanon) == 0 && settings.cc[abi::kVMin] == 0 && settings.cc[abi::kVTime] == 0) return size_t{0};
  return Errno::kEAGAIN;
}

// stty tostop.
bool StopsBackgroundWriters(int fd) {
  abi::Termios settings{};
  return ioctl(fd, abi::kTcGets, &settings) == 0 && (settings.lflag & abi::kToStop) != 0;
}

}  // namespace

HostFile::HostFile(vfs::Path path, uint32_t flags, Ref<HostInode> inode)
    : FileDescription(std::move(path), flags), host_(std::move(inode)) {}

bool HostFile::IsTerminal() const { return host_->kind() == HostInode::Kind::kTerminal; }
RefPtr<HostTerminal> HostFile::terminal() const { return host_->terminal(); }
bool HostFile::seekable() const { return host_->kind() == HostInode::Kind::kSeekable; }
bool HostFile::pollable() const { return host_->kind() != HostInode::Kind::kSeekable; }

Result<size_t> HostFile::PRead(Caller&, mm::IoDst& dst, uint64_t offset, uint32_t) {
  if (!seekable()) return Errno::kESPIPE;
  uint64_t at = offset;
  return dst.Fill(dst.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    const size_t n = TRY(Moved(preadv2(host_->fd(), segments.data(), Count(segments), static_cast<off_t>(at), 0)));
    at += n;
    return n;
  });
}

Result<size_t> HostFile::PWrite(Caller&, mm::IoSrc& src, uint64_t offset, uint32_t, uint64_t* end) {
  if (!seekable()) return Errno::kESPIPE;
  uint64_t at = offset;
  const Result<size_t> done = src.Drain(src.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    const size_t n = TRY(Moved(pwritev2(host_->fd(), segments.data(), Count(segments), static_cast<off_t>(at), 0)));
    at += n;
    return n;
  });
  if (end != nullptr) *end = at;
  return done;
}

Result<size_t> HostFile::Read(Caller& caller, mm::IoDst& dst, uint32_t) {
  if (host_->terminal()) {
    // What comes after this look is not taken: a signal may have been typed before it.
    const bool takes = CanRead(*host_);
    TRY(CheckTerminal(caller, *host_, kernel::TerminalAccess::kRead, takes ? HostTerminal::Freshness::kNow : HostTerminal::Freshness::kRecent));
    if (!takes) return NothingTyped(host_->fd());
  }
  bool first = true;
  return dst.Fill(dst.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    // A second read of a stream or terminal could take the next line or message; what came first is a complete answer.
    if (!first && host_->kind() != HostInode::Kind::kSeekable) return size_t{0};
    first = false;
    return host_->ReadV(segments);
  });
}

Result<size_t> HostFile::Write(Caller& caller, mm::IoSrc& src, uint32_t) {
  if (host_->terminal() && caller.task() != nullptr && StopsBackgroundWriters(host_->fd())) {
    TRY(CheckTerminal(caller, *host_, kernel::TerminalAccess::kWrite, HostTerminal::Freshness::kRecent));
  }
  return src.Drain(src.remaining(), [&](std::span<const iovec> segments) { return host_->WriteV(segments); });
}

Result<uint64_t> HostFile::Seek(Caller&, int64_t offset, int whence) {
  if (!seekable()) return Errno::kESPIPE;
  if (whence < abi::kSeekSet || whence > abi::kSeekHole) return Errno::kEINVAL;
  const off_t at = lseek(host_->fd(), offset, whence);
  if (at < 0) return ErrnoFromHost(errno);
  return static_cast<uint64_t>(at);
}

wait::EventMask HostFile::Readiness(wait::EventMask mask) {
  if (seekable()) return FileDescription::Readiness(mask);
  return host_->events().Ready(mask);
}
void HostFile::EventRegister(wait::WaitEntry& entry, wait::EventMask mask) {
  if (!seekable()) host_->events().Register(entry, mask);
}
void HostFile::EventUnregister(wait::WaitEntry& entry) {
  if (!seekable()) host_->events().Unregister(entry);
}

Result<void> HostFile::Sync(bool) {
  if (!seekable()) return Errno::kEINVAL;
  if (fsync(host_->fd()) != 0) return ErrnoFromHost(errno);
  return Ok();
}

namespace {

// Passes one structure to or from the host's terminal.
template <class T>
Result<uint64_t> HostGet(int fd, uint32_t command, mm::UserMemory& memory, uint64_t argument) {
  T value{};
  if (ioctl(fd, command, &value) < 0) return ErrnoFromHost(errno);
  TRY(memory.CopyOut(UserOut<T>(argument), value));
  return uint64_t{0};
}
template <class T>
Result<uint64_t> HostSet(int fd, uint32_t command, mm::UserMemory& memory, uint64_t argument) {
  T value = TRY(memory.CopyIn(UserIn<T>(argument)));
  if (ioctl(fd, command, &value) < 0) return ErrnoFromHost(errno);
  return uint64_t{0};
}

// termios2 differs from termios by two speeds at the end, which a terminal without a line ignores.
Result<uint64_t> GetTermios2(int fd, mm::UserMemory& memory, uint64_t argument) {
  abi::Termios2 out{};
  if (ioctl(fd, abi::kTcGets, &out.base) < 0) return ErrnoFromHost(errno);
  out.ispeed = out.ospeed = 38400;
  TRY(memory.CopyOut(UserOut<abi::Termios2>(argument), out));
  return uint64_t{0};
}

Result<uint64_t> TerminalIoctl(Caller& caller, HostInode& host, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  switch (command) {
    case abi::kTcGets:
      return HostGet<abi::Termios>(host.fd(), command, memory, argument);
    case abi::kTcGets2:
      return GetTermios2(host.fd(), memory, argument);
    case abi::kTcSets:
    case abi::kTcSetsW:
    case abi::kTcSetsF:
      TRY(CheckTerminal(caller, host, kernel::TerminalAccess::kControl));
      return HostSet<abi::Termios>(host.fd(), command, memory, argument);
    case abi::kTcSets2:
    case abi::kTcSetsW2:
    case abi::kTcSetsF2:
      TRY(CheckTerminal(caller, host, kernel::TerminalAccess::kControl));
      return HostSet<abi::Termios>(host.fd(), abi::kTcSets + (command - abi::kTcSets2), memory, argument);
    case abi::kTiocGwinsz:
      return HostGet<abi::Winsize>(host.fd(), command, memory, argument);
    case abi::kTiocSwinsz:
      return HostSet<abi::Winsize>(host.fd(), command, memory, argument);
    case abi::kTiocOutq:
      return HostGet<int32_t>(host.fd(), command, memory, argument);
    case abi::kTcFlsh:
    case abi::kTcXonc:
    case abi::kTcSbrk:
    case abi::kTcSbrkp:
      if (argument > INT32_MAX) return Errno::kEINVAL;
      TRY(CheckTerminal(caller, host, kernel::TerminalAccess::kControl));
      // TCSBRKP would hold the line for a time: as a drain.
      if (ioctl(host.fd(), command == abi::kTcSbrkp ? abi::kTcSbrk : command, command == abi::kTcSbrkp ? 1 : argument) < 0) return ErrnoFromHost(errno);
      return uint64_t{0};
    case abi::kTiocSpgrp:
      // Checked here for the caller's job as well.
      TRY(CheckTerminal(caller, host, kernel::TerminalAccess::kControl));
      [[fallthrough]];
    default:
      if (!host.terminal() || caller.task() == nullptr) return Errno::kENOTTY;
      return kernel::TerminalSessionIoctl(*caller.task(), *host.terminal(), memory, command, argument);
  }
}

}  // namespace

Result<uint64_t> HostFile::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command == abi::kFionread && pollable()) return HostGet<int32_t>(host_->fd(), command, memory, argument);
  if (IsTerminal()) return TerminalIoctl(caller, *host_, memory, command, argument);
  return FileDescription::Ioctl(caller, memory, command, argument);
}

Result<Ref<vfs::FileDescription>> NewHostFile(UniqueFd fd, HostTerminals* terminals) {
  std::signal(SIGPIPE, SIG_IGN);  // a write to a closed pipe must be EPIPE, not the end of the Sentry
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return ErrnoFromHost(errno);
  const int host_flags = fcntl(fd.get(), F_GETFL);
  if (host_flags < 0) return ErrnoFromHost(errno);
  const uint32_t flags = static_cast<uint32_t>(host_flags) & (abi::kOAccMode | abi::kOAppend | abi::kONonblock);
  Ref<HostInode> inode = MakeRef<HostInode>(std::move(fd), st, flags, terminals);
  if (inode->terminal()) inode->terminal()->OfferInode(inode, (flags & abi::kOAccMode) == abi::kORdWr);
  const char* kind = inode->type() == vfs::FileType::kFifo ? "pipe:[" : inode->type() == vfs::FileType::kSocket ? "socket:[" : "host:[";
  if (inode->terminal()) return Ref<vfs::FileDescription>(MakeRef<HostFile>(vfs::NewAnonymousPath(inode, inode->terminal()->name()), flags, inode));
  const std::string name = kind + std::to_string(inode->ino()) + "]";
  return Ref<vfs::FileDescription>(MakeRef<HostFile>(vfs::NewAnonymousPath(inode, name), flags, inode));
}

}  // namespace rampart::fs
