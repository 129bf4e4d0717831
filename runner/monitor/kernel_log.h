// What the host's kernel logged about a process that a seccomp filter killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace rampart::runner {

// The system call number in a record such as
//   audit: type=1326 audit(1.2:3): auid=0 uid=0 gid=0 ses=1 pid=42 comm="x" exe="/x" sig=31 arch=c000003e syscall=41 compat=0 …
// if it is about `pid`. (Names in it are escaped by the kernel, so a process cannot forge the fields.)
std::optional<uint32_t> ParseSeccompRecord(std::string_view record, pid_t pid);

// Looks through the end of the kernel's log. Nothing when it may not be read (only root may, on most hosts) or does not have it.
std::optional<uint32_t> FindSeccompViolation(pid_t pid);

}  // namespace rampart::runner
