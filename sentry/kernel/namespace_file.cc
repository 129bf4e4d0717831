#include "sentry/kernel/namespace_file.h"

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"

namespace rampart::kernel {
namespace {

struct KindRow {
  const char* name;
  uint64_t clone_flag;
  uint64_t first;  // the number of the one that is there from the start, as on Linux
};
constexpr KindRow kKinds[] = {
    {"cgroup", abi::kCloneNewcgroup, 4026531835}, {"ipc", abi::kCloneNewipc, 4026531839}, {"mnt", abi::kCloneNewns, 4026531841},
    {"net", abi::kCloneNewnet, 4026531840},       {"pid", abi::kCloneNewpid, 4026531836}, {"time", abi::kCloneNewtime, 4026531834},
    {"user", abi::kCloneNewuser, 4026531837},     {"uts", abi::kCloneNewuts, 4026531838}};
const KindRow& RowOf(NamespaceKind kind) { return kKinds[static_cast<size_t>(kind)]; }

class NamespaceFilesystem final : public vfs::Filesystem {
 public:
  NamespaceFilesystem() : Filesystem("nsfs") {}
  Ref<vfs::Inode> root() override { return MakeRef<NamespaceInode>(NamespaceKind::kUser, RowOf(NamespaceKind::kUser).first, nullptr); }
  Result<vfs::FsStats> StatFs(const Caller&) override { return vfs::FsStats{.magic = 0x6e736673}; }
};

Ref<vfs::Filesystem>& NamespaceFs() {
  static Ref<vfs::Filesystem>* const fs = new Ref<vfs::Filesystem>(MakeRef<NamespaceFilesystem>());
  return *fs;
}

Ref<vfs::Mount>& NamespaceMount() {
  static Ref<vfs::Mount>* const mount = new Ref<vfs::Mount>(
      MakeRef<vfs::Mount>(NamespaceFs(), vfs::Dentry::NewRoot(NamespaceFs()->root()), vfs::MountFlags{}, "nsfs"));
  return *mount;
}

class NamespaceDescription final : public vfs::FileDescription {
 public:
  NamespaceDescription(vfs::Path path, uint32_t flags, Ref<NamespaceInode> inode)
      : FileDescription(std::move(path), flags), inode_(std::move(inode)) {}
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    constexpr uint32_t kGetUserNs = 0xb701, kGetParent = 0xb702, kGetType = 0xb703, kGetOwner = 0xb704;
    switch (command) {
      case kGetUserNs:
        return Errno::kEPERM;  // the only user namespace's parent is out of sight; so is the owner of what lies in it
      case kGetParent:
        return inode_->kind() == NamespaceKind::kUser || inode_->kind() == NamespaceKind::kPid ? Errno::kEPERM : Errno::kEINVAL;
      case kGetType:
        return inode_->clone_flag();
      case kGetOwner:
        if (inode_->kind() != NamespaceKind::kUser) return Errno::kEINVAL;
        TRY(memory.CopyOut(UserOut<uint32_t>(argument), uint32_t{0}));
        return uint64_t{0};
      default:
        return FileDescription::Ioctl(caller, memory, command, argument);
    }
  }

 private:
  const Ref<NamespaceInode> inode_;
};

// The numbers of namespaces that were made later.
uint64_t NumberOf(NamespaceKind kind, const RefCounted* object, const RefCounted* first) {
  if (object == first) return RowOf(kind).first;
  constexpr uint64_t kDynamic = 4026532000;
  if (kind == NamespaceKind::kMnt) return kDynamic + 3 * static_cast<const vfs::MountNamespace*>(object)->id();
  if (kind == NamespaceKind::kUts) return kDynamic + 3 * static_cast<const UtsNamespace*>(object)->id() + 1;
  return kDynamic + 3 * static_cast<const ipc::Namespace*>(object)->id() + 2;
}

}  // namespace

NamespaceInode::NamespaceInode(NamespaceKind kind, uint64_t number, RefPtr<RefCounted> object)
    : Inode(NamespaceFs(), number, vfs::FileType::kRegular), kind_(kind), object_(std::move(object)) {}

uint64_t NamespaceInode::clone_flag() const { return RowOf(kind_).clone_flag; }

Result<vfs::Attr> NamespaceInode::GetAttr(const Caller&) {
  vfs::Attr attr;
  attr.permissions = 0444;
  attr.ino = ino();
  attr.atime = attr.mtime = attr.ctime = RealtimeNow();
  return attr;
}

Result<Ref<vfs::FileDescription>> NamespaceInode::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  if ((flags & abi::kOAccMode) != abi::kORdOnly) return Errno::kEPERM;
  return Ref<vfs::FileDescription>(MakeRef<NamespaceDescription>(path, flags, ShareRef(this)));
}

Result<vfs::Path> NamespaceFile(const Task& task, NamespaceKind kind) {
  const RefPtr<const Namespaces> namespaces = task.GetNamespaces();
  const RefPtr<vfs::FsContext> fs = task.GetFs();
  if (namespaces == nullptr || fs == nullptr) return Errno::kENOENT;
  RefPtr<RefCounted> object;
  uint64_t number = RowOf(kind).first;
  if (kind == NamespaceKind::kMnt) {
    const Ref<vfs::MountNamespace> mounts = fs->mounts();
    object = mounts;
    number = mounts->id() == 1 ? number : NumberOf(kind, mounts.get(), nullptr);
  } else if (kind == NamespaceKind::kUts) {
    object = namespaces->uts;
    number = NumberOf(kind, namespaces->uts.get(), task.kernel().namespaces().uts.get());
  } else if (kind == NamespaceKind::kIpc) {
    object = namespaces->ipc;
    number = NumberOf(kind, namespaces->ipc.get(), task.kernel().namespaces().ipc.get());
  }
  const Ref<vfs::Inode> inode = MakeRef<NamespaceInode>(kind, number, std::move(object));
  return vfs::Path{NamespaceMount(), vfs::Dentry::NewAnonymous(inode, std::string(RowOf(kind).name) + ":[" + std::to_string(number) + "]")};
}

}  // namespace rampart::kernel
