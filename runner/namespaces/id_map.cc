#include "runner/namespaces/id_map.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

std::string Format(const std::vector<IdRange>& ranges) {
  std::string text;
  for (const IdRange& range : ranges) absl::StrAppend(&text, range.inside, " ", range.outside, " ", range.count, "\n");
  return text;
}

absl::StatusOr<std::vector<IdRange>> OwnIdentity(const char* path) {
  const std::string text = TRY_STATUS(ReadSmallFile(path));
  std::vector<IdRange> ranges = TRY_STATUS(ParseIdMap(text));
  for (IdRange& range : ranges) range.outside = range.inside;
  return ranges;
}

}  // namespace

absl::StatusOr<std::vector<IdRange>> ParseIdMap(const std::string& text) {
  std::vector<IdRange> ranges;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipWhitespace());
    IdRange range;
    if (words.size() != 3 || !absl::SimpleAtoi(words[0], &range.inside) || !absl::SimpleAtoi(words[1], &range.outside) ||
        !absl::SimpleAtoi(words[2], &range.count)) {
      return absl::InvalidArgumentError(absl::StrCat("not a line of an id map: '", line, "'"));
    }
    ranges.push_back(range);
  }
  return ranges;
}

absl::StatusOr<IdMaps> MapEverybody() {
  IdMaps maps;
  maps.uids = TRY_STATUS(OwnIdentity("/proc/self/uid_map"));
  maps.gids = TRY_STATUS(OwnIdentity("/proc/self/gid_map"));
  return maps;
}

IdMaps MapOnly(uint32_t uid, uint32_t gid) { return {{{uid, uid, 1}}, {{gid, gid, 1}}}; }

bool Contains(const std::vector<IdRange>& ranges, uint32_t id) {
  for (const IdRange& range : ranges) {
    if (id >= range.inside && id - range.inside < range.count) return true;
  }
  return false;
}

absl::Status WriteIdMaps(pid_t pid, const IdMaps& maps, bool privileged) {
  const std::string directory = absl::StrCat("/proc/", pid, "/");
  if (!privileged) TRY_STATUS(WriteSmallFile(directory + "setgroups", "deny"));
  TRY_STATUS(WriteSmallFile(directory + "gid_map", Format(maps.gids)));
  return WriteSmallFile(directory + "uid_map", Format(maps.uids));
}

}  // namespace rampart::runner
