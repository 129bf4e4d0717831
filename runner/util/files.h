// Small files of the kernel's own filesystems (/proc, cgroups): read and written whole.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace rampart::runner {

// At most 1 MiB. Errors name the path.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);
// Any file, at most `limit` bytes (kInvalidArgument beyond). Errors name the path.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t limit);
// One write(2), as these files want it. Errors name the path.
absl::Status WriteSmallFile(const std::string& path, std::string_view text);

// The directories above `path` that are not there yet, for everybody to look into. Errors name the one.
absl::Status MakeParents(const std::string& path);

// Writes all of `text` to `fd`, through short writes and EINTR; false on any other error.
bool WriteAll(int fd, std::string_view text);

}  // namespace rampart::runner
