// Walker: one path resolution in progress (Linux's nameidata). Internal to sentry/vfs.
//
// A path is consumed component by component. ToParent() stops before the last one; the operation then decides what the last one means
// (follow, create, remove) with LookupLast() and FollowLink().
// Thread safety: one thread.
#pragma once

#include <string>
#include <string_view>

#include "sentry/vfs/operations.h"

namespace rampart::vfs {

class Walker {
 public:
  Walker(const Walk& walk, uint64_t resolve);

  // Sets out. ENAMETOOLONG; EXDEV (an absolute path with RESOLVE_BENEATH). An empty path is the caller's to treat.
  Result<void> Start(std::string_view path);
  // Walks all components but the last; afterwards last() is that one ("" if the path is only slashes or what a magic link led to).
  Result<void> ToParent();
  const std::string& last() const { return last_; }
  bool last_is_dots() const { return last_ == "." || last_ == ".."; }
  bool trailing_slash() const { return trailing_slash_; }
  const Path& current() const { return current_; }
  Path TakeCurrent() { return std::move(current_); }

  // Takes the last component as a step (also "." and ".."), mounts followed: the object in current(), which may be negative or a symbolic link.
  Result<void> StepLast();
  // After StepLast: current() is a symbolic link. Goes back to its directory and makes its text the rest of the path (then ToParent again), or jumps
  // for a magic link (then last() is ""). ELOOP.
  Result<void> FollowLink();
  // Whether the FollowLink just made was a jump.
  bool jumped() const { return jumped_; }

  // The dentry of `name` in `directory` (perhaps negative), without mounts. ENOENT in a removed directory.
  static Result<Ref<Dentry>> LookupChild(Caller& caller, Dentry& directory, std::string_view name, std::string_view rest, bool cached_only = false);
  // The same with the directory's operation lock held.
  static Result<Ref<Dentry>> LookupChildLocked(Caller& caller, Dentry& directory, std::string_view name, std::string_view rest);

 private:
  Result<void> CheckSearch();
  Result<void> Step(std::string_view name, std::string_view rest);
  Result<void> StepUp();
  Result<void> FollowMounts();

  const Walk& walk_;
  const uint64_t resolve_;
  const Path* root_;
  Path current_;
  RefPtr<Mount> link_mount_;      // where the link that StepLast met lies
  RefPtr<Dentry> link_parent_;
  std::string owned_rest_;        // after a link: the text that rest_ points into
  std::string_view rest_;
  std::string last_;
  bool trailing_slash_ = false;
  bool jumped_ = false;
  int links_ = 0;
};

}  // namespace rampart::vfs
