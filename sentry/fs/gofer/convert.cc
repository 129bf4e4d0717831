#include "sentry/fs/gofer/convert.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "base/result.h"

namespace rampart::fs {
namespace {

constexpr uint32_t kStatxBtime = 0x800;

// Saturating: hosts may hold any 64-bit second.
Nanos ToNanos(const gofer::WireTime& time) {
  Nanos out = 0;
  if (__builtin_mul_overflow(time.sec, kNanosPerSecond, &out)) return time.sec < 0 ? INT64_MIN : INT64_MAX;
  return SaturatingAdd(out, static_cast<Nanos>(time.nsec));
}

void Split(Nanos time, int64_t& sec, uint64_t& nsec) {
  sec = time / kNanosPerSecond;
  int64_t rest = time % kNanosPerSecond;
  if (rest < 0) {
    rest += kNanosPerSecond;
    --sec;
  }
  nsec = static_cast<uint64_t>(rest);
}

gofer::WireTime ToWire(const timespec& time) { return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)}; }

}  // namespace

vfs::FileType TypeOf(const gofer::FileAttr& attr) { return static_cast<vfs::FileType>(attr.mode & abi::kIfMt); }

vfs::FileType TypeOfDirent(uint8_t type) {
  switch (type) {
    case DT_DIR:
      return vfs::FileType::kDirectory;
    case DT_LNK:
      return vfs::FileType::kSymlink;
    case DT_FIFO:
      return vfs::FileType::kFifo;
    case DT_SOCK:
      return vfs::FileType::kSocket;
    case DT_CHR:
      return vfs::FileType::kCharDevice;
    case DT_BLK:
      return vfs::FileType::kBlockDevice;
    default:
      return vfs::FileType::kRegular;
  }
}

vfs::Attr ToAttr(const gofer::FileAttr& from) {
  vfs::Attr attr;
  attr.type = TypeOf(from);
  attr.permissions = from.mode & 07777;
  attr.ino = from.ino;
  attr.nlink = from.nlink;
  attr.uid = from.uid;
  attr.gid = from.gid;
  attr.rdev = abi::MakeDev(from.rdev_major, from.rdev_minor);
  attr.size = from.size;
  attr.blocks = from.blocks;
  attr.block_size = from.blksize;
  attr.atime = ToNanos(from.atime);
  attr.mtime = ToNanos(from.mtime);
  attr.ctime = ToNanos(from.ctime);
  if ((from.mask & kStatxBtime) != 0) attr.btime = ToNanos(from.btime);
  attr.attributes = from.attributes;
  return attr;
}

gofer::SetAttr ToSetAttr(const vfs::AttrChange& change) {
  gofer::SetAttr set;
  if (change.permissions) {
    set.valid |= gofer::kSetMode;
    set.mode = *change.permissions;
  }
  if (change.uid) {
    set.valid |= gofer::kSetUid;
    set.uid = *change.uid;
  }
  if (change.gid) {
    set.valid |= gofer::kSetGid;
    set.gid = *change.gid;
  }
  if (change.size) {
    set.valid |= gofer::kSetSize;
    set.size = *change.size;
  }
  if (change.atime) {
    set.valid |= gofer::kSetAtime | gofer::kSetAtimeValue;
    Split(*change.atime, set.atime_sec, set.atime_nsec);
  }
  if (change.mtime) {
    set.valid |= gofer::kSetMtime | gofer::kSetMtimeValue;
    Split(*change.mtime, set.mtime_sec, set.mtime_nsec);
  }
  return set;
}

Result<gofer::FileAttr> StatDescriptor(int fd) {
  struct stat from {};
  if (::fstat(fd, &from) != 0) return ErrnoFromHost(errno);
  gofer::FileAttr attr;
  attr.mode = from.st_mode;
  attr.uid = from.st_uid;
  attr.gid = from.st_gid;
  attr.nlink = static_cast<uint32_t>(from.st_nlink);
  attr.blksize = static_cast<uint32_t>(from.st_blksize);
  attr.dev_major = major(from.st_dev);
  attr.dev_minor = minor(from.st_dev);
  attr.ino = from.st_ino;
  attr.size = static_cast<uint64_t>(from.st_size);
  attr.blocks = static_cast<uint64_t>(from.st_blocks);
  attr.atime = ToWire(from.st_atim);
  attr.mtime = ToWire(from.st_mtim);
  attr.ctime = ToWire(from.st_ctim);
  return attr;
}

}  // namespace rampart::fs
