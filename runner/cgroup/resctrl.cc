#include "runner/cgroup/resctrl.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr char kField[] = "$.linux.intelRdt";

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// "L3:0=00ff;1=f" → {"L3", {{"0", "ff"}, {"1", "f"}}}: the kernel adds and drops zeros and blanks.
struct Schema {
  std::string resource;
  std::map<std::string, std::string> shares;
};
Schema ParseSchema(absl::string_view line) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
  Schema out;
  out.resource = std::string(absl::StripAsciiWhitespace(parts.first));
  for (const absl::string_view one : absl::StrSplit(parts.second, ';', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> share = absl::StrSplit(one, absl::MaxSplits('=', 1));
    absl::string_view value = absl::StripAsciiWhitespace(share.second);
    while (value.size() > 1 && value[0] == '0') value.remove_prefix(1);
    out.shares[std::string(absl::StripAsciiWhitespace(share.first))] = absl::AsciiStrToLower(value);
  }
  return out;
}

// Every share that `wanted` names is so in the text of a schemata file.
bool Has(const std::string& schemata, const std::string& wanted) {
  const Schema line = ParseSchema(wanted);
  for (const absl::string_view one : absl::StrSplit(schemata, '\n', absl::SkipWhitespace())) {
    const Schema there = ParseSchema(one);
    if (there.resource != line.resource) continue;
    return std::all_of(line.shares.begin(), line.shares.end(), [&](const auto& share) {
      const auto found = there.shares.find(share.first);
      return found != there.shares.end() && found->second == share.second;
    });
  }
  return false;
}

absl::Status CheckClosId(const std::string& name) {
  if (!name.empty() && name != "." && name != ".." && name.size() < 256 && name.find_first_of(std::string("/\0\n", 3)) == std::string::npos) return absl::OkStatus();
  return UsageError(absl::StrCat(kField, ".closID: '", name, "' cannot name a group"));
}

absl::Status Make(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  if (errno == ENOSPC) return absl::ResourceExhaustedError(absl::StrCat(kField, ": the processor has no class of service left for ", directory));
  return SystemError(absl::StrCat(kField, ": make ", directory));
}

// What the kernel has against the last thing that was written.
std::string Complaint(const std::string& root) {
  const auto text = ReadSmallFile(absl::StrCat(root, "/info/last_cmd_status"));
  const absl::string_view line = text.ok() ? absl::StripAsciiWhitespace(*text) : "";
  return line.empty() || line == "ok" ? "" : absl::StrCat(" (", line, ")");
}

absl::Status WriteSchemata(const ResctrlGroup& group) {
  const absl::Status written = WriteSmallFile(group.directory + "/schemata", absl::StrCat(absl::StrJoin(group.schemata, "\n"), "\n"));
  if (written.ok()) return written;
  const std::string root = group.directory.substr(0, group.directory.rfind('/'));
  return absl::Status(written.code(), absl::StrCat(kField, ": ", absl::StrReplaceAll(written.message(), {{"\n", " "}}), Complaint(root)));
}

}  // namespace

absl::StatusOr<std::string> FindResctrlIn(const std::string& mountinfo) {
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    const std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2 || !absl::StartsWith(halves[1], "resctrl ")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(halves[0], ' ');
    if (words.size() > 4) return std::string(words[4]);
  }
  return absl::FailedPreconditionError(
      absl::StrCat(kField, ": resctrl is not mounted on this host: mount -t resctrl resctrl /sys/fs/resctrl, if its processors can divide their caches and bandwidth"));
}

absl::StatusOr<std::string> FindResctrl() {
  const std::string text = TRY_STATUS(ReadSmallFile("/proc/self/mountinfo"));
  return FindResctrlIn(text);
}

std::vector<std::string> ResctrlGroup::Removable() const {
  std::vector<std::string> out;
  if (!monitoring.empty()) out.push_back(monitoring);
  if (!is_shared) out.push_back(directory);
  return out;
}

absl::StatusOr<ResctrlGroup> PlanResctrl(const std::string& root, const oci::IntelRdt& wanted, const std::string& id) {
  ResctrlGroup out;
  out.is_shared = wanted.clos_id.has_value();
  const std::string name = wanted.clos_id.value_or(id);
  TRY_STATUS(CheckClosId(name));
  out.directory = absl::StrCat(root, "/", name);
  if (!wanted.l3_cache_schema.empty() && !Exists(root + "/info/L3") && !Exists(root + "/info/L3CODE")) {
    return absl::FailedPreconditionError(absl::StrCat(kField, ".l3CacheSchema: this host's processors cannot divide their cache"));
  }
  if (!wanted.mem_bw_schema.empty() && !Exists(root + "/info/MB")) {
    return absl::FailedPreconditionError(absl::StrCat(kField, ".memBwSchema: this host's processors cannot divide their memory bandwidth"));
  }
  // The specification: lines of the cache's schema that are of the bandwidth do not count.
  for (const absl::string_view line : absl::StrSplit(wanted.l3_cache_schema, '\n', absl::SkipWhitespace())) {
    if (!absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "MB:")) out.schemata.emplace_back(line);
  }
  if (!wanted.mem_bw_schema.empty()) {
    if (!absl::StartsWith(wanted.mem_bw_schema, "MB:") || wanted.mem_bw_schema.find('\n') != std::string::npos) {
      return UsageError(absl::StrCat(kField, ".memBwSchema: must be one line that begins with MB:"));
    }
    out.schemata.push_back(wanted.mem_bw_schema);
  }
  if (wanted.enable_cmt || wanted.enable_mbm) {
    if (!Exists(root + "/info/L3_MON")) return absl::FailedPreconditionError(absl::StrCat(kField, wanted.enable_cmt ? ".enableCMT" : ".enableMBM", ": this host's processors cannot count that"));
    out.monitoring = absl::StrCat(out.directory, "/mon_groups/", id);
  }
  if (out.is_shared && out.schemata.empty() && !Exists(out.directory)) {
    return absl::NotFoundError(absl::StrCat(kField, ".closID: there is no group ", out.directory, ", and no schema to make it with"));
  }
  if (out.is_shared && Exists(out.directory)) {
    const std::string there = TRY_STATUS(ReadSmallFile(out.directory + "/schemata"));
    for (const std::string& line : out.schemata) {
      if (!Has(there, line)) return absl::FailedPreconditionError(absl::StrCat(kField, ".closID: the group ", out.directory, " is there already, with other shares than ", line));
    }
  }
  return out;
}

absl::Status EnterResctrl(const ResctrlGroup& group, pid_t pid) {
  const bool there = Exists(group.directory);
  if (!there) TRY_STATUS(Make(group.directory));
  if (!group.schemata.empty() && !(there && group.is_shared)) TRY_STATUS(WriteSchemata(group));
  TRY_STATUS(WriteSmallFile(group.directory + "/tasks", absl::StrCat(pid)));
  if (group.monitoring.empty()) return absl::OkStatus();
  TRY_STATUS(Make(group.monitoring));
  return WriteSmallFile(group.monitoring + "/tasks", absl::StrCat(pid));
}

}  // namespace rampart::runner
