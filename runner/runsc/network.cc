#include "runner/runsc/network.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr char kRemedy[] = "--network=sandbox is there for containers without interfaces only: give them no network (docker run --network none), or take --network=none, with which they see "
                           "their own loopback";

// What stands at `column` of each line of a table of the kernel's.
void AddColumn(const std::string& file, size_t column, std::set<std::string>& out) {
  const auto text = ReadSmallFile(file);
  if (!text.ok()) return;  // this kernel has no such protocol
  for (const auto line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() > column) out.insert(words[column]);
  }
}

}  // namespace

absl::Status CheckNetworkOfSpec(const oci::Spec& spec) {
  const auto& all = spec.linux_config.namespaces;
  if (std::any_of(all.begin(), all.end(), [](const oci::Namespace& ns) { return ns.type == "network"; })) return absl::OkStatus();
  return UsageError(absl::StrCat("$.linux.namespaces: without a network namespace the container would have the host's network; ", kRemedy));
}

absl::Status CheckNetworkOfProcess(pid_t pid) {
  // Those with addresses or routes: the kernel itself puts tunnels that are down into new namespaces.
  constexpr size_t kNameOfAddress = 5;
  std::set<std::string> names;
  AddColumn(absl::StrCat("/proc/", pid, "/net/route"), 0, names);
  AddColumn(absl::StrCat("/proc/", pid, "/net/if_inet6"), kNameOfAddress, names);
  names.erase("Iface");  // the head of the table
  names.erase("lo");
  if (names.empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("the container's network namespace has ", absl::StrJoin(names, ", "), ": ", kRemedy));
}

}  // namespace rampart::runner
