// How a path is shown. Internal to sentry/vfs; PathText (operations.h) is for others.
#pragma once

#include <optional>
#include <string>

#include "sentry/vfs/mount.h"

namespace rampart::vfs {

// "/a/b" if `path` lies at or below `root`; nothing otherwise.
std::optional<std::string> ReachableText(const Path& root, const Path& path);
// As seen from the root of the namespace that `path` is in, " (deleted)" included.
std::string GlobalPathText(const Path& path);

}  // namespace rampart::vfs
