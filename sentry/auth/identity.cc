#include "sentry/auth/identity.h"

#include <algorithm>

namespace rampart::auth {
namespace {

using abi::Capability;
using abi::CapabilityBit;
using abi::CapabilitySet;

bool Has(const CredentialValues& v, Capability c) { return (v.effective & CapabilityBit(c)) != 0; }
bool Subset(CapabilitySet a, CapabilitySet of) { return (a & ~of) == 0; }
bool Secure(const CredentialValues& v, uint32_t bit) { return (GetSecurebits(v) & bit) != 0; }

// What belongs to fsuid 0 (CAP_FS_SET).
constexpr CapabilitySet kFsCapabilities = CapabilityBit(Capability::kChown) | CapabilityBit(Capability::kMknod) |
                                          CapabilityBit(Capability::kDacOverride) | CapabilityBit(Capability::kDacReadSearch) |
                                          CapabilityBit(Capability::kFowner) | CapabilityBit(Capability::kFsetid) |
                                          CapabilityBit(Capability::kLinuxImmutable) | CapabilityBit(Capability::kMacOverride);

// cap_emulate_setxuid: leaving root gives capabilities up, becoming it makes them effective.
void FixSetuid(const CredentialValues& old, CredentialValues& v) {
  if (Secure(old, kSecureNoSetuidFixup)) return;
  const bool was_root = old.ruid == 0 || old.euid == 0 || old.suid == 0;
  if (was_root && v.ruid != 0 && v.euid != 0 && v.suid != 0) {
    if (!Secure(old, kSecureKeepCaps)) v.permitted = v.effective = 0;
    v.ambient = 0;
  }
  if (old.euid == 0 && v.euid != 0) v.effective = 0;
  if (old.euid != 0 && v.euid == 0) v.effective = v.permitted;
}

// Whether one of setresuid's arguments is allowed without capability.
bool Known(uint32_t id, uint32_t a, uint32_t b, uint32_t c) { return id == kKeepId || id == a || id == b || id == c; }

Result<CapabilitySet> BitOf(uint64_t capability) {
  if (capability > static_cast<uint64_t>(abi::kLastCapability)) return Errno::kEINVAL;
  return CapabilitySet{1} << capability;
}

}  // namespace

Result<CredentialValues> SetUid(const CredentialValues& old, abi::Uid uid) {
  if (uid == kKeepId) return Errno::kEINVAL;
  CredentialValues v = old;
  if (Has(old, Capability::kSetuid)) {
    v.ruid = v.suid = uid;
  } else if (uid != old.ruid && uid != old.suid) {
    return Errno::kEPERM;
  }
  v.euid = v.fsuid = uid;
  FixSetuid(old, v);
  return v;
}

Result<CredentialValues> SetReUid(const CredentialValues& old, abi::Uid ruid, abi::Uid euid) {
  const bool capable = Has(old, Capability::kSetuid);
  if (!capable && !Known(ruid, old.ruid, old.euid, old.euid)) return Errno::kEPERM;
  if (!capable && !Known(euid, old.ruid, old.euid, old.suid)) return Errno::kEPERM;
  CredentialValues v = old;
  if (ruid != kKeepId) v.ruid = ruid;
  if (euid != kKeepId) v.euid = euid;
  if (ruid != kKeepId || (euid != kKeepId && euid != old.ruid)) v.suid = v.euid;
  v.fsuid = v.euid;
  FixSetuid(old, v);
  return v;
}

Result<CredentialValues> SetResUid(const CredentialValues& old, abi::Uid ruid, abi::Uid euid, abi::Uid suid) {
  // What changes nothing leaves the filesystem's id alone too.
  const bool same_effective = euid == kKeepId || (euid == old.euid && euid == old.fsuid);
  if ((ruid == kKeepId || ruid == old.ruid) && same_effective && (suid == kKeepId || suid == old.suid)) return old;
  if (!Has(old, Capability::kSetuid)) {
    for (const abi::Uid id : {ruid, euid, suid}) {
      if (!Known(id, old.ruid, old.euid, old.suid)) return Errno::kEPERM;
    }
  }
  CredentialValues v = old;
  if (ruid != kKeepId) v.ruid = ruid;
  if (euid != kKeepId) v.euid = euid;
  if (suid != kKeepId) v.suid = suid;
  v.fsuid = v.euid;
  FixSetuid(old, v);
  return v;
}

Result<CredentialValues> SetGid(const CredentialValues& old, abi::Gid gid) {
  if (gid == kKeepId) return Errno::kEINVAL;
  CredentialValues v = old;
  if (Has(old, Capability::kSetgid)) {
    v.rgid = v.sgid = gid;
  } else if (gid != old.rgid && gid != old.sgid) {
    return Errno::kEPERM;
  }
  v.egid = v.fsgid = gid;
  return v;
}

Result<CredentialValues> SetReGid(const CredentialValues& old, abi::Gid rgid, abi::Gid egid) {
  const bool capable = Has(old, Capability::kSetgid);
  if (!capable && !Known(rgid, old.rgid, old.egid, old.egid)) return Errno::kEPERM;
  if (!capable && !Known(egid, old.rgid, old.egid, old.sgid)) return Errno::kEPERM;
  CredentialValues v = old;
  if (rgid != kKeepId) v.rgid = rgid;
  if (egid != kKeepId) v.egid = egid;
  if (rgid != kKeepId || (egid != kKeepId && egid != old.rgid)) v.sgid = v.egid;
  v.fsgid = v.egid;
  return v;
}

Result<CredentialValues> SetResGid(const CredentialValues& old, abi::Gid rgid, abi::Gid egid, abi::Gid sgid) {
  const bool same_effective = egid == kKeepId || (egid == old.egid && egid == old.fsgid);
  if ((rgid == kKeepId || rgid == old.rgid) && same_effective && (sgid == kKeepId || sgid == old.sgid)) return old;
  if (!Has(old, Capability::kSetgid)) {
    for (const abi::Gid id : {rgid, egid, sgid}) {
      if (!Known(id, old.rgid, old.egid, old.sgid)) return Errno::kEPERM;
    }
  }
  CredentialValues v = old;
  if (rgid != kKeepId) v.rgid = rgid;
  if (egid != kKeepId) v.egid = egid;
  if (sgid != kKeepId) v.sgid = sgid;
  v.fsgid = v.egid;
  return v;
}

CredentialValues SetFsUid(const CredentialValues& old, abi::Uid uid) {
  const bool known = uid == old.ruid || uid == old.euid || uid == old.suid || uid == old.fsuid;
  if (uid == kKeepId || (!known && !Has(old, Capability::kSetuid))) return old;
  CredentialValues v = old;
  v.fsuid = uid;
  if (!Secure(old, kSecureNoSetuidFixup)) {
    if (old.fsuid == 0 && uid != 0) v.effective &= ~kFsCapabilities;
    if (old.fsuid != 0 && uid == 0) v.effective |= v.permitted & kFsCapabilities;
  }
  return v;
}

CredentialValues SetFsGid(const CredentialValues& old, abi::Gid gid) {
  const bool known = gid == old.rgid || gid == old.egid || gid == old.sgid || gid == old.fsgid;
  if (gid == kKeepId || (!known && !Has(old, Capability::kSetgid))) return old;
  CredentialValues v = old;
  v.fsgid = gid;
  return v;
}

Result<CredentialValues> SetGroups(const CredentialValues& old, std::vector<abi::Gid> groups) {
  if (!Has(old, Capability::kSetgid)) return Errno::kEPERM;
  if (groups.size() > kMaxGroups) return Errno::kEINVAL;
  for (const abi::Gid gid : groups) {
    if (gid == kKeepId) return Errno::kEINVAL;
  }
  std::sort(groups.begin(), groups.end());
  CredentialValues v = old;
  v.groups = std::move(groups);
  return v;
}

Result<CredentialValues> SetCapabilities(const CredentialValues& old, CapabilitySet effective, CapabilitySet permitted,
                                         CapabilitySet inheritable) {
  effective &= abi::kAllCapabilities;
  permitted &= abi::kAllCapabilities;
  inheritable &= abi::kAllCapabilities;
  if (!Has(old, Capability::kSetpcap) && !Subset(inheritable, old.inheritable | old.permitted)) return Errno::kEPERM;
  if (!Subset(inheritable, old.inheritable | old.bounding)) return Errno::kEPERM;
  if (!Subset(permitted, old.permitted)) return Errno::kEPERM;
  if (!Subset(effective, permitted)) return Errno::kEPERM;
  CredentialValues v = old;
  v.effective = effective;
  v.permitted = permitted;
  v.inheritable = inheritable;
  v.ambient &= permitted & inheritable;
  return v;
}

uint32_t GetSecurebits(const CredentialValues& values) { return values.securebits | (values.keep_caps ? kSecureKeepCaps : 0u); }

Result<CredentialValues> SetSecurebits(const CredentialValues& old, uint64_t bits) {
  const uint32_t now = GetSecurebits(old);
  if ((bits & ~uint64_t{kSecureBits | kSecureLocks}) != 0) return Errno::kEPERM;
  const auto wanted = static_cast<uint32_t>(bits);
  const uint32_t locked = (now & kSecureLocks) >> 1;
  if ((locked & (now ^ wanted)) != 0 || (now & kSecureLocks & ~wanted) != 0) return Errno::kEPERM;
  if (!Has(old, Capability::kSetpcap)) return Errno::kEPERM;
  CredentialValues v = old;
  v.keep_caps = (wanted & kSecureKeepCaps) != 0;
  v.securebits = wanted;
  return v;
}

Result<CredentialValues> SetKeepCaps(const CredentialValues& old, uint64_t on) {
  if (on > 1) return Errno::kEINVAL;
  if ((old.securebits & (kSecureKeepCaps << 1)) != 0) return Errno::kEPERM;
  CredentialValues v = old;
  v.keep_caps = on != 0;
  v.securebits = (v.securebits & ~kSecureKeepCaps) | (v.keep_caps ? kSecureKeepCaps : 0u);
  return v;
}

Result<CredentialValues> DropBounding(const CredentialValues& old, uint64_t capability) {
  if (!Has(old, Capability::kSetpcap)) return Errno::kEPERM;
  const CapabilitySet bit = TRY(BitOf(capability));
  CredentialValues v = old;
  v.bounding &= ~bit;
  return v;
}

Result<CredentialValues> RaiseAmbient(const CredentialValues& old, uint64_t capability) {
  const CapabilitySet bit = TRY(BitOf(capability));
  if ((old.permitted & old.inheritable & bit) == 0 || Secure(old, kSecureNoAmbientRaise)) return Errno::kEPERM;
  CredentialValues v = old;
  v.ambient |= bit;
  return v;
}

Result<CredentialValues> LowerAmbient(const CredentialValues& old, uint64_t capability) {
  const CapabilitySet bit = TRY(BitOf(capability));
  CredentialValues v = old;
  v.ambient &= ~bit;
  return v;
}

Result<ExecIdentity> OnExec(const CredentialValues& old, const ExecFile& file, bool unsafe) {
  constexpr uint32_t kSetUidBit = 04000, kSetGidBit = 02000, kGroupExec = 010;
  CredentialValues v = old;
  if (!old.no_new_privs) {
    if ((file.mode & kSetUidBit) != 0) v.euid = file.uid;
    if ((file.mode & (kSetGidBit | kGroupExec)) == (kSetGidBit | kGroupExec)) v.egid = file.gid;
  }
  bool effective = false;
  bool file_capabilities = false;
  v.permitted = 0;
  if (file.capabilities.has_value() && !old.no_new_privs) {
    const ExecFile::FileCapabilities& fc = *file.capabilities;
    file_capabilities = true;
    v.permitted = (fc.permitted & old.bounding) | (fc.inheritable & old.inheritable);
    if (fc.effective) {
      effective = true;
      if (!Subset(fc.permitted, v.permitted)) return Errno::kEPERM;
    }
  }
  // Root's privilege, unless a set-user-id-root file has capabilities of its own.
  const bool only_file_capabilities = file_capabilities && v.ruid != 0 && v.euid == 0;
  if (!Secure(old, kSecureNoRoot) && !only_file_capabilities) {
    if (v.euid == 0 || v.ruid == 0) v.permitted = old.bounding | old.inheritable;
    if (v.euid == 0) effective = true;
  }
  const bool in_group = v.egid == old.fsgid || std::binary_search(old.groups.begin(), old.groups.end(), v.egid);
  const bool changed = v.euid != old.euid || !in_group;  // as from Linux 6.16 on; before, whoever acted for another lost that
  const bool gained = !Subset(v.permitted, old.permitted);
  if ((changed || gained) && (unsafe || old.no_new_privs)) {
    if (!Has(old, Capability::kSetuid) || old.no_new_privs) {
      v.euid = v.ruid;
      v.egid = v.rgid;
    }
    v.permitted &= old.permitted;
  }
  v.suid = v.fsuid = v.euid;
  v.sgid = v.fsgid = v.egid;
  const bool set_id = v.euid != old.ruid || v.egid != old.rgid;
  if (file_capabilities || changed) v.ambient = 0;
  v.permitted |= v.ambient;
  v.effective = effective ? v.permitted : v.ambient;
  v.keep_caps = false;
  v.securebits &= ~kSecureKeepCaps;
  const bool grew = !Subset(v.permitted, v.ambient);
  const bool secure = set_id || (v.ruid != 0 && (effective || grew));
  return ExecIdentity{std::move(v), secure};
}

bool MayTouchLimits(const CredentialValues& caller, const CredentialValues& target) {
  const bool uids = caller.ruid == target.euid && caller.ruid == target.suid && caller.ruid == target.ruid;
  const bool gids = caller.rgid == target.egid && caller.rgid == target.sgid && caller.rgid == target.rgid;
  return (uids && gids) || Has(caller, Capability::kSysResource);
}

bool MaySchedule(const CredentialValues& caller, const CredentialValues& target) {
  return caller.euid == target.ruid || caller.euid == target.euid || Has(caller, Capability::kSysNice);
}

}  // namespace rampart::auth
