// Objects without names, device nodes and FIFOs: where opening leads outside the filesystem that holds the name.
#include <atomic>
#include <vector>

#include "sentry/vfs/operations.h"

namespace rampart::vfs {
namespace {

class AnonymousInode final : public Inode {
 public:
  AnonymousInode(Ref<Filesystem> fs, FileType type, uint32_t permissions, abi::Uid uid, abi::Gid gid)
      : Inode(std::move(fs), NextInodeNumber(), type) {
    attr_.type = type;
    attr_.permissions = permissions;
    attr_.ino = ino();
    attr_.uid = uid;
    attr_.gid = gid;
    attr_.atime = attr_.mtime = attr_.ctime = RealtimeNow();
  }
  Result<Attr> GetAttr(const Caller&) override {
    absl::MutexLock lock(&mu_);
    return attr_;
  }
  Result<void> SetAttr(const Caller&, const AttrChange& change) override {
    if (type() == FileType{0}) return Errno::kEOPNOTSUPP;  // eventfd and its like, since Linux 6.16
    absl::MutexLock lock(&mu_);
    if (change.size) return Errno::kEINVAL;
    if (change.permissions) attr_.permissions = *change.permissions;
    if (change.uid) attr_.uid = *change.uid;
    if (change.gid) attr_.gid = *change.gid;
    if (change.atime) attr_.atime = *change.atime;
    if (change.mtime) attr_.mtime = *change.mtime;
    attr_.ctime = RealtimeNow();
    return Ok();
  }

 private:
  absl::Mutex mu_;
  Attr attr_ ABSL_GUARDED_BY(mu_);
};

class AnonymousFilesystem final : public Filesystem {
 public:
  AnonymousFilesystem() : Filesystem("anon_inodefs") {}
  Ref<Inode> root() override {
    return MakeRef<AnonymousInode>(ShareRef<Filesystem>(this), FileType::kDirectory, 0755, 0, 0);
  }
  Result<FsStats> StatFs(const Caller&) override { return FsStats{.magic = 0x09041934}; }
};

Ref<Filesystem>& AnonymousFs() {
  static Ref<Filesystem>* const fs = new Ref<Filesystem>(MakeRef<AnonymousFilesystem>());
  return *fs;
}

Ref<Mount>& AnonymousMount() {
  static Ref<Mount>* const mount =
      new Ref<Mount>(MakeRef<Mount>(AnonymousFs(), Dentry::NewRoot(AnonymousFs()->root()), MountFlags{}, "anon_inodefs"));
  return *mount;
}

struct Driver {
  FileType type;
  uint32_t major;
  uint32_t first_minor;
  uint32_t count;
  DeviceOpener opener;
  void* driver;
};

struct Drivers {
  absl::Mutex mu;
  std::vector<Driver> list ABSL_GUARDED_BY(mu);
};

Drivers& TheDrivers() {
  static Drivers* const drivers = new Drivers;
  return *drivers;
}

std::atomic<FifoOpener> g_fifo_opener{nullptr};

}  // namespace

Path NewAnonymousPath(Ref<Inode> inode, std::string shown_name) {
  return {AnonymousMount(), Dentry::NewAnonymous(std::move(inode), std::move(shown_name))};
}

Ref<Inode> NewAnonymousInode(FileType type, uint32_t permissions, abi::Uid uid, abi::Gid gid) {
  return MakeRef<AnonymousInode>(AnonymousFs(), type, permissions, uid, gid);
}

DeviceRegistry& DeviceRegistry::Get() {
  static DeviceRegistry registry;
  return registry;
}

void DeviceRegistry::Register(FileType type, uint32_t major, uint32_t first_minor, uint32_t count, DeviceOpener opener, void* driver) {
  Drivers& drivers = TheDrivers();
  absl::MutexLock lock(&drivers.mu);
  drivers.list.push_back({type, major, first_minor, count, opener, driver});
}

Result<Ref<FileDescription>> DeviceRegistry::Open(Caller& caller, const Path& path, FileType type, uint64_t rdev, uint32_t flags) {
  const uint32_t major = abi::DevMajor(rdev), minor = abi::DevMinor(rdev);
  DeviceOpener opener = nullptr;
  void* driver = nullptr;
  {
    Drivers& drivers = TheDrivers();
    absl::ReaderMutexLock lock(&drivers.mu);
    // The latest registration wins, so that a test may replace one.
    for (auto it = drivers.list.rbegin(); it != drivers.list.rend() && opener == nullptr; ++it) {
      if (it->type != type || it->major != major || minor < it->first_minor || minor - it->first_minor >= it->count) continue;
      opener = it->opener;
      driver = it->driver;
    }
  }
  if (opener == nullptr) return Errno::kENXIO;
  return opener(caller, path, flags, driver);
}

void RegisterFifoOpener(FifoOpener opener) { g_fifo_opener.store(opener, std::memory_order_release); }

Result<Ref<FileDescription>> OpenFifo(Caller& caller, const Path& path, uint32_t flags) {
  const FifoOpener opener = g_fifo_opener.load(std::memory_order_acquire);
  if (opener == nullptr) return Errno::kENXIO;
  return opener(caller, path, flags);
}

}  // namespace rampart::vfs
