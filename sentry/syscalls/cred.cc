#include "sentry/syscalls/cred.h"

#include <array>

#include "sentry/auth/identity.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::syscalls {
namespace {

Result<Word> Install(kernel::Task& task, Result<auth::CredentialValues> values) {
  if (!values.ok()) return values.error();
  const auth::Credentials& old = task.creds();
  // A process whose identity changed may not be dumped or traced by others (Linux: commit_creds).
  if (old.euid != values->euid || old.egid != values->egid || old.fsuid != values->fsuid || old.fsgid != values->fsgid) {
    task.group().dumpable = 0;
    task.SetParentDeathSignal(0);
  }
  task.SetCreds(MakeRef<const auth::Credentials>(*std::move(values)));
  return Word{0};
}

constexpr uint32_t kVersion1 = 0x19980330, kVersion2 = 0x20071026, kVersion3 = 0x20080522;

// 32-bit halves that the version carries. EINVAL for an unknown one; the header then tells ours.
Result<size_t> HalvesOf(kernel::Task& task, UserInOut<CapHeader> header, const CapHeader& given) {
  switch (given.version) {
    case kVersion1: return size_t{1};
    case kVersion2:
    case kVersion3: return size_t{2};
    default:
      TRY(task.CopyOut(UserOut<uint32_t>(header.address()), kVersion3));
      return Errno::kEINVAL;
  }
}

uint32_t Half(abi::CapabilitySet set, size_t i) { return static_cast<uint32_t>(set >> (32 * i)); }

}  // namespace

Result<Word> SysGetuid(kernel::Task& task) { return Word{task.creds().ruid}; }
Result<Word> SysGeteuid(kernel::Task& task) { return Word{task.creds().euid}; }
Result<Word> SysGetgid(kernel::Task& task) { return Word{task.creds().rgid}; }
Result<Word> SysGetegid(kernel::Task& task) { return Word{task.creds().egid}; }

Result<Word> SysSetuid(kernel::Task& task, uint32_t uid) { return Install(task, auth::SetUid(task.creds(), uid)); }
Result<Word> SysSetgid(kernel::Task& task, uint32_t gid) { return Install(task, auth::SetGid(task.creds(), gid)); }
Result<Word> SysSetreuid(kernel::Task& task, uint32_t ruid, uint32_t euid) { return Install(task, auth::SetReUid(task.creds(), ruid, euid)); }
Result<Word> SysSetregid(kernel::Task& task, uint32_t rgid, uint32_t egid) { return Install(task, auth::SetReGid(task.creds(), rgid, egid)); }
Result<Word> SysSetresuid(kernel::Task& task, uint32_t ruid, uint32_t euid, uint32_t suid) {
  return Install(task, auth::SetResUid(task.creds(), ruid, euid, suid));
}
Result<Word> SysSetresgid(kernel::Task& task, uint32_t rgid, uint32_t egid, uint32_t sgid) {
  return Install(task, auth::SetResGid(task.creds(), rgid, egid, sgid));
}

Result<Word> SysGetresuid(kernel::Task& task, UserOut<uint32_t> ruid, UserOut<uint32_t> euid, UserOut<uint32_t> suid) {
  TRY(task.CopyOut(ruid, task.creds().ruid));
  TRY(task.CopyOut(euid, task.creds().euid));
  TRY(task.CopyOut(suid, task.creds().suid));
  return Word{0};
}

Result<Word> SysGetresgid(kernel::Task& task, UserOut<uint32_t> rgid, UserOut<uint32_t> egid, UserOut<uint32_t> sgid) {
  TRY(task.CopyOut(rgid, task.creds().rgid));
  TRY(task.CopyOut(egid, task.creds().egid));
  TRY(task.CopyOut(sgid, task.creds().sgid));
  return Word{0};
}

Result<Word> SysSetfsuid(kernel::Task& task, uint32_t uid) {
  const abi::Uid old = task.creds().fsuid;
  TRY(Install(task, auth::SetFsUid(task.creds(), uid)));
  return Word{old};
}

Result<Word> SysSetfsgid(kernel::Task& task, uint32_t gid) {
  const abi::Gid old = task.creds().fsgid;
  TRY(Install(task, auth::SetFsGid(task.creds(), gid)));
  return Word{old};
}

Result<Word> SysGetgroups(kernel::Task& task, int32_t size, UserOut<uint32_t> list) {
  const std::vector<abi::Gid>& groups = task.creds().groups;
  if (size < 0) return Errno::kEINVAL;
  if (size == 0) return Word{groups.size()};
  if (groups.size() > static_cast<size_t>(size)) return Errno::kEINVAL;
  TRY(task.mm().CopyOutArray(list, std::span<const uint32_t>(groups)));
  return Word{groups.size()};
}

Result<Word> SysSetgroups(kernel::Task& task, int32_t size, UserIn<uint32_t> list) {
  if (!task.creds().HasCapability(abi::Capability::kSetgid)) return Errno::kEPERM;
  if (size < 0 || static_cast<size_t>(size) > auth::kMaxGroups) return Errno::kEINVAL;
  std::vector<abi::Gid> groups = TRY(task.mm().CopyInArray(list, static_cast<size_t>(size), auth::kMaxGroups));
  return Install(task, auth::SetGroups(task.creds(), std::move(groups)));
}

Result<Word> SysCapget(kernel::Task& task, UserInOut<CapHeader> header, UserOut<CapData> data) {
  const CapHeader given = TRY(task.CopyIn(UserIn<CapHeader>(header)));
  const Result<size_t> halves = HalvesOf(task, header, given);
  if (!halves.ok()) {
    if (!data && halves.error() == Errno::kEINVAL) return Word{0};
    return halves.error();
  }
  if (!data) return Word{0};
  if (given.pid < 0) return Errno::kEINVAL;
  Ref<const auth::Credentials> creds = task.CredsRef();
  if (given.pid != 0 && given.pid != task.own_tid()) {
    const RefPtr<kernel::Task> target = task.FindTask(given.pid);
    if (target == nullptr) return Errno::kESRCH;
    creds = target->GetCreds();
  }
  std::array<CapData, 2> out{};
  for (size_t i = 0; i < *halves; ++i) out[i] = {Half(creds->effective, i), Half(creds->permitted, i), Half(creds->inheritable, i)};
  TRY(task.mm().CopyOutArray(data, std::span<const CapData>(out).first(*halves)));
  return Word{0};
}

Result<Word> SysCapset(kernel::Task& task, UserInOut<CapHeader> header, UserIn<CapData> data) {
  const CapHeader given = TRY(task.CopyIn(UserIn<CapHeader>(header)));
  const size_t halves = TRY(HalvesOf(task, header, given));
  if (given.pid != 0 && given.pid != task.own_tid()) return Errno::kEPERM;
  const std::vector<CapData> in = TRY(task.mm().CopyInArray(data, halves, 2));
  abi::CapabilitySet effective = 0;
  abi::CapabilitySet permitted = 0;
  abi::CapabilitySet inheritable = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    effective |= abi::CapabilitySet{in[i].effective} << (32 * i);
    permitted |= abi::CapabilitySet{in[i].permitted} << (32 * i);
    inheritable |= abi::CapabilitySet{in[i].inheritable} << (32 * i);
  }
  return Install(task, auth::SetCapabilities(task.creds(), effective, permitted, inheritable));
}

}  // namespace rampart::syscalls
