#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runner/sandbox/plan.h"
#include "runner/util/status.h"

namespace rampart::runner {

absl::StatusOr<uint64_t> ParseSize(const std::string& text) {
  const auto bad = [&] { return UsageError(absl::StrCat("'", text, "' is not a size: write a number of bytes, or 64k, 512m, 2g")); };
  std::string digits = absl::AsciiStrToLower(text);
  if (absl::EndsWith(digits, "b") || absl::EndsWith(digits, "i")) return bad();
  double factor = 1;
  static constexpr absl::string_view kSuffixes = "kmgt";
  if (!digits.empty()) {
    if (const size_t at = kSuffixes.find(digits.back()); at != absl::string_view::npos) {
      factor = std::pow(1024.0, static_cast<double>(at + 1));
      digits.pop_back();
    }
  }
  if (digits.empty() || digits.find_first_not_of("0123456789.") != std::string::npos) return bad();
  double number = 0;
  if (!absl::SimpleAtod(digits, &number) || number < 0) return bad();
  const double bytes = number * factor;
  if (bytes >= 9.2e18) return bad();
  return static_cast<uint64_t>(bytes);
}

std::string CleanPath(const std::string& path) {
  std::vector<absl::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    parts.push_back(part);
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

}  // namespace rampart::runner
