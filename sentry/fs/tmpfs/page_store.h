// PageStore: which page of a file is where in the memory file. Sparse; runs that are neighbours in both are one.
// Thread safety: none, the owner locks. Ownership: one reference to each page, given up by Remove's caller.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "sentry/mm/memory_file.h"

namespace rampart::fs {

class PageStore {
 public:
  struct Run {
    uint64_t page;    // first page of the file
    uint64_t pages;
    uint64_t memory;  // offset in the memory file of the first
  };
  // The run that contains `page`.
  std::optional<Run> Find(uint64_t page) const;
  // The first present (absent) page at or after `page`; UINT64_MAX if there is none.
  uint64_t NextPresent(uint64_t page) const;
  uint64_t NextAbsent(uint64_t page) const;
  // REQUIRES: none of the pages is present.
  void Insert(Run run);
  // Takes the pages in [first, last) out and returns where they were.
  std::vector<mm::FileRange> Remove(uint64_t first, uint64_t last);
  uint64_t pages() const { return pages_; }
  // Pages present in [first, last).
  uint64_t CountIn(uint64_t first, uint64_t last) const;

 private:
  struct Value {
    uint64_t pages;
    uint64_t memory;
  };
  std::map<uint64_t, Value>::const_iterator At(uint64_t page) const;
  std::map<uint64_t, Value> runs_;
  uint64_t pages_ = 0;
};

}  // namespace rampart::fs
