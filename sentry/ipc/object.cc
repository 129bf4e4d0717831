#include "sentry/ipc/object.h"

#include "base/time.h"

namespace rampart::ipc {
namespace {
thread_local abi::Pid t_process = 0;
constexpr uint32_t kNoId = ~uint32_t{0};
}  // namespace

void SetCurrentProcess(abi::Pid pid) { t_process = pid; }
abi::Pid CurrentProcess() { return t_process; }
int64_t NowSeconds() { return RealtimeNow() / kNanosPerSecond; }

Permissions Permissions::For(const auth::Credentials& creds, int32_t key, uint32_t flags) {
  Permissions p;
  p.key = key;
  p.uid = p.cuid = creds.euid;
  p.gid = p.cgid = creds.egid;
  p.mode = flags & 0777;
  return p;
}

Result<void> Permissions::Check(const auth::Credentials& creds, uint32_t wanted) const {
  const uint32_t requested = (wanted >> 6) | (wanted >> 3) | wanted;
  uint32_t granted = mode;
  if (creds.euid == cuid || creds.euid == uid) {
    granted >>= 6;
  } else if (creds.InGroup(cgid) || creds.InGroup(gid)) {
    granted >>= 3;
  }
  if ((requested & ~granted & 7) != 0 && !creds.HasCapability(abi::Capability::kIpcOwner)) return Errno::kEACCES;
  return Ok();
}

Result<void> Permissions::CheckOwner(const auth::Credentials& creds) const {
  if (creds.euid == cuid || creds.euid == uid || creds.HasCapability(abi::Capability::kSysAdmin)) return Ok();
  return Errno::kEPERM;
}

Result<void> Permissions::Change(const abi::IpcPerm& to) {
  if (to.uid == kNoId || to.gid == kNoId) return Errno::kEINVAL;
  uid = to.uid;
  gid = to.gid;
  mode = (mode & ~uint32_t{0777}) | (to.mode & 0777);
  return Ok();
}

abi::IpcPerm Permissions::ToAbi() const {
  abi::IpcPerm out{};
  out.key = key;
  out.uid = uid;
  out.gid = gid;
  out.cuid = cuid;
  out.cgid = cgid;
  out.mode = mode;
  out.seq = seq;
  return out;
}

}  // namespace rampart::ipc
