// PidTable: which number is which task, process, process group and session, in the sandbox's namespace and in those within (pid_namespace.h).
// Thread safety: guarded by Kernel::tree_mu_.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/kernel/pid_namespace.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

class PidTable {
 public:
  static constexpr abi::Pid kMaxPid = 32768;        // /proc/sys/kernel/pid_max: numbers are below it
  static constexpr abi::Pid kReserved = 300;        // after wrapping, numbers start here (Linux: RESERVED_PIDS)
  static constexpr size_t kRemembered = 4096;       // of the dead that had numbers in namespaces within

  // Like Linux's struct pid: a number lives as long as anything bears it.
  struct Entry {
    RefPtr<Task> task;
    RefPtr<ThreadGroup> group;
    RefPtr<ProcessGroup> process_group;
    RefPtr<Session> session;
    RefPtr<const PidNumbers> numbers;               // null: none but the sandbox's
    bool reserved = false;
    bool empty() const { return !reserved && !task && !group && !process_group && !session; }
  };

  // Takes a number in `ns` and in each namespace around it, and keeps them until a task is added under them, or Unreserve. `wanted`: certain numbers
  // (clone3's set_tid), of ns first, then outwards; the rest are the next free ones. EAGAIN: all are taken. EINVAL: a number that cannot be, or that
  // a namespace without its process 1 cannot give; EPERM: `may_choose` is not set; EEXIST. ENOMEM: process 1 of `ns` has ended.
  Result<PidName> Take(const Ref<PidNamespace>& ns, std::span<const abi::Pid> wanted, bool may_choose);
  void Unreserve(abi::Pid pid);

  // The next free number of the sandbox's namespace. EAGAIN when all are taken.
  Result<abi::Pid> Allocate();
  // A certain number. EEXIST, EINVAL.
  Result<abi::Pid> AllocateExactly(abi::Pid pid);
  void Reserve(abi::Pid pid) { At(pid).reserved = true; }
  // Null when nothing bears the number.
  Entry* Find(abi::Pid pid);
  const Entry* Find(abi::Pid pid) const;
  // The entry, made if need be.
  Entry& At(abi::Pid pid) { return entries_[pid]; }
  // Forgets the number if nothing bears it any more.
  void EraseIfEmpty(abi::Pid pid);

  // What bears, or bore not long ago, the number `pid` of the sandbox is called in `ns`; 0: not seen from there.
  abi::Pid In(const PidNamespace& ns, abi::Pid pid) const;
  // The sandbox's number of what is called `number` in `ns`; 0: nothing.
  static abi::Pid Of(const PidNamespace& ns, abi::Pid number);

  void AddTask(Ref<Task> task);
  void RemoveTask(Task& task, abi::Pid tid);
  size_t tasks() const { return tasks_; }

  // Processes, ascending.
  std::vector<Ref<ThreadGroup>> Groups() const;

 private:
  static Result<abi::Pid> NextIn(const PidNamespace& ns);
  static Result<void> CheckWanted(const PidNamespace& ns, abi::Pid number, bool may_choose);
  void Forget(abi::Pid pid, const RefPtr<const PidNumbers>& numbers);

  absl::flat_hash_map<abi::Pid, Entry> entries_;
  abi::Pid last_ = 0;
  size_t tasks_ = 0;
  // Those of the dead: who sent a message or changed an object is told after his end, too.
  absl::flat_hash_map<abi::Pid, RefPtr<const PidNumbers>> remembered_;
  std::deque<std::pair<abi::Pid, const PidNumbers*>> remembered_order_;
};

}  // namespace rampart::kernel
