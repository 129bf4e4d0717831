// Any command line: words separated by NUL bytes. It is a request or a one-line error.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "runner/cli/options.h"
#include "runner/cli/sentry_run.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(data[i]);
    }
  }
  const auto parsed = rampart::runner::ParseCommandLine(words);
  if (!parsed.ok()) CHECK(parsed.status().message().find('\n') == std::string::npos);
  rampart::runner::Caller caller;
  caller.cwd = "/";
  const auto request = rampart::runner::ParseSentryRun(words, caller);
  if (!request.ok()) CHECK(!request.status().message().empty() && request.status().message().find('\n') == std::string::npos);
  return 0;
}
