#include "sentry/boot/mounts.h"

#include "sentry/context/caller.h"
#include "sentry/fs/dev/dev_tree.h"
#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/fs/sys/sys.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/ipc/namespace.h"
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
Result<Ref<vfs::Filesystem>> CoverWithMemory(const Ref<fs::GoferFilesystem>& lower, const MountContext& context) {
  KernelCaller caller;
  const vfs::Attr attr = TRY(lower->root()->GetAttr(caller));
  const fs::TmpfsOptions options{.mode = attr.permissions, .uid = attr.uid, .gid = attr.gid};
  return fs::NewOverlay(fs::NewTmpfs(context.kernel.memory_file(), options), lower);
}

Result<Made> MakeTmpfs(const Mount& mount, const MountContext& context, const char* type) {
  fs::TmpfsOptions options;
  options.size = mount.size_limit;
  options.mode = mount.mode;
  return Made{fs::NewTmpfs(context.kernel.memory_file(), options, type)};
}

Result<Made> MakeFilesystem(const Mount& mount, const MountContext& context) {
  if (mount.type == "gofer") {
    if (!context.gofer) return Errno::kENODEV;
    Ref<fs::GoferFilesystem> gofer = TRY(fs::GoferFilesystem::Create(
        context.gofer.ToRef(), {.attach = mount.attach, .exclusive = mount.access == FileAccess::kExclusive}));
    if (!mount.overlay) return Made{gofer};
    return Made{TRY(CoverWithMemory(gofer, context))};
  }
  if (mount.type == "tmpfs") return MakeTmpfs(mount, context, "tmpfs");
  if (mount.type == "devtmpfs") {
    Made made = TRY(MakeTmpfs(mount, context, "devtmpfs"));
    return made;
  }
  if (mount.type == "proc") return Made{fs::proc::NewProc(context.kernel)};
  if (mount.type == "mqueue") {
    const vfs::Path& queues = context.kernel.ipc().mq_root();
    return Made{ShareRef(&queues.mount->fs()), queues.dentry};
  }
  if (mount.type == "sysfs") return Made{fs::sys::NewSys(context.kernel.cpus())};
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
  return flags;
}

Result<void> AttachOne(const Mount& mount, const MountContext& context, RefPtr<vfs::MountNamespace>& ns) {
  const Made made = TRY(MakeFilesystem(mount, context));
  const vfs::MountFlags flags = FlagsOf(mount);
  if (!ns) {
    ns = vfs::MountNamespace::Create(made.fs, flags, mount.type);
    return Ok();
  }
  KernelCaller caller;
  const vfs::Path root = ns->root();
  const vfs::Walk walk{caller, *ns, root, root};
  Result<vfs::Path> at = vfs::Lookup(walk, mount.destination, vfs::WalkArgs{});
  if (!at.ok() && at.error() == Errno::kENOENT) {
    TRY(vfs::MakeDirectory(walk, mount.destination, 0755));
    at = vfs::Lookup(walk, mount.destination, vfs::WalkArgs{});
  }
  const vfs::Path where = TRY(std::move(at));
  const Ref<vfs::Mount> attached = TRY(ns->Attach(where, made.fs, made.root, flags, mount.type));
  if (mount.type == "devtmpfs") {
    const RefPtr<vfs::Inode> inode = attached->root()->inode();
    TRY(fs::PopulateDev(*inode));
  }
  return Ok();
}

}  // namespace

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
  }
  return ns;
}

}  // namespace rampart::sentry::boot
