#include "sentry/boot/filesystems.h"

#include <charconv>

#include "sentry/fs/dev/dev_tree.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/fs/sys/sys.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/vfs/fs_registry.h"

namespace rampart::sentry::boot {
namespace {

using vfs::FsLog;
using vfs::FsOption;
using vfs::FsRequest;
using vfs::MadeFilesystem;

MadeFilesystem Fresh(Ref<vfs::Filesystem> fs) {
  Ref<vfs::Dentry> root = vfs::Dentry::NewRoot(fs->root());
  return {std::move(fs), std::move(root)};
}

Result<void> Bad(const char* type, const FsOption& option, FsLog& log) {
  log.Error(std::string(type) + ": Bad value for '" + option.key + "'");
  return Errno::kEINVAL;
}

// A number in `base`, without anything behind it.
std::optional<uint32_t> Number(const FsOption& option, int base) {
  uint32_t value = 0;
  const char* const last = option.value.data() + option.value.size();
  const auto [end, error] = std::from_chars(option.value.data(), last, value, base);
  if (!option.has_value || option.value.empty() || error != std::errc() || end != last) return std::nullopt;
  return value;
}

class TmpfsType final : public vfs::FilesystemType {
 public:
  TmpfsType(const char* name, kernel::Kernel& kernel) : FilesystemType(name), kernel_(kernel) {}
  Result<void> Check(const FsOption& option, FsLog& log) const override {
    if (Parse(option.Text(), fs::TmpfsOptions{}).ok()) return Ok();
    constexpr const char* kKnown[] = {"size", "nr_blocks", "nr_inodes", "mode", "uid", "gid"};
    for (const char* known : kKnown) {
      if (option.key == known) return Bad(name(), option, log);
    }
    return FilesystemType::Check(option, log);
  }
  Result<MadeFilesystem> Make(FsRequest& request) const override {
    fs::TmpfsOptions options;
    options.uid = request.walk.caller.creds().fsuid;
    options.gid = request.walk.caller.creds().fsgid;
    for (const FsOption& option : request.options) options = TRY(Parse(option.Text(), options));
    return Fresh(fs::NewTmpfs(kernel_.memory_file(), options, name()));
  }

 private:
  Result<fs::TmpfsOptions> Parse(const std::string& text, const fs::TmpfsOptions& before) const {
    return fs::ParseTmpfsOptions(text, before, kernel_.memory_file()->usage().limit_bytes);
  }
  kernel::Kernel& kernel_;
};

class ProcType final : public vfs::FilesystemType {
 public:
  explicit ProcType(kernel::Kernel& kernel) : FilesystemType("proc"), kernel_(kernel) {}
  // Nothing is hidden from anybody: other values than that are refused.
  Result<void> Check(const FsOption& option, FsLog& log) const override {
    if (option.key == "gid") return Number(option, 10) ? Ok() : Bad(name(), option, log);
    if (option.key == "hidepid") return option.value == "0" || option.value == "off" ? Ok() : Bad(name(), option, log);
    return FilesystemType::Check(option, log);
  }
  Result<MadeFilesystem> Make(FsRequest& request) const override {
    const kernel::Task* const task = request.walk.caller.task();
    return Fresh(fs::proc::NewProc(kernel_, task != nullptr ? ShareRef(&task->pid_namespace()) : kernel_.pid_namespace()));
  }

 private:
  kernel::Kernel& kernel_;
};

class DevptsType final : public vfs::FilesystemType {
 public:
  explicit DevptsType(kernel::Kernel& kernel) : FilesystemType("devpts"), kernel_(kernel) {}
  Result<void> Check(const FsOption& option, FsLog& log) const override {
    if (option.key == "newinstance" && !option.has_value) return Ok();
    if (option.key == "gid" || option.key == "uid" || option.key == "max") return Number(option, 10) ? Ok() : Bad(name(), option, log);
    if (option.key == "mode" || option.key == "ptmxmode") return Number(option, 8) ? Ok() : Bad(name(), option, log);
    return FilesystemType::Check(option, log);
  }
  Result<MadeFilesystem> Make(FsRequest& request) const override {
    uint32_t mode = 0600, group = 0;
    for (const FsOption& option : request.options) {
      if (option.key == "mode") mode = Number(option, 8).value_or(mode) & 0777;
      if (option.key == "gid") group = Number(option, 10).value_or(group);
    }
    return Fresh(fs::tty::NewDevpts(kernel_, mode, group));
  }

 private:
  kernel::Kernel& kernel_;
};

// One filesystem, whatever it is mounted on.
class SingleType : public vfs::FilesystemType {
 public:
  SingleType(const char* name, MadeFilesystem made) : FilesystemType(name), made_(std::move(made)) { made_.shared = true; }
  Result<MadeFilesystem> Make(FsRequest&) const override { return made_; }

 private:
  MadeFilesystem made_;
};

// The queues of the caller's IPC namespace.
class MqueueType final : public vfs::FilesystemType {
 public:
  explicit MqueueType(kernel::Kernel& kernel) : FilesystemType("mqueue"), kernel_(kernel) {}
  Result<MadeFilesystem> Make(FsRequest& request) const override {
    const kernel::Task* const task = request.walk.caller.task();
    const vfs::Path& queues = (task != nullptr ? task->namespaces() : kernel_.namespaces()).ipc->mq_root();
    return MadeFilesystem{ShareRef(&queues.mount->fs()), queues.dentry, true};
  }

 private:
  kernel::Kernel& kernel_;
};

}  // namespace

void RegisterFilesystems(kernel::Kernel& kernel) {
  vfs::FilesystemTypes& types = vfs::FilesystemTypes::Get();
  types.Register(std::make_unique<SingleType>("sysfs", Fresh(fs::sys::NewSys([&kernel] { return kernel.cpus(); }, kernel.memory_file()))));
  types.Register(std::make_unique<TmpfsType>("tmpfs", kernel));
  types.Register(std::make_unique<ProcType>(kernel));
  MadeFilesystem dev = Fresh(fs::NewTmpfs(kernel.memory_file(), fs::TmpfsOptions{.mode = 0755}, "devtmpfs"));
  (void)fs::PopulateDev(*dev.root->inode());
  types.Register(std::make_unique<SingleType>("devtmpfs", std::move(dev)));
  types.Register(std::make_unique<TmpfsType>("ramfs", kernel));
  types.Register(std::make_unique<DevptsType>(kernel));
  types.Register(std::make_unique<MqueueType>(kernel));
}

}  // namespace rampart::sentry::boot
