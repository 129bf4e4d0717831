#include "sentry/fs/gofer/listing.h"

#include "sentry/fs/gofer/convert.h"

namespace rampart::fs {
namespace {

constexpr size_t kMaxEntries = 4'000'000;  // a hostile Gofer's directory ends somewhere

}  // namespace

Result<Ref<Listing>> Listing::Read(gofer::Client& client, gofer::FidNum fid, bool want_attr) {
  Ref<Listing> listing = MakeRef<Listing>();
  bool restart = true;
  for (bool end = false; !end; restart = false) {
    const bool with_attr = want_attr && listing->entries_.size() < kMaxWithAttributes;
    end = TRY(listing->ReadSome(client, fid, restart, with_attr));
    if (listing->entries_.size() > kMaxEntries) return Errno::kEIO;
  }
  listing->Index();
  return listing;
}

// One message's worth; true at the end.
Result<bool> Listing::ReadSome(gofer::Client& client, gofer::FidNum fid, bool restart, bool want_attr) {
  const auto reply = TRY(client.Call(gofer::Tereaddir{fid, restart ? uint8_t{1} : uint8_t{0}, want_attr ? uint8_t{1} : uint8_t{0}}));
  if (reply->entries.empty() && reply->end == 0) return Errno::kEIO;
  for (const gofer::EntryAttr& from : reply->entries) {
    if (!gofer::IsValidName(from.name)) return Errno::kEIO;
    const bool has_attr = from.has_attr != 0 && gofer::IsValid(from.attr);
    Entry entry{std::string(from.name), from.ino, has_attr ? TypeOf(from.attr) : TypeOfDirent(from.type)};
    if (want_attr) attrs_.resize(entries_.size() + 1);
    if (want_attr && has_attr) attrs_.back() = from.attr;
    entries_.push_back(std::move(entry));
  }
  return reply->end != 0;
}

void Listing::Index() {
  taken_ = std::make_unique<std::atomic<bool>[]>(attrs_.size());
  index_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

bool Listing::TakeAttr(std::string_view name, gofer::FileAttr& attr) const {
  const auto it = index_.find(name);
  if (it == index_.end() || it->second >= attrs_.size()) return false;
  const gofer::FileAttr& found = attrs_[it->second];
  // A file with several names may change through another one.
  if (found.mode == 0 || (found.nlink > 1 && TypeOf(found) != vfs::FileType::kDirectory)) return false;
  if (taken_[it->second].exchange(true)) return false;
  attr = found;
  return true;
}

}  // namespace rampart::fs
