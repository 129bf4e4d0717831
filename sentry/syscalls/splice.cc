#include "sentry/syscalls/splice.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/ipc/mqueue_fs.h"
#include "sentry/kernel/blocking.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/rw.h"
#include "sentry/syscalls/rw_file.h"
#include "sentry/syscalls/write_limit.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/watches.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using vfs::FileDescription;

constexpr uint32_t kMove = 1, kNonblock = 2, kMore = 4, kGift = 8, kAllFlags = kMove | kNonblock | kMore | kGift;
constexpr uint64_t kChunk = 256 * 1024;

fs::Pipe* PipeOf(FileDescription& file) {
  auto* pipe = dynamic_cast<fs::PipeFile*>(&file);
  return pipe == nullptr ? nullptr : &pipe->pipe();
}

struct End {
  FileDescription& file;
  fs::Pipe* pipe;
  std::optional<uint64_t> offset;  // none: the file's position

  Result<size_t> Read(Caller& caller, mm::IoDst& dst) { return offset ? file.PRead(caller, dst, *offset, 0) : file.Read(caller, dst, 0); }
  Result<size_t> Write(Caller& caller, mm::IoSrc& src) {
    return offset ? file.PWrite(caller, src, *offset, 0, nullptr) : file.Write(caller, src, 0);
  }
};

// Tries, and waits for the file unless it may not.
template <class T>
Result<T> Attempt(Task& task, FileDescription& file, wait::EventMask events, bool waits, absl::FunctionRef<Result<T>()> attempt) {
  return waits ? kernel::BlockOn<T>(task, file, events, Deadline::Never(), attempt) : attempt();
}

// Room in the pipe `out` leads to. EPIPE (with SIGPIPE).
Result<size_t> WaitForRoom(Task& task, End& out, bool waits) {
  const auto look = [&]() -> Result<size_t> { return out.pipe->Room(); };
  const Result<size_t> room = Attempt<size_t>(task, out.file, abi::kPollOut | abi::kPollWrNorm, waits, look);
  if (!room.ok() && room.error() == Errno::kEPIPE) SendOwnSignal(task, abi::kSigPipe);
  return room;
}

using Pieces = std::vector<fs::Pipe::Piece>;

// Gives back to the pipe all but the first `kept` bytes of what was taken from it.
void GiveBack(fs::Pipe& pipe, std::span<const std::byte> bytes, Pieces pieces, size_t kept) {
  bytes = bytes.subspan(kept);
  while (!pieces.empty() && kept >= pieces.front().length) {
    kept -= pieces.front().length;
    pieces.erase(pieces.begin());
  }
  if (pieces.empty()) return;
  pieces.front().length -= static_cast<uint32_t>(kept);
  pipe.Put(bytes, pieces, fs::Pipe::Where::kFront);
}

// From a pipe into a file or socket.
Result<uint64_t> SpliceOut(Task& task, End& in, End& out, uint64_t length, bool waits) {
  std::vector<std::byte> buffer;
  uint64_t done = 0;
  while (done < length) {
    const auto look = [&]() -> Result<size_t> {
      std::byte first[1];
      return in.pipe->Peek(first);
    };
    const Result<size_t> there = Attempt<size_t>(task, in.file, abi::kPollIn | abi::kPollRdNorm, waits && done == 0, look);
    if (!there.ok()) return done > 0 ? Result<uint64_t>(done) : there.error();
    if (*there == 0) break;
    const Result<uint64_t> allowed = AllowedBytes(task, out.file, out.offset, std::min(length - done, kChunk), false);
    if (!allowed.ok()) return done > 0 ? Result<uint64_t>(done) : allowed.error();
    buffer.resize(static_cast<size_t>(*allowed));
    Pieces pieces;
    const Result<size_t> taken = in.pipe->TakePieces(buffer, SIZE_MAX, false, pieces);
    if (!taken.ok()) {
      if (taken.error() == Errno::kEAGAIN && waits && done == 0) continue;  // another reader was faster
      return done > 0 ? Result<uint64_t>(done) : taken.error();
    }
    if (*taken == 0) break;
    const std::span<const std::byte> bytes(buffer.data(), *taken);
    mm::BufferSrc src(bytes);
    const bool out_waits = !out.file.nonblocking();
    const auto write = [&] { return out.Write(task, src); };
    const Result<size_t> put = Attempt<size_t>(task, out.file, abi::kPollOut | abi::kPollWrNorm, out_waits, write);
    const size_t written = put.ok() ? *put : 0;
    if (written < bytes.size()) GiveBack(*in.pipe, bytes, std::move(pieces), written);
    if (!put.ok() && put.error() == Errno::kEPIPE && SignalsBrokenPipe(out.file)) SendOwnSignal(task, abi::kSigPipe);
    if (!put.ok()) return done > 0 ? Result<uint64_t>(done) : put.error();
    done += written;
    if (out.offset) *out.offset += written;
    if (written < bytes.size() || task.Interrupted()) break;
  }
  return done;
}

// From a file, socket or another pipe into a pipe. A file's bytes take a buffer for each of its pages, as if these were lent.
Result<uint64_t> SpliceIn(Task& task, End& in, End& out, uint64_t length, bool waits) {
  // Of two pipes, the one that is empty is noticed first.
  constexpr wait::EventMask kSomething = abi::kPollIn | abi::kPollHup;
  if (in.pipe != nullptr && !waits && (in.file.Readiness(kSomething) & kSomething) == 0) return Errno::kEAGAIN;
  const size_t room = TRY(WaitForRoom(task, out, waits));
  const bool paged = in.pipe == nullptr && in.file.inode()->type() == vfs::FileType::kRegular;
  const uint64_t offset = paged ? in.offset.value_or(in.file.position()) & kPageMask : 0;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>({length, in.pipe != nullptr ? kChunk : room - offset, kChunk})));
  Pieces pieces;
  size_t got = 0;
  if (in.pipe != nullptr) {
    const auto take = [&] { return in.pipe->TakePieces(buffer, room / kPageSize, false, pieces); };
    got = TRY(Attempt<size_t>(task, in.file, abi::kPollIn | abi::kPollRdNorm, waits, take));
  } else {
    mm::BufferDst dst{std::span(buffer)};
    const auto read = [&] { return in.Read(task, dst); };
    got = TRY(Attempt<size_t>(task, in.file, abi::kPollIn | abi::kPollRdNorm, !in.file.nonblocking(), read));
    fs::Pipe::CutAtPages(got, offset, pieces);
  }
  if (got > 0) out.pipe->Put(std::span(buffer).first(got), pieces, fs::Pipe::Where::kBack);
  if (in.offset) *in.offset += got;
  return uint64_t{got};
}

Result<std::optional<uint64_t>> ReadOffset(Task& task, UserInOut<int64_t> user, const End& end) {
  if (!user) return std::optional<uint64_t>();
  if (end.pipe != nullptr) return Errno::kESPIPE;
  if (!end.file.seekable()) return Errno::kEINVAL;
  const int64_t value = TRY(task.CopyIn(UserIn<int64_t>(user.address())));
  if (value < 0) return Errno::kEINVAL;
  return std::optional<uint64_t>(static_cast<uint64_t>(value));
}

Result<void> WriteOffset(Task& task, UserInOut<int64_t> user, const End& end) {
  if (!user) return Ok();
  return task.CopyOut(UserOut<int64_t>(user.address()), static_cast<int64_t>(*end.offset));
}

}  // namespace

Result<Word> SysSplice(Task& task, Fd in_fd, UserInOut<int64_t> in_offset, Fd out_fd, UserInOut<int64_t> out_offset, uint64_t length,
                       uint32_t flags) {
  if (length == 0) return Word{0};
  if ((flags & ~kAllFlags) != 0) return Errno::kEINVAL;
  const Ref<FileDescription> in_file = TRY(OpenedFile(task, in_fd)), out_file = TRY(OpenedFile(task, out_fd));
  End in{*in_file, PipeOf(*in_file), {}}, out{*out_file, PipeOf(*out_file), {}};
  if ((in.pipe != nullptr && in_offset) || (out.pipe != nullptr && out_offset)) return Errno::kESPIPE;
  if (!in_file->readable() || !out_file->writable()) return Errno::kEBADF;
  if (in.pipe == nullptr && out.pipe == nullptr) return Errno::kEINVAL;
  in.offset = TRY(ReadOffset(task, in_offset, in));
  out.offset = TRY(ReadOffset(task, out_offset, out));
  if (in.pipe == out.pipe) return Errno::kEINVAL;
  if (in.pipe == nullptr && (out_file->Readiness(abi::kPollErr) & abi::kPollErr) != 0) {  // a pipe is asked before the source is
    SendOwnSignal(task, abi::kSigPipe);
    return Errno::kEPIPE;
  }
  TRY(CheckSplices(*in_file));
  TRY(CheckSplices(*out_file));
  if (out.pipe == nullptr && (out_file->flags() & abi::kOAppend) != 0) return Errno::kEINVAL;
  length = std::min(length, abi::kMaxRwCount);
  const bool pipes_wait = (flags & kNonblock) == 0 && !(out.pipe != nullptr && out_file->nonblocking()) &&
                          !(in.pipe != nullptr && out.pipe != nullptr && in_file->nonblocking());
  const uint64_t n = TRY(out.pipe != nullptr ? SpliceIn(task, in, out, length, pipes_wait) : SpliceOut(task, in, out, length, pipes_wait));
  if (n > 0) {
    vfs::NotifyWatches(out_file->path(), vfs::kInModify);
    vfs::NotifyWatches(in_file->path(), vfs::kInAccess);
  }
  TRY(WriteOffset(task, in_offset, in));
  TRY(WriteOffset(task, out_offset, out));
  return static_cast<Word>(n);
}

Result<Word> SysTee(Task& task, Fd in_fd, Fd out_fd, uint64_t length, uint32_t flags) {
  if ((flags & ~kAllFlags) != 0) return Errno::kEINVAL;
  if (length == 0) return Word{0};
  const Ref<FileDescription> in_file = TRY(task.fds().Get(in_fd)), out_file = TRY(task.fds().Get(out_fd));
  if (!in_file->readable() || !out_file->writable()) return Errno::kEBADF;
  End in{*in_file, PipeOf(*in_file), {}}, out{*out_file, PipeOf(*out_file), {}};
  if (in.pipe == nullptr || out.pipe == nullptr || in.pipe == out.pipe) return Errno::kEINVAL;
  const bool waits = (flags & kNonblock) == 0 && !in_file->nonblocking() && !out_file->nonblocking();
  // The source is asked first.
  constexpr wait::EventMask kSomething = abi::kPollIn | abi::kPollHup;
  if (!waits && (in_file->Readiness(kSomething) & kSomething) == 0) return Errno::kEAGAIN;
  const size_t room = TRY(WaitForRoom(task, out, waits));
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>({length, room, kChunk})));
  Pieces pieces;
  const auto look = [&] { return in.pipe->TakePieces(buffer, room / kPageSize, true, pieces); };
  const size_t got = TRY(Attempt<size_t>(task, in.file, abi::kPollIn | abi::kPollRdNorm, waits, look));
  if (got > 0) out.pipe->Put(std::span(buffer).first(got), pieces, fs::Pipe::Where::kBack);
  return static_cast<Word>(got);
}

namespace {

// Memory of the program into a pipe: a buffer for each of its pages. Waits for some room, and adds what fits in it: less than all is a success.
Result<Word> VmspliceOut(Task& task, End& out, const std::vector<mm::AddrRange>& areas, bool waits) {
  const size_t slots = TRY(WaitForRoom(task, out, waits)) / kPageSize;
  Pieces pieces;
  size_t total = 0;
  for (const mm::AddrRange& area : areas) {
    fs::Pipe::CutAtPages(std::min<uint64_t>(area.length(), slots * kPageSize), area.start, pieces);
    if (pieces.size() >= slots) break;
  }
  if (pieces.size() > slots) pieces.resize(slots);
  for (const fs::Pipe::Piece& piece : pieces) total += piece.length;
  std::vector<std::byte> buffer(total);
  const size_t got = TRY(task.mm().NewSrc(areas)->Read(buffer));
  if (got == 0) return Errno::kEFAULT;
  for (size_t extra = total - got; extra > 0;) {
    const size_t n = std::min<size_t>(extra, pieces.back().length);
    pieces.back().length -= static_cast<uint32_t>(n);
    if (pieces.back().length == 0) pieces.pop_back();
    extra -= n;
  }
  out.pipe->Put(std::span(buffer).first(got), pieces, fs::Pipe::Where::kBack);
  return static_cast<Word>(got);
}

// What is in a pipe, packets as well, into memory of the program.
Result<Word> VmspliceIn(Task& task, End& in, const std::vector<mm::AddrRange>& areas, bool waits) {
  const std::unique_ptr<mm::IoDst> dst = task.mm().NewDst(areas);
  std::vector<std::byte> buffer;
  Word done = 0;
  while (dst->remaining() > 0) {
    buffer.resize(std::min<size_t>(dst->remaining(), kChunk));
    Pieces pieces;
    const auto take = [&] { return in.pipe->TakePieces(buffer, SIZE_MAX, false, pieces); };
    const Result<size_t> taken = Attempt<size_t>(task, in.file, abi::kPollIn | abi::kPollRdNorm, waits && done == 0, take);
    if (!taken.ok() && done == 0) return taken.error();
    if (!taken.ok() || *taken == 0) break;
    const std::span<const std::byte> bytes(buffer.data(), *taken);
    const Result<size_t> put = dst->Write(bytes);
    size_t written = 0;  // of whole buffers, if some may not be written
    for (const fs::Pipe::Piece& piece : pieces) {
      if (!put.ok() || written + piece.length > *put) break;
      written += piece.length;
    }
    if (written < bytes.size()) GiveBack(*in.pipe, bytes, std::move(pieces), written);
    done += written;
    if (written == bytes.size()) continue;
    if (done == 0) return put.ok() ? Errno::kEFAULT : put.error();
    break;
  }
  return done;
}

}  // namespace

Result<void> CheckSplices(const FileDescription& file) {
  switch (file.inode()->type()) {
    case vfs::FileType::kFifo:
    case vfs::FileType::kSocket:
    case vfs::FileType::kCharDevice:
    case vfs::FileType::kBlockDevice: return Ok();
    case vfs::FileType::kRegular: {
      const bool special = dynamic_cast<const ipc::MqDescription*>(&file) != nullptr || dynamic_cast<const kernel::Pidfd*>(&file) != nullptr;
      return file.seekable() && !special ? Ok() : Result<void>(Errno::kEINVAL);
    }
    default: return Errno::kEINVAL;  // directories; eventfd, inotify and their like, which have no type
  }
}

bool IsPipe(const FileDescription& file) { return dynamic_cast<const fs::PipeFile*>(&file) != nullptr; }

Result<uint64_t> SendToPipe(Task& task, FileDescription& in, uint64_t& offset, FileDescription& out, uint64_t length) {
  End from{in, nullptr, in.seekable() ? std::optional(offset) : std::nullopt}, to{out, PipeOf(out), {}};
  TRY(WaitForRoom(task, to, !out.nonblocking()));  // a pipe is asked before the source is
  if (length == 0) return uint64_t{0};
  if (PipeOf(in) != nullptr) return Errno::kEINVAL;
  TRY(CheckSplices(in));
  const uint64_t n = TRY(SpliceIn(task, from, to, length, !out.nonblocking()));
  if (from.offset) offset = *from.offset;
  return n;
}

Result<Word> SysVmsplice(Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, uint32_t flags) {
  if ((flags & ~kAllFlags) != 0) return Errno::kEINVAL;
  const Ref<FileDescription> file = TRY(task.fds().Get(fd));
  if (!file->readable() && !file->writable()) return Errno::kEBADF;
  const std::vector<mm::AddrRange> areas = TRY(BufferRanges(task, vec.address(), count, true));
  if (areas.empty()) return Word{0};  // of any kind of file
  if (PipeOf(*file) == nullptr) return Errno::kEBADF;
  const bool waits = (flags & kNonblock) == 0;
  End end{*file, PipeOf(*file), {}};
  return file->writable() ? VmspliceOut(task, end, areas, waits) : VmspliceIn(task, end, areas, waits);
}

}  // namespace rampart::syscalls
