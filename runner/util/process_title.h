// What ps(1) shows as the command line of this process. Linux reads it from the memory where the arguments were put at its start.
// Thread safety: one thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace rampart::runner {

class ProcessTitle {
 public:
  ProcessTitle() = default;
  // The arguments of main: strings that lie one behind the other, as execve(2) leaves them.
  ProcessTitle(int argc, char** argv);

  // As much of `args` as there is room for. The arguments of main are gone after it.
  void Set(const std::vector<std::string>& args);

 private:
  char* begin_ = nullptr;
  size_t size_ = 0;
};

}  // namespace rampart::runner
