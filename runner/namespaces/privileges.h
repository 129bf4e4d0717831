// Capabilities, identities and resource limits of a process that confines itself.
//
// Order, because each step needs what the next one takes away: mounts, then BecomeUser, then DropCapabilities, then DieWithParent.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace rampart::runner {

// Bit N: capability N.
using CapabilitySet = uint64_t;

// Puts every capability that this process has into its ambient set, so that an execve by a user that is not root keeps them.
// Async-signal-safe in effect (system calls only). False on failure, with errno.
bool RaiseAmbientCapabilities();

// Becomes uid:gid for good; with `drop_groups`, supplementary groups go too (needs CAP_SETGID).
absl::Status BecomeUser(uint32_t uid, uint32_t gid, bool drop_groups);

// Keeps only `keep` (permitted and effective; nothing inheritable or ambient; bounding set = keep) and sets no_new_privs.
absl::Status DropCapabilities(CapabilitySet keep);

// Is killed when the parent process dies. Must follow every change of identity, which would undo it. The caller checks afterwards that the
// parent is still there.
absl::Status DieWithParent();

// No core dumps, no locked memory, no message queues or pending signals beyond need, as many descriptors as the hard limit allows.
absl::Status LimitResources();

// What this process has now; for tests and self-tests.
struct Privileges {
  CapabilitySet effective = 0;
  CapabilitySet permitted = 0;
  CapabilitySet inheritable = 0;
  CapabilitySet bounding = 0;
  CapabilitySet ambient = 0;
  bool no_new_privs = false;
};
Privileges ReadPrivileges();

}  // namespace rampart::runner
