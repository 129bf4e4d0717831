#include "sentry/fs/proc/proc.h"

#include <algorithm>
#include <charconv>
#include <cstdarg>
#include <cstdio>

#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/ptrace.h"

namespace rampart::fs::proc {
namespace {

constexpr uint64_t kProcMagic = 0x9fa0;
constexpr uint64_t kRootInode = 1;

// A decimal number without sign or leading zeros; -1 otherwise.
abi::Pid ParsePid(std::string_view name) {
  if (name.empty() || name[0] < '1' || name[0] > '9') return -1;
  abi::Pid pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return error == std::errc() && end == name.data() + name.size() ? pid : -1;
}

// The root: fixed files, and a directory per process.
class ProcRoot final : public pseudo::PseudoDirectory {
 public:
  explicit ProcRoot(Ref<ProcFilesystem> fs) : PseudoDirectory(fs, 0555, kRootInode), proc_(std::move(fs)) {}

  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }

  Result<bool> Revalidate(const Caller& /*caller*/, std::string_view name, vfs::Inode* child) override {
    const abi::Pid pid = ParsePid(name);
    if (pid < 0) return child != nullptr;  // fixed files stay; a negative answer about a word stays true, but costs nothing to repeat
    if (child == nullptr) return false;
    const RefPtr<kernel::Task> task = Find(pid);
    return task && child->ino() == ProcInode(task->group().pid(), Kind::kProcessDirectory, static_cast<uint64_t>(task->group().start_time()));
  }

 protected:
  Result<RefPtr<vfs::Inode>> FindComputed(const Caller& /*caller*/, std::string_view name) override {
    const abi::Pid pid = ParsePid(name);
    if (pid < 0) return RefPtr<vfs::Inode>(nullptr);
    RefPtr<kernel::Task> task = Find(pid);
    if (!task) return RefPtr<vfs::Inode>(nullptr);
    return RefPtr<vfs::Inode>(NewProcessDirectory(proc_, std::move(task).ToRef(), false));
  }

  Result<void> ListComputed(const Caller& /*caller*/, std::vector<pseudo::PseudoEntry>& out) override {
    for (const Ref<kernel::ThreadGroup>& group : proc_->kernel().Groups()) {
      const abi::Pid pid = group->PidIn(proc_->pid_namespace());
      if (pid == 0) continue;
      out.push_back({std::to_string(pid), vfs::FileType::kDirectory,
                     ProcInode(group->pid(), Kind::kProcessDirectory, static_cast<uint64_t>(group->start_time()))});
    }
    return Ok();
  }

  uint64_t LinkCount() const override {
    const std::vector<Ref<kernel::ThreadGroup>> groups = proc_->kernel().Groups();
    return 2 + static_cast<uint64_t>(std::count_if(groups.begin(), groups.end(), [this](const Ref<kernel::ThreadGroup>& group) {
             return group->PidIn(proc_->pid_namespace()) != 0;
           }));
  }

 private:
  // A process by its leader; also any thread id, which is found but not listed (as on Linux).
  RefPtr<kernel::Task> Find(abi::Pid number) const {
    const abi::Pid pid = proc_->kernel().NumberOf(proc_->pid_namespace(), number);
    if (RefPtr<kernel::ThreadGroup> group = proc_->kernel().FindGroup(pid)) return group->leader();
    return proc_->kernel().FindTask(pid);
  }
  const Ref<ProcFilesystem> proc_;
};

}  // namespace

void Append(std::string& out, const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  const int n = std::vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (n > 0) out.append(text, std::min(static_cast<size_t>(n), sizeof(text) - 1));
}

uint64_t ProcInode(abi::Pid pid, Kind kind, uint64_t detail) {
  // Top bit: apart from NextInodeNumber's. `detail` is folded in (start time, fd): collisions only make two files look alike to stat.
  return (uint64_t{1} << 63) | (static_cast<uint64_t>(pid) << 32) | ((static_cast<uint64_t>(kind) & 0xff) << 24) |
         ((detail ^ (detail >> 24) ^ (detail >> 48)) & 0xffffff);
}

bool MayInspect(const Caller& caller, kernel::Task& target) {
  const kernel::Task* self = const_cast<Caller&>(caller).task();
  return self == nullptr || kernel::MayAccess(*self, target, kernel::AccessMode::kFsCreds);
}

Ref<vfs::Inode> ProcFilesystem::root() {
  Ref<ProcFilesystem> self = ShareRef(this);
  auto directory = MakeRef<ProcRoot>(self);
  // Whoever looks in from another namespace has no self here.
  const auto current = [self](const Caller& caller) -> Result<kernel::Task*> {
    kernel::Task* task = const_cast<Caller&>(caller).task();
    if (task == nullptr || task->group().PidIn(self->pid_namespace()) == 0) return Errno::kENOENT;
    return task;
  };
  directory->Add("self", MakeRef<pseudo::PseudoSymlink>(self, [current, self](const Caller& caller) -> Result<std::string> {
                   kernel::Task* task = TRY(current(caller));
                   return std::to_string(task->group().PidIn(self->pid_namespace()));
                 }));
  directory->Add("thread-self", MakeRef<pseudo::PseudoSymlink>(self, [current, self](const Caller& caller) -> Result<std::string> {
                   kernel::Task* task = TRY(current(caller));
                   const kernel::PidNamespace& ns = self->pid_namespace();
                   return std::to_string(task->group().PidIn(ns)) + "/task/" + std::to_string(task->TidIn(ns));
                 }));
  directory->Add("mounts", MakeRef<pseudo::PseudoSymlink>(self, [](const Caller&) -> Result<std::string> { return std::string("self/mounts"); }));
  directory->Add("net", MakeRef<pseudo::PseudoSymlink>(self, [](const Caller&) -> Result<std::string> { return std::string("self/net"); }));
  AddSystemFiles(*directory, self);
  directory->Add("sys", NewSysctlTree(self));
  directory->Add("sysvipc", NewSysvipcDirectory(self));
  return directory;
}

Result<vfs::FsStats> ProcFilesystem::StatFs(const Caller& /*caller*/) {
  vfs::FsStats stats;
  stats.magic = kProcMagic;
  return stats;
}

Ref<vfs::Filesystem> NewProc(kernel::Kernel& kernel, Ref<kernel::PidNamespace> ns) { return MakeRef<ProcFilesystem>(kernel, std::move(ns)); }

}  // namespace rampart::fs::proc
