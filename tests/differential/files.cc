// Opening files; bytes in and out of them.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "tests/differential/operations.h"

namespace differential {
namespace {

int OpenFlags(Rng& r) {
  int flags = static_cast<int>(r.Pick({0, 1, 2, 2, 2, 3})) | O_NONBLOCK;
  if (r.OneIn(2)) flags |= O_CREAT;
  if (r.OneIn(8)) flags |= O_EXCL;
  if (r.OneIn(8)) flags |= O_TRUNC;
  if (r.OneIn(6)) flags |= O_APPEND;
  if (r.OneIn(4)) flags |= O_CLOEXEC;
  if (r.OneIn(10)) flags |= O_NOFOLLOW;
  if (r.OneIn(8)) flags = (flags & ~(O_ACCMODE | O_CREAT | O_TRUNC)) | O_DIRECTORY;
  if (r.OneIn(16)) flags |= O_PATH;
  if (r.OneIn(24)) flags |= O_SYNC;
  if (r.OneIn(24)) flags |= O_DSYNC;
  if (r.OneIn(24)) flags |= O_NOATIME;
  if (r.OneIn(80)) flags |= O_ASYNC;
  if (r.OneIn(30)) flags = (flags & ~(O_CREAT | O_TRUNC)) | O_TMPFILE;
  return flags;
}

mode_t Mode(Rng& r) { return r.Pick<mode_t>({0644, 0600, 0755, 0666, 0444, 0, 04755, 02711, 01777}); }

long Offset(Rng& r) {
  static const long kOffsets[] = {0, 0, 1, 10, 100, 4095, 4096, 5000, 8192, 10000, 16384, 65536, 100000};
  if (r.OneIn(40)) return r.Pick<long>({-1, 1L << 40, INT64_MAX, INT64_MAX - 4096});
  return r.Pick(kOffsets);
}

void Open(World& w, Rng& r) {
  w.MakeRoom(r);
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = OpenFlags(r);
  const mode_t mode = Mode(r);
  const int fd = openat(dir, path.text.c_str(), flags, mode);
  w.Say(fd, "openat(%d, %s, %#x, %o)", dir, path.name.c_str(), static_cast<unsigned>(flags), mode);
  w.Keep(fd);
}

void Create(World& w, Rng& r) {
  w.MakeRoom(r);
  const Path path = w.PathOf(r);
  const mode_t mode = r.OneIn(4) ? Mode(r) : 0644;
  const int fd = open(path.text.c_str(), O_RDWR | O_CREAT | O_NONBLOCK, mode);
  w.Say(fd, "open(%s, rw create, %o)", path.name.c_str(), mode);
  w.Keep(fd);
}

void Openat2(World& w, Rng& r) {
  w.MakeRoom(r);
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  open_how how{};
  how.flags = static_cast<unsigned>(OpenFlags(r));
  if ((how.flags & (O_CREAT | __O_TMPFILE)) != 0 || r.OneIn(20)) how.mode = Mode(r);
  for (const uint64_t flag : {RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS})
    if (r.OneIn(4)) how.resolve |= flag;
  if (r.OneIn(60)) how.flags |= 1ULL << 40;
  if (r.OneIn(60)) how.resolve |= 1ULL << 33;
  const size_t size = r.OneIn(40) ? r.Pick<size_t>({0, 8, 23}) : sizeof(how);
  const auto fd = static_cast<int>(syscall(SYS_openat2, dir, path.text.c_str(), &how, size));
  w.Say(fd, "openat2(%d, %s, %#llx, %llo, %#llx, %zu)", dir, path.name.c_str(), how.flags, how.mode, how.resolve, size);
  w.Keep(fd);
}

void Close(World& w, Rng& r) {
  const int fd = w.Fd(r);
  w.Say(close(fd), "close(%d)", fd);
  w.Forget(fd);
}

constexpr unsigned kBytes = kFile | kPipe | kSocket | kEvent | kDirectory | kEpoll;

void Read(World& w, Rng& r) {
  const int fd = w.Fd(r, r.OneIn(3) ? kBytes : kFile);
  if ((w.KindOf(fd) & (kInotify | kSignals | kMessages)) != 0) return;
  const Buffer buffer = w.Target(r, w.Length(r));
  if (w.IsOf(fd, buffer.at, buffer.length)) return;
  const ssize_t n = read(fd, buffer.at, buffer.length);
  w.Say(n, "read(%d, %s, %zu)", fd, buffer.name.c_str(), buffer.length);
  w.NoteBytes(buffer.at, n);
}

void Write(World& w, Rng& r) {
  const int fd = w.Fd(r, r.OneIn(3) ? kBytes : kFile);
  const size_t most = (w.KindOf(fd) & kSocket) != 0 ? 2000 : 1 << 16;  // how much fits into a socket is each kernel's own
  const Buffer buffer = w.Source(r, std::min(w.Length(r), most));
  if (w.IsOf(fd, buffer.at, buffer.length)) return;
  if ((w.KindOf(fd) & kSocket) != 0 && w.IsCut(buffer.at, buffer.length)) return;
  w.Say(write(fd, buffer.at, buffer.length), "write(%d, %s, %zu)", fd, buffer.name.c_str(), buffer.length);
}

void Pread(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  const Buffer buffer = w.Target(r, w.Length(r));
  const long offset = Offset(r);
  if (w.IsOf(fd, buffer.at, buffer.length)) return;
  const ssize_t n = pread(fd, buffer.at, buffer.length, offset);
  w.Say(n, "pread(%d, %s, %zu, %ld)", fd, buffer.name.c_str(), buffer.length, offset);
  w.NoteBytes(buffer.at, n);
}

void Pwrite(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  const Buffer buffer = w.Source(r, w.Length(r));
  const long offset = Offset(r);
  if (w.IsOf(fd, buffer.at, buffer.length)) return;
  w.Say(pwrite(fd, buffer.at, buffer.length, offset), "pwrite(%d, %s, %zu, %ld)", fd, buffer.name.c_str(), buffer.length, offset);
}

// The pieces lie one after the other in `whole`, but for one that may be elsewhere.
std::vector<iovec> Pieces(World& w, Rng& r, const Buffer& whole, bool for_write) {
  std::vector<iovec> pieces;
  size_t done = 0;
  const size_t count = r.Below(5);
  for (size_t i = 0; i < count; ++i) {
    const size_t length = i + 1 == count ? whole.length - done : r.Below(whole.length - done + 1);
    pieces.push_back({whole.at + done, length});
    done += length;
  }
  if (!for_write && !pieces.empty() && r.OneIn(16)) pieces[r.Below(pieces.size())].iov_base = w.Area(r.Below(24));
  if (!pieces.empty() && r.OneIn(60)) pieces[0].iov_len = static_cast<size_t>(-1);
  return pieces;
}

bool AnyIsOf(const World& w, int fd, const std::vector<iovec>& pieces) {
  return std::any_of(pieces.begin(), pieces.end(), [&](const iovec& piece) { return w.IsOf(fd, piece.iov_base, piece.iov_len); });
}

std::string Shown(const World& w, const std::vector<iovec>& pieces) {
  std::string text;
  for (const iovec& piece : pieces) text += " " + w.AreaName(piece.iov_base) + ":" + std::to_string(piece.iov_len);
  return text;
}

int VectorFlags(Rng& r) {
  constexpr int kDsync = 2, kSync = 4, kAppend = 16, kNoAppend = 32;
  return r.OneIn(2) ? 0 : r.Pick({kDsync, kSync, kAppend, kAppend, kNoAppend, 1 << 20, 1});
}

void Readv(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile | kPipe | kSocket);
  if ((w.KindOf(fd) & (kInotify | kSignals | kMessages)) != 0) return;
  const Buffer whole = w.Target(r, w.Length(r));
  const std::vector<iovec> pieces = Pieces(w, r, whole, false);
  if (AnyIsOf(w, fd, pieces)) return;
  const int count = static_cast<int>(pieces.size());
  ssize_t n = 0;
  if (r.OneIn(2)) {
    n = readv(fd, pieces.data(), r.OneIn(60) ? 1025 : count);
    w.Say(n, "readv(%d,%s)", fd, Shown(w, pieces).c_str());
  } else {
    const long offset = r.OneIn(4) ? -1 : Offset(r);
    const int flags = VectorFlags(r);
    n = syscall(SYS_preadv2, fd, pieces.data(), count, offset, 0, flags);
    w.Say(n, "preadv2(%d,%s, %ld, %#x)", fd, Shown(w, pieces).c_str(), offset, static_cast<unsigned>(flags));
  }
  w.NoteBytes(whole.at, n);
}

void Writev(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile | kPipe | kSocket);
  const Buffer whole = w.Source(r, w.Length(r));
  const std::vector<iovec> pieces = Pieces(w, r, whole, true);
  if (AnyIsOf(w, fd, pieces) || ((w.KindOf(fd) & kSocket) != 0 && w.IsCut(whole.at, whole.length))) return;
  const int count = static_cast<int>(pieces.size());
  if (r.OneIn(2)) {
    w.Say(writev(fd, pieces.data(), count), "writev(%d,%s)", fd, Shown(w, pieces).c_str());
    return;
  }
  const long offset = r.OneIn(4) ? -1 : Offset(r);
  const int flags = VectorFlags(r);
  const long n = syscall(SYS_pwritev2, fd, pieces.data(), count, offset, 0, flags);
  w.Say(n, "pwritev2(%d,%s, %ld, %#x)", fd, Shown(w, pieces).c_str(), offset, static_cast<unsigned>(flags));
}

void Lseek(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  const long offset = r.OneIn(4) ? -Offset(r) : Offset(r);
  const int whence = r.Pick({SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, SEEK_HOLE, 5});
  if ((whence == SEEK_DATA || whence == SEEK_HOLE) && w.vague_holes) return;
  if ((w.KindOf(fd) & kDirectory) != 0) return;  // a directory's offsets are its filesystem's own
  w.Say(lseek(fd, offset, whence), "lseek(%d, %ld, %d)", fd, offset, whence);
}

void Truncate(World& w, Rng& r) {
  const long length = Offset(r);
  if (r.OneIn(2)) {
    const Path path = w.PathOf(r);
    w.Say(truncate(path.text.c_str(), length), "truncate(%s, %ld)", path.name.c_str(), length);
  } else {
    const int fd = w.Fd(r, kFile);
    w.Say(ftruncate(fd, length), "ftruncate(%d, %ld)", fd, length);
  }
}

void Fallocate(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  const int mode = r.Pick({0, 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
                           FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, 0x1000});
  long offset = Offset(r), length = Offset(r);
  if (offset > 1 << 20) offset = -offset;
  if (length > 1 << 20) length = -length;
  const int result = fallocate(fd, mode, offset, length);
  w.Say(result, "fallocate(%d, %#x, %ld, %ld)", fd, static_cast<unsigned>(mode), offset, length);
  if (result == 0 && mode != 0x3) w.vague_holes = true;
}

void Sync(World& w, Rng& r) {
  const int fd = w.Fd(r);
  switch (r.Below(4)) {
    case 0: return w.Say(fsync(fd), "fsync(%d)", fd);
    case 1: return w.Say(fdatasync(fd), "fdatasync(%d)", fd);
    case 2: {
      const unsigned flags = r.Pick({0U, 1U, 2U, 7U, 8U});
      const long offset = Offset(r);
      return w.Say(sync_file_range(fd, offset, 4096, flags), "sync_file_range(%d, %ld, 4096, %u)", fd, offset, flags);
    }
    default: return w.Say(syncfs(fd), "syncfs(%d)", fd);
  }
}

void Fadvise(World& w, Rng& r) {
  const int fd = w.Fd(r);
  const int advice = static_cast<int>(r.Below(7));
  const long offset = Offset(r), length = Offset(r);
  const int result = posix_fadvise(fd, offset, length, advice);
  w.Say(result, "posix_fadvise(%d, %ld, %ld, %d)", fd, offset, length, advice);
  if (r.OneIn(3)) w.Say(readahead(fd, offset, 4096), "readahead(%d, %ld, 4096)", fd, offset);
}

void Sendfile(World& w, Rng& r) {
  const int out = w.Fd(r, kFile | kPipe | kSocket), chosen = w.Fd(r, kFile);
  const int in = (w.KindOf(out) & (kPipe | kSocket)) != 0 && (w.KindOf(chosen) & kFile) != 0 ? World::kLentFd : chosen;
  if (in == out || (w.KindOf(chosen) & (kFile | kPipe | kSocket)) == 0) return;  // how a file runs after its own end is a matter of the pieces
  struct stat from {}, to {};
  if (fstat(in, &from) == 0 && fstat(out, &to) == 0 && from.st_ino == to.st_ino && from.st_dev == to.st_dev) return;
  off_t offset = Offset(r);
  const size_t length = w.Length(r);
  if (r.OneIn(2)) {
    w.Say(sendfile(out, in, nullptr, length), "sendfile(%d, %d, null, %zu)", out, in, length);
    return;
  }
  const off_t before = offset;
  const ssize_t n = sendfile(out, in, &offset, length);
  w.Say(n, "sendfile(%d, %d, %ld, %zu)", out, in, before, length);
  w.Note("-> %ld", offset);
}

void CopyFileRange(World& w, Rng& r) {
  const int in = w.Fd(r, kFile), out = w.Fd(r, kFile);
  off64_t from = Offset(r), to = Offset(r);
  const off64_t from_before = from, to_before = to;
  const size_t length = w.Length(r);
  off64_t* const from_at = r.OneIn(2) ? &from : nullptr;
  off64_t* const to_at = r.OneIn(2) ? &to : nullptr;
  const unsigned flags = r.OneIn(40) ? 1 : 0;
  const long n = syscall(SYS_copy_file_range, in, from_at, out, to_at, length, flags);
  w.Say(n, "copy_file_range(%d, %ld, %d, %ld, %zu, %u)", in, from_at == nullptr ? -7 : from_before, out, to_at == nullptr ? -7 : to_before, length, flags);
  w.Note("-> %ld %ld", from, to);
}

constexpr Operation kOperations[] = {
    {"open", 30, Open},         {"create", 20, Create},     {"openat2", 12, Openat2},     {"close", 12, Close},       {"read", 20, Read},
    {"write", 30, Write},       {"pread", 10, Pread},       {"pwrite", 14, Pwrite},       {"readv", 10, Readv},       {"writev", 14, Writev},
    {"lseek", 14, Lseek},       {"truncate", 10, Truncate}, {"fallocate", 10, Fallocate}, {"sync", 4, Sync},          {"fadvise", 3, Fadvise},
    {"sendfile", 8, Sendfile},  {"copy_file_range", 8, CopyFileRange},
};

}  // namespace

std::span<const Operation> FileOperations() { return kOperations; }

}  // namespace differential
