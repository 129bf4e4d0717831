// Paths: the input is a script of operations on a small tree with hostile names, links and mounts. Whatever it says, nothing crashes, walks end,
// what RESOLVE_BENEATH finds lies beneath, and the text of a path that was found leads to the same object.
#include <sys/mman.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool done() const { return at_ >= size_; }
  uint8_t Byte() { return done() ? uint8_t{0} : data_[at_++]; }
  // Bytes up to a newline; digits stand for long runs, so that limits are reached.
  std::string Path() {
    std::string path;
    while (!done()) {
      const char c = static_cast<char>(Byte());
      if (c == '\n' || c == '\0') break;
      path.append(c >= '0' && c <= '9' ? size_t{1} << (c - '0') : 1, c);
    }
    return path;
  }

 private:
  const uint8_t* const data_;
  const size_t size_;
  size_t at_ = 0;
};

class Tree {
 public:
  Tree()
      : memory_(mm::MemoryFile::Create(FdFromHost(memfd_create("fuzz", MFD_CLOEXEC)).value(), 0).value()),
        ns_(vfs::MountNamespace::Create(NewTmpfs(memory_, TmpfsOptions{}), vfs::MountFlags{}, "tmpfs")) {
    const vfs::Walk walk = W();
    CHECK(vfs::MakeDirectory(walk, "/d", 0755).ok() && vfs::MakeDirectory(walk, "/d/e", 0755).ok());
    CHECK(vfs::MakeSymlink(walk, "/d/up", "../..").ok() && vfs::MakeSymlink(walk, "/l", "/d/e").ok());
    CHECK(vfs::Open(walk, "/d/f", abi::kOCreat | abi::kORdWr, 0644).ok());
  }

  void Step(Script& script) {
    const uint8_t op = script.Byte();
    const std::string a = script.Path();
    const uint64_t resolve = (op & 0x40) != 0 ? vfs::kResolveBeneath : (op & 0x80) != 0 ? vfs::kResolveInRoot : 0;
    switch (op % 12) {
      case 0: (void)vfs::MakeDirectory(W(), a, 0755); break;
      case 1: (void)vfs::Unlink(W(), a); break;
      case 2: (void)vfs::RemoveDirectory(W(), a); break;
      case 3: (void)vfs::Rename(W(), a, W(), script.Path(), op >> 5 & 3); break;
      case 4: (void)vfs::MakeSymlink(W(), script.Path(), a); break;
      case 5: (void)vfs::ReadLink(W(), a); break;
      case 6: Link(a, script.Path()); break;
      case 7: (void)vfs::Open(W(), a, abi::kORdWr | (uint32_t{op} << 6 & 07700), 0644, resolve); break;
      case 8: Mount(a, script.Path()); break;
      case 9: MoveCwd(a); break;
      default: Find(a, resolve, (op & 0x20) != 0); break;
    }
  }

 private:
  vfs::Walk W() { return vfs::Walk{caller_, *ns_, ns_->root(), cwd_ ? *cwd_ : ns_->root()}; }

  void Find(const std::string& path, uint64_t resolve, bool follow) {
    const vfs::Walk walk = W();
    const Result<vfs::Path> found = vfs::Lookup(walk, path, vfs::WalkArgs{.follow_last = follow, .allow_empty = true, .resolve = resolve});
    if (!found.ok()) return;
    const std::string text = vfs::PathText(*ns_, walk.root, *found);
    if (resolve != 0 && !walk.start.dentry->IsDeleted()) {
      const std::string start = vfs::PathText(*ns_, walk.root, walk.start);
      CHECK(start == "/" || text == start || text.substr(0, start.size() + 1) == start + "/");
    }
    if (mounts_ > 0) return;  // a mount may hide what is below it
    if (text.size() >= 4096 || found->dentry->IsDeleted() || text.substr(0, 1) != "/") return;
    const Result<vfs::Path> again = vfs::Lookup(walk, text, vfs::WalkArgs{.follow_last = false});
    CHECK(again.ok() && *again == *found);
  }
  void Link(const std::string& from, const std::string& to) {
    const Result<vfs::Path> found = vfs::Lookup(W(), from, vfs::WalkArgs{.follow_last = false});
    if (found.ok()) (void)vfs::Link(*found, W(), to);
  }
  void Mount(const std::string& from, const std::string& to) {
    const Result<vfs::Path> source = vfs::Lookup(W(), from, {});
    Result<vfs::Path> target = vfs::Lookup(W(), to, {});
    if (!target.ok() || mounts_ > 20) return;
    ++mounts_;
    if (!source.ok()) {
      (void)ns_->Attach(*target, NewTmpfs(memory_, TmpfsOptions{}), nullptr, vfs::MountFlags{}, "t");
    } else if (from.size() % 2 == 0) {
      (void)ns_->Bind(*source, *target, true);
    } else {
      (void)ns_->Detach(*target, from.size() % 3 == 0 ? vfs::Umount::kLazy : vfs::Umount::kIfUnused);
    }
  }
  void MoveCwd(const std::string& path) {
    const Result<vfs::Path> found = vfs::Lookup(W(), path, vfs::WalkArgs{.want_directory = true});
    if (found.ok()) cwd_ = *found;
  }

  KernelCaller caller_;
  const Ref<mm::MemoryFile> memory_;
  const Ref<vfs::MountNamespace> ns_;
  std::optional<vfs::Path> cwd_;
  int mounts_ = 0;
};

}  // namespace
}  // namespace rampart::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rampart::fs::Script script(data, size);
  rampart::fs::Tree tree;
  for (int steps = 0; !script.done() && steps < 400; ++steps) tree.Step(script);
  return 0;
}
