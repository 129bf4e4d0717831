#include "sentry/vfs/operations.h"
#include "sentry/vfs/walker.h"

namespace rampart::vfs {

Result<Path> Lookup(const Walk& walk, std::string_view path, const WalkArgs& args) {
  if (path.empty()) {
    if (!args.allow_empty) return Errno::kENOENT;
    if (args.want_directory && !walk.start.dentry->IsDirectory()) return Errno::kENOTDIR;
    return walk.start;
  }
  Walker walker(walk, args.resolve);
  TRY(walker.Start(path));
  bool must_be_directory = args.want_directory;
  while (true) {
    TRY(walker.ToParent());
    must_be_directory = must_be_directory || walker.trailing_slash();
    if (walker.last().empty()) break;
    const bool trailing_slash = walker.trailing_slash();
    TRY(walker.StepLast());
    const RefPtr<Inode>& inode = walker.current().dentry->inode();
    if (inode == nullptr) return Errno::kENOENT;
    if (inode->type() != FileType::kSymlink || !(args.follow_last || trailing_slash)) break;
    TRY(walker.FollowLink());
    // A magic link leads to its object and to nothing further.
    if (walker.current().dentry->inode() == nullptr) return Errno::kENOENT;
    if (walker.jumped()) break;
  }
  if (must_be_directory && !walker.current().dentry->IsDirectory()) return Errno::kENOTDIR;
  return walker.TakeCurrent();
}

Result<ParentAndName> LookupParent(const Walk& walk, std::string_view path, uint64_t resolve) {
  if (path.empty()) return Errno::kENOENT;
  Walker walker(walk, resolve);
  TRY(walker.Start(path));
  TRY(walker.ToParent());
  if (walker.last().empty() && !walker.current().dentry->IsDirectory()) return Errno::kENOTDIR;
  std::string last = walker.last();
  const bool must_be_directory = walker.trailing_slash();
  return ParentAndName{walker.TakeCurrent(), std::move(last), must_be_directory};
}

Result<std::string> ReadLink(const Walk& walk, std::string_view path) {
  const Path link = TRY(Lookup(walk, path, WalkArgs{.follow_last = false, .allow_empty = true}));
  const RefPtr<Inode>& inode = link.dentry->inode();
  // Named by a descriptor alone, something that is no link is ENOENT (readlinkat(2)).
  if (inode->type() != FileType::kSymlink) return path.empty() ? Errno::kENOENT : Errno::kEINVAL;
  return inode->ReadLink(walk.caller);
}

}  // namespace rampart::vfs
