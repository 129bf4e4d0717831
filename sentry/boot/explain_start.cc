#include "sentry/boot/explain_start.h"

#include <array>
#include <optional>

#include "abi/types.h"
#include "sentry/kernel/exec_file.h"
#include "sentry/loader/elf_image.h"
#include "sentry/loader/script.h"

namespace rampart::sentry::boot {
namespace {

constexpr uint64_t kAddressesEnd = uint64_t{1} << 47;
constexpr int kMostScripts = 6;  // one names the next

struct Next {
  std::string interpreter;  // of a script's first line, or PT_INTERP; "" when there is none
  bool script = false;
};

Next InterpreterOf(loader::ExecutableFile& file) {
  std::array<std::byte, 256> start{};
  const Result<size_t> read = file.PRead(start, 0);
  if (!read.ok()) return {};
  const std::span<const std::byte> text = std::span(start).first(*read);
  if (loader::LooksLikeElf(text)) {
    const Result<loader::ElfImage> image = loader::ReadElf(file, Errno::kENOEXEC, kAddressesEnd);
    return {image.ok() ? image->interpreter.value_or("") : "", false};
  }
  const Result<std::optional<loader::ScriptLine>> line = loader::ParseScriptLine(text);
  if (!line.ok() || !line->has_value()) return {};
  return {(*line)->interpreter, true};
}

// Follows `program` to the first interpreter that cannot be run: "" when all can.
std::string BrokenInterpreter(kernel::VfsOpener& opener, const std::string& program) {
  std::string path = program;
  for (int i = 0; i < kMostScripts; ++i) {
    const Result<Ref<loader::ExecutableFile>> file = opener.OpenExecutable(path);
    if (!file.ok()) {
      return path == program ? "" : "the interpreter '" + path + "' that it names: " + ErrnoText(file.error());
    }
    const Next next = InterpreterOf(**file);
    if (next.interpreter.empty()) return "";
    path = next.interpreter;
  }
  return "";
}

}  // namespace

std::string ExplainStart(Caller& caller, vfs::FsContext& fs, const std::string& program, Errno error, bool memory_limited) {
  kernel::VfsOpener opener(caller, fs);
  if (const std::string broken = BrokenInterpreter(opener, program); !broken.empty()) return broken;
  const std::string text = ErrnoText(error);
  switch (error) {
    case Errno::kENOEXEC:
      return text + ": neither a sound x86-64 ELF program nor a script that begins with #! (a shell script: sentry-run sh FILE)";
    case Errno::kELIBBAD:
      return text + ": its interpreter is not a sound x86-64 ELF file";
    case Errno::kEINVAL:
      return text + ": its segments make no sense";
    case Errno::kENOMEM:
      return text + (memory_limited ? ": it needs more than --memory allows" : ": it needs more than there is, or than an address space has room for");
    case Errno::kEACCES:
      return text + " (not a regular file, without execute permission, or below a directory that may not be entered)";
    default:
      return text;
  }
}

}  // namespace rampart::sentry::boot
