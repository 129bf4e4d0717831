// PidTable: which number is which task, process, process group and session. PidNamespace: the view of it.
// Thread safety: guarded by Kernel::tree_mu_.
#pragma once

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

// There is one: the sandbox's. A type of its own so that interfaces which will need more name it already.
class PidNamespace final : public RefCounted {};

class PidTable {
 public:
  static constexpr abi::Pid kMaxPid = 32768;        // /proc/sys/kernel/pid_max: numbers are below it
  static constexpr abi::Pid kReserved = 300;        // after wrapping, numbers start here (Linux: RESERVED_PIDS)

  // Like Linux's struct pid: a number lives as long as anything bears it.
  struct Entry {
    RefPtr<Task> task;
    RefPtr<ThreadGroup> group;
    RefPtr<ProcessGroup> process_group;
    RefPtr<Session> session;
    bool reserved = false;
    bool empty() const { return !reserved && !task && !group && !process_group && !session; }
  };

  // The next free number. EAGAIN when all are taken.
  Result<abi::Pid> Allocate();
  // A certain number (clone3's set_tid). EEXIST, EINVAL.
  Result<abi::Pid> AllocateExactly(abi::Pid pid);
  // Keeps a number from being given again until a task is added under it, or Unreserve.
  void Reserve(abi::Pid pid) { At(pid).reserved = true; }
  void Unreserve(abi::Pid pid);
  // Null when nothing bears the number.
  Entry* Find(abi::Pid pid);
  const Entry* Find(abi::Pid pid) const;
  // The entry, made if need be.
  Entry& At(abi::Pid pid) { return entries_[pid]; }
  // Forgets the number if nothing bears it any more.
  void EraseIfEmpty(abi::Pid pid);

  void AddTask(Ref<Task> task);
  void RemoveTask(Task& task, abi::Pid tid);
  size_t tasks() const { return tasks_; }

  // Processes, ascending.
  std::vector<Ref<ThreadGroup>> Groups() const;

 private:
  absl::flat_hash_map<abi::Pid, Entry> entries_;
  abi::Pid last_ = 0;
  size_t tasks_ = 0;
};

}  // namespace rampart::kernel
