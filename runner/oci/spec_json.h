// Reads and writes config.json.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"

namespace rampart::oci {

// Parses an OCI config.json. Errors (kInvalidArgument) name the place and what was expected:
// "$.process.args[2]: expected a string, found a number". Members that this version does not know are ignored; numbers out of range,
// paths that must be absolute and are not, and NUL bytes are errors. `text` is hostile: at most kMaxBytes.
absl::StatusOr<Spec> ParseSpec(std::string_view text);

// Parses an OCI process, as `exec --process` and config.json's "process" have it.
absl::StatusOr<Process> ParseProcess(std::string_view text);
// Parses OCI resources, as `update --resources` has them.
absl::StatusOr<Resources> ParseResources(std::string_view text);

inline constexpr size_t kMaxBytes = 16 << 20;

// REQUIRES: every string is UTF-8 (others get U+FFFD). Members with their default value are left out.
std::string SerializeSpec(const Spec& spec);

}  // namespace rampart::oci
