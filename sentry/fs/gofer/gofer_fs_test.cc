// The client filesystem against a real server in this process, through the VFS's operations.
#include "sentry/fs/gofer/gofer_fs.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "gofer/server/testing/test_server.h"
#include "sentry/fs/gofer/gofer_inode.h"
#include "sentry/mm/testing_app.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

using gofer::ReadFile;
using gofer::TestServer;
using gofer::WriteFile;
using testing::UnorderedElementsAreArray;

class NameSink final : public vfs::DirentSink {
 public:
  explicit NameSink(size_t limit) : limit_(limit) {}
  bool Add(std::string_view name, uint64_t, vfs::FileType, uint64_t) override {
    if (names.size() == limit_) return false;
    names.emplace_back(name);
    return true;
  }
  std::vector<std::string> names;

 private:
  const size_t limit_;
};

class GoferFs : public testing::TestWithParam<bool> {
 protected:
  GoferFs() : GoferFs(TestServer::Options{}) {}
  explicit GoferFs(const TestServer::Options& options) : server_(options) {
    auto connection = GoferConnection::Create(server_.TakeSocket());
    CHECK(connection.ok());
    auto fs = GoferFilesystem::Create(std::move(*connection), {.attach = "root", .exclusive = GetParam()});
    CHECK(fs.ok());
    mounts_ = vfs::MountNamespace::Create(*fs, vfs::MountFlags{}, "none");
  }
  std::string Host(const std::string& name) const { return server_.root() + "/" + name; }
  vfs::Walk walk() { return vfs::Walk{caller_, *mounts_, mounts_->root(), mounts_->root()}; }
  Result<Ref<vfs::FileDescription>> Open(std::string_view path, uint32_t flags, uint32_t mode = 0644) {
    return vfs::Open(walk(), path, flags, mode);
  }
  Result<vfs::Attr> Stat(std::string_view path, bool follow = false) {
    const vfs::Path found = TRY(vfs::Lookup(walk(), path, {.follow_last = follow}));
    return vfs::GetAttr(caller_, found);
  }
  std::string Read(vfs::FileDescription& file, uint64_t offset = 0) {
    std::string text(1000, '\0');
    mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
    auto n = file.PRead(caller_, dst, offset, 0);
    EXPECT_TRUE(n.ok());
    text.resize(n.ok() ? *n : 0);
    return text;
  }
  Result<size_t> Write(vfs::FileDescription& file, std::string_view text, uint64_t offset) {
    mm::BufferSrc src(std::as_bytes(std::span(text)));
    uint64_t end = 0;
    return file.PWrite(caller_, src, offset, 0, &end);
  }
  std::vector<std::string> List(std::string_view path, size_t piece = SIZE_MAX) {
    auto dir = Open(path, abi::kODirectory);
    EXPECT_TRUE(dir.ok());
    std::vector<std::string> all;
    while (true) {
      NameSink sink(piece);
      EXPECT_TRUE((*dir)->Iterate(caller_, sink).ok());
      if (sink.names.empty()) return all;
      all.insert(all.end(), sink.names.begin(), sink.names.end());
    }
  }

  TestServer server_;
  KernelCaller caller_;
  RefPtr<vfs::MountNamespace> mounts_;
};

INSTANTIATE_TEST_SUITE_P(ExclusiveAndShared, GoferFs, testing::Bool());

TEST_P(GoferFs, ReadsAFileBelowDirectoriesAndLinks) {
  ASSERT_EQ(mkdir(Host("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Host("a/b").c_str(), 0755), 0);
  WriteFile(Host("a/b/f"), "contents");
  ASSERT_EQ(symlink("../a/b", Host("a/link").c_str()), 0);
  ASSERT_EQ(symlink("/a/link/f", Host("abs").c_str()), 0);
  for (const char* path : {"/a/b/f", "/a/link/f", "/abs", "a//b/./f", "/a/b/../b/f"}) {
    auto file = Open(path, abi::kORdOnly);
    ASSERT_TRUE(file.ok()) << path;
    EXPECT_EQ(Read(**file), "contents");
    EXPECT_EQ(Read(**file, 5), "nts");
    EXPECT_EQ(Read(**file, 100), "");
  }
  EXPECT_EQ(*vfs::ReadLink(walk(), "/abs"), "/a/link/f");
  EXPECT_EQ(Open("/a/b/f/x", abi::kORdOnly).error(), Errno::kENOTDIR);
  EXPECT_EQ(Open("/a/none/f", abi::kORdOnly).error(), Errno::kENOENT);
  EXPECT_EQ(Open("/a/none", abi::kORdOnly).error(), Errno::kENOENT);
}

TEST_P(GoferFs, StatIsTheHosts) {
  WriteFile(Host("f"), "12345");
  ASSERT_EQ(chmod(Host("f").c_str(), 04640), 0);
  struct stat st {};
  ASSERT_EQ(stat(Host("f").c_str(), &st), 0);
  const auto attr = Stat("/f");
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->size, 5u);
  EXPECT_EQ(attr->mode(), st.st_mode);
  EXPECT_EQ(attr->ino, st.st_ino);
  EXPECT_EQ(attr->mtime, st.st_mtim.tv_sec * kNanosPerSecond + st.st_mtim.tv_nsec);
}

TEST_P(GoferFs, CreatesWritesAppendsAndTruncates) {
  auto file = Open("/new", abi::kORdWr | abi::kOCreat | abi::kOExcl, 0640);
  ASSERT_TRUE(file.ok()) << ErrnoName(file.error());
  EXPECT_EQ(*Write(**file, "hello world", 0), 11u);
  EXPECT_EQ(ReadFile(Host("new")), "hello world");
  EXPECT_EQ(Stat("/new")->size, 11u);
  EXPECT_EQ(Stat("/new")->permissions, 0640u);
  EXPECT_EQ(Open("/new", abi::kORdWr | abi::kOCreat | abi::kOExcl).error(), Errno::kEEXIST);
  auto append = Open("/new", abi::kOWrOnly | abi::kOAppend);
  ASSERT_TRUE(append.ok());
  EXPECT_EQ(*Write(**append, "!", 0), 1u);
  EXPECT_EQ(Read(**file), "hello world!");
  ASSERT_TRUE((*file)->Truncate(caller_, 5).ok());
  EXPECT_EQ(Stat("/new")->size, 5u);
  EXPECT_EQ(*Write(**append, "?", 0), 1u);
  EXPECT_EQ(ReadFile(Host("new")), "hello?");
  EXPECT_EQ(*(*file)->Seek(caller_, -1, abi::kSeekEnd), 5u);
  ASSERT_TRUE(Open("/new", abi::kOWrOnly | abi::kOTrunc).ok());
  EXPECT_EQ(Stat("/new")->size, 0u);
  EXPECT_EQ(ReadFile(Host("new")), "");
  ASSERT_TRUE((*file)->Allocate(caller_, 0, 0, 100).ok());
  EXPECT_EQ(Stat("/new")->size, 100u);
  EXPECT_TRUE((*file)->Sync(false).ok());
}

TEST_P(GoferFs, TimesAfterAWriteAreTheHosts) {
  auto file = Open("/f", abi::kORdWr | abi::kOCreat);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(Write(**file, "x", 0).ok());
  struct stat st {};
  ASSERT_EQ(stat(Host("f").c_str(), &st), 0);
  EXPECT_EQ(Stat("/f")->mtime, st.st_mtim.tv_sec * kNanosPerSecond + st.st_mtim.tv_nsec);
}

TEST_P(GoferFs, MakesAndRemovesEverything) {
  ASSERT_TRUE(vfs::MakeDirectory(walk(), "/d", 0755).ok());
  ASSERT_TRUE(vfs::MakeSymlink(walk(), "/d/s", "target").ok());
  ASSERT_TRUE(vfs::MakeNode(walk(), "/d/p", vfs::FileType::kFifo, 0600, 0).ok());
  ASSERT_TRUE(Open("/d/f", abi::kOWrOnly | abi::kOCreat).ok());
  const auto file = vfs::Lookup(walk(), "/d/f", {});
  ASSERT_TRUE(vfs::Link(*file, walk(), "/hard").ok());
  EXPECT_EQ(Stat("/d/f")->nlink, 2u);
  EXPECT_EQ(Stat("/hard")->ino, Stat("/d/f")->ino);
  EXPECT_EQ(vfs::Lookup(walk(), "/hard", {})->dentry->inode(), file->dentry->inode());
  EXPECT_EQ(vfs::RemoveDirectory(walk(), "/d").error(), Errno::kENOTEMPTY);
  EXPECT_THAT(List("/d"), UnorderedElementsAreArray({".", "..", "s", "p", "f"}));
  for (const char* name : {"/d/s", "/d/p", "/d/f"}) EXPECT_TRUE(vfs::Unlink(walk(), name).ok()) << name;
  EXPECT_THAT(List("/d"), UnorderedElementsAreArray({".", ".."}));
  EXPECT_EQ(Stat("/hard")->nlink, 1u);
  EXPECT_TRUE(vfs::RemoveDirectory(walk(), "/d").ok());
  EXPECT_EQ(Stat("/d").error(), Errno::kENOENT);
  EXPECT_NE(access(Host("d").c_str(), F_OK), 0);
}

TEST_P(GoferFs, Renames) {
  ASSERT_EQ(mkdir(Host("d").c_str(), 0755), 0);
  WriteFile(Host("a"), "A");
  WriteFile(Host("d/b"), "B");
  ASSERT_TRUE(Stat("/d/b").ok());
  auto open = Open("/a", abi::kORdOnly);
  ASSERT_TRUE(vfs::Rename(walk(), "/a", walk(), "/d/b", 0).ok());
  EXPECT_EQ(Stat("/a").error(), Errno::kENOENT);
  EXPECT_EQ(Read(**Open("/d/b", abi::kORdOnly)), "A");
  EXPECT_EQ(Read(**open), "A");
  ASSERT_TRUE(vfs::Rename(walk(), "/d", walk(), "/e", 0).ok());
  EXPECT_EQ(Read(**Open("/e/b", abi::kORdOnly)), "A");
  WriteFile(Host("c"), "C");
  EXPECT_EQ(vfs::Rename(walk(), "/e/b", walk(), "/e", abi::kRenameNoreplace).error(), Errno::kEEXIST);
}

TEST_P(GoferFs, ReadsAnUnlinkedOpenFile) {
  WriteFile(Host("f"), "still here");
  auto file = Open("/f", abi::kORdWr);
  ASSERT_TRUE(vfs::Unlink(walk(), "/f").ok());
  EXPECT_EQ(Read(**file), "still here");
  EXPECT_EQ(vfs::GetAttr(caller_, (*file)->path())->nlink, 0u);
  EXPECT_TRUE(Write(**file, "more", 0).ok());
}

TEST_P(GoferFs, ListsDirectoriesInPiecesAndStatsWhatItListed) {
  std::vector<std::string> expected{".", ".."};
  for (int i = 0; i < 1500; ++i) {
    const std::string name = "f" + std::to_string(i);
    WriteFile(Host(name), std::string(static_cast<size_t>(i % 10), 'x'));
    expected.push_back(name);
  }
  std::vector<std::string> listed = List("/", 7);
  std::sort(listed.begin(), listed.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(listed, expected);
  for (int i = 0; i < 1500; ++i) EXPECT_EQ(Stat("/f" + std::to_string(i))->size, static_cast<uint64_t>(i % 10));
  EXPECT_EQ(Stat("/none").error(), Errno::kENOENT);
  // What came from the listing alone can be opened, renamed and removed.
  EXPECT_EQ(Read(**Open("/f9", abi::kORdOnly)), "xxxxxxxxx");
  ASSERT_TRUE(vfs::Rename(walk(), "/f8", walk(), "/g8", 0).ok());
  EXPECT_EQ(Read(**Open("/g8", abi::kORdOnly)), "xxxxxxxx");
  ASSERT_TRUE(vfs::Unlink(walk(), "/f7").ok());
  EXPECT_EQ(Stat("/f7").error(), Errno::kENOENT);
  ASSERT_TRUE(Open("/f7", abi::kOWrOnly | abi::kOCreat).ok());
  EXPECT_EQ(Stat("/f7")->size, 0u);
}

TEST_P(GoferFs, ChangesAttributes) {
  WriteFile(Host("f"), "text");
  const auto path = vfs::Lookup(walk(), "/f", {});
  ASSERT_TRUE(vfs::ChangeMode(caller_, *path, 0711).ok());
  EXPECT_EQ(Stat("/f")->permissions, 0711u);
  ASSERT_TRUE(vfs::ChangeTimes(caller_, *path, {vfs::TimeChange::kSet, 5 * kNanosPerSecond + 7}, {vfs::TimeChange::kSet, -kNanosPerSecond / 2}).ok());
  EXPECT_EQ(Stat("/f")->atime, 5 * kNanosPerSecond + 7);
  EXPECT_EQ(Stat("/f")->mtime, -kNanosPerSecond / 2);
  struct stat st {};
  ASSERT_EQ(stat(Host("f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_sec, -1);
  EXPECT_EQ(st.st_mtim.tv_nsec, 500'000'000);
}

// As the Sentry is: its writes cost the host's files their set-id bits. Of this thread only.
void DropFsetid() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  ASSERT_EQ(syscall(SYS_capget, &header, sets), 0);
  sets[0].effective &= ~(1u << CAP_FSETID);
  ASSERT_EQ(syscall(SYS_capset, &header, sets), 0);
}

TEST_P(GoferFs, SetIdBitsStayForThoseWhoMayKeepThem) {
  std::thread([&] {
    DropFsetid();
    WriteFile(Host("f"), "12345");
    ASSERT_EQ(chown(Host("f").c_str(), getuid(), getgid()), 0);
    KernelCaller member(auth::Credentials::User(12345, getgid(), {})), stranger(auth::Credentials::User(12345, 23456, {}));
    auto file = Open("/f", abi::kORdWr);
    ASSERT_TRUE(file.ok());
    const vfs::Path path = (*file)->path();
    const auto on_host = [&] {
      struct stat st {};
      EXPECT_EQ(stat(Host("f").c_str(), &st), 0);
      return st.st_mode & 07777;
    };
    const auto write = [&](Caller& caller) {
      mm::BufferSrc src(std::as_bytes(std::span("x", 1)));
      EXPECT_EQ(*(*file)->PWrite(caller, src, 0, 0, nullptr), 1u);
      EXPECT_EQ(Stat("/f")->permissions, on_host());
      return on_host();
    };
    ASSERT_TRUE(vfs::ChangeMode(caller_, path, 06711).ok());
    EXPECT_EQ(write(caller_), 06711u);
    ASSERT_TRUE(vfs::TruncateOpened(caller_, path, 2).ok());
    EXPECT_EQ(on_host(), 06711u);
    EXPECT_TRUE((*file)->Allocate(caller_, 0, 0, 100).ok());
    EXPECT_EQ(on_host(), 06711u);
    EXPECT_EQ(write(member), 0711u);
    ASSERT_TRUE(vfs::ChangeMode(caller_, path, 02644).ok());
    EXPECT_EQ(write(member), 02644u);
    EXPECT_EQ(write(stranger), 0644u);
    ASSERT_TRUE(vfs::ChangeMode(caller_, path, 06755).ok());
    ASSERT_TRUE(vfs::TruncateOpened(stranger, path, 3).ok());
    EXPECT_EQ(on_host(), 0755u);
  }).join();
}

TEST_P(GoferFs, BitsThatAreGivenBackUndoNoChangeOfTheMode) {
  WriteFile(Host("f"), "12345");
  auto file = Open("/f", abi::kORdWr);
  ASSERT_TRUE(file.ok());
  const vfs::Path path = (*file)->path();
  std::atomic<bool> done = false;
  std::thread writer([&] {
    DropFsetid();
    KernelCaller root;
    while (!done.load()) {
      mm::BufferSrc src(std::as_bytes(std::span("x", 1)));
      EXPECT_EQ(*(*file)->PWrite(root, src, 0, 0, nullptr), 1u);
    }
  });
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(vfs::ChangeMode(caller_, path, i % 2 == 0 ? 06711 : 0600).ok());
    if (i % 5 == 0) usleep(50);
    const auto attr = Stat("/f");
    if (GetParam()) {
      EXPECT_EQ(attr->permissions, i % 2 == 0 ? 06711u : 0600u);
    }
    if (i % 2 == 0) continue;
    struct stat st {};
    ASSERT_EQ(stat(Host("f").c_str(), &st), 0);
    ASSERT_EQ(st.st_mode & 07777, 0600u) << i;
  }
  done.store(true);
  writer.join();
}

TEST_P(GoferFs, AMappingIsAnAccess) {
  WriteFile(Host("f"), "12345");
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, Host("f").c_str(), old, 0), 0);
  auto file = Open("/f", abi::kORdWr);
  ASSERT_TRUE(file.ok());
  mm::MMapArgs args;
  args.length = 4096;
  args.shared = true;
  EXPECT_EQ(Stat("/f")->atime / kNanosPerSecond, 1000);
  ASSERT_TRUE((*file)->ConfigureMMap(caller_, args).ok());
  struct stat st {};
  ASSERT_EQ(stat(Host("f").c_str(), &st), 0);
  EXPECT_EQ(Stat("/f")->atime, st.st_atim.tv_sec * kNanosPerSecond + st.st_atim.tv_nsec);
  // The host decides whether it notes accesses at all.
  const int fd = open(Host("f").c_str(), O_RDONLY);
  ASSERT_EQ(utimensat(AT_FDCWD, Host("f").c_str(), old, 0), 0);
  void* const memory = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  struct stat native {};
  ASSERT_EQ(stat(Host("f").c_str(), &native), 0);
  EXPECT_EQ(st.st_atime > 1000, native.st_atime > 1000);
  munmap(memory, 4096);
  close(fd);
}

TEST_P(GoferFs, ExtendedAttributes) {
  WriteFile(Host("f"), "");
  vfs::Inode& inode = *vfs::Lookup(walk(), "/f", {})->dentry->inode();
  auto set = inode.SetXattr(caller_, "user.a", "value", 0);
  if (!set.ok()) GTEST_SKIP() << "the temporary directory has no extended attributes: " << ErrnoName(set.error());
  EXPECT_EQ(*inode.GetXattr(caller_, "user.a"), "value");
  EXPECT_THAT(*inode.ListXattr(caller_), testing::Contains("user.a"));
  EXPECT_EQ(inode.SetXattr(caller_, "user.a", "x", 1).error(), Errno::kEEXIST);
  ASSERT_TRUE(inode.RemoveXattr(caller_, "user.a").ok());
  EXPECT_EQ(inode.GetXattr(caller_, "user.a").error(), Errno::kENODATA);
}

TEST_P(GoferFs, ChangesOnTheHostShowWhenShared) {
  WriteFile(Host("f"), "old");
  ASSERT_TRUE(Stat("/f").ok());
  EXPECT_EQ(Stat("/later").error(), Errno::kENOENT);
  WriteFile(Host("later"), "x");
  ASSERT_EQ(unlink(Host("f").c_str()), 0);
  WriteFile(Host("f"), "longer");
  usleep(2000);
  EXPECT_EQ(Stat("/f")->size, GetParam() ? 3u : 6u);
  EXPECT_EQ(Stat("/later").ok(), !GetParam());
}

TEST_P(GoferFs, TheOwnerOfAnOpenFileIsTheOneThatItHas) {
  if (geteuid() != 0) GTEST_SKIP() << "only root gives files away";
  WriteFile(Host("f"), "x");
  const auto file = Open("/f", abi::kORdWr);
  ASSERT_TRUE(file.ok());
  vfs::Inode& inode = *(*file)->inode();
  vfs::AttrChange owner;
  owner.uid = 5;
  owner.gid = 6;
  ASSERT_TRUE(inode.SetAttr(caller_, owner).ok());
  ASSERT_TRUE(Write(**file, "y", 0).ok());
  EXPECT_EQ(inode.GetAttr(caller_)->uid, 5u);
  EXPECT_EQ(inode.GetAttr(caller_)->gid, 6u);
  usleep(20000);  // the host's change times are no finer than its timer
  ASSERT_EQ(chown(Host("f").c_str(), 9, 10), 0);
  usleep(2000);
  if (GetParam()) {
    ASSERT_TRUE(Write(**file, "z", 0).ok());  // looks again, but not for owners: nobody else changes them
  }
  EXPECT_EQ(inode.GetAttr(caller_)->uid, GetParam() ? 5u : 9u);
  EXPECT_EQ(inode.GetAttr(caller_)->gid, GetParam() ? 6u : 10u);
}

TEST_P(GoferFs, TranslatesForMappings) {
  WriteFile(Host("f"), std::string(6000, 'm'));
  auto file = Open("/f", abi::kORdWr);
  auto& inode = dynamic_cast<GoferInode&>(*(*file)->inode());
  {
    auto t = inode.Translate({0, 4096}, {0, 1 << 20}, false);
    ASSERT_TRUE(t.ok());
    EXPECT_EQ(t->range.end, 8192u);
    EXPECT_EQ(t->offset, 0u);
    auto window = t->file->Window(4096, 4096, false);
    ASSERT_TRUE(window.ok());
    EXPECT_EQ((*window)[0], std::byte{'m'});
  }
  EXPECT_EQ(inode.Translate({8192, 12288}, {8192, 12288}, false).error(), Errno::kEFAULT);
  auto t = inode.Translate({0, 4096}, {0, 4096}, true);
  ASSERT_TRUE(t.ok());
  (*t->file->Window(0, 4096, true))[0] = std::byte{'W'};
  EXPECT_EQ(Read(**file).substr(0, 2), "Wm");
}

// Through the real MemoryManager: shared writes reach the host, private ones do not, truncation takes pages away.
TEST_P(GoferFs, ApplicationsMapFiles) {
  namespace mmt = mm::testing;
  WriteFile(Host("f"), std::string(10000, 'a'));
  auto file = Open("/f", abi::kORdWr);
  ASSERT_TRUE(file.ok());
  platform::testing::FakePlatform platform;
  mmt::App app(platform, mm::MemoryManager::Create(platform, mmt::NewMemoryFile()).value(), true);
  const auto map = [&](bool shared) {
    mm::MMapArgs args;
    args.length = 12288;
    args.prot = platform::Prot::kRead | platform::Prot::kWrite;
    args.shared = shared;
    EXPECT_TRUE((*file)->ConfigureMMap(caller_, args).ok());
    return *app.mm().MMap(caller_, args);
  };
  const uint64_t shared = map(true), priv = map(false);
  EXPECT_EQ(*app.Read(priv), 0x6161616161616161u);
  ASSERT_TRUE(app.Write(shared + 8, 0x6262626262626262).ok());
  EXPECT_EQ(ReadFile(Host("f")).substr(0, 20), "aaaaaaaabbbbbbbbaaaa");
  ASSERT_TRUE(app.Write(priv, 0x6363636363636363).ok());
  EXPECT_EQ(ReadFile(Host("f"))[0], 'a');
  // The system calls see the same.
  std::byte text[4];
  ASSERT_EQ(*app.mm().CopyInPartial(shared + 8, text), 4u);
  EXPECT_EQ(text[0], std::byte{'b'});
  ASSERT_TRUE((*file)->Truncate(caller_, 100).ok());
  EXPECT_FALSE(app.Read(shared + 8192).ok());
  EXPECT_FALSE(app.Read(priv + 8192).ok());
  EXPECT_EQ(*app.Read(shared + 4088 - 8), 0u);
  app.mm().Clear();
}

TEST_P(GoferFs, ManyThreadsWorkInOneTree) {
  ASSERT_EQ(mkdir(Host("d").c_str(), 0755), 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([this, t] {
      KernelCaller caller;
      const vfs::Walk w{caller, *mounts_, mounts_->root(), mounts_->root()};
      for (int i = 0; i < 60; ++i) {
        const std::string own = "/d/own" + std::to_string(t), common = "/d/common" + std::to_string(i % 3);
        ASSERT_TRUE(vfs::Open(w, own, abi::kORdWr | abi::kOCreat, 0644).ok());
        (void)vfs::Open(w, common, abi::kORdWr | abi::kOCreat, 0644);
        (void)vfs::Rename(w, common, w, "/d/moved", 0);
        (void)vfs::Unlink(w, "/d/moved");
        auto dir = vfs::Open(w, "/d", abi::kODirectory, 0);
        ASSERT_TRUE(dir.ok());
        NameSink sink(1000);
        ASSERT_TRUE((*dir)->Iterate(caller, sink).ok());
        ASSERT_TRUE(vfs::Lookup(w, own, {}).ok());
        ASSERT_TRUE(vfs::Unlink(w, own).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> left;
  for (const std::string& name : List("/d")) left.insert(name);
  EXPECT_LE(left.size(), 5u);
}

TEST_P(GoferFs, StatFsIsTheHosts) {
  const auto stats = (*vfs::Lookup(walk(), "/", {})).mount->fs().StatFs(caller_);
  ASSERT_TRUE(stats.ok());
  EXPECT_GT(stats->blocks, 0u);
}

}  // namespace
}  // namespace rampart::fs
