#include "sentry/vfs/path_text.h"

#include <algorithm>
#include <vector>

#include "sentry/vfs/operations.h"

namespace rampart::vfs {
namespace {

struct Climb {
  std::string text;    // "/a/b", "/" at the top itself
  bool reached_root;   // met `root`, or (without one) the top of a namespace
};

std::string Join(const std::vector<std::string>& names) {
  if (names.empty()) return "/";
  std::string text;
  for (auto it = names.rbegin(); it != names.rend(); ++it) {
    text += '/';
    text += *it;
  }
  return text;
}

// Follows parents and mountpoints up to `root`, or to the top.
Climb ClimbFrom(const Path* root, const Path& path) {
  std::vector<std::string> names;
  Path at = path;
  while (true) {
    if (root != nullptr && at == *root) return {Join(names), true};
    if (at.dentry == at.mount->root()) {
      std::optional<Path> up = MountNamespace::MountpointOf(*at.mount);
      if (!up) return {Join(names), root == nullptr};
      at = *std::move(up);
      continue;
    }
    RefPtr<Dentry> parent = at.dentry->parent();
    if (parent == nullptr) return {Join(names), false};
    names.push_back(at.dentry->name());
    at.dentry = std::move(parent).ToRef();
  }
}

}  // namespace

std::optional<std::string> ReachableText(const Path& root, const Path& path) {
  Climb climb = ClimbFrom(&root, path);
  if (!climb.reached_root) return std::nullopt;
  return std::move(climb.text);
}

std::string GlobalPathText(const Path& path) {
  if (path.dentry->IsAnonymous()) return path.dentry->name();
  std::string text = ClimbFrom(nullptr, path).text;
  if (path.dentry->IsDeleted()) text += " (deleted)";
  return text;
}

std::string PathText(const MountNamespace&, const Path& root, const Path& path) {
  if (path.dentry->IsAnonymous()) return path.dentry->name();
  Climb climb = ClimbFrom(&root, path);
  std::string text = climb.reached_root ? std::move(climb.text) : "(unreachable)" + climb.text;
  if (path.dentry->IsDeleted()) text += " (deleted)";
  return text;
}

}  // namespace rampart::vfs
