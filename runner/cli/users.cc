#include "runner/cli/users.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

std::string ReadBeneath(const std::string& root, const char* path) {
  const UniqueFd directory(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, directory.get(), path, &how, sizeof(how))));
  std::string text;
  char block[4096];
  ssize_t n = 0;
  while (text.size() < (1 << 20) && (n = ::read(fd.get(), block, sizeof(block))) > 0) text.append(block, static_cast<size_t>(n));
  return text;
}

// The fields of the line whose first field is `name`, or whose third is `id`.
std::vector<std::string> FindLine(const std::string& table, const std::string& name, std::optional<uint32_t> id) {
  for (const absl::string_view line : absl::StrSplit(table, '\n')) {
    std::vector<std::string> fields = absl::StrSplit(line, ':');
    if (fields.size() < 3) continue;
    if (fields[0] == name || (id.has_value() && fields[2] == absl::StrCat(*id))) return fields;
  }
  return {};
}

std::optional<uint32_t> Number(const std::string& text) {
  uint32_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number == UINT32_MAX) return std::nullopt;
  return number;
}

}  // namespace

absl::StatusOr<oci::User> ParseUser(const std::string& text, const std::string& root) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::string& name = parts[0];
  if (name.empty()) return UsageError(absl::StrCat("--user '", text, "': no user is named"));
  oci::User user;
  const auto number = Number(name);
  const std::vector<std::string> line = FindLine(ReadBeneath(root, "etc/passwd"), name, number);
  if (line.size() > 3) {
    user.uid = Number(line[2]).value_or(UINT32_MAX);
    user.gid = Number(line[3]).value_or(UINT32_MAX);
    if (user.uid == UINT32_MAX || user.gid == UINT32_MAX) return UsageError(absl::StrCat("--user '", name, "': its line in etc/passwd is damaged"));
  } else if (number.has_value()) {
    user.uid = *number;
  } else {
    return UsageError(absl::StrCat("--user '", name, "': there is no such user in etc/passwd of the root ", root, "; use a number"));
  }
  if (parts.size() < 2) return user;
  const auto group_number = Number(parts[1]);
  const std::vector<std::string> group = FindLine(ReadBeneath(root, "etc/group"), parts[1], group_number);
  const auto gid = group_number.has_value() ? group_number : group.empty() ? std::nullopt : Number(group[2]);
  if (!gid.has_value()) return UsageError(absl::StrCat("--user: there is no group '", parts[1], "' in etc/group of the root ", root, "; use a number"));
  user.gid = *gid;
  return user;
}

}  // namespace rampart::runner
