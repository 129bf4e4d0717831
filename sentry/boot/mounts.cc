#include "sentry/boot/mounts.h"

#include <span>

#include "sentry/context/caller.h"
#include "sentry/fs/dev/dev_tree.h"
#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/fs/sys/sys.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/mm/io.h"
#include "sentry/vfs/operations.h"

namespace rampart::sentry::boot {
namespace {

constexpr uint32_t kPtsMode = 0620;
constexpr abi::Gid kTtyGroup = 5;

// A made filesystem and, where the caller must keep it, its root.
struct Made {
  Ref<vfs::Filesystem> fs;
  RefPtr<vfs::Dentry> root = nullptr;
};

// `lower` under an upper layer in memory, whose root has the lower root's owner and mode.
Result<Ref<vfs::Filesystem>> CoverWithMemory(const Ref<fs::GoferFilesystem>& lower, uint64_t size, const MountContext& context) {
  KernelCaller caller;
  const vfs::Attr attr = TRY(lower->root()->GetAttr(caller));
  fs::TmpfsOptions options{.mode = attr.permissions, .uid = attr.uid, .gid = attr.gid};
  options.size = size;
  return fs::NewOverlay(fs::NewTmpfs(context.kernel.memory_file(), options), lower);
}

Result<Made> MakeTmpfs(const Mount& mount, const MountContext& context, const char* type) {
  const auto make = [&]() -> Ref<vfs::Filesystem> {
    fs::TmpfsOptions options;
    options.size = mount.size_limit;
    options.mode = mount.mode;
    return fs::NewTmpfs(context.kernel.memory_file(), options, type);
  };
  return Made{mount.shared.empty() ? make() : context.shared.FindOrAdd(mount.shared, make)};
}

Result<Made> MakeFilesystem(const Mount& mount, const MountContext& context) {
  if (mount.type == "gofer") {
    if (!context.gofer) return Errno::kENODEV;
    Ref<fs::GoferFilesystem> gofer = TRY(fs::GoferFilesystem::Create(
        context.gofer.ToRef(), {.attach = mount.attach, .exclusive = mount.access == FileAccess::kExclusive}));
    if (!mount.overlay) return Made{gofer};
    return Made{TRY(CoverWithMemory(gofer, mount.size_limit, context))};
  }
  if (mount.type == "tmpfs") return MakeTmpfs(mount, context, "tmpfs");
  if (mount.type == "devtmpfs") return MakeTmpfs(mount, context, mount.source.empty() || mount.source == "devtmpfs" ? "devtmpfs" : "tmpfs");
  if (mount.type == "proc") return Made{fs::proc::NewProc(context.kernel, context.pid_namespace ? context.pid_namespace.ToRef() : context.kernel.pid_namespace())};
  if (mount.type == "mqueue") {
    const vfs::Path& queues = context.kernel.namespaces().ipc->mq_root();
    return Made{ShareRef(&queues.mount->fs()), queues.dentry};
  }
  if (mount.type == "sysfs") return Made{fs::sys::NewSys([&kernel = context.kernel] { return kernel.cpus(); }, context.kernel.memory_file())};
  if (mount.type == "cgroup2") return Made{context.shared.Cgroup2(context.kernel)};
  if (mount.type == "devpts") {
    Ref<vfs::Filesystem> devpts = fs::tty::NewDevpts(context.kernel, kPtsMode, kTtyGroup);
    fs::tty::SetDefaultDevpts(devpts);
    return Made{devpts};
  }
  return Errno::kENODEV;
}

vfs::MountFlags FlagsOf(const Mount& mount) {
  vfs::MountFlags flags;
  flags.read_only = mount.readonly;
  flags.no_suid = mount.nosuid;
  flags.no_dev = mount.nodev && mount.type != "devtmpfs" && mount.type != "devpts";
  flags.no_exec = mount.noexec;
  flags.no_atime = mount.noatime;
  flags.no_dir_atime = mount.nodiratime;
  flags.relatime = !mount.noatime && !mount.strictatime;
  flags.no_symfollow = mount.nosymfollow;
  return flags;
}

Result<void> SetPropagation(vfs::MountNamespace& ns, const vfs::Path& at, const Mount& mount) {
  vfs::MountChange change;
  change.recursive = mount.propagation_is_recursive;
  switch (mount.propagation) {
    case MountPropagation::kUnchanged: return Ok();
    case MountPropagation::kPrivate: change.propagation = vfs::Propagation::kPrivate; break;
    case MountPropagation::kShared: change.propagation = vfs::Propagation::kShared; break;
    case MountPropagation::kSlave: change.propagation = vfs::Propagation::kSlave; break;
    case MountPropagation::kUnbindable: change.propagation = vfs::Propagation::kUnbindable; break;
  }
  return ns.Change(at, change);
}

// The place of a mount: made where it is missing, with the directories above it.
Result<vfs::Path> FindOrMake(const vfs::Walk& walk, const std::string& path, bool directory) {
  Result<vfs::Path> at = vfs::Lookup(walk, path, vfs::WalkArgs{});
  if (at.ok() || at.error() != Errno::kENOENT) return at;
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const Result<void> made = vfs::MakeDirectory(walk, path.substr(0, slash), 0755);
    if (!made.ok() && made.error() != Errno::kEEXIST) return made.error();
  }
  if (directory) {
    TRY(vfs::MakeDirectory(walk, path, 0755));
  } else {
    TRY(vfs::MakeNode(walk, path, vfs::FileType::kRegular, 0644, 0));
  }
  return vfs::Lookup(walk, path, vfs::WalkArgs{});
}

Result<void> AttachOne(const Mount& mount, const MountContext& context, RefPtr<vfs::MountNamespace>& ns) {
  const Made made = TRY(MakeFilesystem(mount, context));
  vfs::MountFlags flags = FlagsOf(mount);
  const std::string& source = mount.source.empty() ? mount.type : mount.source;
  if (!ns) {
    flags.read_only = false;  // until the other mounts have their places
    ns = vfs::MountNamespace::Create(made.fs, flags, source);
    return Ok();
  }
  KernelCaller caller;
  const vfs::Path root = ns->root();
  const vfs::Walk walk{caller, *ns, root, root};
  const bool directory = mount.type != "gofer" || mount.attach_is_directory;
  const vfs::Path where = TRY(FindOrMake(walk, mount.destination, directory));
  const Ref<vfs::Mount> attached = TRY(ns->Attach(where, made.fs, made.root, flags, source));
  // What of the host may only be read stays so, whatever rights a program inside has.
  if (mount.type == "gofer" && !mount.overlay && mount.readonly) attached->LockReadOnly();
  if (mount.type == "devtmpfs") {
    const RefPtr<vfs::Inode> inode = attached->root()->inode();
    TRY(fs::PopulateDev(*inode));
  }
  return SetPropagation(*ns, {attached, attached->root()}, mount);
}

Result<void> MakeDevice(const vfs::Walk& walk, const DeviceNode& device) {
  const vfs::FileType type = device.kind == DeviceKind::kBlock  ? vfs::FileType::kBlockDevice
                             : device.kind == DeviceKind::kFifo ? vfs::FileType::kFifo
                                                                : vfs::FileType::kCharDevice;
  const size_t slash = device.path.rfind('/');
  if (slash != 0) TRY(FindOrMake(walk, device.path.substr(0, slash), true));
  Result<void> made = vfs::MakeNode(walk, device.path, type, device.mode & 0777, abi::MakeDev(device.major, device.minor));
  if (!made.ok() && made.error() != Errno::kEEXIST) return made;
  const vfs::Path path = TRY(vfs::Lookup(walk, device.path, vfs::WalkArgs{}));
  if (!made.ok()) return Ok();  // one of those that are always there
  TRY(vfs::ChangeOwner(walk.caller, path, device.uid, device.gid));
  return vfs::ChangeMode(walk.caller, path, device.mode & 07777);
}

// What is not there needs no cover.
bool Missing(const Result<vfs::Path>& path) { return !path.ok() && (path.error() == Errno::kENOENT || path.error() == Errno::kENOTDIR); }

Result<void> Mask(const vfs::Walk& walk, const std::string& path, const MountContext& context) {
  const Result<vfs::Path> at = vfs::Lookup(walk, path, vfs::WalkArgs{});
  if (Missing(at)) return Ok();
  const vfs::Path where = TRY(Result<vfs::Path>(at));
  const RefPtr<vfs::Inode> inode = where.dentry->inode();
  if (inode && inode->type() == vfs::FileType::kDirectory) {
    fs::TmpfsOptions options;
    options.mode = 0755;
    options.size = 4096;
    vfs::MountFlags flags;
    flags.read_only = true;
    TRY(walk.mounts.Attach(where, fs::NewTmpfs(context.kernel.memory_file(), options, "tmpfs"), nullptr, flags, "tmpfs"));
    return Ok();
  }
  const Result<vfs::Path> null = vfs::Lookup(walk, "/dev/null", vfs::WalkArgs{});
  if (!null.ok()) return null.error();
  TRY(walk.mounts.Bind(*null, where, false));
  return Ok();
}

Result<void> MakeReadonly(const vfs::Walk& walk, const std::string& path) {
  const Result<vfs::Path> at = vfs::Lookup(walk, path, vfs::WalkArgs{});
  if (Missing(at)) return Ok();
  const vfs::Path where = TRY(Result<vfs::Path>(at));
  const Ref<vfs::Mount> mount = TRY(walk.mounts.Bind(where, where, true));
  vfs::MountFlags flags = mount->flags();
  flags.read_only = true;
  mount->SetFlags(flags);
  return Ok();
}

// In a procfs of its own: the container's may be anywhere, or masked.
Result<void> WriteSysctls(const std::vector<Sysctl>& sysctls, const MountContext& context, std::string& what) {
  if (sysctls.empty()) return Ok();
  const Ref<vfs::MountNamespace> ns = vfs::MountNamespace::Create(fs::proc::NewProc(context.kernel, context.kernel.pid_namespace()), vfs::MountFlags{}, "proc");
  KernelCaller caller;
  const vfs::Path root = ns->root();
  const vfs::Walk walk{caller, *ns, root, root};
  for (const Sysctl& sysctl : sysctls) {
    what = "set " + sysctl.file + " to '" + sysctl.value + "'";
    const bool network = sysctl.file.starts_with("net/");
    const Result<Ref<vfs::FileDescription>> file = vfs::Open(walk, "/sys/" + sysctl.file, abi::kOWrOnly, 0);
    // Engines set some of a network that is not the host's here, and most cannot be changed: they stay as they are.
    if (!file.ok() && network) continue;
    if (!file.ok()) return file.error();
    const std::string line = sysctl.value + "\n";
    mm::BufferSrc source(std::as_bytes(std::span(line)));
    const Result<size_t> written = (*file)->Write(caller, source, 0);
    if (!written.ok() && !network) return written.error();
  }
  return Ok();
}

// What hides or changes parts of what was mounted.
Result<void> Finish(const BootConfig& config, const MountContext& context, vfs::MountNamespace& ns, std::string& what) {
  KernelCaller caller;
  const vfs::Path root = ns.root();
  const vfs::Walk walk{caller, ns, root, root};
  TRY(WriteSysctls(config.sysctls, context, what));
  for (const DeviceNode& device : config.devices) {
    what = "make the device " + device.path;
    TRY(MakeDevice(walk, device));
  }
  for (const std::string& path : config.readonly_paths) {
    what = "make " + path + " read-only";
    TRY(MakeReadonly(walk, path));
  }
  for (const std::string& path : config.masked_paths) {
    what = "mask " + path;
    TRY(Mask(walk, path, context));
  }
  vfs::MountFlags flags = root.mount->flags();
  flags.read_only = config.mounts[0].readonly;
  root.mount->SetFlags(flags);
  what = "set the propagation of the root";
  return SetPropagation(ns, root, config.mounts[0]);
}

}  // namespace

Ref<vfs::Filesystem> SharedFilesystems::FindOrAdd(const std::string& name, const std::function<Ref<vfs::Filesystem>()>& make) {
  absl::MutexLock lock(&mu_);
  const auto found = all_.find(name);
  if (found != all_.end()) return found->second;
  return all_.emplace(name, make()).first->second;
}

Ref<vfs::Filesystem> SharedFilesystems::Cgroup2(kernel::Kernel& kernel) {
  absl::MutexLock lock(&mu_);
  if (!cgroup2_) cgroup2_ = fs::cgroup::NewCgroup2(kernel, cpu_max_);
  return cgroup2_.ToRef();
}

RefPtr<vfs::MountNamespace> BuildMounts(const BootConfig& config, const MountContext& context, MountFailure* failure) {
  RefPtr<vfs::MountNamespace> ns;
  for (const Mount& mount : config.mounts) {
    const Result<void> done = AttachOne(mount, context, ns);
    if (done.ok()) continue;
    failure->error = done.error();
    failure->text = "cannot mount " + mount.type + " on " + mount.destination + ": " + ErrnoText(done.error());
    return nullptr;
  }
  if (!ns) {
    failure->error = Errno::kEINVAL;
    failure->text = "the configuration has no root mount";
    return ns;
  }
  std::string what;
  if (const Result<void> done = Finish(config, context, *ns, what); !done.ok()) {
    failure->error = done.error();
    failure->text = "cannot " + what + ": " + ErrnoText(done.error());
    return nullptr;
  }
  return ns;
}

}  // namespace rampart::sentry::boot
