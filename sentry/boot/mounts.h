// Makes a container's mount namespace from its configuration.
// Thread safety: any thread.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/boot/boot.h"
#include "sentry/fs/cgroup/cgroup.h"
#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/mount.h"

namespace rampart::sentry::boot {

struct MountFailure {
  std::string text;  // for people: which mount, what was wrong
  Errno error;
};

// Filesystems that several containers of a sandbox mount, by Mount::shared. Thread safety: any thread.
class SharedFilesystems {
 public:
  // The one of this name; the first who asks makes it.
  Ref<vfs::Filesystem> FindOrAdd(const std::string& name, const std::function<Ref<vfs::Filesystem>()>& make);
  // The cgroup filesystem, and what it says of processor time.
  Ref<vfs::Filesystem> Cgroup2(kernel::Kernel& kernel);
  fs::cgroup::CpuMax& cpu_max() { return cpu_max_; }

 private:
  absl::Mutex mu_;
  std::map<std::string, Ref<vfs::Filesystem>> all_ ABSL_GUARDED_BY(mu_);
  RefPtr<vfs::Filesystem> cgroup2_ ABSL_GUARDED_BY(mu_);
  fs::cgroup::CpuMax cpu_max_;
};

// What mounting needs. `gofer` is null when no mount has type "gofer".
struct MountContext {
  kernel::Kernel& kernel;
  SharedFilesystems& shared;
  RefPtr<fs::GoferConnection> gofer = nullptr;
  RefPtr<kernel::PidNamespace> pid_namespace = nullptr;  // whose processes mounts of proc show; null: the sandbox's
};

// The namespace with every mount of `config` in order, or the first failure in *failure.
RefPtr<vfs::MountNamespace> BuildMounts(const BootConfig& config, const MountContext& context, MountFailure* failure);

}  // namespace rampart::sentry::boot
