// What the host's kernel logged about a process that a seccomp filter killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/unique_fd.h"

namespace rampart::runner {

// The system call number in a record such as
//   audit: type=1326 audit(1.2:3): auid=0 uid=0 gid=0 ses=1 pid=42 comm="x" exe="/x" sig=31 arch=c000003e syscall=41 compat=0 …
// if it is about `pid`. (Names in it are escaped by the kernel, so a process cannot forge the fields.)
std::optional<uint32_t> ParseSeccompRecord(std::string_view record, pid_t pid);

// The kernel's log, to be read later, when its name may not be in reach. Invalid when it may not be read (only root may, on most hosts).
UniqueFd OpenKernelLog();
// Looks through all of it. Nothing when it cannot be read or does not have it.
std::optional<uint32_t> FindSeccompViolation(pid_t pid, const UniqueFd& log);

}  // namespace rampart::runner
