#include "runner/cgroup/container_cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/cgroup/cgroup.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

const std::vector<std::string> kControllers = {"memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "freezer", "hugetlb", "devices"};

// v2: what is switched on above the group, where the host has it.
constexpr const char* kV2Controllers[] = {"memory", "cpu", "cpuset", "pids", "io", "hugetlb"};

absl::Status MakeOne(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return SystemError(absl::StrCat("make the cgroup ", directory));
  return absl::OkStatus();
}

// A new v1 cpuset group is empty, and can have no process, until it is told its processors and memory nodes.
void InheritCpuset(const std::string& directory) {
  const std::string parent = directory.substr(0, directory.rfind('/'));
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    const auto now = ReadSmallFile(directory + file);
    if (!now.ok() || now->find_first_not_of(" \n") != std::string::npos) continue;
    const auto above = ReadSmallFile(parent + file);
    if (above.ok()) (void)WriteSmallFile(directory + file, *above);
  }
}

absl::Status MakeGroup(const ContainerGroup& group) {
  for (size_t slash = group.mount.size(); slash != std::string::npos;) {
    const size_t next = group.directory.find('/', slash + 1);
    const std::string above = group.directory.substr(0, slash);
    const std::string part = group.directory.substr(0, next);
    if (group.v2) {
      for (const char* controller : kV2Controllers) (void)WriteSmallFile(above + "/cgroup.subtree_control", absl::StrCat("+", controller));
    }
    TRY_STATUS(MakeOne(part));
    if (group.controller == "cpuset") InheritCpuset(part);
    slash = next;
  }
  return absl::OkStatus();
}

// A limit as a file and what goes into it.
struct Setting {
  const char* controller;  // of v1
  std::string v1_file;
  std::string v1_value;
  std::string v2_file;     // "": v2 has nothing of the kind
  std::string v2_value;
};

std::string Number(int64_t value, bool v2) { return value < 0 ? v2 ? "max" : "-1" : absl::StrCat(value); }
int64_t WithHeadroom(int64_t bytes) {
  if (bytes < 0) return bytes;
  const auto memory = static_cast<uint64_t>(bytes);
  return static_cast<int64_t>(std::min<uint64_t>(memory + MemoryHeadroom(memory), INT64_MAX));
}

void MemorySettings(const oci::MemoryResources& memory, std::vector<Setting>& out) {
  if (memory.limit.has_value() && *memory.limit != 0) {
    const int64_t limit = WithHeadroom(*memory.limit);
    out.push_back({"memory", "memory.limit_in_bytes", Number(limit, false), "memory.max", Number(limit, true)});
  }
  if (memory.reservation.has_value() && *memory.reservation != 0) {
    out.push_back({"memory", "memory.soft_limit_in_bytes", Number(*memory.reservation, false), "memory.low", Number(*memory.reservation, true)});
  }
  if (memory.swap.has_value() && *memory.swap != 0) {
    const int64_t swap = *memory.swap;
    const int64_t limit = memory.limit.value_or(0);
    out.push_back({"memory", "memory.memsw.limit_in_bytes", Number(WithHeadroom(swap), false), "memory.swap.max",
                   swap < 0 ? "max" : absl::StrCat(std::max<int64_t>(swap - std::max<int64_t>(limit, 0), 0))});
  }
  if (memory.disable_oom_killer.value_or(false)) out.push_back({"memory", "memory.oom_control", "1", "", ""});
}

void CpuSettings(const oci::CpuResources& cpu, std::vector<Setting>& out) {
  if (cpu.shares.value_or(0) != 0) {
    const uint64_t shares = std::clamp<uint64_t>(*cpu.shares, 2, 262144);
    out.push_back({"cpu", "cpu.shares", absl::StrCat(shares), "cpu.weight", absl::StrCat(1 + (shares - 2) * 9999 / 262142)});
  }
  const uint64_t period = cpu.period.value_or(0);
  const int64_t quota = cpu.quota.value_or(0);
  if (period != 0) out.push_back({"cpu", "cpu.cfs_period_us", absl::StrCat(period), "", ""});
  if (quota != 0) out.push_back({"cpu", "cpu.cfs_quota_us", Number(quota, false), "", ""});
  if (period != 0 || quota != 0) {
    out.push_back({"", "", "", "cpu.max", absl::StrCat(quota > 0 ? absl::StrCat(quota) : "max", " ", period != 0 ? period : 100'000)});
  }
  if (!cpu.cpus.empty()) out.push_back({"cpuset", "cpuset.cpus", cpu.cpus, "cpuset.cpus", cpu.cpus});
  if (!cpu.mems.empty()) out.push_back({"cpuset", "cpuset.mems", cpu.mems, "cpuset.mems", cpu.mems});
}

void IoSettings(const oci::BlockIo& io, std::vector<Setting>& out) {
  if (io.weight.value_or(0) != 0) {
    const uint32_t weight = *io.weight;
    out.push_back({"blkio", "blkio.bfq.weight", absl::StrCat(weight), "io.bfq.weight", absl::StrCat(weight)});
  }
  for (const oci::WeightDevice& device : io.weight_devices) {
    if (!device.weight.has_value()) continue;
    const std::string line = absl::StrCat(device.major, ":", device.minor, " ", *device.weight);
    out.push_back({"blkio", "blkio.bfq.weight_device", line, "io.bfq.weight", line});
  }
  const auto throttle = [&](const std::vector<oci::ThrottleDevice>& devices, const char* v1_file, const char* key) {
    for (const oci::ThrottleDevice& device : devices) {
      const std::string number = absl::StrCat(device.major, ":", device.minor);
      out.push_back({"blkio", v1_file, absl::StrCat(number, " ", device.rate), "io.max", absl::StrCat(number, " ", key, "=", device.rate)});
    }
  };
  throttle(io.read_bps, "blkio.throttle.read_bps_device", "rbps");
  throttle(io.write_bps, "blkio.throttle.write_bps_device", "wbps");
  throttle(io.read_iops, "blkio.throttle.read_iops_device", "riops");
  throttle(io.write_iops, "blkio.throttle.write_iops_device", "wiops");
}

std::vector<Setting> SettingsOf(const oci::Resources& resources) {
  std::vector<Setting> out;
  if (resources.memory.has_value()) MemorySettings(*resources.memory, out);
  if (resources.cpu.has_value()) CpuSettings(*resources.cpu, out);
  if (resources.block_io.has_value()) IoSettings(*resources.block_io, out);
  if (resources.pids.has_value() && resources.pids->limit != 0) {
    const int64_t pids = resources.pids->limit;
    const std::string text = pids < 0 ? "max" : absl::StrCat(TaskLimit(static_cast<uint64_t>(pids)));
    out.push_back({"pids", "pids.max", text, "pids.max", text});
  }
  for (const oci::HugepageLimit& limit : resources.hugepages) {
    out.push_back({"hugetlb", absl::StrCat("hugetlb.", limit.page_size, ".limit_in_bytes"), absl::StrCat(limit.limit),
                   absl::StrCat("hugetlb.", limit.page_size, ".max"), absl::StrCat(limit.limit)});
  }
  return out;
}

const ContainerGroup* Find(const std::vector<ContainerGroup>& groups, const std::string& controller) {
  for (const ContainerGroup& group : groups) {
    if (group.v2 || group.controller == controller) return &group;
  }
  return nullptr;
}

absl::Status Write(const std::vector<ContainerGroup>& groups, const Setting& setting) {
  const bool v2 = !groups.empty() && groups[0].v2;
  if (v2) {
    if (setting.v2_file.empty()) return absl::OkStatus();
    return WriteSmallFile(absl::StrCat(groups[0].directory, "/", setting.v2_file), setting.v2_value);
  }
  if (setting.v1_file.empty()) return absl::OkStatus();
  const ContainerGroup* group = Find(groups, setting.controller);
  if (group == nullptr) {
    return absl::UnavailableError(absl::StrCat("this host has no cgroup hierarchy with the controller '", setting.controller, "' mounted, which ",
                                               setting.v1_file, " needs"));
  }
  return WriteSmallFile(absl::StrCat(group->directory, "/", setting.v1_file), setting.v1_value);
}

}  // namespace

absl::StatusOr<std::string> ExpandSystemdPath(const std::string& path) {
  if (absl::StartsWith(path, "/") || path.find(':') == std::string::npos) return path;
  const std::vector<std::string> parts = absl::StrSplit(path, ':');
  if (parts.size() != 3 || parts[2].empty() || parts[2].find('/') != std::string::npos) {
    return UsageError(absl::StrCat("$.linux.cgroupsPath: '", path, "' is not of the form SLICE:PREFIX:NAME"));
  }
  std::string slice = parts[0].empty() ? "system.slice" : parts[0];
  if (slice == "-.slice") slice = "";
  std::string expanded;
  if (!slice.empty()) {
    if (!absl::EndsWith(slice, ".slice") || slice.find('/') != std::string::npos) {
      return UsageError(absl::StrCat("$.linux.cgroupsPath: '", slice, "' is not the name of a slice"));
    }
    // "a-b.slice" lies in "a.slice".
    const std::string stem = slice.substr(0, slice.size() - 6);
    for (size_t dash = stem.find('-');; dash = stem.find('-', dash + 1)) {
      absl::StrAppend(&expanded, "/", stem.substr(0, dash), ".slice");
      if (dash == std::string::npos) break;
    }
  }
  const bool unit = absl::EndsWith(parts[2], ".slice");
  return absl::StrCat(expanded, "/", parts[1].empty() || unit ? "" : parts[1] + "-", parts[2], unit ? "" : ".scope");
}

absl::StatusOr<std::vector<ContainerGroup>> LocateContainerGroups(const std::string& cgroups_path, const std::string& id) {
  std::string path = TRY_STATUS(ExpandSystemdPath(cgroups_path.empty() ? id : cgroups_path));
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  for (const std::string& part : parts) {
    if (part == "..") return UsageError(absl::StrCat("$.linux.cgroupsPath: '", path, "' must not go up"));
  }
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path == "/") return UsageError("$.linux.cgroupsPath: the top of the hierarchy cannot be a container's group");
  const std::string mountinfo = TRY_STATUS(ReadSmallFile("/proc/self/mountinfo"));
  const std::string self = TRY_STATUS(ReadSmallFile("/proc/self/cgroup"));
  std::vector<ContainerGroup> groups;
  const std::vector<CgroupPlace> places = FindPlaces(mountinfo, self, kControllers);
  const bool any_v1 = std::any_of(places.begin(), places.end(), [](const CgroupPlace& place) { return !place.v2; });
  for (const CgroupPlace& place : places) {
    if (place.v2 && (any_v1 || !groups.empty())) continue;
    const std::string directory = path[0] == '/' ? place.mount + path : absl::StrCat(place.parent, "/", path);
    // Controllers that are mounted together have one group.
    const bool known = std::any_of(groups.begin(), groups.end(), [&](const ContainerGroup& group) { return group.directory == directory; });
    if (known && place.v2) continue;
    groups.push_back({place.v2, place.v2 ? "" : place.controller, place.mount, directory});
  }
  return groups;
}

absl::Status MakeContainerGroups(const std::vector<ContainerGroup>& groups) {
  for (const ContainerGroup& group : groups) TRY_STATUS(MakeGroup(group));
  return absl::OkStatus();
}

absl::Status ApplyResources(const std::vector<ContainerGroup>& groups, const oci::Resources& resources) {
  const std::vector<Setting> settings = SettingsOf(resources);
  if (groups.empty() && (!settings.empty() || !resources.unified.empty())) {
    return absl::UnavailableError("this host has no cgroups mounted, which $.linux.resources needs");
  }
  // The kernel refuses a memory limit above that of memory and swap, and the other way round: what fails is tried again after the rest.
  std::vector<Setting> again;
  for (const Setting& setting : settings) {
    const absl::Status written = Write(groups, setting);
    if (written.ok()) continue;
    // Hosts without swap accounting have no such file.
    if (setting.v1_file == "memory.memsw.limit_in_bytes" && absl::IsNotFound(written)) continue;
    if (absl::StartsWith(setting.v1_file, "memory.")) {
      again.push_back(setting);
      continue;
    }
    return written;
  }
  for (const Setting& setting : again) TRY_STATUS(Write(groups, setting));
  for (const auto& [file, value] : resources.unified) {
    if (!groups[0].v2) return UsageError(absl::StrCat("$.linux.resources.unified.", file, ": this host has cgroup v1"));
    if (file.find('/') != std::string::npos) return UsageError(absl::StrCat("$.linux.resources.unified: '", file, "' is not a file's name"));
    TRY_STATUS(WriteSmallFile(absl::StrCat(groups[0].directory, "/", file), value));
  }
  return absl::OkStatus();
}

absl::Status JoinGroups(const std::vector<ContainerGroup>& groups, pid_t pid) {
  for (const ContainerGroup& group : groups) TRY_STATUS(WriteSmallFile(group.directory + "/cgroup.procs", absl::StrCat(pid)));
  return absl::OkStatus();
}

}  // namespace rampart::runner
