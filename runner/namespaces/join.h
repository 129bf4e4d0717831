// Namespaces that others made, as linux.namespaces names them by path.
// Thread safety: none; REQUIRES: one thread.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

struct ForeignNamespace {
  int type = 0;  // CLONE_NEW…
  UniqueFd fd;
};

// Opens it. `type`: the specification's word ("network"). kInvalidArgument: it is of another type, or no namespace; kNotFound.
absl::StatusOr<ForeignNamespace> OpenNamespace(const std::string& type, const std::string& path);

// This process enters it. A PID namespace: the children that it makes from then on.
absl::Status EnterNamespace(const ForeignNamespace& ns);

// The namespace of a type (CLONE_NEW…) that this process is in, to come back to.
absl::StatusOr<ForeignNamespace> OwnNamespace(const std::string& type);

// Runs `make` with this process's children going to the PID namespace `ns` (null: where they always go), and comes back.
absl::Status InPidNamespace(const ForeignNamespace* ns, absl::FunctionRef<absl::Status()> make);

}  // namespace rampart::runner
