// The same random operations on a tmpfs, on an overlay and in a directory of the host: errors and results must agree.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

// One filesystem under test. Every operation answers with text: an errno's name, or what there is to see.
class World {
 public:
  virtual ~World() = default;
  virtual std::string MakeDir(const std::string& path, uint32_t mode) = 0;
  virtual std::string RemoveDir(const std::string& path) = 0;
  virtual std::string Unlink(const std::string& path) = 0;
  virtual std::string Rename(const std::string& from, const std::string& to, uint32_t flags) = 0;
  virtual std::string Link(const std::string& from, const std::string& to) = 0;
  virtual std::string Symlink(const std::string& text, const std::string& path) = 0;
  virtual std::string ReadLink(const std::string& path) = 0;
  virtual std::string Write(const std::string& path, uint32_t flags, const std::string& text, uint64_t at) = 0;
  virtual std::string Read(const std::string& path, uint32_t flags) = 0;
  virtual std::string Truncate(const std::string& path, uint64_t size) = 0;
  virtual std::string Chmod(const std::string& path, uint32_t mode) = 0;
  virtual std::string Stat(const std::string& path, bool follow) = 0;
  virtual std::string List(const std::string& path) = 0;
};

std::string Describe(uint32_t mode, uint64_t size, uint64_t links) {
  char text[100];
  const bool directory = (mode & S_IFMT) == S_IFDIR;
  snprintf(text, sizeof(text), "%o size %llu links %llu", mode, static_cast<unsigned long long>(directory ? 0 : size),
           static_cast<unsigned long long>(directory ? 0 : links));
  return text;
}

// The process's own root directory.
class HostWorld final : public World {
 public:
  static std::string Answer(long result) { return result < 0 ? ErrnoName(ErrnoFromHost(errno)) : "ok"; }
  std::string MakeDir(const std::string& p, uint32_t mode) override { return Answer(mkdir(p.c_str(), mode)); }
  std::string RemoveDir(const std::string& p) override { return Answer(rmdir(p.c_str())); }
  std::string Unlink(const std::string& p) override { return Answer(unlink(p.c_str())); }
  std::string Rename(const std::string& from, const std::string& to, uint32_t flags) override {
    return Answer(syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
  }
  std::string Link(const std::string& from, const std::string& to) override { return Answer(link(from.c_str(), to.c_str())); }
  std::string Symlink(const std::string& text, const std::string& p) override { return Answer(symlink(text.c_str(), p.c_str())); }
  std::string ReadLink(const std::string& p) override {
    char text[256];
    const ssize_t n = readlink(p.c_str(), text, sizeof(text));
    return n < 0 ? Answer(-1) : std::string(text, static_cast<size_t>(n));
  }
  std::string Write(const std::string& p, uint32_t flags, const std::string& text, uint64_t at) override {
    const int fd = open(p.c_str(), static_cast<int>(flags), 0644);
    if (fd < 0) return Answer(-1);
    const std::string answer = Answer(pwrite(fd, text.data(), text.size(), static_cast<off_t>(at)));
    close(fd);
    return answer;
  }
  std::string Read(const std::string& p, uint32_t flags) override {
    const int fd = open(p.c_str(), static_cast<int>(flags));
    if (fd < 0) return Answer(-1);
    std::string text(8192, '?');
    const ssize_t n = pread(fd, text.data(), text.size(), 0);
    const std::string answer = n < 0 ? Answer(-1) : text.substr(0, static_cast<size_t>(n));
    close(fd);
    return answer;
  }
  std::string Truncate(const std::string& p, uint64_t size) override { return Answer(truncate(p.c_str(), static_cast<off_t>(size))); }
  std::string Chmod(const std::string& p, uint32_t mode) override { return Answer(chmod(p.c_str(), mode)); }
  std::string Stat(const std::string& p, bool follow) override {
    struct stat st {};
    if ((follow ? stat(p.c_str(), &st) : lstat(p.c_str(), &st)) < 0) return Answer(-1);
    return Describe(st.st_mode, static_cast<uint64_t>(st.st_size), st.st_nlink);
  }
  std::string List(const std::string& p) override {
    const int fd = open(p.c_str(), O_RDONLY | O_DIRECTORY);
    if (fd < 0) return Answer(-1);
    DIR* dir = fdopendir(fd);
    std::set<std::string> names;
    while (const dirent* e = readdir(dir)) names.insert(std::string(e->d_name) + ":" + std::to_string(e->d_type));
    closedir(dir);
    std::string all;
    for (const std::string& name : names) all += name + " ";
    return all;
  }
};

class Collector final : public vfs::DirentSink {
 public:
  bool Add(std::string_view name, uint64_t, vfs::FileType type, uint64_t) override {
    names.insert(std::string(name) + ":" + std::to_string(static_cast<uint32_t>(type) >> 12));
    return true;
  }
  std::set<std::string> names;
};

class VfsWorld final : public World {
 public:
  explicit VfsWorld(Ref<vfs::Filesystem> fs) : ns_(vfs::MountNamespace::Create(std::move(fs), vfs::MountFlags{}, "x")) {}
  std::string MakeDir(const std::string& p, uint32_t mode) override { return Answer(vfs::MakeDirectory(W(), p, mode)); }
  std::string RemoveDir(const std::string& p) override { return Answer(vfs::RemoveDirectory(W(), p)); }
  std::string Unlink(const std::string& p) override { return Answer(vfs::Unlink(W(), p)); }
  std::string Rename(const std::string& from, const std::string& to, uint32_t flags) override {
    return Answer(vfs::Rename(W(), from, W(), to, flags));
  }
  std::string Link(const std::string& from, const std::string& to) override {
    const Result<vfs::Path> found = vfs::Lookup(W(), from, vfs::WalkArgs{.follow_last = false});
    return found.ok() ? Answer(vfs::Link(*found, W(), to)) : Answer(found);
  }
  std::string Symlink(const std::string& text, const std::string& p) override { return Answer(vfs::MakeSymlink(W(), p, text)); }
  std::string ReadLink(const std::string& p) override {
    const Result<std::string> text = vfs::ReadLink(W(), p);
    return text.ok() ? *text : Answer(text);
  }
  std::string Write(const std::string& p, uint32_t flags, const std::string& text, uint64_t at) override {
    const Result<Ref<vfs::FileDescription>> file = vfs::Open(W(), p, flags, 0644);
    if (!file.ok()) return Answer(file);
    mm::BufferSrc src(std::as_bytes(std::span(text.data(), text.size())));
    return Answer((*file)->PWrite(caller_, src, at, 0, nullptr));
  }
  std::string Read(const std::string& p, uint32_t flags) override {
    const Result<Ref<vfs::FileDescription>> file = vfs::Open(W(), p, flags, 0);
    if (!file.ok()) return Answer(file);
    std::string text(8192, '?');
    mm::BufferDst dst(std::as_writable_bytes(std::span(text.data(), text.size())));
    const Result<size_t> n = (*file)->PRead(caller_, dst, 0, 0);
    return n.ok() ? text.substr(0, *n) : Answer(n);
  }
  std::string Truncate(const std::string& p, uint64_t size) override {
    const Result<vfs::Path> found = vfs::Lookup(W(), p, {});
    return found.ok() ? Answer(vfs::Truncate(caller_, *found, size)) : Answer(found);
  }
  std::string Chmod(const std::string& p, uint32_t mode) override {
    const Result<vfs::Path> found = vfs::Lookup(W(), p, {});
    return found.ok() ? Answer(vfs::ChangeMode(caller_, *found, mode)) : Answer(found);
  }
  std::string Stat(const std::string& p, bool follow) override {
    const Result<vfs::Path> found = vfs::Lookup(W(), p, vfs::WalkArgs{.follow_last = follow});
    if (!found.ok()) return Answer(found);
    const Result<vfs::Attr> attr = vfs::GetAttr(caller_, *found);
    return attr.ok() ? Describe(attr->mode(), attr->size, attr->nlink) : Answer(attr);
  }
  std::string List(const std::string& p) override {
    const Result<Ref<vfs::FileDescription>> file = vfs::Open(W(), p, abi::kORdOnly | abi::kODirectory, 0);
    if (!file.ok()) return Answer(file);
    Collector sink;
    const Result<void> listed = (*file)->Iterate(caller_, sink);
    if (!listed.ok()) return Answer(listed);
    std::string all;
    for (const std::string& name : sink.names) all += name + " ";
    return all;
  }

 private:
  template <class T>
  static std::string Answer(const Result<T>& r) {
    return r.ok() ? "ok" : ErrnoName(r.error());
  }
  vfs::Walk W() { return vfs::Walk{caller_, *ns_, ns_->root(), ns_->root()}; }
  KernelCaller caller_;
  const Ref<vfs::MountNamespace> ns_;
};

// Draws operations.
class Script {
 public:
  explicit Script(uint32_t seed) : random_(seed) {}
  // One operation in `world`: a description and its answer. The same sequence for every world that is asked with the same seed.
  std::string Step(World& world, bool hard_links = true) {
    const std::string a = Path(), b = Path();
    const uint32_t rename_flags[] = {0, 0, 0, abi::kRenameNoreplace, abi::kRenameExchange};
    const uint32_t open_flags[] = {0, O_CREAT, O_CREAT | O_EXCL, O_CREAT | O_TRUNC, O_APPEND, O_CREAT | O_NOFOLLOW, O_TRUNC};
    const std::string text(Below(3000), static_cast<char>('a' + Below(26)));
    const uint64_t at = Below(6000);
    const uint32_t rename = rename_flags[Below(5)], open_flag = open_flags[Below(7)], mode = Below(01000);
    switch (Below(16)) {
      case 0:
      case 1: return "mkdir " + a + ": " + world.MakeDir(a, mode | 0700);
      case 2: return "rmdir " + a + ": " + world.RemoveDir(a);
      case 3: return "unlink " + a + ": " + world.Unlink(a);
      case 4:
      case 5: return "rename " + a + " " + b + " " + std::to_string(rename) + ": " + world.Rename(a, b, rename);
      case 6:
        if (!hard_links) return "";
        return "link " + a + " " + b + ": " + world.Link(a, b);
      case 7: return "symlink " + a + " at " + b + ": " + world.Symlink(a, b);
      case 8: return "readlink " + a + ": " + world.ReadLink(a);
      case 9:
      case 10:
      case 11: return "write " + a + " flags " + std::to_string(open_flag) + ": " + world.Write(a, O_WRONLY | open_flag, text, at);
      case 12: return "read " + a + ": " + world.Read(a, O_RDONLY | (open_flag & (O_NOFOLLOW | O_TRUNC)));
      case 13: return "truncate " + a + ": " + world.Truncate(a, at);
      case 14: return "chmod " + a + ": " + world.Chmod(a, mode);
      default: return "stat " + a + ": " + world.Stat(a, mode % 2 == 0) + "; list " + b + ": " + world.List(b);
    }
  }

 private:
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_()) % n; }
  std::string Path() {
    static constexpr const char* kNames[] = {"a", "b", "c", "a", "b", "c", "d", "..", "."};
    std::string path = Below(2) == 0 ? "/" : "";
    for (uint32_t i = 0, n = 1 + Below(3); i < n; ++i) {
      if (i > 0) path += '/';
      path += kNames[Below(std::size(kNames))];
    }
    if (Below(12) == 0) path += '/';
    return path;
  }
  std::minstd_rand random_;
};

Ref<mm::MemoryFile> NewMemory() {
  return mm::MemoryFile::Create(FdFromHost(memfd_create("test", MFD_CLOEXEC)).value(), 0).value();
}

// Everything below `path`, for the comparison at the end.
void Snapshot(World& world, const std::string& path, std::string& out, int depth = 0) {
  const std::string names = world.List(path);
  out += path + " = " + names + "\n";
  size_t at = 0;
  while (depth < 8 && at < names.size()) {
    const size_t end = names.find(' ', at), colon = names.rfind(':', end);
    const std::string name = names.substr(at, colon - at), type = names.substr(colon + 1, end - colon - 1);
    at = end + 1;
    if (name == "." || name == "..") continue;
    const std::string full = path + (path == "/" ? "" : "/") + name;
    out += full + ": " + world.Stat(full, false) + "\n";
    if (type == "4") Snapshot(world, full, out, depth + 1);
    if (type == "8") out += full + " holds " + world.Read(full, O_RDONLY) + "\n";
    if (type == "10") out += full + " -> " + world.ReadLink(full) + "\n";
  }
}

// `prepare` steps happen before the overlay is put on top of what they made; they make no hard links, whose other names a copied-up or hidden
// name leaves behind (as Linux's overlayfs does). True if the worlds agree.
bool Agrees(uint32_t seed, int prepare, int steps, World& host) {
  const Ref<mm::MemoryFile> memory = NewMemory();
  VfsWorld tmpfs(NewTmpfs(memory, TmpfsOptions{.mode = 0755}));
  const Ref<vfs::Filesystem> lower = NewTmpfs(memory, TmpfsOptions{.mode = 0755});
  VfsWorld below(lower);
  Script for_host(seed), for_tmpfs(seed), for_overlay(seed);
  for (int i = 0; i < prepare; ++i) (void)for_host.Step(host, false), (void)for_tmpfs.Step(tmpfs, false), (void)for_overlay.Step(below, false);
  KernelCaller kernel;
  const uint32_t root_mode = lower->root()->GetAttr(kernel).value().permissions;  // as boot does
  VfsWorld overlay(NewOverlay(NewTmpfs(memory, TmpfsOptions{.mode = root_mode}), lower));
  std::string history;
  const auto from_difference = [](const std::string& text, const std::string& other) {
    size_t at = 0;
    while (at < text.size() && at < other.size() && text[at] == other[at]) ++at;
    std::string shown = text.substr(at > 60 ? at - 60 : 0, 200);
    std::replace(shown.begin(), shown.end(), '\0', '0');
    return shown;
  };
  const auto differ = [&](const char* which, const std::string& all_expected, const std::string& all_got) {
    const std::string expected = from_difference(all_expected, all_got), got = from_difference(all_got, all_expected);
    fprintf(stderr, "seed %u, %s\n  the host: %s\n  ours:     %s\nbefore:\n%s", seed, which, expected.c_str(), got.c_str(), history.c_str());
    return false;
  };
  for (int i = 0; i < steps; ++i) {
    const std::string expected = for_host.Step(host), on_tmpfs = for_tmpfs.Step(tmpfs), on_overlay = for_overlay.Step(overlay);
    if (on_tmpfs != expected) return differ("tmpfs", expected, on_tmpfs);
    if (on_overlay != expected) return differ("overlay", expected, on_overlay);
    history += "  " + expected.substr(0, 100) + "\n";
  }
  std::string expected, on_tmpfs, on_overlay;
  Snapshot(host, "/", expected);
  Snapshot(tmpfs, "/", on_tmpfs);
  Snapshot(overlay, "/", on_overlay);
  if (on_tmpfs != expected) return differ("tmpfs at the end", expected, on_tmpfs);
  if (on_overlay != expected) return differ("overlay at the end", expected, on_overlay);
  return true;
}

int Preparation() {
  const char* given = getenv("RAMPART_MODEL_PREPARE");
  return given != nullptr ? atoi(given) : 60;
}

TEST(Model, RandomOperationsAgreeWithTheHost) {
  if (geteuid() != 0) GTEST_SKIP() << "needs chroot";
  std::string top = (std::filesystem::path("/dev/shm") / "rampart-model-XXXXXX").string();
  if (mkdtemp(top.data()) == nullptr) GTEST_SKIP() << "no /dev/shm to compare with";
  const char* more = getenv("RAMPART_MODEL_SEEDS");
  const uint32_t seeds = more != nullptr ? static_cast<uint32_t>(atoi(more)) : 150;
  for (uint32_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    const std::string root = top + "/" + std::to_string(seed);
    ASSERT_EQ(mkdir(root.c_str(), 0755), 0);
    const pid_t child = fork();
    if (child == 0) {
      umask(0);
      if (chroot(root.c_str()) != 0 || chdir("/") != 0) _exit(2);
      HostWorld host;
      _exit(Agrees(seed, seed % 3 == 0 ? 0 : Preparation(), 120, host) ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "seed " << seed;
    std::error_code ignored;
    std::filesystem::remove_all(root, ignored);
  }
  std::error_code ignored;
  std::filesystem::remove_all(top, ignored);
}

}  // namespace
}  // namespace rampart::fs
