// The first line of a script: `#! interpreter [one argument]`, by the rules of Linux's binfmt_script.c.
// Thread safety: pure.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace rampart::loader {

struct ScriptLine {
  std::string interpreter;
  std::optional<std::string> argument;  // everything behind the interpreter, blanks at both ends removed
};

// `start`: the file's first kBinprmBufSize bytes at most. Nothing when it does not begin with "#!". ENOEXEC: no interpreter is named, or its
// name does not end within the buffer.
Result<std::optional<ScriptLine>> ParseScriptLine(std::span<const std::byte> start);

}  // namespace rampart::loader
