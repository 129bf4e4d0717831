#include "sentry/net/unix/unix_names.h"

#include <cstdio>

#include "absl/container/flat_hash_map.h"

namespace rampart::net {
namespace {

constexpr size_t kPathMax = 108;

struct Names {
  absl::Mutex mu;
  absl::flat_hash_map<std::string, UnixNode*> abstract ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<const vfs::Inode*, UnixNode*> inodes ABSL_GUARDED_BY(mu);
  uint32_t last_automatic ABSL_GUARDED_BY(mu) = 0;
};
Names& TheNames() {
  static Names* const names = new Names;
  return *names;
}

// Abstract names are apart for each type of socket.
std::string KeyOf(int type, std::string_view name) { return std::string(1, static_cast<char>(type)).append(name); }

}  // namespace

std::string UnixLink::PeerName() const { return peer_node ? peer_node->Name() : peer_name; }

Result<std::string_view> UnixNameIn(std::string_view address) {
  if (address.size() < 2 || address.size() > 2 + kPathMax) return Errno::kEINVAL;
  const int family = static_cast<unsigned char>(address[0]) | static_cast<unsigned char>(address[1]) << 8;
  if (family != abi::kAfUnix) return Errno::kEINVAL;
  std::string_view name = address.substr(2);
  if (!name.empty() && name[0] != '\0') name = name.substr(0, name.find('\0'));
  return name;
}

std::string UnixAddress(std::string_view name, bool is_path) {
  std::string address{static_cast<char>(abi::kAfUnix), '\0'};
  address += name;
  if (is_path) address += '\0';
  return address;
}

UnixName::~UnixName() {
  Names& names = TheNames();
  absl::MutexLock table(&names.mu);
  if (!abstract_.empty()) names.abstract.erase(abstract_);
  if (path_) names.inodes.erase(path_->dentry->inode().get());
}

Result<void> UnixName::TakeAbstract(UnixNode& node, std::string name) {
  Names& names = TheNames();
  {
    absl::MutexLock table(&names.mu);
    if (!names.abstract.try_emplace(KeyOf(node.type, name), &node).second) return Errno::kEADDRINUSE;
    abstract_ = KeyOf(node.type, name);
  }
  absl::MutexLock lock(&node.mu);
  node.name = UnixAddress(name, false);
  return Ok();
}

Result<void> UnixName::TakeAutomatic(UnixNode& node) {
  for (int tries = 0; tries < 1 << 20; ++tries) {
    char name[8] = {};
    {
      Names& names = TheNames();
      absl::MutexLock table(&names.mu);
      std::snprintf(name + 1, sizeof(name) - 1, "%05x", ++names.last_automatic & 0xfffff);
    }
    if (TakeAbstract(node, std::string(name, 6)).ok()) return Ok();
  }
  return Errno::kENOSPC;
}

void UnixName::TakePath(UnixNode& node, vfs::Path path, std::string_view shown) {
  Names& names = TheNames();
  {
    absl::MutexLock table(&names.mu);
    path_ = std::move(path);
    names.inodes[path_->dentry->inode().get()] = &node;
  }
  absl::MutexLock lock(&node.mu);
  node.name = UnixAddress(shown, true);
}

Result<Ref<UnixNode>> FindUnixNode(const vfs::Walk& walk, std::string_view address, int type) {
  const std::string_view name = TRY(UnixNameIn(address));
  if (name.empty()) return Errno::kEINVAL;
  Names& names = TheNames();
  if (name[0] == '\0') {
    absl::MutexLock table(&names.mu);
    const auto it = names.abstract.find(KeyOf(type, name));
    RefPtr<UnixNode> found = it == names.abstract.end() ? nullptr : TryRef(it->second);
    if (!found) return Errno::kECONNREFUSED;
    return std::move(found).ToRef();
  }
  const vfs::Path path = TRY(vfs::Lookup(walk, name, {}));
  TRY(vfs::CheckAccess(walk.caller, path, vfs::Access::kWrite));
  absl::MutexLock table(&names.mu);
  const auto it = names.inodes.find(path.dentry->inode().get());
  RefPtr<UnixNode> found = it == names.inodes.end() ? nullptr : TryRef(it->second);
  if (!found) return Errno::kECONNREFUSED;
  return std::move(found).ToRef();
}

}  // namespace rampart::net
