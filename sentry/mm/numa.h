// NumaPolicy: where pages of an area or of a thread are to come from, as set_mempolicy(2) and mbind(2) say. There is one node, 0, so a policy is
// remembered, validated by the system calls, inherited and reported; it never changes where a page comes from.
// Thread safety: a value.
#pragma once

#include <cstdint>

namespace rampart::mm {

struct NumaPolicy {
  uint16_t mode = 0;    // MPOL_…; MPOL_DEFAULT: none of its own
  uint16_t flags = 0;   // MPOL_F_STATIC_NODES …
  uint64_t nodes = 0;   // as get_mempolicy reports them
  int32_t home = -1;    // set_mempolicy_home_node(2)
  bool operator==(const NumaPolicy&) const = default;
};

}  // namespace rampart::mm
