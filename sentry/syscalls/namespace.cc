#include "sentry/syscalls/namespace.h"

#include "abi/process.h"
#include "sentry/kernel/namespace_file.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/syscalls/fd.h"

namespace rampart::syscalls {

using kernel::NamespaceInode;
using kernel::NamespaceKind;
using kernel::Task;

namespace {

// What the call will have changed when every namespace has been checked.
struct Entering {
  RefPtr<vfs::MountNamespace> mounts;
  RefPtr<kernel::UtsNamespace> uts;
  RefPtr<ipc::Namespace> ipc;
  RefPtr<kernel::PidNamespace> pid_for_children;
};

Result<void> Check(Task& task, const NamespaceInode& file, Entering& entering) {
  const bool admin = task.creds().HasCapability(abi::Capability::kSysAdmin);
  switch (file.kind()) {
    case NamespaceKind::kMnt: {
      if (!admin || !task.creds().HasCapability(abi::Capability::kSysChroot)) return Errno::kEPERM;
      // Root and cwd change: nobody else may have them.
      if (task.fs().RefCountForTesting() > 1) return Errno::kEINVAL;
      auto* const mounts = static_cast<vfs::MountNamespace*>(file.object().get());
      if (mounts->detached()) return Errno::kEINVAL;
      entering.mounts = ShareRef(mounts);
      return Ok();
    }
    case NamespaceKind::kUts:
      if (!admin) return Errno::kEPERM;
      entering.uts = ShareRef(static_cast<kernel::UtsNamespace*>(file.object().get()));
      return Ok();
    case NamespaceKind::kIpc:
      if (!admin) return Errno::kEPERM;
      entering.ipc = ShareRef(static_cast<ipc::Namespace*>(file.object().get()));
      return Ok();
    case NamespaceKind::kPid: {
      if (!admin) return Errno::kEPERM;
      auto* const pids = static_cast<kernel::PidNamespace*>(file.object().get());
      if (!task.pid_namespace().Contains(*pids)) return Errno::kEINVAL;  // outwards there is no way
      entering.pid_for_children = ShareRef(pids);
      return Ok();
    }
    case NamespaceKind::kUser:
      return Errno::kEINVAL;  // one's own is never entered again
    default:
      return admin ? Result<void>(Ok()) : Errno::kEPERM;  // there is one alone, and we are in it
  }
}

void Enter(Task& task, const Entering& entering) {
  if (entering.mounts != nullptr) {
    const vfs::Path root = entering.mounts->top();
    task.fs().SetMounts(entering.mounts.ToRef(), root, root);
  }
  if (entering.uts == nullptr && entering.ipc == nullptr && entering.pid_for_children == nullptr) return;
  const kernel::Namespaces& now = task.namespaces();
  if (entering.ipc != nullptr) {
    task.DropSemUndo();
    now.ipc->shm().ThreadGone(task.tid());
  }
  task.SetNamespaces(MakeRef<kernel::Namespaces>(entering.uts != nullptr ? entering.uts.ToRef() : now.uts,
                                                 entering.ipc != nullptr ? entering.ipc.ToRef() : now.ipc,
                                                 entering.pid_for_children != nullptr ? entering.pid_for_children.ToRef() : now.pid_for_children));
}

// A pidfd: those of its process that `types` names.
Result<void> CheckThoseOf(Task& task, const kernel::ThreadGroup& group, uint64_t types, Entering& entering) {
  const RefPtr<Task> leader = group.leader();
  if (!leader) return Errno::kESRCH;
  if (!kernel::MayAccess(task, *leader, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  for (int kind = 0; kind <= static_cast<int>(NamespaceKind::kUts); ++kind) {
    const Result<vfs::Path> path = kernel::NamespaceFile(*leader, static_cast<NamespaceKind>(kind));
    if (!path.ok()) return Errno::kESRCH;
    const RefPtr<vfs::Inode>& inode = path->dentry->inode();
    const auto& file = static_cast<const NamespaceInode&>(*inode);
    if ((types & file.clone_flag()) != 0) TRY(Check(task, file, entering));
  }
  return Ok();
}

}  // namespace

Result<Word> SysSetns(Task& task, Fd fd, int32_t type) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  const auto wanted = static_cast<uint64_t>(static_cast<uint32_t>(type));
  Entering entering;
  const Ref<vfs::Inode> inode = file->inode();
  if (const auto* ns = dynamic_cast<const NamespaceInode*>(inode.get()); ns != nullptr) {
    if (wanted != 0 && wanted != ns->clone_flag()) return Errno::kEINVAL;
    TRY(Check(task, *ns, entering));
  } else if (const Result<Ref<kernel::ThreadGroup>> group = kernel::GroupOfPidfd(*file); group.ok()) {
    if (wanted == 0 || (wanted & ~abi::kCloneNamespaces) != 0) return Errno::kEINVAL;
    TRY(CheckThoseOf(task, **group, wanted, entering));
  } else {
    return Errno::kEINVAL;
  }
  Enter(task, entering);
  return Word{0};
}

}  // namespace rampart::syscalls
