#include "runner/util/process_title.h"

#include <algorithm>
#include <cstring>

namespace rampart::runner {

ProcessTitle::ProcessTitle(int argc, char** argv) {
  if (argc <= 0) return;
  begin_ = argv[0];
  const char* end = begin_;
  for (int i = 0; i < argc && argv[i] == end; ++i) end += std::strlen(argv[i]) + 1;
  size_ = static_cast<size_t>(end - begin_);
}

void ProcessTitle::Set(const std::vector<std::string>& args) {
  if (size_ == 0) return;
  std::string text;
  for (const std::string& arg : args) text.append(arg).push_back('\0');
  const size_t used = std::min(text.size(), size_ - 1);
  std::memcpy(begin_, text.data(), used);
  std::memset(begin_ + used, 0, size_ - used);
}

}  // namespace rampart::runner
