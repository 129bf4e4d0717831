#include "sentry/syscalls/docs.h"

#include <array>
#include <cstdio>

#include "sentry/syscalls/table.h"

namespace rampart::syscalls {
namespace {

const char* LevelName(Support support) {
  switch (support) {
    case Support::kFull: return "full";
    case Support::kPartial: return "partial";
    case Support::kStub: return "stub";
    default: return "missing";
  }
}

std::string NoteOf(const SyscallEntry& e) {
  if (e.support != Support::kStub) return e.note;
  return std::string("Always ") + ErrnoName(e.error) + ". " + e.note;
}

// Quotes and backslashes; notes are ours and hold no control characters.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

void PrintRow(std::string& out, TableFormat format, const SyscallEntry& e, bool first) {
  const auto number = static_cast<uint32_t>(e.number);
  const char* name = abi::SysnoName(number);
  const std::string note = NoteOf(e);
  char head[96];
  switch (format) {
    case TableFormat::kText:
      std::snprintf(head, sizeof(head), "%3u  %-26s %-8s ", number, name, LevelName(e.support));
      out += head + note + "\n";
      break;
    case TableFormat::kMarkdown:
      std::snprintf(head, sizeof(head), "| %u | `%s` | %s | ", number, name, LevelName(e.support));
      out += head + note + " |\n";
      break;
    case TableFormat::kJson:
      std::snprintf(head, sizeof(head), "%s  {\"number\": %u, \"name\": \"%s\", \"support\": \"%s\", \"note\": \"", first ? "" : ",\n", number, name,
                    LevelName(e.support));
      out += head + Escaped(note) + "\"}";
      break;
  }
}

std::string Counts() {
  std::array<int, 5> counts{};
  for (const abi::Sysno number : abi::kSysnos) ++counts[static_cast<size_t>(Amd64Table().Find(static_cast<uint32_t>(number))->support)];
  const auto of = [&](Support support) { return counts[static_cast<size_t>(support)]; };
  char line[256];
  std::snprintf(line, sizeof(line), "Of %zu calls of Linux x86-64: %d full, %d partial, %d stubs, %d missing.\n", std::size(abi::kSysnos),
                of(Support::kFull), of(Support::kPartial), of(Support::kStub), of(Support::kMissing));
  return line;
}

std::string MarkdownHead() {
  return std::string("# System calls\n\n<!-- Generated from sentry/syscalls/table.cc by tools/update-docs; do not edit. -->\n\n") + Counts() +
         "\n*full*: as Linux does it. *partial*: what differs is in the note. *stub*: always the same error, on purpose. *missing*: `ENOSYS`.\n\n"
         "| Number | Name | Support | Note |\n|---:|---|---|---|\n";
}

}  // namespace

std::string PrintSyscallTable(TableFormat format) {
  std::string out = format == TableFormat::kMarkdown ? MarkdownHead() : format == TableFormat::kJson ? "[\n" : "";
  bool first = true;
  for (const abi::Sysno number : abi::kSysnos) {
    const SyscallEntry* entry = Amd64Table().Find(static_cast<uint32_t>(number));
    PrintRow(out, format, *entry, first);
    first = false;
  }
  if (format == TableFormat::kJson) out += "\n]\n";
  if (format == TableFormat::kText) out += Counts();
  return out;
}

}  // namespace rampart::syscalls
