// What each system call takes, one letter an argument (see Arguments::Make): random calls with arguments of the right kind reach deeper.
#pragma once

#include <span>

namespace random_calls {

struct Shape {
  int number;
  const char* arguments;
};

// Every system call of x86-64 that has arguments worth shaping; numbers that are not in it get random arguments.
std::span<const Shape> Shapes();

}  // namespace random_calls
