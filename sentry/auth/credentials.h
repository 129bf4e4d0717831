// Credentials: who a task is (credentials(7), capabilities(7)). Immutable snapshots: a task changes its identity by building a new
// object and swapping the reference, so a check made against one snapshot is consistent.
//
// One user namespace for now: ids inside the sandbox are virtual, the Sentry needs no host ids. Thread safety: immutable.
#pragma once

#include <vector>

#include "abi/capability.h"
#include "abi/types.h"
#include "base/ref.h"

namespace rampart::auth {

struct CredentialValues {
  abi::Uid ruid = 0, euid = 0, suid = 0, fsuid = 0;
  abi::Gid rgid = 0, egid = 0, sgid = 0, fsgid = 0;
  std::vector<abi::Gid> groups;  // supplementary, sorted
  abi::CapabilitySet inheritable = 0, permitted = 0, effective = 0, bounding = abi::kAllCapabilities, ambient = 0;
  uint32_t securebits = 0;
  bool keep_caps = false;      // PR_SET_KEEPCAPS
  bool no_new_privs = false;
};

class Credentials final : public RefCounted, public CredentialValues {
 public:
  explicit Credentials(CredentialValues values) : CredentialValues(std::move(values)) {}
  // uid 0 with every capability.
  static Ref<const Credentials> Root();
  // An ordinary user without capabilities.
  static Ref<const Credentials> User(abi::Uid uid, abi::Gid gid, std::vector<abi::Gid> groups);

  bool HasCapability(abi::Capability c) const { return (effective & abi::CapabilityBit(c)) != 0; }
  // Whether gid is the fsgid or a supplementary group.
  bool InGroup(abi::Gid gid) const;
  // The same for the effective gid (setgid calls and /proc compare that one).
  bool InEffectiveGroup(abi::Gid gid) const;
};

}  // namespace rampart::auth
