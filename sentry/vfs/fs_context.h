// FsContext: a process's root, working directory and umask (CLONE_FS shares it). FdTable: its descriptors (CLONE_FILES shares it).
// Thread safety: any thread. Lock order: their locks are leaves (nothing is taken or released under them; a closed description is
// dropped after the lock).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "abi/types.h"
#include "sentry/vfs/file_description.h"

namespace rampart::vfs {

class FsContext final : public RefCounted {
 public:
  FsContext(Ref<MountNamespace> ns, Path root, Path cwd, uint32_t umask);
  Ref<FsContext> Clone() const;
  Ref<MountNamespace> mounts() const;
  Path root() const;
  Path cwd() const;
  // All three under one lock: what a walk begins with.
  struct View {
    Ref<MountNamespace> mounts;
    Path root;
    Path cwd;
  };
  View view() const;
  void SetRoot(Path root);
  void SetCwd(Path cwd);
  // pivot_root(2): whoever stands on the old root comes to stand on the new one.
  void Replace(const Path& old_root, const Path& new_root);
  void SetMounts(Ref<MountNamespace> ns, Path root, Path cwd);  // unshare(CLONE_NEWNS), setns
  uint32_t umask() const { return umask_.load(std::memory_order_relaxed); }
  uint32_t ExchangeUmask(uint32_t mask) { return umask_.exchange(mask & 0777); }

 private:
  mutable absl::Mutex mu_;
  Ref<MountNamespace> mounts_ ABSL_GUARDED_BY(mu_);
  Path root_ ABSL_GUARDED_BY(mu_);
  Path cwd_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint32_t> umask_;
};

class FdTable final : public RefCounted {
 public:
  struct Entry {
    RefPtr<FileDescription> file;
    bool close_on_exec = false;
  };

  FdTable() = default;
  // fork: the same descriptions under the same numbers.
  Ref<FdTable> Clone() const;

  // EBADF.
  Result<Ref<FileDescription>> Get(Fd fd) const;
  Result<Entry> GetEntry(Fd fd) const;
  // The lowest free number >= minimum, below `limit` (RLIMIT_NOFILE; EMFILE).
  Result<Fd> Install(Ref<FileDescription> file, bool close_on_exec, uint64_t limit, int32_t minimum = 0);
  // Two at once or none (pipe, socketpair).
  Result<std::pair<Fd, Fd>> InstallPair(Ref<FileDescription> a, Ref<FileDescription> b, bool close_on_exec, uint64_t limit);
  // dup2/dup3: returns what was there. EBADF if out of range.
  Result<RefPtr<FileDescription>> InstallAt(Fd fd, Ref<FileDescription> file, bool close_on_exec, uint64_t limit);
  // The description that was there, for OnClose. EBADF.
  Result<Ref<FileDescription>> Remove(Fd fd);
  Result<void> SetCloseOnExec(Fd fd, bool on);
  // close_range(2), exec and exit: removes all in [first, last] that match, and returns them.
  std::vector<Ref<FileDescription>> RemoveRange(uint32_t first, uint32_t last, bool only_close_on_exec);
  void SetCloseOnExecRange(uint32_t first, uint32_t last);
  // Numbers in use, ascending (for /proc/PID/fd).
  std::vector<Fd> List() const;

 private:
  Result<size_t> FindFreeLocked(size_t minimum, uint64_t limit) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void PutLocked(size_t i, Ref<FileDescription> file, bool close_on_exec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  RefPtr<FileDescription> TakeLocked(size_t i) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);
  int32_t lowest_free_hint_ ABSL_GUARDED_BY(mu_) = 0;
};

// What close(2) does after a descriptor of `owner` has been removed (also dup2, exec and exit): drops the process's record locks on the file,
// then OnClose, whose error close(2) returns.
Result<void> CloseDescriptor(Caller& caller, const FdTable& owner, Ref<FileDescription> file);

}  // namespace rampart::vfs
