// The names of Linux's capabilities, as an OCI specification writes them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/namespaces/privileges.h"

namespace rampart::runner {

inline constexpr CapabilitySet kAllCapabilities = (CapabilitySet{1} << 41) - 1;

// "CAP_NET_RAW" (case and prefix as in the specification). Errors name the unknown one.
absl::StatusOr<CapabilitySet> ParseCapabilities(const std::vector<std::string>& names);

}  // namespace rampart::runner
