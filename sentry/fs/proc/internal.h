// Shared between the files of proc: constructors of its parts, and the rule who may look.
#pragma once

#include <functional>
#include <string>

#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/kernel.h"

namespace rampart::fs::proc {

class ProcFilesystem final : public vfs::Filesystem {
 public:
  ProcFilesystem(kernel::Kernel& kernel, Ref<kernel::PidNamespace> ns) : Filesystem("proc"), kernel_(kernel), pid_ns_(std::move(ns)) {}
  kernel::Kernel& kernel() const { return kernel_; }
  // Whose processes it shows, under their numbers there.
  const kernel::PidNamespace& pid_namespace() const { return *pid_ns_; }
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& caller) override;

 private:
  kernel::Kernel& kernel_;
  const Ref<kernel::PidNamespace> pid_ns_;
};

// What a link of proc says to `viewer` (Linux: d_path): from its root, or from the top for what lies outside.
std::string LinkText(const vfs::FsContext& viewer, const vfs::Path& path);

// Inode numbers that stay the same for the same process and kind of file.
enum class Kind : uint64_t { kProcessDirectory = 1, kTaskDirectory, kTasks, kFdDirectory, kFdInfoDirectory, kMap, kNs, kNet, kFirstFile = 64 };
// `pid`: the sandbox's number.
uint64_t ProcInode(abi::Pid pid, Kind kind, uint64_t detail = 0);

// ptrace_may_access(PTRACE_MODE_READ_FSCREDS).
bool MayInspect(const Caller& caller, kernel::Task& target);

// printf into a string.
[[gnu::format(printf, 2, 3)]] void Append(std::string& out, const char* format, ...);

// Files about the machine: cpuinfo, meminfo, stat, … and sys/.
void AddSystemFiles(pseudo::PseudoDirectory& root, Ref<ProcFilesystem> fs);
// Those of /proc/sys/`path` that never change (sysctl_values.cc).
void AddFixedSettings(pseudo::PseudoDirectory& directory, const Ref<ProcFilesystem>& fs, std::string_view path);
Ref<vfs::Inode> NewSysctlTree(Ref<ProcFilesystem> fs);
// sysvipc/, and what sys/ has of IPC: the entries of sys/kernel, and sys/fs/mqueue. (ipc.cc)
Ref<vfs::Inode> NewSysvipcDirectory(const Ref<ProcFilesystem>& fs);
void AddIpcSettings(pseudo::PseudoDirectory& directory, const Ref<ProcFilesystem>& fs);
Ref<vfs::Inode> NewMqueueSettings(const Ref<ProcFilesystem>& fs);
// keys and key-users, and sys/kernel/keys. (keys.cc)
void AddKeyFiles(pseudo::PseudoDirectory& root, const Ref<ProcFilesystem>& fs);
Ref<vfs::Inode> NewKeySettings(const Ref<ProcFilesystem>& fs);

// /proc/PID and /proc/PID/task/TID. `task`: the thread that is shown; `thread_directory`: no task/ inside, thread's own times.
Ref<vfs::Inode> NewProcessDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool thread_directory);
// Its address space, for those who may look. EACCES; ESRCH: it has none any longer.
Result<Ref<mm::MemoryManager>> InspectableMm(Caller& caller, kernel::Task& task);

// An open file about the address space that the process had when it was opened; positions are numbers of 64 bits (Linux: mem_lseek).
class AddressSpaceDescription : public vfs::FileDescription {
 public:
  AddressSpaceDescription(vfs::Path path, uint32_t flags, Ref<mm::MemoryManager> mm) : FileDescription(std::move(path), flags), mm_(std::move(mm)) {}
  Result<uint64_t> Seek(Caller&, int64_t offset, int whence) override {
    absl::MutexLock lock(&position_mu_);
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    const uint64_t base = whence == abi::kSeekCur ? position_.load() : 0;
    position_.store(base + static_cast<uint64_t>(offset));  // addresses wrap
    return position_.load();
  }

 protected:
  mm::MemoryManager& mm() { return *mm_; }

 private:
  const Ref<mm::MemoryManager> mm_;
};

// The file of which `Description`, an AddressSpaceDescription, is what opening it gives.
template <typename Description>
class AddressSpaceFile final : public pseudo::PseudoInode {
 public:
  AddressSpaceFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino, uint32_t mode)
      : PseudoInode(std::move(fs), vfs::FileType::kRegular, mode, ino), task_(std::move(task)) {}
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override {
    Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, *task_));
    return Ref<vfs::FileDescription>(MakeRef<Description>(path, flags, std::move(mm)));
  }

 protected:
  std::pair<abi::Uid, abi::Gid> Owner() const override {
    const Ref<const auth::Credentials> creds = task_->GetCreds();
    return {creds->euid, creds->egid};
  }

 private:
  const Ref<kernel::Task> task_;
};

// maps, which also answers PROCMAP_QUERY (maps_file.cc).
Ref<vfs::Inode> NewMapsFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino);
// pagemap (pagemap.cc).
Ref<vfs::Inode> NewPageMapFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino);
// net/. `thread`: of a thread's own directory.
Ref<vfs::Inode> NewNetDirectory(const Ref<ProcFilesystem>& fs, abi::Pid pid, bool thread);
// fd/ and fdinfo/.
Ref<vfs::Inode> NewFdDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool info);

// Texts.
std::string MapsText(mm::MemoryManager& mm, bool smaps);
std::string NumaMapsText(kernel::Task& task, mm::MemoryManager& mm);
std::string SmapsRollupText(mm::MemoryManager& mm);
std::string StatText(kernel::Task& task, const kernel::PidNamespace& ns, bool whole_process, bool may_inspect);
std::string StatusText(kernel::Task& task, const kernel::PidNamespace& ns);
std::string LimitsText(kernel::ThreadGroup& group);
enum class MountTable { kMounts, kMountInfo, kMountStats };
std::string MountsText(kernel::Task& task, MountTable format);

}  // namespace rampart::fs::proc
