#include "runner/util/status.h"

#include "absl/strings/str_cat.h"

namespace rampart::runner {
namespace {

// What the caller wrote may be quoted in it, and goes to a terminal.
std::string OneLine(const std::string& what) {
  std::string out;
  for (const char c : what) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

absl::Status SystemError(const std::string& what, int host_errno) {
  const Errno error = ErrnoFromHost(host_errno);
  return absl::Status(absl::ErrnoToStatusCode(host_errno), absl::StrCat(OneLine(what), ": ", ErrnoText(error), " (", ErrnoName(error), ")"));
}

absl::Status SystemError(const std::string& what, Errno error) { return SystemError(what, static_cast<int>(error)); }

absl::Status UsageError(const std::string& what) { return absl::InvalidArgumentError(OneLine(what)); }

}  // namespace rampart::runner
