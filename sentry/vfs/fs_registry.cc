#include "sentry/vfs/fs_registry.h"

#include <algorithm>

namespace rampart::vfs {

Result<void> FilesystemType::Check(const FsOption& option, FsLog& log) const {
  log.Error(std::string(name_) + ": Unknown parameter '" + option.key + "'");
  return Errno::kEINVAL;
}

FilesystemTypes& FilesystemTypes::Get() {
  static FilesystemTypes* const types = new FilesystemTypes;
  return *types;
}

void FilesystemTypes::Register(std::unique_ptr<FilesystemType> type) {
  absl::MutexLock lock(&mu_);
  // The latest registration wins, so that a test may make a second sandbox. Nothing refers to a type for longer than a call.
  std::erase_if(types_, [&](const std::unique_ptr<FilesystemType>& t) { return std::string_view(t->name()) == type->name(); });
  types_.push_back(std::move(type));
}

const FilesystemType* FilesystemTypes::Find(std::string_view name) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = std::find_if(types_.begin(), types_.end(), [&](const auto& type) { return type->name() == name; });
  return it == types_.end() ? nullptr : it->get();
}

std::vector<const FilesystemType*> FilesystemTypes::All() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<const FilesystemType*> all;
  all.reserve(types_.size());
  for (const auto& type : types_) all.push_back(type.get());
  return all;
}

std::vector<FsOption> SplitOptions(std::string_view text) {
  std::vector<FsOption> options;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), piece.size() + 1));
    if (piece.empty()) continue;
    const size_t equals = piece.find('=');
    FsOption option;
    option.key = piece.substr(0, equals);
    option.has_value = equals != std::string_view::npos;
    if (option.has_value) option.value = piece.substr(equals + 1);
    options.push_back(std::move(option));
  }
  return options;
}

}  // namespace rampart::vfs
