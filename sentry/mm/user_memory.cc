#include "sentry/mm/user_memory.h"

#include <algorithm>
#include <array>

namespace rampart::mm {

Result<void> UserMemory::CopyInBytes(UserAddr from, std::span<std::byte> bytes) {
  if (bytes.empty()) return Ok();
  const size_t done = TRY(CopyInPartial(from, bytes));
  if (done != bytes.size()) return Errno::kEFAULT;
  return Ok();
}

Result<void> UserMemory::CopyOutBytes(UserAddr to, std::span<const std::byte> bytes) {
  if (bytes.empty()) return Ok();
  const size_t done = TRY(CopyOutPartial(to, bytes));
  if (done != bytes.size()) return Errno::kEFAULT;
  return Ok();
}

Result<void> UserMemory::ZeroOut(UserAddr to, size_t n) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (n > 0) {
    const size_t step = std::min(n, kZeros.size());
    TRY(CopyOutBytes(to, std::span(kZeros).first(step)));
    to += step;
    n -= step;
  }
  return Ok();
}

Result<std::string> UserMemory::CopyInString(UserAddr from, size_t max, Errno too_long) {
  std::string out;
  std::array<std::byte, 256> chunk;
  while (out.size() < max) {
    // Never beyond the page: what lies behind the string need not be readable.
    const size_t in_page = kPageSize - (from & kPageMask);
    const size_t step = std::min({chunk.size(), max - out.size(), static_cast<size_t>(in_page)});
    const size_t got = TRY(CopyInPartial(from, std::span(chunk).first(step)));
    const void* nul = std::memchr(chunk.data(), 0, got);
    // SAFETY: bytes as characters.
    const char* text = reinterpret_cast<const char*>(chunk.data());
    if (nul != nullptr) {
      out.append(text, static_cast<const char*>(nul));
      return out;
    }
    out.append(text, got);
    if (got < step) return Errno::kEFAULT;
    from = TRY(CheckedAdd(from, static_cast<uint64_t>(got), Errno::kEFAULT));
  }
  return too_long;
}

}  // namespace rampart::mm
