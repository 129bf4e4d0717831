#include "sentry/kernel/pidfd.h"

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/operations.h"

namespace rampart::kernel {

namespace {

// As in pidfs: a regular file to the kernel, without a type to fstat(2), and nothing about it changes.
class PidfdInode final : public vfs::Inode {
 public:
  PidfdInode(Ref<vfs::Inode> shown, Ref<ThreadGroup> group)
      : Inode(Ref<vfs::Filesystem>::Share(&shown->fs()), shown->ino(), vfs::FileType::kRegular), shown_(std::move(shown)), group_(std::move(group)) {}
  Result<vfs::Attr> GetAttr(const Caller& caller) override { return shown_->GetAttr(caller); }
  Result<void> SetAttr(const Caller&, const vfs::AttrChange&) override { return Errno::kEOPNOTSUPP; }
  // Through /proc/PID/fd.
  Result<Ref<vfs::FileDescription>> Open(Caller&, const vfs::Path& path, uint32_t flags) override {
    return Ref<vfs::FileDescription>(MakeRef<Pidfd>(path, group_, flags));
  }

 private:
  const Ref<vfs::Inode> shown_;
  const Ref<ThreadGroup> group_;
};

}  // namespace

Ref<Pidfd> Pidfd::Create(Ref<ThreadGroup> group, uint32_t flags) {
  Ref<vfs::Inode> inode = MakeRef<PidfdInode>(vfs::NewAnonymousInode(vfs::FileType{0}, 0700, 0, 0), group);
  vfs::Path path = vfs::NewAnonymousPath(std::move(inode), "anon_inode:[pidfd]");
  return MakeRef<Pidfd>(std::move(path), std::move(group), flags | abi::kORdWr);
}

Pidfd::Pidfd(vfs::Path path, Ref<ThreadGroup> group, uint32_t flags) : vfs::FileDescription(std::move(path), flags), group_(std::move(group)) {}

wait::EventMask Pidfd::Readiness(wait::EventMask mask) {
  if (!group_->leader()) return abi::kPollHup | (mask & (abi::kPollIn | abi::kPollRdNorm));  // nobody is left to wait for
  return group_->exited() ? mask & (abi::kPollIn | abi::kPollRdNorm) : 0;
}

void Pidfd::EventRegister(wait::WaitEntry& entry, wait::EventMask mask) { group_->exit_events().Register(entry, mask); }
void Pidfd::EventUnregister(wait::WaitEntry& entry) { group_->exit_events().Unregister(entry); }

std::string Pidfd::FdInfo() const { return FdInfoIn(*group_->kernel().pid_namespace()); }

// Linux: pidfd_show_fdinfo.
std::string Pidfd::FdInfoIn(const PidNamespace& ns) const {
  const bool reaped = !group_->leader();
  const std::vector<abi::Pid> seen = group_->name().From(ns);
  std::string text = "Pid:\t" + std::to_string(reaped ? -1 : seen.front()) + "\nNSpid:\t" + std::to_string(reaped ? -1 : seen.front());
  for (size_t i = 1; i < seen.size() && !reaped; ++i) text += "\t" + std::to_string(seen[i]);
  return text + "\n";
}

Result<Ref<ThreadGroup>> GroupOfPidfd(vfs::FileDescription& file) {
  const Pidfd* pidfd = dynamic_cast<const Pidfd*>(&file);
  if (pidfd == nullptr) return Errno::kEBADF;
  return pidfd->group();
}

Result<Ref<ThreadGroup>> GroupToSignal(vfs::FileDescription& file) {
  if ((file.flags() & abi::kOPath) != 0) return Errno::kEBADF;
  const Ref<vfs::Inode> inode = file.inode();
  if (const auto* process = dynamic_cast<const ProcessInode*>(inode.get()); process != nullptr) return process->process();
  return GroupOfPidfd(file);
}

}  // namespace rampart::kernel
