// User namespaces of others: the ids that one maps, and mounts whose files belong to whom such a map says (idmapped mounts, mount_setattr(2)).
// Thread safety: none; REQUIRES: one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "runner/namespaces/id_map.h"
#include "runner/namespaces/join.h"

namespace rampart::runner {

// A detached copy of the mounts at `path`. A file of the owner `inside` on disk belongs to `outside`, as this process sees it, and the other way round for
// what is made in it; who is not mapped shows as nobody. `recursive`: also in the mounts below. Errors: one line; what this host or filesystem cannot do.
absl::StatusOr<UniqueFd> CopyTreeMapped(const std::string& path, const IdMaps& maps, bool recursive);

// The maps of a user namespace, outside as this process sees it. kInvalidArgument: it is this process's own.
absl::StatusOr<IdMaps> MapsOfNamespace(const ForeignNamespace& ns);

// The id outside of `id`; nothing: it is not mapped.
std::optional<uint32_t> Outside(const std::vector<IdRange>& ranges, uint32_t id);

}  // namespace rampart::runner
