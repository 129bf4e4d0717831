// open(2) and its kin (Linux: fs/namei.c, path_openat and do_open).
#include <optional>

#include "absl/cleanup/cleanup.h"

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/path_observer.h"
#include "sentry/vfs/permission.h"
#include "sentry/vfs/walk_intent.h"
#include "sentry/vfs/walker.h"

namespace rampart::vfs {
namespace {

constexpr uint32_t kPathFlags = abi::kODirectory | abi::kONofollow | abi::kOPath | abi::kOCloexec;
constexpr bool IsTmpfile(uint32_t flags) { return (flags & abi::kOTmpfile) == abi::kOTmpfile; }
constexpr bool Has(uint32_t flags, uint32_t flag) { return (flags & flag) != 0; }

// O_PATH: names an object and does nothing with it.
class PathDescription final : public FileDescription {
 public:
  PathDescription(Path path, uint32_t flags) : FileDescription(std::move(path), flags) {}
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEBADF; }
  Result<size_t> PWrite(Caller&, mm::IoSrc&, uint64_t, uint32_t, uint64_t*) override { return Errno::kEBADF; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kEBADF; }
  Result<uint64_t> Ioctl(Caller&, mm::UserMemory&, uint32_t, uint64_t) override { return Errno::kEBADF; }
  Result<void> ConfigureMMap(const Caller&, mm::MMapArgs&) override { return Errno::kEBADF; }
  Result<void> Iterate(Caller&, DirentSink&) override { return Errno::kEBADF; }
};

// The rights that open's flags ask of an object.
Access WantedAccess(uint32_t flags) {
  Access access = Access::kNone;
  const uint32_t mode = flags & abi::kOAccMode;
  if (mode != abi::kOWrOnly) access = access | Access::kRead;
  if (mode != abi::kORdOnly) access = access | Access::kWrite;
  if (Has(flags, abi::kOTrunc)) access = access | Access::kWrite;
  return access;
}

bool OpensForWriting(uint32_t flags) { return ((flags + 1) & 2) != 0; }  // not in access mode 3

// may_open of Linux.
Result<void> MayOpen(Caller& caller, const Path& path, uint32_t flags) {
  Inode& inode = *path.dentry->inode();
  const Access wanted = WantedAccess(flags);
  switch (inode.type()) {
    case FileType::kSymlink:
      return Errno::kELOOP;
    case FileType::kDirectory:
      if (Includes(wanted, Access::kWrite)) return Errno::kEISDIR;
      break;
    case FileType::kCharDevice:
    case FileType::kBlockDevice:
      if (path.mount->flags().no_dev) return Errno::kEACCES;
      break;
    default:
      break;
  }
  TRY(CheckAccess(caller, path, wanted));
  if (Has(flags, abi::kONoatime)) {
    const Attr attr = TRY(inode.GetAttr(caller));
    if (!IsOwnerOrCapable(caller, attr)) return Errno::kEPERM;
  }
  return Ok();
}

// The description of an object whose rights have been checked.
Result<Ref<FileDescription>> OpenByType(Caller& caller, const Path& path, uint32_t flags) {
  Inode& inode = *path.dentry->inode();
  if (inode.OpensItself()) return inode.Open(caller, path, flags);
  switch (inode.type()) {
    case FileType::kRegular:
    case FileType::kDirectory:
      return inode.Open(caller, path, flags);
    case FileType::kFifo:
      return OpenFifo(caller, path, flags);
    case FileType::kCharDevice:
    case FileType::kBlockDevice: {
      const Attr attr = TRY(inode.GetAttr(caller));
      return DeviceRegistry::Get().Open(caller, path, inode.type(), attr.rdev, flags);
    }
    case FileType::kSocket:
      return Errno::kENXIO;
    case FileType::kSymlink:
      return Errno::kELOOP;
  }
  return Errno::kENXIO;
}

// Opens an object after its checks, keeping the count of writers and breaking leases. `truncate`: O_TRUNC applies.
Result<Ref<FileDescription>> OpenChecked(Caller& caller, const Path& path, uint32_t flags, bool truncate) {
  Inode& inode = *path.dentry->inode();
  const bool regular = inode.type() == FileType::kRegular;
  const bool counts = regular && (OpensForWriting(flags) || truncate);
  if (regular) {
    if (InodeExtras* extras = inode.extras_if_any(); extras != nullptr && extras->leases.any()) {
      TRY(extras->leases.Break(nullptr, OpensForWriting(flags) || truncate));
    }
  }
  if (counts) {
    TRY(path.mount->AcquireWrite());
    if (const Result<void> acquired = inode.AcquireWriteAccess(); !acquired.ok()) {
      path.mount->ReleaseWrite();
      return acquired.error();
    }
  }
  Result<Ref<FileDescription>> file = OpenByType(caller, path, flags);
  if (file.ok() && truncate && regular) {
    const Result<void> truncated = TruncateOpened(caller, path, 0);
    if (!truncated.ok()) file = truncated.error();
  }
  if (counts) {
    if (file.ok() && OpensForWriting(flags)) {
      file.value()->AdoptWriteAccess();
    } else {
      inode.ReleaseWriteAccess();
      path.mount->ReleaseWrite();
    }
  }
  if (file.ok() && regular && file.value()->readable() && !file.value()->writable()) file.value()->AdoptReadCount();
  if (file.ok() && !Has(flags, kONonotify)) NotifyWatches(path, kInOpen);
  return file;
}

Result<Ref<FileDescription>> OpenUnnamed(const Walk& walk, std::string_view path, uint32_t flags, uint32_t mode, uint64_t resolve) {
  if ((flags & abi::kOAccMode) == abi::kORdOnly) return Errno::kEINVAL;
  const Path where = TRY(Lookup(walk, path, WalkArgs{.follow_last = !Has(flags, abi::kONofollow), .want_directory = true, .resolve = resolve}));
  if (where.mount->read_only()) return Errno::kEROFS;
  Inode& directory = *where.dentry->inode();
  TRY(MayCreate(walk.caller, *where.dentry));
  const CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, FileType::kRegular, mode));
  Ref<Inode> inode = TRY(directory.CreateUnnamed(walk.caller, args));
  if (!Has(flags, abi::kOExcl)) inode->extras().linkable.store(true, std::memory_order_relaxed);
  std::string name = "#" + std::to_string(inode->ino());
  const Path made{where.mount, Dentry::NewUnlinked(where.dentry, inode, std::move(name))};
  flags &= ~(abi::kOCreat | abi::kOTrunc);  // fcntl(F_GETFL) tells O_TMPFILE
  return OpenChecked(walk.caller, made, flags, false);
}

// Makes `walker.last()` in its directory and opens it; or, if it turns out to exist, leaves the walker on it and returns null.
Result<RefPtr<FileDescription>> CreateLast(const Walk& walk, Walker& walker, uint32_t flags, uint32_t mode, uint64_t resolve) {
  const Path parent = walker.current();
  Inode& directory = *parent.dentry->inode();
  TRY(directory.CheckAccess(walk.caller, Access::kExecute));
  // What is known to exist needs no lock: most O_CREAT opens do not create.
  if (const RefPtr<Dentry> known = DentryCache::Find(*parent.dentry, walker.last())) {
    if (!known->IsNegative() && directory.cache_policy() == CachePolicy::kCache) return RefPtr<FileDescription>();
  }
  absl::MutexLock lock(&DentryCache::DirMutex(*parent.dentry));
  const Ref<Dentry> child = TRY(Walker::LookupChildLocked(walk.caller, *parent.dentry, walker.last(), ""));
  if (!child->IsNegative()) return RefPtr<FileDescription>();
  if ((resolve & kResolveCached) != 0) return Errno::kEAGAIN;
  TRY(parent.mount->AcquireWrite());
  bool counted = true;
  const absl::Cleanup release = [&] {
    if (counted) parent.mount->ReleaseWrite();
  };
  TRY(MayCreate(walk.caller, *parent.dentry));
  const CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, FileType::kRegular, mode));
  const uint32_t open_flags = flags & ~abi::kOTrunc;
  RefPtr<Dentry> made;
  auto name_it = [&](Ref<Inode> inode) {
    made = DentryCache::Enter(*parent.dentry, walker.last(), std::move(inode));
    return Path{parent.mount, made.ToRef()};
  };
  Result<Ref<FileDescription>> file = directory.CreateAndOpen(walk.caller, walker.last(), args, open_flags, name_it);
  if (made != nullptr) {
    if (file.ok()) file.value()->MarkCreated();
    NotifyChild(directory, kInCreate, 0, walker.last());
    if (file.ok() && OpensForWriting(flags) && made->inode()->AcquireWriteAccess().ok()) {
      file.value()->AdoptWriteAccess();
      counted = false;
    }
    if (file.ok() && file.value()->readable() && !file.value()->writable()) file.value()->AdoptReadCount();
    if (file.ok()) NotifyWatches(file.value()->path(), kInOpen);
  }
  // Made meanwhile behind our back (shared filesystems): the cache's negative answer was wrong.
  if (!file.ok() && file.error() == Errno::kEEXIST && made == nullptr) DentryCache::Forget(*child, false);
  return RefPtr<FileDescription>(TRY(std::move(file)));
}

Result<Ref<FileDescription>> OpenCreating(const Walk& walk, std::string_view path, uint32_t flags, uint32_t mode, uint64_t resolve) {
  if (path.empty()) return Errno::kENOENT;
  const bool exclusive = Has(flags, abi::kOExcl);
  const bool follow = !exclusive && !Has(flags, abi::kONofollow);
  Walker walker(walk, resolve);
  TRY(walker.Start(path));
  while (true) {
    TRY(walker.ToParent());
    if (walker.last_is_dots() || walker.last().empty()) return exclusive ? Errno::kEEXIST : Errno::kEISDIR;
    if (walker.trailing_slash()) return Errno::kEISDIR;
    if (!walker.current().dentry->IsDirectory()) return Errno::kENOTDIR;
    if (RefPtr<FileDescription> made = TRY(CreateLast(walk, walker, flags, mode, resolve))) return std::move(made).ToRef();
    TRY(walker.StepLast());
    const RefPtr<Inode>& inode = walker.current().dentry->inode();
    if (inode == nullptr) return Errno::kENOENT;  // gone again meanwhile
    if (exclusive) return Errno::kEEXIST;
    if (inode->type() != FileType::kSymlink || !follow) break;
    TRY(walker.FollowLink());
    if (walker.jumped()) break;
  }
  const Path found = walker.TakeCurrent();
  if (found.dentry->IsDirectory()) return Errno::kEISDIR;
  if (Has(flags, abi::kODirectory)) return Errno::kENOTDIR;
  TRY(MayOpen(walk.caller, found, flags));
  return OpenChecked(walk.caller, found, flags, Has(flags, abi::kOTrunc));
}

}  // namespace

Result<Ref<FileDescription>> Open(const Walk& walk, std::string_view path, uint32_t flags, uint32_t mode, uint64_t resolve) {
  if (Has(flags, abi::kOPath)) {
    flags &= kPathFlags;
    const WalkArgs args{.follow_last = !Has(flags, abi::kONofollow), .want_directory = Has(flags, abi::kODirectory), .resolve = resolve};
    Path found = TRY(Lookup(walk, path, args));
    return Ref<FileDescription>(MakeRef<PathDescription>(std::move(found), flags));
  }
  if (IsTmpfile(flags)) return OpenUnnamed(walk, path, flags, mode, resolve);
  if (Has(flags, abi::kOCreat)) return OpenCreating(walk, path, flags, mode, resolve);
  const WalkArgs args{.follow_last = !Has(flags, abi::kONofollow), .want_directory = Has(flags, abi::kODirectory), .resolve = resolve};
  std::optional<WalkIntent> intent;
  if (!OpensForWriting(flags) && !args.want_directory) intent.emplace();
  const Path found = TRY(Lookup(walk, path, args));
  intent.reset();
  TRY(MayOpen(walk.caller, found, flags));
  return OpenChecked(walk.caller, found, flags, Has(flags, abi::kOTrunc));
}

Result<Ref<FileDescription>> OpenPath(Caller& caller, const Path& path, uint32_t flags) {
  if (path.dentry->IsNegative()) return Errno::kENOENT;
  if (Has(flags, abi::kODirectory) && !path.dentry->IsDirectory()) return Errno::kENOTDIR;
  if (Has(flags, abi::kOPath)) return Ref<FileDescription>(MakeRef<PathDescription>(path, flags & kPathFlags));
  TRY(MayOpen(caller, path, flags));
  return OpenChecked(caller, path, flags, Has(flags, abi::kOTrunc));
}

}  // namespace rampart::vfs
