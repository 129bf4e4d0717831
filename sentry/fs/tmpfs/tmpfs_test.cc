#include "sentry/fs/tmpfs/tmpfs.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <thread>

#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

Ref<mm::MemoryFile> NewMemory() {
  Result<UniqueFd> fd = FdFromHost(memfd_create("test", MFD_CLOEXEC));
  CHECK(fd.ok());
  return mm::MemoryFile::Create(std::move(fd).value(), 0).value();
}

class Tree : public ::testing::Test {
 protected:
  Tree() : memory(NewMemory()), ns(vfs::MountNamespace::Create(NewTmpfs(memory, TmpfsOptions{}), vfs::MountFlags{}, "tmpfs")), root(ns->root()) {}
  vfs::Walk W(Caller& c) { return vfs::Walk{c, *ns, root, root}; }
  vfs::Walk W() { return W(caller); }
  Errno Err(const Result<void>& r) { return r.ok() ? Errno{} : r.error(); }
  template <class T>
  Errno Err(const Result<T>& r) {
    return r.ok() ? Errno{} : r.error();
  }
  Errno Mkdir(std::string_view p) { return Err(vfs::MakeDirectory(W(), p, 0755)); }
  Result<Ref<vfs::FileDescription>> OpenFile(std::string_view p, uint32_t flags = abi::kORdWr | abi::kOCreat) {
    return vfs::Open(W(), p, flags, 0644);
  }
  Errno Find(std::string_view p, bool follow = true) { return Err(vfs::Lookup(W(), p, vfs::WalkArgs{.follow_last = follow})); }
  size_t Put(vfs::FileDescription& f, std::string_view text, uint64_t at) {
    mm::BufferSrc src(std::as_bytes(std::span(text.data(), text.size())));
    return f.PWrite(caller, src, at, 0, nullptr).value();
  }
  std::string Take(vfs::FileDescription& f, size_t n, uint64_t at) {
    std::string text(n, '?');
    mm::BufferDst dst(std::as_writable_bytes(std::span(text.data(), text.size())));
    text.resize(f.PRead(caller, dst, at, 0).value());
    return text;
  }

  KernelCaller caller;
  Ref<mm::MemoryFile> memory;
  Ref<vfs::MountNamespace> ns;
  vfs::Path root;
};

TEST_F(Tree, MakesFindsAndRemovesNames) {
  EXPECT_EQ(Mkdir("/a"), Errno{});
  EXPECT_EQ(Mkdir("/a"), Errno::kEEXIST);
  EXPECT_EQ(Mkdir("a/b/"), Errno{});
  EXPECT_EQ(Find("/a/./b/../b//"), Errno{});
  EXPECT_EQ(Find("/a/../../../a/b"), Errno{});
  EXPECT_EQ(Find("/nothing"), Errno::kENOENT);
  EXPECT_TRUE(OpenFile("/a/f").ok());
  EXPECT_EQ(Find("/a/f/"), Errno::kENOTDIR);
  EXPECT_EQ(Find("/a/f/x"), Errno::kENOTDIR);
  EXPECT_EQ(Err(vfs::RemoveDirectory(W(), "/a")), Errno::kENOTEMPTY);
  EXPECT_EQ(Err(vfs::Unlink(W(), "/a/b")), Errno::kEISDIR);
  EXPECT_EQ(Err(vfs::Unlink(W(), "/a/f")), Errno{});
  EXPECT_EQ(Find("/a/f"), Errno::kENOENT);
  EXPECT_EQ(Err(vfs::RemoveDirectory(W(), "/a/b")), Errno{});
  EXPECT_EQ(Err(vfs::RemoveDirectory(W(), "/a")), Errno{});
}

TEST_F(Tree, FollowsLinksUpToForty) {
  EXPECT_EQ(Mkdir("/d"), Errno{});
  EXPECT_TRUE(OpenFile("/d/f").ok());
  EXPECT_EQ(Err(vfs::MakeSymlink(W(), "/l", "d")), Errno{});
  EXPECT_EQ(Find("/l/f"), Errno{});
  EXPECT_EQ(Err(vfs::MakeSymlink(W(), "/loop", "loop")), Errno{});
  EXPECT_EQ(Find("/loop"), Errno::kELOOP);
  EXPECT_EQ(Find("/loop", false), Errno{});
  EXPECT_EQ(OpenFile("/loop", abi::kORdOnly | abi::kONofollow).error(), Errno::kELOOP);
  EXPECT_EQ(OpenFile("/loop", abi::kOCreat | abi::kOExcl | abi::kOWrOnly).error(), Errno::kEEXIST);
  EXPECT_EQ(Err(vfs::MakeSymlink(W(), "/dangling", "d/new")), Errno{});
  EXPECT_TRUE(OpenFile("/dangling").ok());
  EXPECT_EQ(Find("/d/new"), Errno{});
  vfs::WalkArgs beneath{.resolve = vfs::kResolveBeneath};
  EXPECT_EQ(Err(vfs::Lookup(W(), "d/../..", beneath)), Errno::kEXDEV);
  EXPECT_EQ(Err(vfs::Lookup(W(), "/d", beneath)), Errno::kEXDEV);
}

TEST_F(Tree, RenamesAsLinuxDoes) {
  Mkdir("/a");
  Mkdir("/a/sub");
  Mkdir("/b");
  EXPECT_EQ(Err(vfs::Rename(W(), "/a", W(), "/a/sub/x", 0)), Errno::kEINVAL);
  EXPECT_EQ(Err(vfs::Rename(W(), "/a/sub", W(), "/a", 0)), Errno::kENOTEMPTY);
  EXPECT_EQ(Err(vfs::Rename(W(), "/a/sub", W(), "/b", 0)), Errno{});
  EXPECT_EQ(Find("/a/sub"), Errno::kENOENT);
  EXPECT_TRUE(OpenFile("/f").ok());
  EXPECT_EQ(Err(vfs::Rename(W(), "/f", W(), "/b", 0)), Errno::kEISDIR);
  EXPECT_EQ(Err(vfs::Rename(W(), "/b", W(), "/f", 0)), Errno::kENOTDIR);
  EXPECT_EQ(Err(vfs::Rename(W(), "/f", W(), "/b", abi::kRenameNoreplace)), Errno::kEEXIST);
  EXPECT_EQ(Err(vfs::Rename(W(), "/f", W(), "/b", abi::kRenameExchange)), Errno{});
  EXPECT_EQ(Find("/f/"), Errno{});
  EXPECT_EQ(Err(vfs::Rename(W(), "/f", W(), "/a/g", 0)), Errno{});
  EXPECT_EQ(vfs::PathText(*ns, root, vfs::Lookup(W(), "/a/g", {}).value()), "/a/g");
}

TEST_F(Tree, FilesAreSparseAndCutToSize) {
  const Ref<vfs::FileDescription> f = OpenFile("/f").value();
  EXPECT_EQ(Put(*f, "end", 3 * 4096 + 10), 3u);
  EXPECT_EQ(Take(*f, 5, 100), std::string(5, '\0'));
  EXPECT_EQ(Take(*f, 100, 3 * 4096 + 10), "end");
  EXPECT_EQ(f->Seek(caller, 0, abi::kSeekData).value(), 3u * 4096);
  EXPECT_EQ(f->Seek(caller, 3 * 4096, abi::kSeekHole).value(), 3u * 4096 + 13);
  EXPECT_EQ(Err(f->Truncate(caller, 3 * 4096 + 11)), Errno{});
  EXPECT_EQ(Err(f->Truncate(caller, 3 * 4096 + 13)), Errno{});
  EXPECT_EQ(Take(*f, 100, 3 * 4096 + 10), std::string("e\0\0", 3));
  EXPECT_EQ(Err(f->Allocate(caller, 3, 3 * 4096, 4096)), Errno{});
  EXPECT_EQ(Take(*f, 100, 3 * 4096 + 10), std::string(3, '\0'));
  const vfs::Attr attr = vfs::GetAttr(caller, f->path()).value();
  EXPECT_EQ(attr.size, 3u * 4096 + 13);
  EXPECT_EQ(attr.blocks, 0u);
}

TEST_F(Tree, UnlinkedFilesLiveUntilClosed) {
  const uint64_t before = memory->usage().used_bytes;
  {
    const Ref<vfs::FileDescription> f = OpenFile("/f").value();
    EXPECT_EQ(Put(*f, "data", 0), 4u);
    EXPECT_EQ(Err(vfs::Unlink(W(), "/f")), Errno{});
    EXPECT_EQ(Take(*f, 10, 0), "data");
    EXPECT_EQ(f->MappedName(), "/f (deleted)");
  }
  EXPECT_EQ(memory->usage().used_bytes, before);
}

TEST_F(Tree, ChecksRights) {
  Mkdir("/t");
  EXPECT_EQ(Err(vfs::ChangeMode(caller, vfs::Lookup(W(), "/t", {}).value(), 01777)), Errno{});
  KernelCaller alice(auth::Credentials::User(1000, 1000, {}));
  Mkdir("/p");
  KernelCaller bob(auth::Credentials::User(1001, 1001, {}));
  EXPECT_TRUE(vfs::Open(W(alice), "/t/f", abi::kOCreat | abi::kORdWr, 0600).ok());
  EXPECT_EQ(Err(vfs::Open(W(bob), "/t/f", abi::kORdOnly, 0)), Errno::kEACCES);
  EXPECT_EQ(Err(vfs::Unlink(W(bob), "/t/f")), Errno::kEPERM);
  EXPECT_EQ(Err(vfs::MakeDirectory(W(bob), "/p/x", 0755)), Errno::kEACCES);
  const vfs::Path f = vfs::Lookup(W(), "/t/f", {}).value();
  EXPECT_EQ(Err(vfs::ChangeOwner(alice, f, 1001, std::nullopt)), Errno::kEPERM);
  EXPECT_EQ(Err(vfs::ChangeMode(bob, f, 0777)), Errno::kEPERM);
}

TEST_F(Tree, MountsHideAndComeOff) {
  Mkdir("/m");
  Mkdir("/m/below");
  const vfs::Path at = vfs::Lookup(W(), "/m", {}).value();
  EXPECT_TRUE(ns->Attach(at, NewTmpfs(memory, TmpfsOptions{}), nullptr, vfs::MountFlags{}, "t").ok());
  EXPECT_EQ(Find("/m/below"), Errno::kENOENT);
  EXPECT_EQ(Mkdir("/m/x"), Errno{});
  EXPECT_EQ(Find("/m/x/../../m/x"), Errno{});
  EXPECT_EQ(Err(vfs::RemoveDirectory(W(), "/m")), Errno::kEBUSY);
  EXPECT_EQ(ns->List(root).size(), 2u);
  EXPECT_EQ(Err(ns->Detach(vfs::Lookup(W(), "/m", {}).value(), vfs::Umount::kIfUnused)), Errno{});
  EXPECT_EQ(Find("/m/below"), Errno{});
}

TEST_F(Tree, RenamesRaceWithoutLoss) {
  for (const char* d : {"/a", "/b", "/a/c", "/b/d"}) Mkdir(d);
  EXPECT_TRUE(OpenFile("/a/c/f").ok());
  const auto juggle = [&](const char* x, const char* y) {
    KernelCaller own;
    for (int i = 0; i < 2000; ++i) {
      (void)vfs::Rename(W(own), x, W(own), y, 0);
      (void)vfs::Rename(W(own), y, W(own), x, 0);
      (void)vfs::Lookup(W(own), "/b/d/c/../c/f", {});
    }
  };
  std::thread one(juggle, "/a/c", "/b/d/c"), two(juggle, "/b/d", "/a/c/d"), three(juggle, "/a/c", "/b/x");
  one.join();
  two.join();
  three.join();
  int found = 0;
  for (const char* p : {"/a/c/f", "/b/d/c/f", "/b/x/f", "/a/c/d/c/f", "/b/x/d/c/f"}) found += Find(p) == Errno{} ? 1 : 0;
  EXPECT_EQ(found, 1);
}

TEST(Memfd, SealsHold) {
  KernelCaller caller;
  const Ref<mm::MemoryFile> memory = NewMemory();
  const Ref<vfs::FileDescription> f = NewMemfd(caller, memory, "x", kMfdAllowSealing).value();
  EXPECT_TRUE(f->Truncate(caller, 4096).ok());
  EXPECT_EQ(f->Fcntl(caller, 1033, kSealShrink | kSealWrite).value(), 0u);
  EXPECT_EQ(f->Truncate(caller, 0).error(), Errno::kEPERM);
  const char byte = 'x';
  mm::BufferSrc src(std::as_bytes(std::span(&byte, 1)));
  EXPECT_EQ(f->PWrite(caller, src, 0, 0, nullptr).error(), Errno::kEPERM);
  EXPECT_EQ(f->MappedName(), "/memfd:x (deleted)");
}

TEST(TmpfsOptions, AreParsed) {
  const TmpfsOptions o = ParseTmpfsOptions("size=64k,mode=755,nr_inodes=1k,uid=5", TmpfsOptions{}, 0).value();
  EXPECT_EQ(o.size, 65536u);
  EXPECT_EQ(o.mode, 0755u);
  EXPECT_EQ(o.inodes, 1024u);
  EXPECT_EQ(o.uid, 5u);
  EXPECT_EQ(ParseTmpfsOptions("size=x", TmpfsOptions{}, 0).error(), Errno::kEINVAL);
  EXPECT_EQ(ParseTmpfsOptions("bogus", TmpfsOptions{}, 0).error(), Errno::kEINVAL);
}

}  // namespace
}  // namespace rampart::fs
