#include "runner/cgroup/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

std::vector<std::string> Controllers(const CgroupLimits& limits) {
  std::vector<std::string> wanted;
  if (limits.memory_bytes != 0) wanted.push_back("memory");
  if (limits.cpu_quota != 0) wanted.push_back("cpu");
  if (limits.tasks != 0) wanted.push_back("pids");
  return wanted;
}

absl::Status Apply(const CgroupPlace& place, const std::string& directory, const CgroupLimits& limits) {
  if (place.controller == "memory") {
    const std::string bytes = absl::StrCat(limits.memory_bytes);
    TRY_STATUS(WriteSmallFile(directory + (place.v2 ? "/memory.max" : "/memory.limit_in_bytes"), bytes));
    // Swap counts towards the limit where the host accounts for it.
    (void)WriteSmallFile(directory + (place.v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"), place.v2 ? "0" : bytes);
    return absl::OkStatus();
  }
  if (place.controller == "cpu") {
    if (place.v2) return WriteSmallFile(directory + "/cpu.max", absl::StrCat(limits.cpu_quota, " ", limits.cpu_period));
    TRY_STATUS(WriteSmallFile(directory + "/cpu.cfs_period_us", absl::StrCat(limits.cpu_period)));
    return WriteSmallFile(directory + "/cpu.cfs_quota_us", absl::StrCat(limits.cpu_quota));
  }
  return WriteSmallFile(directory + "/pids.max", absl::StrCat(limits.tasks));
}

bool Has(absl::string_view words, const std::string& word) {
  const std::vector<absl::string_view> all = absl::StrSplit(words, absl::ByAnyChar(" \n"));
  return std::find(all.begin(), all.end(), word) != all.end();
}

// v2. The kernel lets a group's controllers be switched on only where no processes are (a container's own group, for instance); those of threads it
// does switch on there (cpu, pids), but the groups below are then for threads only. Nothing that does not help stays switched on.
absl::Status MakeDirectoryV2(const CgroupPlace& place, const std::string& directory) {
  const std::string control = place.parent + "/cgroup.subtree_control";
  const auto before = ReadSmallFile(control);
  const bool switched_on = (!before.ok() || !Has(*before, place.controller)) && WriteSmallFile(control, "+" + place.controller).ok();
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return SystemError(absl::StrCat("make the cgroup ", directory));
  const std::string on = TRY_STATUS(ReadSmallFile(directory + "/cgroup.controllers"));
  const auto type = ReadSmallFile(directory + "/cgroup.type");  // not there in a hierarchy's own root
  if (Has(on, place.controller) && !(type.ok() && Has(*type, "invalid"))) return absl::OkStatus();
  if (switched_on) (void)WriteSmallFile(control, "-" + place.controller);
  return absl::UnavailableError(absl::StrCat("the controller '", place.controller, "' is not on for groups in ", place.parent,
                                             " and cannot be switched on by this process (cgroup.subtree_control)"));
}

absl::Status MakeDirectory(const CgroupPlace& place, const std::string& directory) {
  if (place.v2) return MakeDirectoryV2(place, directory);
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return SystemError(absl::StrCat("make the cgroup ", directory));
  return absl::OkStatus();
}

}  // namespace

Cgroup::~Cgroup() { Remove(); }

absl::StatusOr<std::vector<Cgroup::Part>> Cgroup::Locate(const std::string& name, const CgroupLimits& limits) {
  std::vector<Part> parts;
  const std::vector<std::string> wanted = Controllers(limits);
  if (wanted.empty()) return parts;
  const std::string mountinfo = TRY_STATUS(ReadSmallFile("/proc/self/mountinfo"));
  const std::string self = TRY_STATUS(ReadSmallFile("/proc/self/cgroup"));
  const std::vector<CgroupPlace> places = FindPlaces(mountinfo, self, wanted);
  for (const std::string& controller : wanted) {
    const auto place = std::find_if(places.begin(), places.end(), [&](const CgroupPlace& p) { return p.controller == controller; });
    if (place == places.end()) {
      return absl::UnavailableError(absl::StrCat("this host has no cgroup hierarchy with the controller '", controller, "' mounted"));
    }
    parts.push_back({*place, absl::StrCat(place->parent, "/", name)});
  }
  return parts;
}

absl::StatusOr<Cgroup> Cgroup::Create(const std::string& name, const CgroupLimits& limits) {
  Cgroup group;
  const std::vector<Part> parts = TRY_STATUS(Locate(name, limits));
  for (const Part& part : parts) {
    // What is there already is this group's other part, or another Cgroup's of this name (a hierarchy has all controllers): it removes it.
    if (::access(part.directory.c_str(), F_OK) != 0) group.directories_.push_back(part.directory);
    TRY_STATUS(MakeDirectory(part.place, part.directory));
    TRY_STATUS(Apply(part.place, part.directory, limits));
  }
  return group;
}

absl::Status Cgroup::Add(pid_t pid) {
  for (const std::string& directory : directories_) TRY_STATUS(WriteSmallFile(directory + "/cgroup.procs", absl::StrCat(pid)));
  return absl::OkStatus();
}

void Cgroup::Remove() {
  for (const std::string& directory : directories_) RemoveCgroupDirectory(directory, 100);
  directories_.clear();
}

bool RemoveCgroupDirectory(const std::string& directory, int attempts) {
  for (; attempts > 0; --attempts) {
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
    if (errno != EBUSY) return false;
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return false;
}

}  // namespace rampart::runner
