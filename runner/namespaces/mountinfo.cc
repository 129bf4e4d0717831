#include <algorithm>
#include <iterator>

#include "absl/strings/str_split.h"
#include "runner/namespaces/mounts.h"

namespace rampart::runner {
namespace {

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// "\040" → " ": how the kernel writes blanks, tabs, newlines and backslashes.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) && IsOctal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

std::vector<MountInfo> ParseMountInfo(const std::string& text) {
  std::vector<MountInfo> mounts;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 7 || dash == words.end() || std::next(dash) == words.end()) continue;
    mounts.push_back({Unescape(words[4]), std::string(*std::next(dash))});
  }
  return mounts;
}

bool IsKernelFilesystem(const std::string& type) {
  static constexpr const char* kTypes[] = {"proc",       "sysfs",   "devtmpfs",  "devpts",      "cgroup",     "cgroup2",  "mqueue",
                                           "debugfs",    "tracefs", "securityfs", "bpf",        "fusectl",    "configfs", "pstore",
                                           "efivarfs",   "autofs",  "selinuxfs", "binfmt_misc", "rpc_pipefs", "nsfs",     "resctrl",
                                           "hugetlbfs",  "smackfs", "functionfs"};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

}  // namespace rampart::runner
