#include "sentry/syscalls/docs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace rampart::syscalls {
namespace {

// Renewed by tools/update-docs, which runs this test with RAMPART_UPDATE_DOCS=1.
TEST(SyscallDocs, AreFresh) {
  const std::string path = RAMPART_SOURCE_DIR "/docs/syscalls.md";
  const std::string wanted = PrintSyscallTable(TableFormat::kMarkdown);
  if (std::getenv("RAMPART_UPDATE_DOCS") != nullptr) std::ofstream(path) << wanted;
  std::ifstream file(path);
  const std::string found((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(found == wanted) << "docs/syscalls.md is stale: run tools/update-docs";
}

TEST(SyscallDocs, EveryFormatHasEveryCall) {
  const std::string text = PrintSyscallTable(TableFormat::kText);
  const std::string json = PrintSyscallTable(TableFormat::kJson);
  EXPECT_NE(text.find("openat "), std::string::npos);
  EXPECT_NE(json.find("\"name\": \"removexattrat\""), std::string::npos);
  EXPECT_EQ(std::count(json.begin(), json.end(), '{') + 1, std::count(text.begin(), text.end(), '\n'));  // the counts come last
  EXPECT_NE(text.find("\nOf "), std::string::npos);
}

}  // namespace
}  // namespace rampart::syscalls
