#include "platform/conformance/test_machine.h"
#include "platform/kvm/kvm_platform.h"

namespace rampart::platform::conformance {

const PlatformInfo& ThePlatformInfo() { return kvm::kKvmPlatform; }

}  // namespace rampart::platform::conformance
