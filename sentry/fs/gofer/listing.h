// Listing: what a directory held at one moment, with attributes of its first entries. Immutable apart from marks on used attributes.
// Thread safety: any thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/ref.h"
#include "gofer/protocol/client.h"
#include "sentry/vfs/attr.h"

namespace rampart::fs {

class Listing final : public RefCounted {
 public:
  struct Entry {
    std::string name;
    uint64_t ino = 0;
    vfs::FileType type = vfs::FileType::kRegular;
  };

  // Reads the directory `fid` to its end; attributes for at most kMaxWithAttributes entries when `want_attr`.
  static Result<Ref<Listing>> Read(gofer::Client& client, gofer::FidNum fid, bool want_attr);

  const std::vector<Entry>& entries() const { return entries_; }
  bool has_attributes() const { return !attrs_.empty() || entries_.empty(); }
  bool Contains(std::string_view name) const { return index_.contains(name); }
  // The attributes of `name`, once: afterwards they may have changed through the inode that was made from them.
  bool TakeAttr(std::string_view name, gofer::FileAttr& attr) const;

 private:
  static constexpr size_t kMaxWithAttributes = 4096;
  Result<bool> ReadSome(gofer::Client& client, gofer::FidNum fid, bool restart, bool want_attr);
  void Index();

  std::vector<Entry> entries_;
  std::vector<gofer::FileAttr> attrs_;              // of the first entries; mode 0: none
  std::unique_ptr<std::atomic<bool>[]> taken_;      // beside attrs_
  absl::flat_hash_map<std::string_view, size_t> index_;  // names lie in entries_
};

}  // namespace rampart::fs
