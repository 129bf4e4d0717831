// Filesystem and Inode: what a filesystem implements. The VFS core owns everything about names (dentries, mounts, permission checks,
// symlink following, ".."); a filesystem answers about objects.
//
// Model: Linux's. A Filesystem is a superblock; an Inode an object in it. The core calls directory operations with the directory's lock held
// (one directory operation of change at a time per directory; lookups of the same name are not made twice at once), so a filesystem needs locks only
// for its own data. Permission to act has been checked (CheckAccess) before each call. Names given have no '/', are not empty, "." or "..",
// and are at most 255 bytes.
// Thread safety: all functions from any thread. Errors: as the system calls document.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "base/result.h"
#include "platform/platform.h"
#include "sentry/context/caller.h"
#include "sentry/vfs/attr.h"

namespace rampart::vfs {

class Dentry;
class FileDescription;
class Inode;
struct FsOption;
struct InodeExtras;
struct Path;

// Access rights asked of an object: the bits of access(2).
enum class Access : uint8_t { kNone = 0, kExecute = 1, kWrite = 2, kRead = 4 };
constexpr Access operator|(Access a, Access b) { return static_cast<Access>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b)); }
constexpr bool Includes(Access a, Access b) { return (static_cast<uint8_t>(a) & static_cast<uint8_t>(b)) != 0; }

class Filesystem : public RefCounted {
 public:
  // `type`: as in /proc/filesystems ("tmpfs"); static storage.
  explicit Filesystem(const char* type);
  const char* type() const { return type_; }
  // Anonymous device number (major 0), unique per Filesystem; st_dev of its inodes unless an inode says otherwise.
  uint64_t device() const { return device_; }
  virtual Ref<Inode> root() = 0;
  virtual Result<FsStats> StatFs(const Caller& caller) = 0;
  virtual Result<void> Sync() { return Ok(); }
  // The filesystem's part of the options in /proc/mounts ("size=64k,mode=755"), without a leading comma.
  virtual std::string Options() const { return ""; }
  // The source column of /proc/mounts.
  virtual std::string Source() const { return type_; }
  // mount(MS_REMOUNT) and fsconfig(FSCONFIG_CMD_RECONFIGURE) with options of the filesystem's own. Default: EINVAL for any.
  virtual Result<void> Reconfigure(const std::vector<FsOption>& options);

  // The superblock's flags: kSb…. What is not read-only can become so only while nobody writes: EBUSY.
  uint32_t flags() const { return flags_.load(std::memory_order_acquire); }
  Result<void> SetFlags(uint32_t flags);
  bool read_only() const { return (flags() & kSbReadOnly) != 0; }
  static constexpr uint32_t kSbReadOnly = 1, kSbSynchronous = 16, kSbMandatoryLocks = 64, kSbDirSync = 128, kSbLazyTime = 1 << 25;

 private:
  friend class DentryCache;
  friend class Mount;
  const char* const type_;
  const uint64_t device_;
  std::atomic<uint32_t> flags_{0};
  std::atomic<int> writers_{0};   // open files that write, through any mount
  absl::Mutex rename_mu_;         // held while a name moves from one directory to another
  std::atomic<int> mounts_{0};    // Mount objects; its cached dentries go with the last
};

// What Create makes.
struct CreateArgs {
  FileType type = FileType::kRegular;
  uint32_t permissions = 0;   // umask applied
  abi::Uid uid = 0;           // the new owner (fsuid; set-gid directories already considered)
  abi::Gid gid = 0;
  uint64_t rdev = 0;          // device nodes
  std::string target;         // symbolic links
};

enum class CachePolicy : uint8_t {
  kCache,       // names found and names not found stay cached until the VFS itself changes them
  kRevalidate,  // before a cached name is used, Revalidate() is asked
};

class Inode : public virtual RefCounted {
 public:
  Inode(Ref<Filesystem> fs, uint64_t ino, FileType type);
  ~Inode() override;

  Filesystem& fs() const { return *fs_; }
  uint64_t ino() const { return ino_; }
  FileType type() const { return type_; }
  bool IsDirectory() const { return type_ == FileType::kDirectory; }
  virtual uint64_t device() const { return fs_->device(); }

  // --- every object
  virtual Result<Attr> GetAttr(const Caller& caller) = 0;  // answered from memory when warm
  virtual Result<void> SetAttr(const Caller& caller, const AttrChange& change);                     // default EPERM
  // Default: mode bits, groups and capabilities of GetAttr's answer, as inode_permission does. EACCES.
  virtual Result<void> CheckAccess(const Caller& caller, Access wanted);
  virtual Result<std::string> GetXattr(const Caller& caller, std::string_view name);                // default EOPNOTSUPP; ENODATA
  virtual Result<void> SetXattr(const Caller& caller, std::string_view name, std::string_view value, uint32_t flags);
  virtual Result<std::vector<std::string>> ListXattr(const Caller& caller);                         // default: empty
  virtual Result<void> RemoveXattr(const Caller& caller, std::string_view name);
  // Opens it. Regular files and directories (others are opened by the core: FIFOs, devices; sockets are ENXIO). `path` is how it was
  // reached. Truncation (O_TRUNC) has been or will be done by the core through SetAttr; access was checked. Flags: abi::kO….
  virtual Result<Ref<FileDescription>> Open(Caller& caller, const Path& path, uint32_t flags);      // default ENXIO
  // Open() is asked whatever the type is: donated host files, which are pipes or terminals outside.
  virtual bool OpensItself() const { return false; }
  // cachestat(2): how many of a regular file's pages in [first, last) are in memory. Default: not known.
  virtual std::optional<uint64_t> PagesInMemory(uint64_t /*first*/, uint64_t /*last*/) { return std::nullopt; }

  // --- directories (defaults: ENOTDIR, or EPERM/EROFS as fits)
  virtual CachePolicy cache_policy() const { return CachePolicy::kCache; }
  // Null: no such name (a negative dentry is cached). `rest`: the path that will be walked after `name` ("b/c"), a hint: a filesystem that
  // must ask elsewhere may ask for all of it at once and keep the answers for the Lookups that follow.
  virtual Result<RefPtr<Inode>> Lookup(const Caller& caller, std::string_view name, std::string_view rest);
  // kRevalidate: whether `child` (null: negative) is still what `name` means.
  virtual Result<bool> Revalidate(const Caller& caller, std::string_view name, Inode* child);
  virtual Result<Ref<Inode>> Create(const Caller& caller, std::string_view name, const CreateArgs& args);
  // Create a regular file and open it in one step (what O_CREAT does). `name_it` makes the Path of the new inode, for the description; called
  // once, after the file exists. Default: Create, name_it, Open.
  virtual Result<Ref<FileDescription>> CreateAndOpen(Caller& caller, std::string_view name, const CreateArgs& args, uint32_t flags,
                                                     absl::FunctionRef<Path(Ref<Inode>)> name_it);
  // An unnamed file (O_TMPFILE). Default EOPNOTSUPP.
  virtual Result<Ref<Inode>> CreateUnnamed(const Caller& caller, const CreateArgs& args);
  virtual Result<void> Link(const Caller& caller, std::string_view name, Inode& target);
  virtual Result<void> Unlink(const Caller& caller, std::string_view name, Inode& victim);
  virtual Result<void> RemoveDirectory(const Caller& caller, std::string_view name, Inode& victim);  // ENOTEMPTY
  // Moves `source` from this directory; flags: abi::kRename…. `replaced` is what new_name names now, or null.
  virtual Result<void> Rename(const Caller& caller, std::string_view old_name, Inode& source, Inode& new_directory, std::string_view new_name,
                              Inode* replaced, uint32_t flags);

  // --- symbolic links
  virtual Result<std::string> ReadLink(const Caller& caller);     // default EINVAL
  // Links of /proc that lead straight to an object (fd/3, cwd, exe): true if FollowMagic must be used instead of ReadLink's text.
  virtual bool IsMagicLink() const { return false; }
  virtual Result<Path> FollowMagic(Caller& caller);

  // Things that Linux hangs on an inode and that the core keeps for every filesystem: file locks, leases, inotify watches, a FIFO's pipe,
  // a bound socket. Made on first use.
  InodeExtras& extras();
  // Null if none was made yet (cheap test on hot paths).
  InodeExtras* extras_if_any() const { return extras_.load(std::memory_order_acquire); }

  // Writers and executions of a regular file exclude each other: ETXTBSY. Open files hold write access; execve denies it for as long as the
  // image is in use.
  Result<void> AcquireWriteAccess();
  void ReleaseWriteAccess() { writers_.fetch_sub(1, std::memory_order_acq_rel); }
  Result<void> DenyWriteAccess();
  void AllowWriteAccess() { writers_.fetch_add(1, std::memory_order_acq_rel); }
  int writers() const { return writers_.load(std::memory_order_acquire); }
  // Descriptions that only read it (kept for regular files).
  void AddReader() { readers_.fetch_add(1, std::memory_order_relaxed); }
  void RemoveReader() { readers_.fetch_sub(1, std::memory_order_relaxed); }
  int readers() const { return readers_.load(std::memory_order_relaxed); }

 private:
  const Ref<Filesystem> fs_;
  const uint64_t ino_;
  const FileType type_;
  std::atomic<InodeExtras*> extras_{nullptr};
  std::atomic<int> readers_{0};
  std::atomic<int> writers_{0};  // > 0: open for writing; < 0: being executed
};

// A number for Inode and pipe/socket identities, unique in the sandbox.
uint64_t NextInodeNumber();
// A device number for a filesystem without a device (major 0), unique in the sandbox.
uint64_t NewAnonymousDevice();

}  // namespace rampart::vfs
