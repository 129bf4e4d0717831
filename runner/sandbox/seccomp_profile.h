// linux.seccomp of a specification, as a program in classic BPF: what libseccomp makes of it under runc, with a search tree over the numbers
// instead of a list.
//
// Meaning. Of a system call's entries those with arguments are looked at first, in order; the first whose conditions hold decides, else the entry
// without arguments, else the default. Conditions on the same argument in one entry are alternatives, others must all hold. Names that this
// architecture does not have are ignored, as everywhere. When the default is an errno, numbers beyond every name of the profile fail with ENOSYS,
// so that newer C libraries fall back to older calls (as under runc).
// Thread safety: pure.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"
#include "sentry/boot/boot.h"

namespace rampart::runner {

// Errors (kInvalidArgument) begin with the place in the specification: "$.linux.seccomp.defaultAction: …".
absl::StatusOr<std::vector<sentry::boot::FilterInstruction>> CompileProfile(const oci::Seccomp& profile);

}  // namespace rampart::runner
