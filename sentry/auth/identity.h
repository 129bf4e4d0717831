// Changes of identity and capabilities as pure functions: from what a task is to what it becomes, or why not. The system calls fetch the arguments,
// call one of these, and install the result as a new Credentials.
// Thread safety: pure. Source: Linux kernel/sys.c, kernel/groups.c, kernel/capability.c, security/commoncap.c.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "sentry/auth/credentials.h"

namespace rampart::auth {

// "Leave it": -1 of setreuid and setresuid.
inline constexpr uint32_t kKeepId = ~0u;
inline constexpr size_t kMaxGroups = 65536;

// securebits(7): the bits; a lock is the bit above.
inline constexpr uint32_t kSecureNoRoot = 1u << 0, kSecureNoSetuidFixup = 1u << 2, kSecureKeepCaps = 1u << 4, kSecureNoAmbientRaise = 1u << 6;
inline constexpr uint32_t kSecureBits = kSecureNoRoot | kSecureNoSetuidFixup | kSecureKeepCaps | kSecureNoAmbientRaise;
inline constexpr uint32_t kSecureLocks = kSecureBits << 1;

// --- ids. EINVAL: -1 where an id is needed. EPERM.
Result<CredentialValues> SetUid(const CredentialValues& old, abi::Uid uid);
Result<CredentialValues> SetReUid(const CredentialValues& old, abi::Uid ruid, abi::Uid euid);
Result<CredentialValues> SetResUid(const CredentialValues& old, abi::Uid ruid, abi::Uid euid, abi::Uid suid);
Result<CredentialValues> SetGid(const CredentialValues& old, abi::Gid gid);
Result<CredentialValues> SetReGid(const CredentialValues& old, abi::Gid rgid, abi::Gid egid);
Result<CredentialValues> SetResGid(const CredentialValues& old, abi::Gid rgid, abi::Gid egid, abi::Gid sgid);
// setfsuid and setfsgid never fail: what is not allowed changes nothing.
CredentialValues SetFsUid(const CredentialValues& old, abi::Uid uid);
CredentialValues SetFsGid(const CredentialValues& old, abi::Gid gid);
// EPERM without CAP_SETGID; EINVAL above kMaxGroups.
Result<CredentialValues> SetGroups(const CredentialValues& old, std::vector<abi::Gid> groups);

// --- capabilities
// capset(2). EPERM.
Result<CredentialValues> SetCapabilities(const CredentialValues& old, abi::CapabilitySet effective, abi::CapabilitySet permitted,
                                         abi::CapabilitySet inheritable);
// PR_SET_SECUREBITS, PR_GET_SECUREBITS (which shows PR_SET_KEEPCAPS's flag as bit 4), PR_SET_KEEPCAPS. EPERM, EINVAL.
uint32_t GetSecurebits(const CredentialValues& values);
Result<CredentialValues> SetSecurebits(const CredentialValues& old, uint64_t bits);
Result<CredentialValues> SetKeepCaps(const CredentialValues& old, uint64_t on);
// PR_CAPBSET_DROP. EINVAL: no such capability. EPERM without CAP_SETPCAP.
Result<CredentialValues> DropBounding(const CredentialValues& old, uint64_t capability);
// PR_CAP_AMBIENT's raise and lower. EINVAL, EPERM (not permitted and inheritable, or forbidden by securebits).
Result<CredentialValues> RaiseAmbient(const CredentialValues& old, uint64_t capability);
Result<CredentialValues> LowerAmbient(const CredentialValues& old, uint64_t capability);

// --- execve(2)
// The file that is executed. Set-id bits and file capabilities of a nosuid mount are to be left out by the caller.
struct ExecFile {
  abi::Uid uid = 0;
  abi::Gid gid = 0;
  uint32_t mode = 0;
  struct FileCapabilities {
    abi::CapabilitySet permitted = 0, inheritable = 0;
    bool effective = false;
  };
  std::optional<FileCapabilities> capabilities;
};
struct ExecIdentity {
  CredentialValues values;
  bool secure = false;       // AT_SECURE; the process is no longer dumpable
};
// `unsafe`: somebody without privilege traces the task or shares its root, cwd or descriptors: set-id gains nothing. EPERM: the file's
// capabilities must be effective and cannot all be had.
Result<ExecIdentity> OnExec(const CredentialValues& old, const ExecFile& file, bool unsafe);

// --- permissions between tasks
// prlimit(2) of another process without CAP_SYS_RESOURCE: all its ids are our real ones.
bool MayTouchLimits(const CredentialValues& caller, const CredentialValues& target);
// setpriority(2), sched_setscheduler(2), ioprio_set(2): our euid is its ruid or euid.
bool MaySchedule(const CredentialValues& caller, const CredentialValues& target);

}  // namespace rampart::auth
