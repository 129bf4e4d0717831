// Names of users and groups, looked up in the root that the sandbox will have.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// "USER", "USER:GROUP"; names or numbers. A user that is in ROOT/etc/passwd brings the group from there; a number that is not has group 0.
// Files are opened beneath `root` whatever links it holds. Errors name what was not found, and where.
absl::StatusOr<oci::User> ParseUser(const std::string& text, const std::string& root);

}  // namespace rampart::runner
