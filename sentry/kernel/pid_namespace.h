// PID namespaces (pid_namespaces(7)): who is seen by whom, under which number.
//
// Linux's model. A task bears a number in the namespace that it was born into, and one in each namespace around that. It sees whoever has a number in its
// own. Process 1 of a namespace adopts its orphans, is not ended by signals from within, and takes everybody in the namespace with it when it ends.
//
// Ours. The number in the sandbox's own namespace, level 0, is the one that the Sentry works with: the PidTable, process groups, sessions, owners of files,
// senders of messages, System V objects hold it, and nothing below kernel/ knows of namespaces. It is translated where it crosses to the application: on
// the way in by Task::FindTask, FindGroup and FromOwn; on the way out by own_pid(), own_tid(), PidIn, TidIn, and ToOwn for a number whose bearer is not at
// hand. What a signal says of its sender is translated when it is sent: only then are both at hand.
// A task of level 0 has no PidNumbers, and every translation for it is the identity and takes no lock.
//
// Thread safety: what is immutable needs none; the rest is guarded by Kernel::tree_mu_ (task.h). Ownership: counted. A namespace is kept by its tasks
// (PidNumbers), by those whose children go into it (Namespaces), by files that mean it, by mounts of proc, and by the namespaces in it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "abi/types.h"
#include "base/ref.h"

namespace rampart::kernel {

class ThreadGroup;

class PidNamespace final : public RefCounted {
 public:
  static constexpr uint32_t kMaxLevel = 32;  // Linux: MAX_PID_NS_LEVEL

  // `parent` null: the sandbox's own. REQUIRES: parent->level() < kMaxLevel.
  explicit PidNamespace(RefPtr<PidNamespace> parent);
  uint64_t id() const { return id_; }  // never used twice
  uint32_t level() const { return level_; }
  bool is_root() const { return level_ == 0; }
  const RefPtr<PidNamespace>& parent() const { return parent_; }
  // Whether `other` is this one or lies in it.
  bool Contains(const PidNamespace& other) const;

 private:
  friend class Kernel;
  friend class PidTable;
  friend class Task;
  friend class ThreadGroup;

  const uint64_t id_;
  const uint32_t level_;
  const RefPtr<PidNamespace> parent_;
  // Guarded by Kernel::tree_mu_.
  absl::flat_hash_map<abi::Pid, abi::Pid> sandbox_numbers_;  // by the number here; empty for the sandbox's own
  abi::Pid last_ = 0;                                        // that was given; of level 0 the PidTable keeps it
  ThreadGroup* init_ = nullptr;                              // process 1, until it is released
  bool dying_ = false;                                       // process 1 has ended or never ran: nobody is born here any more
};

// What one task or process is called, from the sandbox's namespace to its own. Immutable.
class PidNumbers final : public RefCounted {
 public:
  // numbers[i]: at level i. REQUIRES: one for each level up to ns's.
  PidNumbers(Ref<PidNamespace> ns, std::vector<abi::Pid> numbers) : ns_(std::move(ns)), numbers_(std::move(numbers)) {}
  const Ref<PidNamespace>& ns() const { return ns_; }
  const std::vector<abi::Pid>& numbers() const { return numbers_; }
  abi::Pid own() const { return numbers_.back(); }
  // 0: not seen from there.
  abi::Pid In(const PidNamespace& ns) const;

 private:
  const Ref<PidNamespace> ns_;
  const std::vector<abi::Pid> numbers_;
};

// A number in the sandbox's namespace with the others that go with it; `numbers` null: there are none.
struct PidName {
  abi::Pid pid = 0;
  RefPtr<const PidNumbers> numbers;
  abi::Pid own() const { return numbers ? numbers->own() : pid; }
  abi::Pid In(const PidNamespace& ns) const { return ns.is_root() ? pid : numbers ? numbers->In(ns) : 0; }
  // Those from `ns` inwards, as NSpid of /proc/PID/status has them; {0}: it is not seen from there.
  std::vector<abi::Pid> From(const PidNamespace& ns) const;
};

}  // namespace rampart::kernel
