#include "platform/ptrace/mapping_queue.h"

#include <algorithm>
#include <utility>

namespace rampart::platform::ptrace {
namespace {

// How far back a new change looks for ones that it makes needless. Programs undo and redo what they did just before.
constexpr size_t kLookBack = 16;

}  // namespace

bool MappingQueue::Cut(uint64_t start, uint64_t end) {
  auto it = ranges_.upper_bound(start);
  if (it != ranges_.begin()) {
    auto previous = std::prev(it);
    if (previous->second.end > start) it = previous;
  }
  bool found = false;
  while (it != ranges_.end() && it->first < end) {
    found = true;
    const uint64_t range_start = it->first;
    Range range = std::move(it->second);
    ranges_.erase(it);
    if (range_start < start) ranges_.emplace(range_start, Range{start, range.file});
    if (range.end > end) ranges_.emplace(end, Range{range.end, range.file});
    // The last reference to a file may be in a queued change still, or be this one: never release it here, under the owner's lock.
    dropped_.push_back(std::move(range.file));
    it = ranges_.lower_bound(start);
  }
  return found;
}

void MappingQueue::Insert(uint64_t start, uint64_t end, RefPtr<BackingFile> file) {
  auto next = ranges_.lower_bound(end);
  if (next != ranges_.end() && next->first == end && next->second.file == file) {
    end = next->second.end;
    ranges_.erase(next);
  }
  auto it = ranges_.upper_bound(start);
  if (it != ranges_.begin()) {
    auto previous = std::prev(it);
    if (previous->second.end == start && previous->second.file == file) {
      previous->second.end = end;
      return;
    }
  }
  ranges_.emplace(start, Range{end, std::move(file)});
}

void MappingQueue::DropCovered(uint64_t start, uint64_t end) {
  size_t looked = 0;
  for (size_t i = changes_.size(); i > 0 && looked < kLookBack; --i, ++looked) {
    MappingChange& change = changes_[i - 1];
    if (change.address < start || change.end() > end) continue;
    if (change.file) dropped_.push_back(std::move(change.file));
    changes_.erase(changes_.begin() + static_cast<ptrdiff_t>(i - 1));
  }
}

void MappingQueue::Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) {
  const uint64_t end = address + length;
  Cut(address, end);
  Insert(address, end, RefPtr<BackingFile>(file));
  DropCovered(address, end);
  if (!changes_.empty()) {
    MappingChange& last = changes_.back();
    if (last.kind == MappingChange::Kind::kMap && last.file.get() == file.get() && last.prot == prot && last.populate == populate) {
      if (last.end() == address && last.offset + last.length == offset) {
        last.length += length;
        return;
      }
      if (end == last.address && offset + length == last.offset) {
        last.address = address;
        last.offset = offset;
        last.length += length;
        return;
      }
    }
  }
  changes_.push_back({MappingChange::Kind::kMap, prot, populate, address, length, offset, std::move(file)});
}

void MappingQueue::Unmap(uint64_t address, uint64_t length) {
  const uint64_t end = address + length;
  // Nothing mapped here as far as the queue's end goes: the host has nothing either, or a queued change will remove it.
  if (!Cut(address, end)) return;
  DropCovered(address, end);
  if (!changes_.empty() && changes_.back().kind == MappingChange::Kind::kUnmap) {
    MappingChange& last = changes_.back();
    if (last.end() == address || end == last.address) {
      last.address = std::min(last.address, address);
      last.length += length;
      return;
    }
  }
  changes_.push_back({.kind = MappingChange::Kind::kUnmap, .address = address, .length = length});
}

void MappingQueue::QueueProtect(uint64_t start, uint64_t end, Prot prot) {
  if (!changes_.empty()) {
    MappingChange& last = changes_.back();
    if (last.kind == MappingChange::Kind::kProtect && last.prot == prot && last.end() == start) {
      last.length += end - start;
      return;
    }
    if (last.kind != MappingChange::Kind::kUnmap && last.address >= start && last.end() <= end && last.address == start && last.end() == end) {
      last.prot = prot;
      return;
    }
  }
  changes_.push_back({.kind = MappingChange::Kind::kProtect, .prot = prot, .address = start, .length = end - start});
}

void MappingQueue::Protect(uint64_t address, uint64_t length, Prot prot) {
  const uint64_t end = address + length;
  auto it = ranges_.upper_bound(address);
  if (it != ranges_.begin()) --it;
  uint64_t run_start = 0;
  uint64_t run_end = 0;
  for (; it != ranges_.end() && it->first < end; ++it) {
    const uint64_t from = std::max(it->first, address);
    const uint64_t to = std::min(it->second.end, end);
    if (from >= to) continue;
    if (run_end == from && run_end != 0) {
      run_end = to;
      continue;
    }
    if (run_end != 0) QueueProtect(run_start, run_end, prot);
    run_start = from;
    run_end = to;
  }
  if (run_end != 0) QueueProtect(run_start, run_end, prot);
}

MappingQueue::Batch MappingQueue::Take() {
  return {std::exchange(changes_, {}), std::exchange(dropped_, {})};
}

}  // namespace rampart::platform::ptrace
