// Which users and groups of the host exist in a new user namespace.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rampart::runner {

struct IdRange {
  uint32_t inside = 0;
  uint32_t outside = 0;
  uint32_t count = 0;
  bool operator==(const IdRange&) const = default;
};

struct IdMaps {
  std::vector<IdRange> uids;
  std::vector<IdRange> gids;
};

// Parses the text of /proc/PID/uid_map. Lines that are not three numbers are an error.
absl::StatusOr<std::vector<IdRange>> ParseIdMap(const std::string& text);

// The identity map over every id that this process's own namespace knows. Needs CAP_SETUID and CAP_SETGID to be written.
absl::StatusOr<IdMaps> MapEverybody();

// Only `uid` and `gid`, as themselves. For its own ids a process needs no privilege.
IdMaps MapOnly(uint32_t uid, uint32_t gid);

// True if `id` is in one of the ranges (by its number inside).
bool Contains(const std::vector<IdRange>& ranges, uint32_t id);

// Writes the maps of `pid`, a child in a new user namespace. Without `privileged`, setgroups is denied first, as the kernel demands.
absl::Status WriteIdMaps(pid_t pid, const IdMaps& maps, bool privileged);

}  // namespace rampart::runner
