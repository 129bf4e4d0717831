#include "sentry/fs/overlay/overlay.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <set>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

class Names final : public vfs::DirentSink {
 public:
  bool Add(std::string_view name, uint64_t, vfs::FileType, uint64_t) override {
    if (name != "." && name != "..") names.insert(std::string(name));
    return true;
  }
  std::set<std::string> names;
};

class OverlayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    memory = mm::MemoryFile::Create(FdFromHost(memfd_create("test", MFD_CLOEXEC)).value(), 0).value();
    lower_fs = NewTmpfs(memory->get(), TmpfsOptions{});
    // Fill the lower layer through a mount of its own, which stays.
    lower_ns = vfs::MountNamespace::Create(lower_fs.ToRef(), vfs::MountFlags{}, "lower");
    ns = lower_ns;
    Mkdir("/d");
    Mkdir("/d/e");
    Write("/d/f", "lower");
    Write("/d/e/g", "deep");
    ns = vfs::MountNamespace::Create(NewOverlay(NewTmpfs(memory->get(), TmpfsOptions{}), lower_fs.ToRef()), vfs::MountFlags{}, "overlay");
  }
  vfs::Walk W() { return vfs::Walk{caller, *ns, ns->root(), ns->root()}; }
  void Mkdir(std::string_view p) { EXPECT_TRUE(vfs::MakeDirectory(W(), p, 0755).ok()) << p; }
  void Write(std::string_view p, std::string_view text, uint32_t more = abi::kOTrunc) {
    const Ref<vfs::FileDescription> f = vfs::Open(W(), p, abi::kOWrOnly | abi::kOCreat | more, 0644).value();
    mm::BufferSrc src(std::as_bytes(std::span(text.data(), text.size())));
    EXPECT_EQ(f->PWrite(caller, src, 0, 0, nullptr).value(), text.size());
  }
  std::string ReadAll(std::string_view p) {
    const Result<Ref<vfs::FileDescription>> f = vfs::Open(W(), p, abi::kORdOnly, 0);
    if (!f.ok()) return ErrnoName(f.error());
    std::string text(100, '?');
    mm::BufferDst dst(std::as_writable_bytes(std::span(text.data(), text.size())));
    text.resize(f.value()->PRead(caller, dst, 0, 0).value());
    return text;
  }
  std::set<std::string> List(std::string_view p) {
    const Ref<vfs::FileDescription> f = vfs::Open(W(), p, abi::kORdOnly | abi::kODirectory, 0).value();
    Names sink;
    EXPECT_TRUE(f->Iterate(caller, sink).ok());
    return sink.names;
  }
  uint64_t Ino(std::string_view p) { return vfs::GetAttr(caller, vfs::Lookup(W(), p, {}).value()).value().ino; }

  struct MemoryHolder {
    Ref<mm::MemoryFile> file;
    const Ref<mm::MemoryFile>& get() const { return file; }
    MemoryHolder(Ref<mm::MemoryFile> f) : file(std::move(f)) {}
  };
  KernelCaller caller;
  std::optional<MemoryHolder> memory;
  RefPtr<vfs::Filesystem> lower_fs;
  RefPtr<vfs::MountNamespace> lower_ns, ns;
};

TEST_F(OverlayTest, WritesGoAboveAndLeaveTheLowerAlone) {
  const uint64_t before = Ino("/d/f");
  EXPECT_EQ(ReadAll("/d/f"), "lower");
  Write("/d/f", "UP", 0);
  EXPECT_EQ(ReadAll("/d/f"), "UPwer");
  EXPECT_EQ(Ino("/d/f"), before);
  Write("/d/f", "new");
  Write("/d/n", "made");
  EXPECT_EQ(ReadAll("/d/f"), "new");
  EXPECT_EQ(List("/d"), (std::set<std::string>{"e", "f", "n"}));
  ns = lower_ns;
  EXPECT_EQ(ReadAll("/d/f"), "lower");
  EXPECT_EQ(List("/d"), (std::set<std::string>{"e", "f"}));
}

TEST_F(OverlayTest, WhiteoutsHideAndAreReplaced) {
  EXPECT_TRUE(vfs::Unlink(W(), "/d/f").ok());
  EXPECT_EQ(ReadAll("/d/f"), "ENOENT");
  EXPECT_EQ(List("/d"), (std::set<std::string>{"e"}));
  EXPECT_EQ(vfs::RemoveDirectory(W(), "/d").error(), Errno::kENOTEMPTY);
  EXPECT_TRUE(vfs::Unlink(W(), "/d/e/g").ok());
  EXPECT_TRUE(vfs::RemoveDirectory(W(), "/d/e").ok());
  EXPECT_TRUE(vfs::RemoveDirectory(W(), "/d").ok());
  EXPECT_TRUE(List("/").empty());
  Mkdir("/d");
  EXPECT_TRUE(List("/d").empty());  // what was below stays hidden
  Write("/d/f", "again");
  EXPECT_EQ(ReadAll("/d/f"), "again");
}

TEST_F(OverlayTest, DirectoriesMoveWithWhatIsBelow) {
  EXPECT_TRUE(vfs::Rename(W(), "/d", W(), "/moved", 0).ok());
  EXPECT_EQ(List("/"), (std::set<std::string>{"moved"}));
  EXPECT_EQ(ReadAll("/moved/e/g"), "deep");
  Write("/moved/e/g", "x", 0);
  EXPECT_EQ(ReadAll("/moved/e/g"), "xeep");
  Mkdir("/d");
  EXPECT_TRUE(List("/d").empty());
  EXPECT_TRUE(vfs::Rename(W(), "/moved/f", W(), "/d/f", 0).ok());
  EXPECT_EQ(ReadAll("/d/f"), "lower");
  EXPECT_EQ(List("/moved"), (std::set<std::string>{"e"}));
}

}  // namespace
}  // namespace rampart::fs
