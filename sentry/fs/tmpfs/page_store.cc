#include "sentry/fs/tmpfs/page_store.h"

#include <algorithm>

#include "base/safe_math.h"

namespace rampart::fs {

// The run that contains `page`, or end().
std::map<uint64_t, PageStore::Value>::const_iterator PageStore::At(uint64_t page) const {
  auto it = runs_.upper_bound(page);
  if (it == runs_.begin()) return runs_.end();
  --it;
  return page < it->first + it->second.pages ? it : runs_.end();
}

std::optional<PageStore::Run> PageStore::Find(uint64_t page) const {
  const auto it = At(page);
  if (it == runs_.end()) return std::nullopt;
  return Run{it->first, it->second.pages, it->second.memory};
}

uint64_t PageStore::NextPresent(uint64_t page) const {
  if (At(page) != runs_.end()) return page;
  const auto it = runs_.lower_bound(page);
  return it == runs_.end() ? UINT64_MAX : it->first;
}

uint64_t PageStore::NextAbsent(uint64_t page) const {
  for (auto it = At(page); it != runs_.end() && it->first <= page; ++it) page = it->first + it->second.pages;
  return page;
}

void PageStore::Insert(Run run) {
  pages_ += run.pages;
  auto after = runs_.lower_bound(run.page);
  CHECK(after == runs_.end() || after->first >= run.page + run.pages);
  const bool joins_after = after != runs_.end() && after->first == run.page + run.pages && after->second.memory == run.memory + run.pages * kPageSize;
  if (joins_after) {
    run.pages += after->second.pages;
    after = runs_.erase(after);
  }
  if (after != runs_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second.pages == run.page && before->second.memory + before->second.pages * kPageSize == run.memory) {
      before->second.pages += run.pages;
      return;
    }
  }
  runs_.emplace_hint(after, run.page, Value{run.pages, run.memory});
}

std::vector<mm::FileRange> PageStore::Remove(uint64_t first, uint64_t last) {
  std::vector<mm::FileRange> removed;
  auto it = runs_.upper_bound(first);
  if (it != runs_.begin()) --it;
  while (it != runs_.end() && it->first < last) {
    const uint64_t start = it->first, end = start + it->second.pages, memory = it->second.memory;
    const uint64_t cut_start = std::max(start, first), cut_end = std::min(end, last);
    if (cut_start >= cut_end) {
      ++it;
      continue;
    }
    removed.push_back({memory + (cut_start - start) * kPageSize, memory + (cut_end - start) * kPageSize});
    pages_ -= cut_end - cut_start;
    it = runs_.erase(it);
    if (start < cut_start) runs_.emplace(start, Value{cut_start - start, memory});
    if (cut_end < end) runs_.emplace(cut_end, Value{end - cut_end, memory + (cut_end - start) * kPageSize});
  }
  return removed;
}

uint64_t PageStore::CountIn(uint64_t first, uint64_t last) const {
  uint64_t count = 0;
  auto it = runs_.upper_bound(first);
  if (it != runs_.begin()) --it;
  for (; it != runs_.end() && it->first < last; ++it) {
    const uint64_t start = std::max(it->first, first), end = std::min(it->first + it->second.pages, last);
    if (start < end) count += end - start;
  }
  return count;
}

}  // namespace rampart::fs
