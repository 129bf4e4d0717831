// Namespaces of a task (Linux kernel/nsproxy.c).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/task.h"

namespace rampart::kernel {

UtsNamespace::UtsNamespace(std::string hostname, std::string domainname)
    : id_([] {
        static std::atomic<uint64_t> next{1};
        return next.fetch_add(1, std::memory_order_relaxed);
      }()),
      hostname_(std::move(hostname)),
      domainname_(std::move(domainname)) {}

Ref<UtsNamespace> UtsNamespace::Clone() const {
  absl::MutexLock lock(&mu_);
  return MakeRef<UtsNamespace>(hostname_, domainname_);
}
std::string UtsNamespace::hostname() const {
  absl::MutexLock lock(&mu_);
  return hostname_;
}
std::string UtsNamespace::domainname() const {
  absl::MutexLock lock(&mu_);
  return domainname_;
}
void UtsNamespace::SetHostname(std::string name) {
  absl::MutexLock lock(&mu_);
  hostname_ = std::move(name);
}
void UtsNamespace::SetDomainname(std::string name) {
  absl::MutexLock lock(&mu_);
  domainname_ = std::move(name);
}

RefPtr<const Namespaces> Task::GetNamespaces() const {
  absl::MutexLock lock(&mu_);
  return namespaces_;
}

void Task::SetNamespaces(Ref<const Namespaces> namespaces) {
  RefPtr<const Namespaces> old(std::move(namespaces));
  absl::MutexLock lock(&mu_);
  std::swap(namespaces_, old);
}

Result<void> Task::CheckNamespaceFlags(uint64_t flags) const {
  if ((flags & abi::kCloneNamespaces) == 0) return Ok();
  // As where user namespaces are switched off for everybody (a container's profile).
  if ((flags & abi::kCloneNewuser) != 0) return Errno::kEPERM;
  if (!creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  // As of a kernel that was built without them.
  if ((flags & (abi::kCloneNewnet | abi::kCloneNewtime | abi::kCloneNewcgroup)) != 0) return Errno::kEINVAL;
  return Ok();
}

// Linux: copy_pid_ns.
Result<Ref<PidNamespace>> Task::PidNamespaceForChildren(uint64_t flags) const {
  const Ref<PidNamespace>& now = namespaces_->pid_for_children;
  if ((flags & abi::kCloneNewpid) == 0) return now;
  if (now.get() != &pid_namespace()) return Errno::kEINVAL;  // one was made before: it is that in which a further one would lie
  if (now->level() >= PidNamespace::kMaxLevel) return Errno::kENOSPC;
  return MakeRef<PidNamespace>(now);
}

Result<NewNamespaces> Task::MakeNamespaces(uint64_t flags, const Ref<PidNamespace>& pid_ns) const {
  NewNamespaces made{.namespaces = namespaces_.ToRef(), .fs = nullptr};
  if ((flags & abi::kCloneNewns) != 0) {
    const Ref<vfs::FsContext> copy = fs_->Clone();
    vfs::FsContext::View view = copy->view();
    const Ref<vfs::MountNamespace> mounts = TRY(view.mounts->Clone({&view.root, &view.cwd}));
    copy->SetMounts(mounts, std::move(view.root), std::move(view.cwd));
    made.fs = copy;
  }
  if ((flags & (abi::kCloneNewuts | abi::kCloneNewipc)) != 0 || !(pid_ns == namespaces_->pid_for_children)) {
    const Ref<UtsNamespace> uts = (flags & abi::kCloneNewuts) != 0 ? namespaces_->uts->Clone() : namespaces_->uts;
    const Ref<ipc::Namespace> ipc =
        (flags & abi::kCloneNewipc) != 0 ? MakeRef<ipc::Namespace>(kernel_.memory_file()) : namespaces_->ipc;
    made.namespaces = MakeRef<Namespaces>(uts, ipc, pid_ns);
  }
  return made;
}

Result<void> Task::Unshare(uint64_t flags) {
  TRY(CheckNamespaceFlags(flags));
  // A new root and cwd, or other System V objects than the others': what is theirs must be left first.
  if ((flags & abi::kCloneNewns) != 0) flags |= abi::kCloneFs;
  if ((flags & abi::kCloneNewipc) != 0) flags |= abi::kCloneSysvsem;
  const Ref<PidNamespace> pid_ns = TRY(PidNamespaceForChildren(flags));
  NewNamespaces made = TRY(MakeNamespaces(flags, pid_ns));
  if ((flags & abi::kCloneSysvsem) != 0) DropSemUndo();
  if ((flags & abi::kCloneNewipc) != 0) namespaces_->ipc->shm().ThreadGone(tid());
  if ((flags & abi::kCloneFs) != 0) SetFs(made.fs != nullptr ? std::move(made.fs).ToRef() : fs_->Clone());
  if ((flags & abi::kCloneFiles) != 0) TRY(UnshareFds());
  SetNamespaces(std::move(made.namespaces));
  return Ok();
}

}  // namespace rampart::kernel
