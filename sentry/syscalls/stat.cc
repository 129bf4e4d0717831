#include "sentry/syscalls/stat.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint32_t kNofollow = static_cast<uint32_t>(abi::kAtSymlinkNofollow), kEmpty = static_cast<uint32_t>(abi::kAtEmptyPath),
                   kNoAutomount = static_cast<uint32_t>(abi::kAtNoAutomount), kEaccess = static_cast<uint32_t>(abi::kAtEaccess);

abi::Timespec ToTimespec(Nanos t) {
  int64_t sec = t / kNanosPerSecond, nsec = t % kNanosPerSecond;
  if (nsec < 0) {
    nsec += kNanosPerSecond;
    --sec;
  }
  return {sec, nsec};
}

UserStat ToUserStat(const vfs::Inode& inode, const vfs::Attr& a) {
  UserStat s{};
  s.dev = inode.device();
  s.ino = a.ino;
  s.nlink = a.nlink;
  s.mode = a.mode();
  s.uid = a.uid;
  s.gid = a.gid;
  s.rdev = a.rdev;
  s.size = static_cast<int64_t>(a.size);
  s.blksize = a.block_size;
  s.blocks = static_cast<int64_t>(a.blocks);
  s.atime = ToTimespec(a.atime);
  s.mtime = ToTimespec(a.mtime);
  s.ctime = ToTimespec(a.ctime);
  return s;
}

Result<Word> StatInode(Task& task, vfs::Inode& inode, UserOut<UserStat> out) {
  const vfs::Attr attr = TRY(inode.GetAttr(task));
  TRY(task.CopyOut(out, ToUserStat(inode, attr)));
  return Word{0};
}

// The object that (dirfd, path, flags) names; a null path with AT_EMPTY_PATH is the descriptor's own.
Result<vfs::Path> FindAt(Task& task, Fd dirfd, UserPath user, uint32_t flags) {
  if ((flags & kEmpty) != 0 && !user) {
    const PathArg path = TRY(PathArg::Of(task, dirfd, ""));
    return path.Find(false, true);
  }
  const PathArg path = TRY((flags & kEmpty) != 0 ? PathArg::ReadMaybeEmpty(task, dirfd, user) : PathArg::Read(task, dirfd, user));
  return path.Find((flags & kNofollow) == 0, (flags & kEmpty) != 0);
}

UserStatxTime ToStatxTime(Nanos t) {
  const abi::Timespec ts = ToTimespec(t);
  return {ts.tv_sec, static_cast<uint32_t>(ts.tv_nsec), 0};
}

Result<Word> StatFsOf(Task& task, const vfs::Path& path, UserOut<UserStatfs> out) {
  const vfs::FsStats stats = TRY(path.mount->fs().StatFs(task));
  const vfs::MountFlags flags = path.mount->flags();
  constexpr int64_t kValid = 0x20;
  UserStatfs s{};
  s.type = static_cast<int64_t>(stats.magic);
  s.bsize = s.frsize = static_cast<int64_t>(stats.block_size);
  s.blocks = stats.blocks;
  s.bfree = stats.blocks_free;
  s.bavail = stats.blocks_available;
  s.files = stats.files;
  s.ffree = stats.files_free;
  s.fsid = stats.fsid;
  s.namelen = static_cast<int64_t>(stats.name_max);
  s.flags = kValid | (flags.read_only ? 1 : 0) | (flags.no_suid ? 2 : 0) | (flags.no_dev ? 4 : 0) | (flags.no_exec ? 8 : 0) |
            (flags.no_atime ? 1024 : 0) | (flags.no_dir_atime ? 2048 : 0) | (flags.relatime ? 4096 : 0);
  TRY(task.CopyOut(out, s));
  return Word{0};
}

// access(2) asks for the real ids: a caller that is the task with other credentials.
class RealIdCaller final : public Caller {
 public:
  explicit RealIdCaller(Task& task) : task_(task), creds_(RealIds(task)) {}
  const auth::Credentials& creds() const override { return *creds_; }
  uint64_t limit(abi::Resource resource) const override { return task_.limit(resource); }
  uint32_t umask() const override { return task_.umask(); }
  wait::Sleeper& sleeper() override { return task_.sleeper(); }
  kernel::Task* task() override { return &task_; }

 private:
  static Ref<const auth::Credentials> RealIds(Task& task) {
    auth::CredentialValues values = task.creds();
    values.fsuid = values.ruid;
    values.fsgid = values.rgid;
    values.effective = values.ruid == 0 ? values.permitted : 0;
    return MakeRef<const auth::Credentials>(std::move(values));
  }
  Task& task_;
  Ref<const auth::Credentials> creds_;
};

std::optional<uint32_t> OptionalId(uint32_t id) { return id == UINT32_MAX ? std::nullopt : std::optional<uint32_t>(id); }

constexpr int64_t kUtimeNow = (1 << 30) - 1, kUtimeOmit = (1 << 30) - 2;

Result<vfs::TimeChange> ToTimeChange(const abi::Timespec& t) {
  if (t.tv_nsec == kUtimeNow) return vfs::TimeChange{vfs::TimeChange::kNow, 0};
  if (t.tv_nsec == kUtimeOmit) return vfs::TimeChange{vfs::TimeChange::kOmit, 0};
  if (t.tv_nsec < 0 || t.tv_nsec >= kNanosPerSecond) return Errno::kEINVAL;
  const int64_t sec = std::clamp<int64_t>(t.tv_sec, -9'000'000'000, 9'000'000'000);
  return vfs::TimeChange{vfs::TimeChange::kSet, sec * kNanosPerSecond + t.tv_nsec};
}

Result<Word> ChangeTimesAt(Task& task, Fd dirfd, UserPath path, const abi::Timespec* times, uint32_t flags) {
  if (times != nullptr && times[0].tv_nsec == kUtimeOmit && times[1].tv_nsec == kUtimeOmit) return Word{0};
  // The object is found first, the times are judged then (Linux: vfs_utimes).
  const auto change = [&](const vfs::Path& path_of) -> Result<Word> {
    vfs::TimeChange atime, mtime;
    if (times != nullptr) {
      atime = TRY(ToTimeChange(times[0]));
      mtime = TRY(ToTimeChange(times[1]));
    }
    TRY(vfs::ChangeTimes(task, path_of, atime, mtime));
    return Word{0};
  };
  // A null path: the descriptor itself (futimens).
  if (!path && dirfd != kAtFdCwd) {
    if (flags != 0) return Errno::kEINVAL;
    const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, dirfd));
    return change(file->path());
  }
  return change(TRY(FindAt(task, dirfd, path, flags)));
}

// Fills a buffer with directory entries in one of the two layouts.
class DirentBuffer final : public vfs::DirentSink {
 public:
  DirentBuffer(size_t limit, bool with_type) : limit_(limit), with_type_(with_type) {}
  bool Add(std::string_view name, uint64_t ino, vfs::FileType type, uint64_t next) override {
    // Old layout: the type is the record's last byte; new one: before the name.
    constexpr size_t kNameAt64 = 19, kNameAt = 18;
    const size_t need = (with_type_ ? kNameAt64 + name.size() + 1 : kNameAt + name.size() + 2);
    const size_t length = (need + 7) & ~size_t{7};
    if (bytes_.size() + length > limit_) {
      full_ = true;
      return false;
    }
    const size_t at = bytes_.size();
    bytes_.resize(at + length);
    char* const record = bytes_.data() + at;
    const auto reclen = static_cast<uint16_t>(length);
    const auto kind = static_cast<char>(static_cast<uint32_t>(type) >> 12);
    std::memcpy(record, &ino, 8);
    std::memcpy(record + 8, &next, 8);
    std::memcpy(record + 16, &reclen, 2);
    if (with_type_) {
      record[18] = kind;
      std::memcpy(record + kNameAt64, name.data(), name.size());
    } else {
      std::memcpy(record + kNameAt, name.data(), name.size());
      record[length - 1] = kind;
    }
    return true;
  }
  const std::vector<char>& bytes() const { return bytes_; }
  bool full() const { return full_; }

 private:
  const size_t limit_;
  const bool with_type_;
  bool full_ = false;
  std::vector<char> bytes_;
};

Result<Word> ReadDirectory(Task& task, Fd fd, UserAddr buffer, uint32_t size, bool with_type) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if (!file->path().dentry->IsDirectory()) return Errno::kENOTDIR;
  if (file->path().dentry->IsDeleted()) return Errno::kENOENT;
  constexpr uint32_t kMax = 256 * 1024;
  DirentBuffer sink(std::min(size, kMax), with_type);
  TRY(file->Iterate(task, sink));
  if (sink.bytes().empty()) return sink.full() ? Result<Word>(Errno::kEINVAL) : Result<Word>(Word{0});
  TRY(task.mm().CopyOutBytes(buffer, std::as_bytes(std::span(sink.bytes()))));
  return static_cast<Word>(sink.bytes().size());
}

}  // namespace

Result<Word> SysStat(Task& task, UserPath path, UserOut<UserStat> out) { return SysNewfstatat(task, kAtFdCwd, path, out, 0); }
Result<Word> SysLstat(Task& task, UserPath path, UserOut<UserStat> out) { return SysNewfstatat(task, kAtFdCwd, path, out, kNofollow); }

Result<Word> SysFstat(Task& task, Fd fd, UserOut<UserStat> out) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  return StatInode(task, *file->path().dentry->inode(), out);
}

Result<Word> SysNewfstatat(Task& task, Fd dirfd, UserPath path, UserOut<UserStat> out, uint32_t flags) {
  if ((flags & ~(kNofollow | kEmpty | kNoAutomount)) != 0) return Errno::kEINVAL;
  const vfs::Path found = TRY(FindAt(task, dirfd, path, flags));
  return StatInode(task, *found.dentry->inode(), out);
}

Result<Word> SysStatx(Task& task, Fd dirfd, UserPath path, uint32_t flags, uint32_t mask, UserOut<UserStatx> out) {
  constexpr uint32_t kSyncTypes = static_cast<uint32_t>(abi::kAtStatxForceSync | abi::kAtStatxDontSync), kReserved = 0x80000000;
  constexpr uint32_t kBasic = 0x7ff, kBtime = 0x800, kMntId = 0x1000, kMntIdUnique = 0x4000;
  if ((mask & kReserved) != 0 || (flags & kSyncTypes) == kSyncTypes) return Errno::kEINVAL;
  if ((flags & ~(kNofollow | kEmpty | kNoAutomount | kSyncTypes)) != 0) return Errno::kEINVAL;
  const vfs::Path found = TRY(FindAt(task, dirfd, path, flags));
  const vfs::Inode& inode = *found.dentry->inode();
  const vfs::Attr a = TRY(vfs::GetAttr(task, found));
  UserStatx x{};
  x.mask = (kBasic) | (a.btime ? kBtime : 0) | ((mask & kMntIdUnique) != 0 ? kMntIdUnique : kMntId);
  x.blksize = a.block_size;
  constexpr uint64_t kMountRoot = 0x2000, kAutomount = 0x1000, kDax = 0x200000;  // those that Linux knows of every file
  x.attributes = a.attributes | (found.dentry == found.mount->root() ? kMountRoot : 0);
  x.attributes_mask = a.attributes | kMountRoot | kAutomount | kDax;
  x.nlink = static_cast<uint32_t>(a.nlink);
  x.uid = a.uid;
  x.gid = a.gid;
  x.mode = static_cast<uint16_t>(a.mode());
  x.ino = a.ino;
  x.size = a.size;
  x.blocks = a.blocks;
  x.atime = ToStatxTime(a.atime);
  x.mtime = ToStatxTime(a.mtime);
  x.ctime = ToStatxTime(a.ctime);
  if (a.btime) x.btime = ToStatxTime(*a.btime);
  x.rdev_major = abi::DevMajor(a.rdev);
  x.rdev_minor = abi::DevMinor(a.rdev);
  x.dev_major = abi::DevMajor(inode.device());
  x.dev_minor = abi::DevMinor(inode.device());
  x.mnt_id = (mask & kMntIdUnique) != 0 ? found.mount->unique_id() : found.mount->id();
  TRY(task.CopyOut(out, x));
  return Word{0};
}

Result<Word> SysStatfs(Task& task, UserPath user, UserOut<UserStatfs> out) {
  const vfs::Path found = TRY(FindAt(task, kAtFdCwd, user, 0));
  return StatFsOf(task, found, out);
}

Result<Word> SysFstatfs(Task& task, Fd fd, UserOut<UserStatfs> out) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  return StatFsOf(task, file->path(), out);
}

Result<Word> SysAccess(Task& task, UserPath path, uint32_t mode) { return SysFaccessat2(task, kAtFdCwd, path, mode, 0); }
Result<Word> SysFaccessat(Task& task, Fd dirfd, UserPath path, uint32_t mode) { return SysFaccessat2(task, dirfd, path, mode, 0); }
Result<Word> SysFaccessat2(Task& task, Fd dirfd, UserPath user, uint32_t mode, uint32_t flags) {
  if ((mode & ~7u) != 0 || (flags & ~(kEaccess | kNofollow | kEmpty)) != 0) return Errno::kEINVAL;
  const auth::Credentials& creds = task.creds();
  const bool same = creds.ruid == creds.fsuid && creds.rgid == creds.fsgid && (creds.ruid != 0 || creds.effective == creds.permitted) &&
                    (creds.ruid == 0 || creds.effective == 0);
  std::optional<RealIdCaller> real;
  if ((flags & kEaccess) == 0 && !same) real.emplace(task);
  Caller& caller = real ? static_cast<Caller&>(*real) : static_cast<Caller&>(task);
  const PathArg path = TRY((flags & kEmpty) != 0 ? PathArg::ReadMaybeEmpty(task, dirfd, user) : PathArg::Read(task, dirfd, user));
  const vfs::Walk base = path.walk();
  const vfs::Walk walk{caller, base.mounts, base.root, base.start};
  const vfs::WalkArgs args{.follow_last = (flags & kNofollow) == 0, .allow_empty = (flags & kEmpty) != 0};
  const vfs::Path found = TRY(vfs::Lookup(walk, path.text(), args));
  TRY(vfs::CheckAccess(caller, found, static_cast<vfs::Access>(mode)));
  return Word{0};
}

Result<Word> SysChmod(Task& task, UserPath path, uint32_t mode) { return SysFchmodat2(task, kAtFdCwd, path, mode, 0); }
Result<Word> SysFchmod(Task& task, Fd fd, uint32_t mode) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  TRY(vfs::ChangeMode(task, file->path(), mode & 07777));
  return Word{0};
}
Result<Word> SysFchmodat(Task& task, Fd dirfd, UserPath path, uint32_t mode) { return SysFchmodat2(task, dirfd, path, mode, 0); }
Result<Word> SysFchmodat2(Task& task, Fd dirfd, UserPath path, uint32_t mode, uint32_t flags) {
  if ((flags & ~(kNofollow | kEmpty)) != 0) return Errno::kEINVAL;
  const vfs::Path found = TRY(FindAt(task, dirfd, path, flags));
  if (found.dentry->inode()->type() == vfs::FileType::kSymlink) return Errno::kEOPNOTSUPP;
  TRY(vfs::ChangeMode(task, found, mode & 07777));
  return Word{0};
}

Result<Word> SysChown(Task& task, UserPath path, uint32_t uid, uint32_t gid) { return SysFchownat(task, kAtFdCwd, path, uid, gid, 0); }
Result<Word> SysLchown(Task& task, UserPath path, uint32_t uid, uint32_t gid) { return SysFchownat(task, kAtFdCwd, path, uid, gid, kNofollow); }
Result<Word> SysFchown(Task& task, Fd fd, uint32_t uid, uint32_t gid) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  TRY(vfs::ChangeOwner(task, file->path(), OptionalId(uid), OptionalId(gid)));
  return Word{0};
}
Result<Word> SysFchownat(Task& task, Fd dirfd, UserPath path, uint32_t uid, uint32_t gid, uint32_t flags) {
  if ((flags & ~(kNofollow | kEmpty)) != 0) return Errno::kEINVAL;
  const vfs::Path found = TRY(FindAt(task, dirfd, path, flags));
  TRY(vfs::ChangeOwner(task, found, OptionalId(uid), OptionalId(gid)));
  return Word{0};
}

Result<Word> SysUtimensat(Task& task, Fd dirfd, UserPath path, UserIn<abi::Timespec> times, uint32_t flags) {
  constexpr uint32_t kKnown = kNofollow | kEmpty;
  if (!times) return (flags & ~kKnown) != 0 ? Errno::kEINVAL : ChangeTimesAt(task, dirfd, path, nullptr, flags);
  const std::vector<abi::Timespec> both = TRY(task.mm().CopyInArray(times, 2, 2));
  constexpr int64_t kOmit = 0x3ffffffe;  // UTIME_OMIT
  if (both[0].tv_nsec == kOmit && both[1].tv_nsec == kOmit) return Word{0};  // nothing to do: nothing is looked at
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  return ChangeTimesAt(task, dirfd, path, both.data(), flags);
}

Result<Word> SysUtime(Task& task, UserPath path, UserIn<int64_t> times) {
  if (!times) return ChangeTimesAt(task, kAtFdCwd, path, nullptr, 0);
  const std::vector<int64_t> seconds = TRY(task.mm().CopyInArray(times, 2, 2));
  const abi::Timespec both[2] = {{seconds[0], 0}, {seconds[1], 0}};
  return ChangeTimesAt(task, kAtFdCwd, path, both, 0);
}

Result<Word> SysUtimes(Task& task, UserPath path, UserIn<abi::Timeval> times) { return SysFutimesat(task, kAtFdCwd, path, times); }
Result<Word> SysFutimesat(Task& task, Fd dirfd, UserPath path, UserIn<abi::Timeval> times) {
  if (!times) return ChangeTimesAt(task, dirfd, path, nullptr, 0);
  const std::vector<abi::Timeval> user = TRY(task.mm().CopyInArray(times, 2, 2));
  for (const abi::Timeval& t : user) {
    if (t.tv_usec < 0 || t.tv_usec >= 1'000'000) return Errno::kEINVAL;
  }
  const abi::Timespec both[2] = {{user[0].tv_sec, user[0].tv_usec * 1000}, {user[1].tv_sec, user[1].tv_usec * 1000}};
  return ChangeTimesAt(task, dirfd, path, both, 0);
}

Result<Word> SysUstat(Task& task, uint32_t device, UserOut<UserUstat> out) {
  // The argument is the old 32-bit encoding of st_dev, which for small numbers is st_dev itself.
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  for (const vfs::MountInfo& info : mounts->List(mounts->root())) {
    if (info.mount->fs().device() != device && info.mount->root()->inode()->device() != device) continue;
    const vfs::FsStats stats = TRY(info.mount->fs().StatFs(task));
    UserUstat u{};
    u.free_blocks = static_cast<int32_t>(std::min<uint64_t>(stats.blocks_free, INT32_MAX));
    u.free_inodes = stats.files_free;
    TRY(task.CopyOut(out, u));
    return Word{0};
  }
  return Errno::kEINVAL;
}

Result<Word> SysGetdents(Task& task, Fd fd, UserAddr buffer, uint32_t size) { return ReadDirectory(task, fd, buffer, size, false); }
Result<Word> SysGetdents64(Task& task, Fd fd, UserAddr buffer, uint32_t size) { return ReadDirectory(task, fd, buffer, size, true); }

}  // namespace rampart::syscalls
