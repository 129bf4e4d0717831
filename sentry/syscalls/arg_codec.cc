#include "sentry/syscalls/arg_codec.h"

#include <array>
#include <cstdio>

namespace rampart::syscalls {

void PrintSigned(std::string& out, int64_t value) { out += std::to_string(value); }

void PrintHex(std::string& out, uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "%#llx", static_cast<unsigned long long>(value));
  out += value == 0 ? "NULL" : text;
}

void PrintUserString(std::string& out, UserAddr address, mm::UserMemory& memory) {
  std::array<std::byte, 80> bytes;
  const Result<size_t> n = memory.CopyInPartial(address, bytes);
  if (!n.ok()) return PrintHex(out, address);
  out += '"';
  for (size_t i = 0; i < *n; ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    if (c == 0) {
      out += '"';
      return;
    }
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += static_cast<char>(c);
    } else {
      char text[8];
      std::snprintf(text, sizeof(text), "\\x%02x", c);
      out += text;
    }
  }
  out += "\"…";
}

}  // namespace rampart::syscalls
