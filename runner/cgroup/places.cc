#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/cgroup/cgroup.h"

namespace rampart::runner {
namespace {

struct Hierarchy {
  std::string mount;
  std::string root;  // which cgroup the mount shows at its top
  bool v2 = false;
  std::vector<std::string> controllers;  // v1
};

// "36 35 0:31 /root /mount opts… - cgroup source rw,memory"
std::vector<Hierarchy> Hierarchies(const std::string& mountinfo) {
  std::vector<Hierarchy> found;
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 7 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type == "cgroup2") {
      found.push_back({words[4], words[3], true, {}});
    } else if (type == "cgroup") {
      found.push_back({words[4], words[3], false, absl::StrSplit(dash[3], ',')});
    }
  }
  return found;
}

// Path of this process by controller; v2 under "".
std::map<std::string, std::string> OwnPaths(const std::string& self_cgroup) {
  std::map<std::string, std::string> paths;
  for (const absl::string_view line : absl::StrSplit(self_cgroup, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[1].empty()) {
      paths[""] = parts[2];
      continue;
    }
    for (const absl::string_view controller : absl::StrSplit(parts[1], ',')) paths[std::string(controller)] = parts[2];
  }
  return paths;
}

// The directory below the mount that is this process's group; the mount itself when the group lies outside of what it shows.
std::string DirectoryOf(const Hierarchy& hierarchy, std::string path) {
  if (hierarchy.root != "/") {
    path = absl::StartsWith(path, hierarchy.root) ? path.substr(hierarchy.root.size()) : "";
  }
  // "/../…": outside of this process's cgroup namespace.
  if (path == "/" || path.empty() || absl::StartsWith(path, "/..")) return hierarchy.mount;
  std::string directory = hierarchy.mount + (path[0] == '/' ? "" : "/") + path;
  struct stat info{};
  return ::stat(directory.c_str(), &info) == 0 ? directory : hierarchy.mount;
}

}  // namespace

std::vector<CgroupPlace> FindPlaces(const std::string& mountinfo, const std::string& self_cgroup,
                                    const std::vector<std::string>& wanted) {
  const std::vector<Hierarchy> hierarchies = Hierarchies(mountinfo);
  std::map<std::string, std::string> own = OwnPaths(self_cgroup);
  std::vector<CgroupPlace> places;
  for (const std::string& controller : wanted) {
    const Hierarchy* best = nullptr;
    for (const Hierarchy& hierarchy : hierarchies) {
      const auto& names = hierarchy.controllers;
      if (!hierarchy.v2 && std::find(names.begin(), names.end(), controller) != names.end()) best = &hierarchy;
    }
    // A controller that is bound to v1 is not available in v2, and the other way round.
    for (const Hierarchy& hierarchy : hierarchies) {
      if (best == nullptr && hierarchy.v2) best = &hierarchy;
    }
    if (best == nullptr) continue;
    std::string parent = DirectoryOf(*best, own[best->v2 ? "" : controller]);
    // v2: a group with processes cannot have children with controllers; a sibling of our own group can.
    if (best->v2 && parent != best->mount) parent = parent.substr(0, parent.rfind('/'));
    places.push_back({controller, best->v2, parent, best->mount});
  }
  return places;
}

}  // namespace rampart::runner
