// Linux: mm/mempolicy.c, mm/migrate.c.
#include "sentry/syscalls/numa.h"

#include <algorithm>
#include <array>
#include <vector>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ptrace.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using mm::NumaPolicy;

constexpr uint16_t kDefault = 0, kPreferred = 1, kBind = 2, kInterleave = 3, kLocal = 4, kPreferredMany = 5, kWeightedInterleave = 6, kModes = 7;
constexpr uint32_t kStaticNodes = 1u << 15, kRelativeNodes = 1u << 14, kNumaBalancing = 1u << 13;
constexpr uint32_t kUserNodes = kStaticNodes | kRelativeNodes, kModeFlags = kUserNodes | kNumaBalancing;
constexpr uint64_t kFNode = 1, kFAddr = 2, kFMemsAllowed = 4;
constexpr uint32_t kStrict = 1, kMove = 2, kMoveAll = 4;
constexpr uint64_t kOnlyNode = 1;             // the mask of node 0
constexpr uint64_t kNodeIds = 1, kMaxNodes = 64;
constexpr uint64_t kMaskBits = kPageSize * 8;  // the longest mask that is looked at

// Linux: get_nodes.
Result<uint64_t> ReadNodes(Task& task, UserIn<uint64_t> from, uint64_t max_node) {
  --max_node;
  if (max_node == 0 || max_node == ~uint64_t{0} || from.address() == 0) return uint64_t{0};
  if (max_node > kMaskBits) return Errno::kEINVAL;
  const size_t words = (max_node + 63) / 64;
  const std::vector<uint64_t> mask = TRY(task.mm().CopyInArray(from, words, words));
  for (size_t i = 1; i < words; ++i) {
    const uint64_t valid = i + 1 == words && max_node % 64 != 0 ? (uint64_t{1} << (max_node % 64)) - 1 : ~uint64_t{0};
    if ((mask[i] & valid) != 0) return Errno::kEINVAL;
  }
  return words == 1 && max_node < 64 ? mask[0] & ((uint64_t{1} << max_node) - 1) : mask[0];
}

Result<void> WriteNodes(Task& task, UserOut<uint64_t> to, uint64_t max_node, uint64_t nodes) {
  uint64_t bytes = (max_node - 1 + 63) / 64 * 8;
  if (bytes > kPageSize) return Errno::kEINVAL;
  if (bytes > sizeof(nodes)) {
    TRY(task.mm().ZeroOut(to.address() + sizeof(nodes), bytes - sizeof(nodes)));
    bytes = sizeof(nodes);
  }
  return task.mm().CopyOutBytes(to.address(), std::as_bytes(std::span(&nodes, 1)).first(bytes));
}

// Linux: sanitize_mpol_flags, mpol_new, mpol_set_nodemask.
Result<NumaPolicy> MakePolicy(uint32_t mode_and_flags, uint64_t nodes) {
  const uint32_t flags = mode_and_flags & kModeFlags, mode = mode_and_flags & ~kModeFlags;
  if (mode >= kModes || (flags & kUserNodes) == kUserNodes) return Errno::kEINVAL;
  if ((flags & kNumaBalancing) != 0 && mode != kBind && mode != kPreferredMany) return Errno::kEINVAL;
  NumaPolicy policy{static_cast<uint16_t>(mode), static_cast<uint16_t>(flags), nodes};
  if (mode == kDefault) {
    if (nodes != 0) return Errno::kEINVAL;
    return NumaPolicy{};
  }
  if (mode == kLocal || (mode == kPreferred && nodes == 0)) {
    if (nodes != 0 || (flags & kUserNodes) != 0) return Errno::kEINVAL;
    policy.mode = kLocal;
    return policy;
  }
  if (nodes == 0) return Errno::kEINVAL;
  // Relative to the one node that there is, every node is that one.
  const uint64_t effective = (flags & kRelativeNodes) != 0 ? kOnlyNode : nodes & kOnlyNode;
  if (effective == 0) return Errno::kEINVAL;
  if ((flags & kUserNodes) == 0) policy.nodes = effective;
  return policy;
}

// Whose memory it is, if the caller may ask. `inspect_mode`: Linux's ptrace_may_access(PTRACE_MODE_READ_REALCREDS).
Result<Ref<mm::MemoryManager>> MemoryOf(Task& task, abi::Pid pid) {
  if (pid == 0) return ShareRef(&task.mm());
  const RefPtr<Task> target = task.FindTask(pid);
  if (!target) return Errno::kESRCH;
  if (!kernel::MayAccess(task, *target, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  RefPtr<mm::MemoryManager> mm = target->GetMm();
  if (!mm) return Errno::kEINVAL;
  return mm.ToRef();
}

int32_t StatusOf(const mm::MemoryManager& mm, UserAddr address) {
  const Result<void> present = mm.PageIsPresent(address);
  return present.ok() ? 0 : -static_cast<int32_t>(present.error());
}

}  // namespace

Result<Word> SysSetMempolicy(Task& task, uint32_t mode, UserIn<uint64_t> nodes, uint64_t max_node) {
  if ((mode & ~kModeFlags) >= kModes) return Errno::kEINVAL;
  const uint64_t mask = TRY(ReadNodes(task, nodes, max_node));
  task.SetNumaPolicy(TRY(MakePolicy(mode, mask)));
  return Word{0};
}

Result<Word> SysGetMempolicy(Task& task, UserOut<int32_t> policy_out, UserOut<uint64_t> nodes_out, uint64_t max_node, UserAddr address,
                             uint64_t flags) {
  if (nodes_out.address() != 0 && max_node < kNodeIds) return Errno::kEINVAL;
  if ((flags & ~(kFNode | kFAddr | kFMemsAllowed)) != 0) return Errno::kEINVAL;
  int32_t answer = 0;
  uint64_t nodes = kOnlyNode;
  if ((flags & kFMemsAllowed) != 0) {
    if ((flags & (kFNode | kFAddr)) != 0) return Errno::kEINVAL;
  } else {
    NumaPolicy policy;
    if ((flags & kFAddr) != 0) {
      policy = TRY(task.mm().PolicyAt(address));
    } else {
      if (address != 0) return Errno::kEINVAL;
      policy = task.numa_policy();
    }
    nodes = policy.nodes;
    if ((flags & kFNode) != 0) {
      if ((flags & kFAddr) != 0) {
        TRY(task.CopyIn(UserIn<uint8_t>(address)));  // the page comes into being, on the only node
      } else if (policy.mode != kInterleave && policy.mode != kWeightedInterleave) {
        return Errno::kEINVAL;
      }
    } else {
      answer = static_cast<int32_t>(policy.mode | policy.flags);
    }
  }
  if (policy_out.address() != 0) TRY(task.CopyOut(policy_out, answer));
  if (nodes_out.address() != 0) TRY(WriteNodes(task, nodes_out, max_node, nodes));
  return Word{0};
}

Result<Word> SysMbind(Task& task, UserAddr start, uint64_t length, uint64_t mode, UserIn<uint64_t> nodes, uint64_t max_node, uint32_t flags) {
  if ((static_cast<uint32_t>(mode) & ~kModeFlags) >= kModes) return Errno::kEINVAL;
  const uint64_t mask = TRY(ReadNodes(task, nodes, max_node));
  if ((flags & ~(kStrict | kMove | kMoveAll)) != 0) return Errno::kEINVAL;
  if ((flags & kMoveAll) != 0 && !task.creds().HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
  if (!PageAligned(start)) return Errno::kEINVAL;
  const NumaPolicy policy = TRY(MakePolicy(static_cast<uint32_t>(mode), mask));
  TRY(task.mm().SetPolicy(start, length, policy));
  return Word{0};
}

Result<Word> SysSetMempolicyHomeNode(Task& task, UserAddr start, uint64_t length, uint64_t node, uint64_t flags) {
  if (!PageAligned(start) || flags != 0 || node >= kNodeIds) return Errno::kEINVAL;
  TRY(task.mm().SetHomeNode(start, length, static_cast<int>(node)));
  return Word{0};
}

Result<Word> SysMigratePages(Task& task, abi::Pid pid, uint64_t max_node, UserIn<uint64_t> from, UserIn<uint64_t> to) {
  TRY(ReadNodes(task, from, max_node));
  const uint64_t target = TRY(ReadNodes(task, to, max_node));
  if (pid != 0) {
    const RefPtr<Task> other = task.FindTask(pid);
    if (!other) return Errno::kESRCH;
    if (!kernel::MayAccess(task, *other, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  }
  if ((target & ~kOnlyNode) != 0 && !task.creds().HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
  if ((target & kOnlyNode) == 0) return Errno::kEINVAL;
  TRY(MemoryOf(task, pid));
  return Word{0};  // there is nothing that could not be moved
}

Result<Word> SysMovePages(Task& task, abi::Pid pid, uint64_t count, UserIn<uint64_t> pages, UserIn<int32_t> nodes, UserOut<int32_t> status,
                          uint32_t flags) {
  static_assert(kMaxNodes == 64);
  if ((flags & ~(kMove | kMoveAll)) != 0) return Errno::kEINVAL;
  if ((flags & kMoveAll) != 0 && !task.creds().HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
  const Ref<mm::MemoryManager> mm = TRY(MemoryOf(task, pid));
  constexpr size_t kPiece = 256, kPagesBetweenSignals = 1 << 20;
  std::array<int32_t, kPiece> states;
  for (uint64_t done = 0; done < count;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(count - done, kPiece));
    const std::vector<uint64_t> addresses = TRY(task.mm().CopyInArray(UserIn<uint64_t>(pages.address() + done * 8), n, kPiece));
    if (nodes.address() != 0) {
      for (const int32_t node : TRY(task.mm().CopyInArray(UserIn<int32_t>(nodes.address() + done * 4), n, kPiece))) {
        if (node < 0 || static_cast<uint64_t>(node) >= kNodeIds) return Errno::kENODEV;
      }
    }
    for (size_t i = 0; i < n; ++i) states[i] = StatusOf(*mm, addresses[i]);
    TRY(task.mm().CopyOutArray(UserOut<int32_t>(status.address() + done * 4), std::span<const int32_t>(states).first(n)));
    done += n;
    // Linux does not look at signals at all; one that kills must not have to wait for ever.
    if (done % kPagesBetweenSignals == 0 && done < count && task.Interrupted()) return Errno::kERESTARTNOINTR;
  }
  return Word{0};
}

}  // namespace rampart::syscalls
