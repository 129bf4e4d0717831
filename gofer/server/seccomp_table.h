// The host calls that a serving Gofer makes, each with its reason and what is checked of its arguments. Everything else kills it,
// except clone3, which must fail with ENOSYS.
// The runner builds the filter from this table; with it on, ServeGofer needs nothing more.
#pragma once

#include <cstdint>
#include <span>

namespace rampart::gofer {

// Argument `index` (0-5) masked by `mask` must be `value`.
struct ArgCheck {
  uint8_t index = 0;
  uint64_t mask = 0;  // 0: no check
  uint64_t value = 0;
};

struct AllowedCall {
  int number;
  const char* name;
  const char* reason;
  ArgCheck checks[2] = {};
};

// Several rows of one number are alternatives.
std::span<const AllowedCall> GoferHostCalls();

}  // namespace rampart::gofer
