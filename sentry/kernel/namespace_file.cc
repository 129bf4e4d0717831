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

vfs::Path PathOf(NamespaceKind kind, uint64_t number, RefPtr<RefCounted> object) {
  const Ref<vfs::Inode> inode = MakeRef<NamespaceInode>(kind, number, std::move(object));
  return {NamespaceMount(), vfs::Dentry::NewAnonymous(inode, std::string(RowOf(kind).name) + ":[" + std::to_string(number) + "]")};
}

// The numbers of namespaces that were made later.
constexpr uint64_t kDynamic = 4026532000;
uint64_t PidNamespaceNumber(const PidNamespace& ns) { return ns.is_root() ? RowOf(NamespaceKind::kPid).first : kDynamic + 4 * ns.id() + 3; }
uint64_t NumberOf(NamespaceKind kind, const RefCounted* object, const RefCounted* first) {
  if (object == first) return RowOf(kind).first;
  if (kind == NamespaceKind::kMnt) return kDynamic + 4 * static_cast<const vfs::MountNamespace*>(object)->id();
  if (kind == NamespaceKind::kUts) return kDynamic + 4 * static_cast<const UtsNamespace*>(object)->id() + 1;
  return kDynamic + 4 * static_cast<const ipc::Namespace*>(object)->id() + 2;
}

Result<uint64_t> OpenFor(Caller& caller, const vfs::Path& path) {
  Task* const task = caller.task();
  if (task == nullptr) return Errno::kEPERM;
  const Ref<vfs::FileDescription> file = TRY(path.dentry->inode()->Open(caller, path, abi::kORdOnly));
  return static_cast<uint64_t>(TRY(task->fds().Install(file, /*close_on_exec=*/true, task->limit(abi::Resource::kNofile))));
}

// NS_GET_PARENT: EPERM for what is not in the caller's own.
Result<uint64_t> OpenParent(Caller& caller, const PidNamespace& ns) {
  const RefPtr<PidNamespace>& parent = ns.parent();
  if (caller.task() == nullptr || !parent || !caller.task()->pid_namespace().Contains(*parent)) return Errno::kEPERM;
  return OpenFor(caller, PathOf(NamespaceKind::kPid, PidNamespaceNumber(*parent), parent));
}

// What NS_GET_…PID_…_PIDNS ask: a thread that is named in one namespace, in the other. ESRCH.
enum class PidQuery : uint32_t { kPidFrom = 0x8004b706, kTgidFrom = 0x8004b707, kPidIn = 0x8004b708, kTgidIn = 0x8004b709 };
bool IsPidQuery(uint32_t command) { return command >= 0x8004b706 && command <= 0x8004b709; }
Result<uint64_t> Answer(const Task& task, const PidNamespace& ns, PidQuery query, abi::Pid given) {
  const bool from = query == PidQuery::kPidFrom || query == PidQuery::kTgidFrom;
  const PidNamespace& named = from ? ns : task.pid_namespace();
  const PidNamespace& asked = from ? task.pid_namespace() : ns;
  const RefPtr<Task> found = task.kernel().FindTask(task.kernel().NumberOf(named, given));
  if (!found) return Errno::kESRCH;
  const bool process = query == PidQuery::kTgidFrom || query == PidQuery::kTgidIn;
  const abi::Pid number = process ? found->group().PidIn(asked) : found->TidIn(asked);
  if (number == 0) return Errno::kESRCH;
  return static_cast<uint64_t>(number);
}

class NamespaceDescription final : public vfs::FileDescription {
 public:
  NamespaceDescription(vfs::Path path, uint32_t flags, Ref<NamespaceInode> inode)
      : FileDescription(std::move(path), flags), inode_(std::move(inode)) {}
  bool has_read() const override { return false; }
  bool has_write() const override { return false; }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    constexpr uint32_t kGetUserNs = 0xb701, kGetParent = 0xb702, kGetType = 0xb703, kGetOwner = 0xb704;
    const bool is_pid = inode_->kind() == NamespaceKind::kPid;
    if (IsPidQuery(command)) {
      if (!is_pid || caller.task() == nullptr) return Errno::kEINVAL;
      return Answer(*caller.task(), Pids(), static_cast<PidQuery>(command), static_cast<abi::Pid>(argument));
    }
    switch (command) {
      case kGetUserNs:
        // The only user namespace's parent is out of sight; so is the owner of what was there from the start.
        if (inode_->kind() == NamespaceKind::kUser || inode_->ino() < kDynamic) return Errno::kEPERM;
        return OpenFor(caller, PathOf(NamespaceKind::kUser, RowOf(NamespaceKind::kUser).first, nullptr));
      case kGetParent:
        if (is_pid) return OpenParent(caller, Pids());
        return inode_->kind() == NamespaceKind::kUser ? Errno::kEPERM : Errno::kEINVAL;
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
  const PidNamespace& Pids() const { return *static_cast<const PidNamespace*>(inode_->object().get()); }
  const Ref<NamespaceInode> inode_;
};

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

Result<vfs::Path> ChildrenNamespaceFile(const Task& task) {
  const RefPtr<const Namespaces> namespaces = task.GetNamespaces();
  if (namespaces == nullptr) return Errno::kENOENT;
  const Ref<PidNamespace>& ns = namespaces->pid_for_children;
  if (!task.kernel().HasInit(*ns)) return Errno::kENOENT;
  return PathOf(NamespaceKind::kPid, PidNamespaceNumber(*ns), ns);
}

Result<vfs::Path> NamespaceFile(const Task& task, NamespaceKind kind) {
  if (kind == NamespaceKind::kPid) {  // also of a zombie
    PidNamespace& ns = task.pid_namespace();
    return PathOf(kind, PidNamespaceNumber(ns), ShareRef(&ns));
  }
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
  return PathOf(kind, number, std::move(object));
}

}  // namespace rampart::kernel
