// What of a specification cannot be carried out: told with its place before anything is created. docs/oci.md has the whole table.
#pragma once

#include "absl/status/status.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

absl::Status CheckSpec(const oci::Spec& spec);

}  // namespace rampart::runner
