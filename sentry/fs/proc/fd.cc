// /proc/PID/fd and fdinfo: the descriptors of a process.
#include <charconv>

#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;

Result<Ref<vfs::FileDescription>> FileOf(kernel::Task& task, Fd fd) {
  const RefPtr<vfs::FdTable> fds = task.GetFds();
  if (!fds) return Errno::kENOENT;
  Result<Ref<vfs::FileDescription>> file = fds->Get(fd);
  if (!file.ok()) return Errno::kENOENT;
  return file;
}

class FdLink final : public pseudo::PseudoInode {
 public:
  FdLink(Ref<vfs::Filesystem> fs, Ref<kernel::Task> task, Fd fd, uint32_t permissions)
      : PseudoInode(std::move(fs), vfs::FileType::kSymlink, permissions, ProcInode(task->tid(), Kind::kFdDirectory, static_cast<uint64_t>(fd) + 1)),
        task_(std::move(task)),
        fd_(fd) {}
  bool IsMagicLink() const override { return true; }
  Result<vfs::Path> FollowMagic(Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    const Ref<vfs::FileDescription> file = TRY(FileOf(*task_, fd_));
    return file->path();
  }
  Text ReadLink(const Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    const Ref<vfs::FileDescription> file = TRY(FileOf(*task_, fd_));
    kernel::Task* viewer = const_cast<Caller&>(caller).task();
    const RefPtr<vfs::FsContext> fs = viewer != nullptr ? viewer->GetFs() : task_->GetFs();
    if (!fs) return Errno::kENOENT;
    return LinkText(*fs, file->path());
  }

 protected:
  uint64_t Size() const override { return 64; }

 private:
  const Ref<kernel::Task> task_;
  const Fd fd_;
};

Text FdInfoText(kernel::Task& task, Fd fd, const kernel::PidNamespace& ns) {
  const RefPtr<vfs::FdTable> fds = task.GetFds();
  if (!fds) return Errno::kENOENT;
  const vfs::FdTable::Entry entry = TRY(fds->GetEntry(fd));
  std::string out;
  Append(out, "pos:\t%llu\nflags:\t0%o\nmnt_id:\t%llu\nino:\t%llu\n", static_cast<unsigned long long>(entry.file->position()),
         entry.file->flags() | (entry.close_on_exec ? abi::kOCloexec : 0), static_cast<unsigned long long>(entry.file->path().mount->id()),
         static_cast<unsigned long long>(entry.file->inode()->ino()));
  const auto* pidfd = dynamic_cast<const kernel::Pidfd*>(entry.file.get());
  return out + (pidfd != nullptr ? pidfd->FdInfoIn(ns) : entry.file->FdInfo());
}

class FdDirectory final : public pseudo::PseudoDirectory {
 public:
  FdDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool info)
      : PseudoDirectory(fs, info ? 0555 : 0500, ProcInode(task->tid(), info ? Kind::kFdInfoDirectory : Kind::kFdDirectory)),
        proc_(std::move(fs)),
        task_(std::move(task)),
        info_(info) {}
  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }
  // A descriptor's number may mean another file at any time: every use looks anew.
  Result<bool> Revalidate(const Caller&, std::string_view, vfs::Inode*) override { return false; }
  Result<void> CheckAccess(const Caller& caller, vfs::Access wanted) override {
    const kernel::Task* const task = const_cast<Caller&>(caller).task();
    if (task != nullptr && &task->group() == &task_->group()) return Ok();  // Linux: proc_fd_permission
    if (vfs::Includes(wanted, vfs::Access::kWrite) && !caller.creds().HasCapability(abi::Capability::kDacOverride)) return Errno::kEACCES;
    return MayInspect(caller, *task_) ? Ok() : Result<void>(Errno::kEACCES);
  }

 protected:
  Result<RefPtr<vfs::Inode>> FindComputed(const Caller&, std::string_view name) override {
    int32_t number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || number < 0 || (name.size() > 1 && name[0] == '0')) {
      return RefPtr<vfs::Inode>(nullptr);
    }
    const Result<Ref<vfs::FileDescription>> file = FileOf(*task_, Fd{number});
    if (!file.ok()) return RefPtr<vfs::Inode>(nullptr);
    if (info_) {
      return RefPtr<vfs::Inode>(MakeRef<pseudo::FunctionFile>(
          proc_, 0444, [task = task_, number, fs = proc_](Caller&) { return FdInfoText(*task, Fd{number}, fs->pid_namespace()); }));
    }
    const uint32_t permissions = ((*file)->readable() ? 0500u : 0u) | ((*file)->writable() ? 0300u : 0u);
    return RefPtr<vfs::Inode>(MakeRef<FdLink>(proc_, task_, Fd{number}, permissions));
  }
  Result<void> ListComputed(const Caller&, std::vector<pseudo::PseudoEntry>& out) override {
    const RefPtr<vfs::FdTable> fds = task_->GetFds();
    if (!fds) return Ok();
    for (const Fd fd : fds->List()) {
      const auto number = static_cast<int32_t>(fd);
      out.push_back({std::to_string(number), info_ ? vfs::FileType::kRegular : vfs::FileType::kSymlink,
                     ProcInode(task_->tid(), Kind::kFdDirectory, static_cast<uint64_t>(number) + 1)});
    }
    return Ok();
  }
  std::pair<abi::Uid, abi::Gid> Owner() const override {
    const Ref<const auth::Credentials> creds = task_->GetCreds();
    return {creds->euid, creds->egid};
  }

 private:
  const Ref<ProcFilesystem> proc_;
  const Ref<kernel::Task> task_;
  const bool info_;
};

}  // namespace

std::string LinkText(const vfs::FsContext& viewer, const vfs::Path& path) {
  constexpr std::string_view kOutside = "(unreachable)";  // getcwd's word, not d_path's
  std::string text = vfs::PathText(*viewer.mounts(), viewer.root(), path);
  return text.starts_with(kOutside) ? text.substr(kOutside.size()) : text;
}

Ref<vfs::Inode> NewFdDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool info) {
  return MakeRef<FdDirectory>(std::move(fs), std::move(task), info);
}

}  // namespace rampart::fs::proc
