// Errors outside the kernel: absl::Status, read by people. Each message is one clause that names the thing; where there is a remedy, it
// says that too. Thread safety: values.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/result.h"

namespace rampart::runner {

// "mount /proc: Permission denied (EACCES)". The code of the status follows from the errno as absl::ErrnoToStatus has it.
absl::Status SystemError(const std::string& what, int host_errno = errno);
absl::Status SystemError(const std::string& what, Errno error);

// What the caller did wrong: one line with the remedy.
absl::Status UsageError(const std::string& what);

namespace internal {
inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <class T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}
inline void ValueOf(absl::Status&&) {}
template <class T>
T ValueOf(absl::StatusOr<T>&& result) {
  return *std::move(result);
}
}  // namespace internal

}  // namespace rampart::runner

// TRY for absl::Status and absl::StatusOr<T>: returns the status to the caller on failure, else is the value. Do not nest.
#define TRY_STATUS(expression)                                                                                      \
  __extension__({                                                                                                   \
    auto try_status_ = (expression);                                                                                \
    if (!try_status_.ok()) [[unlikely]] return ::rampart::runner::internal::StatusOf(try_status_);                  \
    ::rampart::runner::internal::ValueOf(std::move(try_status_));                                                   \
  })
