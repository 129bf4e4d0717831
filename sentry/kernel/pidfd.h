// Pidfd: a descriptor that means a process (pidfd_open(2), CLONE_PIDFD). Readable when the process has exited.
// Thread safety: any thread. Ownership: counted; keeps the ThreadGroup object, not the process's number.
#pragma once

#include <string>

#include "sentry/kernel/thread_group.h"
#include "sentry/vfs/file_description.h"

namespace rampart::kernel {

class Pidfd final : public vfs::FileDescription {
 public:
  // `flags`: O_NONBLOCK or 0.
  static Ref<Pidfd> Create(Ref<ThreadGroup> group, uint32_t flags);
  Pidfd(vfs::Path path, Ref<ThreadGroup> group, uint32_t flags);
  const Ref<ThreadGroup>& group() const { return group_; }

  // pread(2) and its like come as far as to find that there is nothing to read.
  bool has_read() const override { return false; }
  bool has_write() const override { return false; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return Errno::kESPIPE; }
  Result<void> Sync(bool) override { return Errno::kEINVAL; }
  bool pollable() const override { return true; }
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override;
  void EventUnregister(wait::WaitEntry& entry) override;
  std::string FdInfo() const override;
  // The same, as a mount of proc of `ns` shows it.
  std::string FdInfoIn(const PidNamespace& ns) const;

 private:
  const Ref<ThreadGroup> group_;
};

// The process that a descriptor means; EBADF when it is not a pidfd.
Result<Ref<ThreadGroup>> GroupOfPidfd(vfs::FileDescription& file);

// An inode that means a process, too: /proc/PID.
class ProcessInode {
 public:
  virtual Ref<ThreadGroup> process() const = 0;

 protected:
  ~ProcessInode() = default;
};

// The process that pidfd_send_signal(2) means: a pidfd's, or that of a descriptor of /proc/PID. EBADF when it is neither.
Result<Ref<ThreadGroup>> GroupToSignal(vfs::FileDescription& file);

}  // namespace rampart::kernel
