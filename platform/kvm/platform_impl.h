// KvmPlatform: makes spaces and contexts of one machine. Thread safety: any thread.
#pragma once

#include <memory>

#include "platform/kvm/machine.h"
#include "platform/platform.h"

namespace rampart::platform::kvm {

class KvmPlatform final : public Platform {
 public:
  explicit KvmPlatform(std::shared_ptr<Machine> machine);
  static Result<std::unique_ptr<Platform>> Create();

  const Capabilities& capabilities() const override { return capabilities_; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  Result<std::unique_ptr<Context>> NewContext() override;
  size_t xstate_size() const override { return machine_->xstate().size; }
  uint64_t xstate_features() const override { return machine_->xstate().features; }
  PlatformStats stats() const override;

  Machine& machine() { return *machine_; }

 private:
  const std::shared_ptr<Machine> machine_;
  const Capabilities capabilities_;
};

// Opens what Create needs while the process still sees /dev. Idempotent. Discard closes it.
void Prepare();
void Discard();
// See PlatformInfo::why_unavailable. Runs a short program in a machine of its own.
std::string WhyUnavailable();
// The machine that WhyUnavailable tried, for Create: null when there is none. `keep`: only look.
std::shared_ptr<Machine> TakeProbed(bool keep);
void KeepProbed(std::shared_ptr<Machine> machine);
// /dev/kvm: what Prepare opened, or opened now.
Result<UniqueFd> OpenDevice();

}  // namespace rampart::platform::kvm
