// Robust futexes (set_robust_list(2)): the list of held locks that a thread keeps in its own memory, and what happens to them when it dies.
// The list is the application's: every pointer in it is hostile; the walk is bounded and stops at the first bad one.
// Thread safety: none kept here. Source: Linux kernel/futex/core.c, Documentation/locking/robust-futex-ABI.rst.
#pragma once

#include <cstdint>

#include "abi/types.h"
#include "absl/functional/function_ref.h"
#include "sentry/mm/user_memory.h"

namespace rampart::kernel {

// struct robust_list_head as the application has it.
struct RobustListHead {
  uint64_t next;            // of the first entry; bit 0: it is a PI futex
  int64_t futex_offset;     // from an entry to its futex word
  uint64_t list_op_pending; // an entry being taken or released
};
inline constexpr uint64_t kRobustListHeadSize = sizeof(RobustListHead);
inline constexpr int kRobustListLimit = 2048;

// Marks each lock in the list at `head` (0: none) that `tid` holds with kFutexOwnerDied, and calls `wake` with the address of each word of which
// one waiter is to be woken (FUTEX_WAKE of 1 with the shared key). For the exit of a thread and for execve. PI locks are only marked:
// FutexManager::OwnerExited, called after this, hands them over. REQUIRES: no lock held.
void ReleaseRobustList(mm::UserMemory& memory, UserAddr head, abi::Pid tid, absl::FunctionRef<void(UserAddr)> wake);

}  // namespace rampart::kernel
