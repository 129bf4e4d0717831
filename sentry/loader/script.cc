#include "sentry/loader/script.h"

#include <string_view>

#include "sentry/loader/loader.h"

namespace rampart::loader {

Result<std::optional<ScriptLine>> ParseScriptLine(std::span<const std::byte> start) {
  // SAFETY: bytes as characters.
  std::string_view text(reinterpret_cast<const char*>(start.data()), std::min(start.size(), kBinprmBufSize));
  if (!text.starts_with("#!")) return std::optional<ScriptLine>();
  text.remove_prefix(2);
  constexpr std::string_view kBlanks = " \t";
  const bool whole_file = start.size() < kBinprmBufSize;
  size_t end = text.find('\n');
  if (end == std::string_view::npos) {
    // The line is cut off: fine as long as the interpreter's own name is complete.
    const size_t name = text.find_first_not_of(kBlanks);
    if (name == std::string_view::npos) return Errno::kENOEXEC;
    if (!whole_file && text.find_first_of(std::string_view(" \t\0", 3), name) == std::string_view::npos) return Errno::kENOEXEC;
    end = text.size();
  }
  text = text.substr(0, end);
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) text = text.substr(0, nul);
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return Errno::kENOEXEC;
  text = text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
  const size_t name_end = text.find_first_of(kBlanks);
  ScriptLine line;
  line.interpreter = std::string(text.substr(0, name_end));
  if (name_end != std::string_view::npos) {
    const size_t argument = text.find_first_not_of(kBlanks, name_end);
    if (argument != std::string_view::npos) line.argument = std::string(text.substr(argument));
  }
  return std::optional<ScriptLine>(std::move(line));
}

}  // namespace rampart::loader
