#include "sentry/syscalls/rw.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/kernel/blocking.h"
#include "sentry/syscalls/async_io.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"
#include "sentry/syscalls/rw_file.h"
#include "sentry/syscalls/socket_common.h"
#include "sentry/syscalls/splice.h"
#include "sentry/syscalls/write_limit.h"
#include "sentry/vfs/path_observer.h"
#include "sentry/vfs/watches.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using Ranges = std::vector<mm::AddrRange>;

constexpr uint32_t kKnownRwf = abi::kRwfHipri | abi::kRwfDsync | abi::kRwfSync | abi::kRwfNowait | abi::kRwfAppend | abi::kRwfNoappend;

Result<Ranges> OneRange(UserAddr buffer, uint64_t count) {
  if (count > static_cast<uint64_t>(INT64_MAX)) return Errno::kEINVAL;
  count = std::min(count, abi::kMaxRwCount);
  UserAddr end = 0;
  if (__builtin_add_overflow(buffer, count, &end)) return Errno::kEFAULT;
  return Ranges{{buffer, end}};
}

Result<Ranges> ReadIovec(Task& task, UserIn<abi::Iovec> vec, uint64_t count) {
  const std::vector<abi::Iovec> user = TRY(task.mm().CopyInArray(vec, count, abi::kIovMax));
  Ranges ranges;
  ranges.reserve(user.size());
  uint64_t total = 0;
  for (const abi::Iovec& v : user) {
    if (v.len > static_cast<uint64_t>(INT64_MAX)) return Errno::kEINVAL;
    UserAddr end = 0;
    const uint64_t n = std::min(v.len, abi::kMaxRwCount - total);
    if (__builtin_add_overflow(v.base, n, &end)) return Errno::kEFAULT;
    if (n > 0) ranges.push_back({v.base, end});
    total += n;
  }
  return ranges;
}

uint64_t Total(const Ranges& ranges) {
  uint64_t total = 0;
  for (const mm::AddrRange& r : ranges) total += r.length();
  return total;
}

bool WaitsForData(const vfs::FileDescription& file, uint32_t rwf) { return !file.nonblocking() && (rwf & abi::kRwfNowait) == 0; }

Result<void> CheckOffset(const vfs::FileDescription& file, int64_t offset) {
  if (offset < 0) return Errno::kEINVAL;
  if (!file.seekable()) return Errno::kESPIPE;
  return Ok();
}

// Linux: rw_verify_area.
Result<void> CheckEnd(const vfs::FileDescription& file, const Ranges& ranges, std::optional<uint64_t> offset) {
  if (!file.seekable()) return Ok();
  const uint64_t end = offset.value_or(file.position()) + Total(ranges);  // both below 2^63
  return end > static_cast<uint64_t>(INT64_MAX) ? Result<void>(Errno::kEINVAL) : Ok();
}

Result<Word> ReadBytes(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  if (!file.readable()) return Errno::kEBADF;
  const vfs::Inode& inode = *file.path().dentry->inode();
  if (inode.IsDirectory()) return Errno::kEISDIR;
  const bool stream = inode.type() == vfs::FileType::kSocket || inode.type() == vfs::FileType::kFifo;
  if (stream && Total(ranges) == 0) return Word{0};
  if (inode.type() == vfs::FileType::kSocket && !offset) {
    if (auto* const socket = dynamic_cast<net::Socket*>(&file)) return ReadSocket(task, *socket, std::move(ranges), (rwf & abi::kRwfNowait) != 0);
  }
  TRY(CheckEnd(file, ranges, offset));
  const std::unique_ptr<mm::IoDst> dst = task.mm().NewDst(std::move(ranges));
  const auto attempt = [&]() -> Result<size_t> {
    return offset ? file.PRead(task, *dst, *offset, rwf) : file.Read(task, *dst, rwf);
  };
  const Result<size_t> n = WaitsForData(file, rwf)
                               ? kernel::BlockOn<size_t>(task, file, abi::kPollIn | abi::kPollRdNorm, Deadline::Never(), attempt)
                               : attempt();
  if (!n.ok()) return n.error();
  if (*n > 0 && (file.flags() & vfs::kONonotify) == 0) vfs::NotifyWatches(file.path(), vfs::kInAccess);
  return static_cast<Word>(*n);
}

// Cuts what would lie beyond RLIMIT_FSIZE.
Result<void> LimitWrite(Task& task, vfs::FileDescription& file, Ranges& ranges, std::optional<uint64_t> offset, bool append) {
  uint64_t left = TRY(AllowedBytes(task, file, offset, Total(ranges), append));
  for (mm::AddrRange& r : ranges) {
    r.end = r.start + std::min(left, r.length());
    left -= r.length();
  }
  return Ok();
}

Result<Word> WriteBytes(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  if (!file.writable()) return Errno::kEBADF;
  if (file.path().dentry->inode()->type() == vfs::FileType::kSocket && !offset) {
    if (auto* const socket = dynamic_cast<net::Socket*>(&file)) return WriteSocket(task, *socket, std::move(ranges), (rwf & abi::kRwfNowait) != 0);
  }
  if (file.path().dentry->inode()->type() == vfs::FileType::kFifo && Total(ranges) == 0) return Word{0};
  TRY(CheckEnd(file, ranges, offset));
  const bool append = abi::Appends(file.flags(), rwf);
  TRY(LimitWrite(task, file, ranges, offset, append));
  const std::unique_ptr<mm::IoSrc> src = task.mm().NewSrc(std::move(ranges));
  const auto attempt = [&]() -> Result<size_t> {
    return offset ? file.PWrite(task, *src, *offset, rwf, nullptr) : file.Write(task, *src, rwf);
  };
  const bool waits = WaitsForData(file, rwf);
  size_t done = 0;
  while (true) {
    const Result<size_t> n =
        waits ? kernel::BlockOn<size_t>(task, file, abi::kPollOut | abi::kPollWrNorm, Deadline::Never(), attempt) : attempt();
    if (!n.ok()) {
      if (n.error() == Errno::kEPIPE) SendOwnSignal(task, abi::kSigPipe);
      if (done == 0) return n.error();
      break;
    }
    done += *n;
    // A stream that blocks takes everything, in as many steps as it needs.
    if (!waits || file.seekable() || *n == 0 || src->remaining() == 0) break;
  }
  if (done > 0 && (file.flags() & vfs::kONonotify) == 0) vfs::NotifyWatches(file.path(), vfs::kInModify);
  if (((file.flags() & abi::kODsync) != 0 || (rwf & (abi::kRwfDsync | abi::kRwfSync)) != 0) && file.seekable()) TRY(file.Sync(true));
  return static_cast<Word>(done);
}

Result<Word> DoRead(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  Result<Word> n = ReadBytes(task, file, std::move(ranges), offset, rwf);
  task.CountRead(n.ok() ? *n : 0);
  return n;
}
Result<Word> DoWrite(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  Result<Word> n = WriteBytes(task, file, std::move(ranges), offset, rwf);
  task.CountWrite(n.ok() ? *n : 0);
  return n;
}

// Linux: kiocb_set_rw_flags, which comes after everything else that can be wrong.
Result<void> CheckFlags(uint32_t rwf) {
  if ((rwf & ~kKnownRwf) != 0) return Errno::kEOPNOTSUPP;
  return (rwf & abi::kRwfAppend) != 0 && (rwf & abi::kRwfNoappend) != 0 ? Result<void>(Errno::kEINVAL) : Ok();
}

Result<Word> ReadVector(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, std::optional<int64_t> offset, uint32_t rwf) {
  if (offset && *offset < 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  std::optional<uint64_t> at;
  if (offset) {
    TRY(CheckOffset(*file, *offset));
    at = static_cast<uint64_t>(*offset);
  }
  if (!file->readable()) return Errno::kEBADF;
  if (!file->has_read()) return Errno::kEINVAL;
  Ranges ranges = TRY(ReadIovec(task, vec, count));
  const bool nothing = ranges.empty();
  if (!nothing) TRY(CheckFlags(rwf));
  const Word n = nothing ? Word{0} : TRY(DoRead(task, *file, std::move(ranges), at, rwf));
  // A vector that gets nothing is an access all the same (Linux: vfs_readv).
  if (n == 0 && (file->flags() & vfs::kONonotify) == 0) vfs::NotifyWatches(file->path(), vfs::kInAccess);
  return n;
}

// Area by area: what a vector is to files whose write knows only one.
Result<Word> WriteEach(Task& task, vfs::FileDescription& file, const Ranges& ranges, uint32_t rwf) {
  if ((rwf & ~abi::kRwfHipri) != 0) return Errno::kEOPNOTSUPP;
  Word done = 0;
  for (const mm::AddrRange& range : ranges) {
    const Result<Word> n = DoWrite(task, file, Ranges{range}, std::nullopt, rwf);
    if (!n.ok() && done == 0) return n.error();
    if (!n.ok()) break;
    done += *n;
    if (*n < range.length()) break;
  }
  return done;
}

Result<Word> WriteVector(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, std::optional<int64_t> offset, uint32_t rwf) {
  if (offset && *offset < 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  std::optional<uint64_t> at;
  if (offset) {
    TRY(CheckOffset(*file, *offset));
    at = static_cast<uint64_t>(*offset);
  }
  if (!file->writable()) return Errno::kEBADF;
  if (!file->has_write()) return Errno::kEINVAL;
  Ranges ranges = TRY(ReadIovec(task, vec, count));
  if (ranges.empty()) return Word{0};
  TRY(CheckFlags(rwf));
  if (dynamic_cast<const fs::EventFd*>(file.get()) != nullptr) return WriteEach(task, *file, ranges, rwf);
  return DoWrite(task, *file, std::move(ranges), at, rwf);
}

void NotifyCopied(const vfs::FileDescription& in, const vfs::FileDescription& out) {
  vfs::NotifyWatches(in.path(), vfs::kInAccess);
  vfs::NotifyWatches(out.path(), vfs::kInModify);
}

struct CopyEnd {
  vfs::FileDescription& file;
  std::optional<uint64_t> offset;  // none: the file's position
};

struct CopySource {
  vfs::FileDescription& file;
  uint64_t offset;
};

// Moves bytes between two files through a kernel buffer. Short when the source ends or the destination takes no more.
Result<uint64_t> CopyBytes(Task& task, CopySource& in, CopyEnd& out, uint64_t count) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(count, 64 * 1024)));
  uint64_t done = 0;
  while (done < count && !(done > 0 && task.Interrupted())) {
    const std::span<std::byte> room(buffer.data(), static_cast<size_t>(std::min<uint64_t>(buffer.size(), count - done)));
    mm::BufferDst dst(room);
    const auto read = [&] { return in.file.PRead(task, dst, in.offset, 0); };
    const Result<size_t> got = in.file.nonblocking() || done > 0
                                   ? read()
                                   : kernel::BlockOn<size_t>(task, in.file, abi::kPollIn, Deadline::Never(), read);
    if (!got.ok()) return done > 0 ? Result<uint64_t>(done) : got.error();
    if (*got == 0) break;
    // Nothing is too long for a file that is not written.
    const Result<uint64_t> allowed = AllowedBytes(task, out.file, out.offset, *got, false);
    if (!allowed.ok()) return done > 0 ? Result<uint64_t>(done) : allowed.error();
    const std::span<const std::byte> filled(buffer.data(), static_cast<size_t>(*allowed));
    mm::BufferSrc src(filled);
    size_t put = 0;
    while (put < filled.size()) {
      const auto write = [&]() -> Result<size_t> {
        return out.offset ? out.file.PWrite(task, src, *out.offset, 0, nullptr) : out.file.Write(task, src, 0);
      };
      const Result<size_t> n =
          out.file.nonblocking() ? write() : kernel::BlockOn<size_t>(task, out.file, abi::kPollOut, Deadline::Never(), write);
      if (!n.ok() || *n == 0) {
        if (!n.ok() && n.error() == Errno::kEPIPE && SignalsBrokenPipe(out.file)) SendOwnSignal(task, abi::kSigPipe);
        in.offset += put;
        done += put;
        if (done > 0 || n.ok()) return done;
        return n.error();
      }
      put += *n;
      if (out.offset) *out.offset += *n;
    }
    in.offset += put;
    done += put;
    if (put < *got) break;
  }
  return done;
}

Result<std::optional<uint64_t>> ReadOffset(Task& task, UserInOut<int64_t> user, const vfs::FileDescription& file) {
  if (!user) return std::optional<uint64_t>();
  const int64_t value = TRY(task.CopyIn(UserIn<int64_t>(user.address())));
  if (!file.seekable()) return Errno::kESPIPE;
  TRY(CheckOffset(file, value));
  return std::optional<uint64_t>(static_cast<uint64_t>(value));
}

// Where a copy has come to: told, or the file's position from now on.
Result<void> TellOffset(Task& task, UserInOut<int64_t> user, vfs::FileDescription& file, uint64_t offset) {
  if (user) return task.CopyOut(UserOut<int64_t>(user.address()), static_cast<int64_t>(offset));
  (void)file.Seek(task, static_cast<int64_t>(offset), abi::kSeekSet);
  return Ok();
}

Result<void> CheckNewSize(Task& task, vfs::Inode& inode, uint64_t size) {
  const uint64_t limit = task.limit(abi::Resource::kFsize);
  if (size <= limit) return Ok();
  if (TRY(inode.GetAttr(task)).size >= size) return Ok();
  SendOwnSignal(task, abi::kSigXfsz);
  return Errno::kEFBIG;
}

}  // namespace

bool SignalsBrokenPipe(vfs::FileDescription& file) {
  const auto* const socket = dynamic_cast<const net::Socket*>(&file);
  return socket == nullptr || socket->type() == abi::kSockStream;
}

void SendOwnSignal(Task& task, int signo) {
  abi::SigInfo info;
  info.signo = signo;
  info.code = abi::kSiUser;
  info.SetSender(task.own_tid(), task.creds().ruid);
  (void)task.SendSignal(info);
}

Result<uint64_t> AllowedBytes(Task& task, vfs::FileDescription& file, std::optional<uint64_t> offset, uint64_t count, bool append) {
  const uint64_t limit = task.limit(abi::Resource::kFsize);
  vfs::Inode& inode = *file.path().dentry->inode();
  if (limit == abi::kRlimInfinity || count == 0 || inode.type() != vfs::FileType::kRegular) return count;
  uint64_t at = offset.value_or(file.position());
  if (append) at = TRY(inode.GetAttr(task)).size;
  if (at >= limit) {
    SendOwnSignal(task, abi::kSigXfsz);
    return Errno::kEFBIG;
  }
  return std::min(count, limit - at);
}

Result<Word> SysRead(Task& task, Fd fd, UserAddr buffer, uint64_t count) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  Ranges ranges = TRY(OneRange(buffer, count));
  return DoRead(task, *file, std::move(ranges), std::nullopt, 0);
}

Result<Word> SysWrite(Task& task, Fd fd, UserAddr buffer, uint64_t count) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  Ranges ranges = TRY(OneRange(buffer, count));
  return DoWrite(task, *file, std::move(ranges), std::nullopt, 0);
}

Result<Word> SysPread64(Task& task, Fd fd, UserAddr buffer, uint64_t count, int64_t offset) {
  if (offset < 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  TRY(CheckOffset(*file, offset));
  Ranges ranges = TRY(OneRange(buffer, count));
  return DoRead(task, *file, std::move(ranges), static_cast<uint64_t>(offset), 0);
}

Result<Word> SysPwrite64(Task& task, Fd fd, UserAddr buffer, uint64_t count, int64_t offset) {
  if (offset < 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  TRY(CheckOffset(*file, offset));
  Ranges ranges = TRY(OneRange(buffer, count));
  return DoWrite(task, *file, std::move(ranges), static_cast<uint64_t>(offset), 0);
}

Result<Word> SysReadv(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count) { return ReadVector(task, fd, vec, count, std::nullopt, 0); }
Result<Word> SysWritev(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count) { return WriteVector(task, fd, vec, count, std::nullopt, 0); }
Result<Word> SysPreadv(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset) {
  return ReadVector(task, fd, vec, count, offset, 0);
}
Result<Word> SysPwritev(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset) {
  return WriteVector(task, fd, vec, count, offset, 0);
}
Result<Word> SysPreadv2(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset, int64_t, uint32_t flags) {
  return ReadVector(task, fd, vec, count, offset == -1 ? std::optional<int64_t>() : offset, flags);
}
Result<Word> SysPwritev2(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset, int64_t, uint32_t flags) {
  return WriteVector(task, fd, vec, count, offset == -1 ? std::optional<int64_t>() : offset, flags);
}

Result<Word> SysLseek(Task& task, Fd fd, int64_t offset, int32_t whence) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (whence < abi::kSeekSet || whence > abi::kSeekHole) return Errno::kEINVAL;
  return static_cast<Word>(TRY(file->Seek(task, offset, whence)));
}

Result<Word> SysSendfile(Task& task, Fd out_fd, Fd in_fd, UserInOut<int64_t> offset, uint64_t count) {
  const Ref<vfs::FileDescription> in = TRY(task.fds().Get(in_fd));
  if (!in->readable()) return Errno::kEBADF;
  const std::optional<uint64_t> given = TRY(ReadOffset(task, offset, *in));
  CopySource from{*in, given.value_or(in->position())};
  if (count > static_cast<uint64_t>(INT64_MAX) || from.offset + count > static_cast<uint64_t>(INT64_MAX)) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> out = TRY(task.fds().Get(out_fd));
  if (!out->writable()) return Errno::kEBADF;
  const bool to_pipe = IsPipe(*out);
  if (!to_pipe && (!in->seekable() || in->inode()->IsDirectory() || (out->flags() & abi::kOAppend) != 0)) return Errno::kEINVAL;
  count = std::min(count, abi::kMaxRwCount);
  if (const Result<void> takes = CheckSplices(*out); !takes.ok()) {  // noticed when there is something to give it
    std::byte first[1];
    mm::BufferDst peek{std::span(first, std::min<size_t>(count, 1))};
    return TRY(in->PRead(task, peek, from.offset, 0)) == 0 ? Result<Word>(Word{0}) : takes.error();
  }
  // Both ends go on from where they were at the start, which matters where they are one description.
  CopyEnd to{*out, std::nullopt};
  const bool moves_out = out->inode()->type() == vfs::FileType::kRegular && out->seekable();
  if (moves_out) to.offset = out->position();
  const uint64_t n = TRY(to_pipe ? SendToPipe(task, *in, from.offset, *out, count) : CopyBytes(task, from, to, count));
  if (n > 0) {
    NotifyCopied(*in, *out);
    if (moves_out) (void)out->Seek(task, static_cast<int64_t>(*to.offset), abi::kSeekSet);
    TRY(TellOffset(task, offset, *in, from.offset));
  }
  task.CountRead(n), task.CountWrite(n);
  return static_cast<Word>(n);
}

Result<Word> SysCopyFileRange(Task& task, Fd in_fd, UserInOut<int64_t> in_offset, Fd out_fd, UserInOut<int64_t> out_offset, uint64_t length,
                              uint32_t flags) {
  const Ref<vfs::FileDescription> in = TRY(OpenedFile(task, in_fd)), out = TRY(OpenedFile(task, out_fd));
  const auto offset_at = [&](UserInOut<int64_t> user) -> Result<std::optional<uint64_t>> {
    if (!user) return std::optional<uint64_t>();
    return std::optional<uint64_t>(static_cast<uint64_t>(TRY(task.CopyIn(UserIn<int64_t>(user.address())))));
  };
  const std::optional<uint64_t> given_in = TRY(offset_at(in_offset)), given_out = TRY(offset_at(out_offset));
  if (flags != 0) return Errno::kEINVAL;
  const vfs::Inode& from_inode = *in->path().dentry->inode();
  const vfs::Inode& to_inode = *out->path().dentry->inode();
  if (from_inode.IsDirectory() || to_inode.IsDirectory()) return Errno::kEISDIR;
  if (from_inode.type() != vfs::FileType::kRegular || to_inode.type() != vfs::FileType::kRegular) return Errno::kEINVAL;
  if (!in->readable() || !out->writable() || (out->flags() & abi::kOAppend) != 0) return Errno::kEBADF;
  if (&from_inode.fs() != &to_inode.fs()) return Errno::kEXDEV;  // since Linux 5.19 the caller copies by itself then
  const uint64_t a = given_in.value_or(in->position()), b = given_out.value_or(out->position());
  if (a + length < a || b + length < b) return Errno::kEOVERFLOW;
  if (static_cast<int64_t>(a) < 0 || static_cast<int64_t>(b) < 0) return Errno::kEINVAL;
  // What lies beyond the end of the source does not count, for what overlaps either (Linux: generic_copy_file_checks).
  const uint64_t size = TRY(in->path().dentry->inode()->GetAttr(task)).size;
  length = std::min({length, abi::kMaxRwCount, size - std::min(size, a)});
  if (b >= task.limit(abi::Resource::kFsize)) {  // however little there is to copy
    SendOwnSignal(task, abi::kSigXfsz);
    return Errno::kEFBIG;
  }
  if (b >= static_cast<uint64_t>(INT64_MAX)) return Errno::kEFBIG;
  if (length == 0) return Word{0};
  if (&from_inode == &to_inode) {
    if (a < b + length && b < a + length) return Errno::kEINVAL;
  }
  CopySource from{*in, a};
  CopyEnd to{*out, b};
  const uint64_t n = TRY(CopyBytes(task, from, to, length));
  if (n > 0) {
    NotifyCopied(*in, *out);
    TRY(TellOffset(task, in_offset, *in, from.offset));
    TRY(TellOffset(task, out_offset, *out, *to.offset));
  }
  task.CountRead(n), task.CountWrite(n);
  return static_cast<Word>(n);
}

namespace {

Result<Word> SyncFile(Task& task, Fd fd, bool data_only) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  const vfs::FileType type = file->inode()->type();
  if (!file->seekable() || (type != vfs::FileType::kRegular && type != vfs::FileType::kDirectory)) return Errno::kEINVAL;
  TRY(file->Sync(data_only));
  return Word{0};
}

}  // namespace

Result<Word> SysFsync(Task& task, Fd fd) { return SyncFile(task, fd, false); }
Result<Word> SysFdatasync(Task& task, Fd fd) { return SyncFile(task, fd, true); }

Result<Word> SysSyncfs(Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  TRY(file->path().mount->fs().Sync());
  return Word{0};
}

Result<Word> SysSync(Task& task) {
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  for (const vfs::MountInfo& info : mounts->List(mounts->root())) (void)info.mount->fs().Sync();
  return Word{0};
}

Result<Word> SysSyncFileRange(Task& task, Fd fd, int64_t offset, int64_t length, uint32_t flags) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  int64_t end = 0;
  if ((flags & ~7u) != 0 || offset < 0 || __builtin_add_overflow(offset, length, &end) || end < offset) return Errno::kEINVAL;
  const vfs::FileType type = file->inode()->type();
  if (!file->seekable() || (type != vfs::FileType::kRegular && type != vfs::FileType::kDirectory)) return Errno::kESPIPE;
  const Result<void> done = file->Sync(true);
  if (!done.ok() && done.error() != Errno::kEINVAL) return done.error();  // EINVAL: there is nothing that fsync(2) could do either
  return Word{0};
}

Result<Word> SysFadvise64(Task& task, Fd fd, int64_t, int64_t length, int32_t advice) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (file->inode()->type() == vfs::FileType::kFifo) return Errno::kESPIPE;
  if (length < 0 || advice < 0 || advice > 5) return Errno::kEINVAL;
  return Word{0};
}

Result<Word> SysReadahead(Task& task, Fd fd, int64_t, uint64_t) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  if (!file->readable()) return Errno::kEBADF;
  vfs::Inode& inode = *file->path().dentry->inode();
  if (inode.type() != vfs::FileType::kRegular || TRY(inode.GetAttr(task)).type != vfs::FileType::kRegular) return Errno::kEINVAL;
  return Word{0};
}

Result<Word> SysTruncate(Task& task, UserPath user, int64_t length) {
  if (length < 0) return Errno::kEINVAL;
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  const vfs::Path found = TRY(path.Find(true));
  if (found.dentry->inode()->type() == vfs::FileType::kRegular) TRY(CheckNewSize(task, *found.dentry->inode(), static_cast<uint64_t>(length)));
  const auto attempt = [&] { return vfs::Truncate(task, found, static_cast<uint64_t>(length)); };
  Result<void> done = attempt();
  if (!done.ok() && done.error() == Errno::kEAGAIN) done = WaitForLease(task, path, true, true, attempt);
  TRY(std::move(done));
  return Word{0};
}

Result<Word> SysFtruncate(Task& task, Fd fd, int64_t length) {
  if (length < 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (!file->writable() || file->path().dentry->inode()->type() != vfs::FileType::kRegular) return Errno::kEINVAL;
  TRY(CheckNewSize(task, *file->path().dentry->inode(), static_cast<uint64_t>(length)));
  TRY(file->Truncate(task, static_cast<uint64_t>(length)));
  return Word{0};
}

namespace {

constexpr int32_t kAllocateKeepSize = 1, kAllocateZero = 0x10;

// Linux: vfs_fallocate. What is well-formed may still be something that the filesystem cannot do.
Result<void> CheckAllocateMode(int32_t mode) {
  constexpr int32_t kPunchHole = 2, kCollapse = 8, kInsert = 0x20, kUnshare = 0x40;
  const bool keeps = (mode & kAllocateKeepSize) != 0;
  switch (mode & ~kAllocateKeepSize) {
    case 0:
    case kAllocateZero:
    case kUnshare: return Ok();
    case kPunchHole: return keeps ? Ok() : Result<void>(Errno::kEOPNOTSUPP);
    case kCollapse:
    case kInsert: return keeps ? Result<void>(Errno::kEOPNOTSUPP) : Ok();
    default: return Errno::kEOPNOTSUPP;
  }
}

}  // namespace

Result<Word> SysFallocate(Task& task, Fd fd, int32_t mode, int64_t offset, int64_t length) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (offset < 0 || length <= 0) return Errno::kEINVAL;
  TRY(CheckAllocateMode(mode));
  if (!file->writable()) return Errno::kEBADF;
  const vfs::Inode& inode = *file->path().dentry->inode();
  if (inode.type() == vfs::FileType::kFifo) return Errno::kESPIPE;
  if (inode.IsDirectory()) return Errno::kEISDIR;
  if (inode.type() != vfs::FileType::kRegular) return Errno::kENODEV;
  int64_t end = 0;
  if (__builtin_add_overflow(offset, length, &end)) return Errno::kEFBIG;
  // What the filesystem does not do it refuses before it looks at the size; one in memory looks whether the size changes or not.
  const bool in_memory = std::string_view(file->inode()->fs().type()) == "tmpfs";
  const bool grows = (mode & kAllocateKeepSize) == 0 || in_memory;
  if (grows && (mode & ~kAllocateKeepSize & (in_memory ? ~0 : ~kAllocateZero)) == 0) TRY(CheckNewSize(task, *file->inode(), static_cast<uint64_t>(end)));
  TRY(file->Allocate(task, static_cast<uint32_t>(mode), static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
  TRY(vfs::DropPrivilegeBits(task, *file->inode()));
  return Word{0};
}

Result<Ranges> BufferRanges(Task& task, UserAddr buffer, uint64_t count, bool vector) {
  return vector ? ReadIovec(task, UserIn<abi::Iovec>(buffer), count) : OneRange(buffer, count);
}
Result<void> CheckRwFlags(uint32_t rwf) { return CheckFlags(rwf); }
Result<Word> ReadFile(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  return DoRead(task, file, std::move(ranges), offset, rwf);
}
Result<Word> WriteFile(Task& task, vfs::FileDescription& file, Ranges ranges, std::optional<uint64_t> offset, uint32_t rwf) {
  return DoWrite(task, file, std::move(ranges), offset, rwf);
}

}  // namespace rampart::syscalls
