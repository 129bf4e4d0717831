#include "runner/util/status.h"

#include "absl/strings/str_cat.h"

namespace rampart::runner {

absl::Status SystemError(const std::string& what, int host_errno) {
  const Errno error = ErrnoFromHost(host_errno);
  return absl::Status(absl::ErrnoToStatusCode(host_errno), absl::StrCat(what, ": ", ErrnoText(error), " (", ErrnoName(error), ")"));
}

absl::Status SystemError(const std::string& what, Errno error) { return SystemError(what, static_cast<int>(error)); }

absl::Status UsageError(const std::string& what) { return absl::InvalidArgumentError(what); }

}  // namespace rampart::runner
