// Caller: on whose behalf an operation runs. kernel::Task implements it; filesystems and sockets receive it and know no more. Tests use
// KernelCaller, which is root without limits.
// Thread safety: used by one thread at a time.
#pragma once

#include "abi/resource.h"
#include "base/ref.h"
#include "sentry/auth/credentials.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {
class Task;
}  // namespace rampart::kernel

namespace rampart {

class Caller {
 public:
  virtual ~Caller() = default;
  // The caller's identity for permission checks.
  virtual const auth::Credentials& creds() const = 0;
  // The soft limit now.
  virtual uint64_t limit(abi::Resource resource) const = 0;
  // The file-creation mask (umask(2)).
  virtual uint32_t umask() const = 0;
  // To sleep on; only for waits that cannot be left to the system-call layer (a Gofer's answer: uninterruptible).
  virtual wait::Sleeper& sleeper() = 0;
  // Null when the kernel itself acts. Only directories above kernel/ look inside.
  virtual kernel::Task* task() = 0;
};

// The kernel acting for itself: root, no limits, umask 0.
class KernelCaller final : public Caller {
 public:
  KernelCaller() : creds_(auth::Credentials::Root()) {}
  explicit KernelCaller(Ref<const auth::Credentials> creds) : creds_(std::move(creds)) {}
  const auth::Credentials& creds() const override { return *creds_; }
  uint64_t limit(abi::Resource) const override { return abi::kRlimInfinity; }
  uint32_t umask() const override { return 0; }
  wait::Sleeper& sleeper() override { return sleeper_; }
  kernel::Task* task() override { return nullptr; }

 private:
  Ref<const auth::Credentials> creds_;
  wait::Sleeper sleeper_;
};

}  // namespace rampart
