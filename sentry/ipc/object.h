// What the three kinds of System V objects share: permissions (struct ipc_perm), and the process that acts.
//
// Source: Linux ipc/util.c. Thread safety: none of its own; an IpcObject is guarded by whoever owns it.
#pragma once

#include <cstdint>

#include "abi/ipc.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/auth/credentials.h"

namespace rampart::ipc {

// The process (tgid) on whose behalf this host thread works: what cpid, lpid, sempid … become. A task's thread says so when it begins; 0 elsewhere.
void SetCurrentProcess(abi::Pid pid);
abi::Pid CurrentProcess();

// Whole seconds of CLOCK_REALTIME, as the times of IPC objects are told.
int64_t NowSeconds();

struct Permissions {
  int32_t key = abi::kIpcPrivate;
  int32_t id = 0;
  uint16_t seq = 0;
  abi::Uid uid = 0, cuid = 0;
  abi::Gid gid = 0, cgid = 0;
  uint32_t mode = 0;

  // Of an object that `creds` makes with `flags` of …get(2).
  static Permissions For(const auth::Credentials& creds, int32_t key, uint32_t flags);
  // Whether every right in `wanted` (mode bits in any of the three places) is granted: ipcperms. EACCES.
  Result<void> Check(const auth::Credentials& creds, uint32_t wanted) const;
  // Whether `creds` may change or remove it. EPERM.
  Result<void> CheckOwner(const auth::Credentials& creds) const;
  // IPC_SET. EINVAL: no such ids.
  Result<void> Change(const abi::IpcPerm& to);
  abi::IpcPerm ToAbi() const;
};

inline constexpr uint32_t kReadRight = 0444, kWriteRight = 0222, kExecuteRight = 0111;

}  // namespace rampart::ipc
