#include "sentry/mm/memory_manager.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "abi/mman.h"
#include "base/safe_math.h"
#include "sentry/mm/safe_copy.h"
#include "sentry/mm/testing_app.h"

namespace rampart::mm {
namespace {

using testing::App;
using testing::MappedFile;
using testing::NewMemoryFile;
using platform::Prot;

class MemoryManagerTest : public ::testing::Test {
 protected:
  App NewApp(bool access_known = false) {
    auto mm = MemoryManager::Create(platform_, memory_file_);
    CHECK(mm.ok());
    (*mm)->SetMmapBase(0x7f0000000000);
    return App(platform_, *mm, access_known);
  }
  UserAddr MapAnon(App& app, uint64_t length, Prot prot = Prot::kReadWrite, UserAddr at = 0) {
    MMapArgs args;
    args.address = at;
    args.fixed = at != 0;
    args.length = length;
    args.prot = prot;
    args.noreserve = true;  // no eager pages: the tests count faults
    auto a = app.mm().MMap(caller_, args);
    CHECK(a.ok());
    return *a;
  }
  uint64_t UsedPages() { return memory_file_->usage().used_bytes / kPageSize; }

  platform::testing::FakePlatform platform_;
  Ref<MemoryFile> memory_file_ = NewMemoryFile();
  KernelCaller caller_;
};

TEST_F(MemoryManagerTest, AnonymousMemoryIsZeroAndKeepsWhatIsWritten) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 1 << 20);
  EXPECT_EQ(*app.Read(a + 0x5008), 0u);
  ASSERT_TRUE(app.Write(a + 0x5008, 7).ok());
  EXPECT_EQ(*app.Read(a + 0x5008), 7u);
  uint64_t seen = 0;
  ASSERT_TRUE(app.mm().CopyInBytes(a + 0x5008, std::as_writable_bytes(std::span(&seen, 1))).ok());
  EXPECT_EQ(seen, 7u);
}

TEST_F(MemoryManagerTest, AtomicsWithoutFaultsSayWhatIsMissing) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 4 * kPageSize);
  EXPECT_EQ(app.mm().Atomic32NoFault(a + 4, Atomic32Op::kLoad, 0, 0).error(), Errno::kEAGAIN);
  ASSERT_TRUE(app.mm().Atomic32(a + 4, Atomic32Op::kAdd, 5, 0).ok());
  EXPECT_EQ(*app.mm().Atomic32NoFault(a + 4, Atomic32Op::kAdd, 2, 0), 5u);
  EXPECT_EQ(*app.mm().Atomic32NoFault(a + 4, Atomic32Op::kLoad, 0, 0), 7u);
  EXPECT_EQ(app.mm().Atomic32NoFault(a + 2, Atomic32Op::kLoad, 0, 0).error(), Errno::kEINVAL);
  // Shared with a child now: a write must copy first.
  const Ref<MemoryManager> child = *app.mm().Fork();
  EXPECT_EQ(app.mm().Atomic32NoFault(a + 4, Atomic32Op::kAdd, 1, 0).error(), Errno::kEAGAIN);
  EXPECT_EQ(*app.mm().Atomic32NoFault(a + 4, Atomic32Op::kLoad, 0, 0), 7u);
}

TEST_F(MemoryManagerTest, WritesFromOutsideKickOnlyWhenPagesChange) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, kPageSize);
  ASSERT_TRUE(app.Write(a, 1).ok());
  const Ref<MemoryManager> child = *app.mm().Fork();
  const size_t before = app.space().kicks();
  const uint32_t two = 2;
  EXPECT_EQ(*app.mm().CopyOutFromOutside(a, std::as_bytes(std::span(&two, 1))), 4u);
  EXPECT_EQ(app.space().kicks(), before + 1);
  EXPECT_EQ(*app.mm().CopyOutFromOutside(a, std::as_bytes(std::span(&two, 1))), 4u);
  EXPECT_EQ(app.space().kicks(), before + 1);
}

TEST_F(MemoryManagerTest, SequentialTouchNeedsFewFaults) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 64 << 20);
  for (uint64_t o = 0; o < (64u << 20); o += kPageSize) ASSERT_TRUE(app.Write(a + o, o).ok());
  EXPECT_LE(app.faults, 45);
  for (uint64_t o = 0; o < (64u << 20); o += kPageSize) ASSERT_EQ(*app.Read(a + o), o);
}

TEST_F(MemoryManagerTest, UnmapReturnsPagesOnlyWhenApplied) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 1 << 20);
  ASSERT_TRUE(app.Write(a, 1).ok());
  const uint64_t used = UsedPages();
  ASSERT_GT(used, 0u);
  app.space().HoldChanges(true);
  ASSERT_TRUE(app.mm().MUnmap(a, 1 << 20).ok());
  EXPECT_EQ(UsedPages(), used);
  app.space().ApplyNow();
  MapAnon(app, kPageSize);  // any later change notices
  ASSERT_TRUE(app.mm().MUnmap(a, 1 << 20).ok());
  App other = NewApp();
  const UserAddr b = MapAnon(app, 1 << 20);
  ASSERT_TRUE(app.Write(b, 1).ok());
  EXPECT_LE(UsedPages(), used);
  EXPECT_EQ(app.Read(a - (1 << 20)).error(), Errno::kEFAULT);
}

TEST_F(MemoryManagerTest, ForkSharesUntilWritten) {
  App parent = NewApp();
  const UserAddr a = MapAnon(parent, 64 * kPageSize);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(parent.Write(a + static_cast<uint64_t>(i) * kPageSize, 100).ok());
  const uint64_t used = UsedPages();
  auto mm = parent.mm().Fork();
  ASSERT_TRUE(mm.ok());
  App child(platform_, *mm, false);
  EXPECT_EQ(UsedPages(), used);
  ASSERT_TRUE(child.Write(a, 1).ok());
  EXPECT_EQ(*parent.Read(a), 100u);
  ASSERT_TRUE(parent.Write(a + 8 * kPageSize, 2).ok());
  EXPECT_EQ(*child.Read(a + 8 * kPageSize), 100u);
  EXPECT_LE(UsedPages(), used + 12);
  // The child goes: the parent takes its pages over without copying, all of a run with one fault.
  child.mm().Clear();
  const uint64_t now = UsedPages();
  parent.faults = 0;
  for (int i = 20; i < 64; ++i) ASSERT_TRUE(parent.Write(a + static_cast<uint64_t>(i) * kPageSize, 3).ok());
  EXPECT_EQ(UsedPages(), now);
  EXPECT_LE(parent.faults, 1);
}

TEST_F(MemoryManagerTest, ForkNeedsOneProtectPerWritableArea) {
  App parent = NewApp();
  const UserAddr a = MapAnon(parent, 1 << 20);
  for (uint64_t o = 0; o < (1 << 20); o += 3 * kPageSize) ASSERT_TRUE(parent.Write(a + o, 1).ok());
  const size_t before = parent.space().protect_calls();
  ASSERT_TRUE(parent.mm().Fork().ok());
  EXPECT_EQ(parent.space().protect_calls(), before + 1);
}

TEST_F(MemoryManagerTest, ForkLeavesAloneWhatIsSharedAlready) {
  App parent = NewApp();
  const UserAddr a = MapAnon(parent, 64 << 20);
  for (uint64_t o = 0; o < (64 << 20); o += 1 << 20) ASSERT_TRUE(parent.Write(a + o, 1).ok());  // with gaps between
  const Result<Ref<MemoryManager>> first = parent.mm().Fork();
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(parent.Write(a, 2).ok());
  const uint64_t before = parent.space().protected_bytes();
  const Result<Ref<MemoryManager>> second = parent.mm().Fork();
  ASSERT_TRUE(second.ok());
  EXPECT_LT(parent.space().protected_bytes() - before, 1u << 20);
}

TEST_F(MemoryManagerTest, SharedAnonymousStaysSharedAcrossFork) {
  App parent = NewApp();
  MMapArgs args;
  args.length = 4 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.shared = true;
  const UserAddr a = *parent.mm().MMap(caller_, args);
  ASSERT_TRUE(parent.Write(a, 5).ok());
  App child(platform_, *parent.mm().Fork(), false);
  EXPECT_EQ(*child.Read(a), 5u);
  ASSERT_TRUE(child.Write(a + kPageSize, 6).ok());
  EXPECT_EQ(*parent.Read(a + kPageSize), 6u);
  EXPECT_EQ(*parent.mm().GetFutexKey(a, false), *child.mm().GetFutexKey(a, false));
  EXPECT_FALSE(*parent.mm().GetFutexKey(a, true) == *child.mm().GetFutexKey(a, true));
}

TEST_F(MemoryManagerTest, ProtectionIsEnforced) {
  for (const bool known : {false, true}) {
    App app = NewApp(known);
    const UserAddr a = MapAnon(app, 4 * kPageSize);
    ASSERT_TRUE(app.Write(a, 1).ok());
    ASSERT_TRUE(app.mm().MProtect(a, kPageSize, Prot::kRead, false).ok());
    EXPECT_EQ(app.Write(a, 2).error(), Errno::kEACCES);
    EXPECT_EQ(*app.Read(a), 1u);
    EXPECT_EQ(app.Touch(a, Prot::kExec).error(), Errno::kEACCES);
    EXPECT_EQ(app.mm().CopyOutBytes(a, std::as_bytes(std::span("x", 1))).ok(), false);
    ASSERT_TRUE(app.mm().MProtect(a, kPageSize, Prot::kNone, false).ok());
    EXPECT_EQ(app.Read(a).error(), Errno::kEACCES);
    ASSERT_TRUE(app.mm().MProtect(a, 4 * kPageSize, Prot::kReadWrite, false).ok());
    ASSERT_TRUE(app.Write(a, 3).ok());
    EXPECT_EQ(app.mm().Vmas().size(), 1u);  // merged again
  }
}

TEST_F(MemoryManagerTest, PrivateFileMappingCopiesOnWrite) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(64 * kPageSize, false);
  std::memset(file->view(), 0x11, 64 * kPageSize);
  MMapArgs args;
  args.length = 64 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  ASSERT_TRUE(app.Write(a, 5).ok());
  EXPECT_EQ(*app.Read(a + 8), 0x1111111111111111u);
  EXPECT_EQ(file->view()[0], std::byte{0x11});
  // Kernel reads of file pages that the application has not touched.
  uint64_t value = 0;
  ASSERT_TRUE(app.mm().CopyInBytes(a + 63 * kPageSize, std::as_writable_bytes(std::span(&value, 1))).ok());
  EXPECT_EQ(value, 0x1111111111111111u);
  app.mm().Clear();
  EXPECT_TRUE(file->mappings.empty());
}

TEST_F(MemoryManagerTest, ReadOnlyFileMappingCostsOneMapAndNoFault) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(512 * kPageSize, false);
  MMapArgs args;
  args.length = 512 * kPageSize;
  args.prot = Prot::kReadExec;
  args.max_prot = Prot::kAll;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  for (uint64_t o = 0; o < 512 * kPageSize; o += kPageSize) ASSERT_TRUE(app.Touch(a + o, Prot::kExec).ok());
  EXPECT_EQ(app.faults, 0);
  EXPECT_EQ(app.space().map_calls(), 1u);
  // The child has it from the start.
  App child(platform_, *app.mm().Fork(), false);
  for (uint64_t o = 0; o < 512 * kPageSize; o += kPageSize) ASSERT_TRUE(child.Touch(a + o, Prot::kExec).ok());
  EXPECT_EQ(child.faults, 0);
}

TEST_F(MemoryManagerTest, BeyondTheFileIsSigbus) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(kPageSize, true);
  MMapArgs args;
  args.length = 4 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.shared = true;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  ASSERT_TRUE(app.Write(a, 9).ok());
  EXPECT_EQ(app.Read(a + 2 * kPageSize).error(), Errno::kEIO);
  uint64_t v = 0;
  EXPECT_FALSE(app.mm().CopyInBytes(a + 2 * kPageSize, std::as_writable_bytes(std::span(&v, 1))).ok());
}

TEST_F(MemoryManagerTest, TruncatedHostFileDoesNotKillUs) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(4 * kPageSize, true);
  MMapArgs args;
  args.length = 4 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.shared = true;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  std::vector<std::byte> buffer(4 * kPageSize);
  ASSERT_EQ(*app.mm().CopyInPartial(a, buffer), buffer.size());
  ASSERT_EQ(ftruncate(file->fd(), kPageSize), 0);  // behind our back
  EXPECT_EQ(*app.mm().CopyInPartial(a, buffer), kPageSize);
  EXPECT_EQ(*app.mm().CopyOutPartial(a, buffer), kPageSize);
  EXPECT_EQ(app.mm().Atomic32(a + 2 * kPageSize, Atomic32Op::kAdd, 1, 0).error(), Errno::kEFAULT);
  auto dst = app.mm().NewDst({AddrRange{a, a + 4 * kPageSize}});
  EXPECT_EQ(*dst->Zero(4 * kPageSize), kPageSize);
}

TEST_F(MemoryManagerTest, PinnedPagesOutliveMunmap) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 4 * kPageSize);
  ASSERT_TRUE(app.Write(a, 1).ok());
  auto dst = app.mm().NewDst({AddrRange{a, a + 4 * kPageSize}});
  const auto moved = dst->Fill(4 * kPageSize, [&](std::span<const iovec> segments) -> Result<size_t> {
    // Another thread unmaps meanwhile, and somebody else allocates: not our pages.
    TRY(app.mm().MUnmap(a, 4 * kPageSize));
    App other = NewApp();
    const UserAddr b = MapAnon(other, 16 * kPageSize);
    for (int i = 0; i < 16; ++i) TRY(other.Write(b + static_cast<uint64_t>(i) * kPageSize, 0));
    std::memset(segments[0].iov_base, 0xff, segments[0].iov_len);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(*other.Read(b + static_cast<uint64_t>(i) * kPageSize), 0u);
    return segments[0].iov_len;
  });
  EXPECT_EQ(*moved, 4 * kPageSize);
  app.mm().Clear();
  EXPECT_EQ(UsedPages(), 0u);
}

TEST_F(MemoryManagerTest, IovecTransfersAreShortAtAFault) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 2 * kPageSize);
  auto dst = app.mm().NewDst({AddrRange{a + 100, a + 200}, AddrRange{a + kPageSize, a + 3 * kPageSize}});
  std::vector<std::byte> bytes(4 * kPageSize, std::byte{7});
  EXPECT_EQ(*dst->Write(bytes), 100 + kPageSize);
  auto src = app.mm().NewSrc({AddrRange{a + 100, a + 200}});
  std::vector<std::byte> back(100);
  EXPECT_EQ(*src->Read(back), 100u);
  EXPECT_EQ(back[99], std::byte{7});
  auto bad = app.mm().NewDst({AddrRange{16, 32}});
  EXPECT_EQ(bad->Write(std::span(bytes).first(16)).error(), Errno::kEFAULT);
}

TEST_F(MemoryManagerTest, StackGrowsToItsLimitAndKeepsItsDistance) {
  App app = NewApp();
  constexpr UserAddr kTop = 0x7fff00000000;
  MMapArgs args;
  args.address = kTop - 16 * kPageSize;
  args.fixed = true;
  args.length = 16 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.grows_down = true;
  args.special_name = "[stack]";
  ASSERT_TRUE(app.mm().MMap(caller_, args).ok());
  app.mm().SetGrowthLimits(1 << 20, abi::kRlimInfinity);
  ASSERT_TRUE(app.Write(kTop - 200 * kPageSize, 1).ok());
  EXPECT_EQ(app.Write(kTop - (1 << 20) - 8, 1).error(), Errno::kEFAULT);
  app.mm().SetGrowthLimits(8 << 20, abi::kRlimInfinity);
  MapAnon(app, kPageSize, Prot::kReadWrite, kTop - (3 << 20));
  EXPECT_EQ(app.Write(kTop - (3 << 20) + (1 << 19), 1).error(), Errno::kEFAULT);  // within the guard gap
  ASSERT_TRUE(app.Write(kTop - (3 << 20) + kPageSize + (1 << 20), 1).ok());
}

TEST_F(MemoryManagerTest, BrkGrowsAndShrinks) {
  App app = NewApp();
  app.mm().SetBrkStart(0x10000000);
  EXPECT_EQ(app.mm().Brk(caller_, 0), 0x10000000u);
  EXPECT_EQ(app.mm().Brk(caller_, 0x10021000), 0x10021000u);
  ASSERT_TRUE(app.Write(0x10020ff8, 1).ok());
  EXPECT_EQ(app.mm().Brk(caller_, 0x10001234), 0x10001234u);
  EXPECT_EQ(app.Read(0x10002000).error(), Errno::kEFAULT);
  EXPECT_EQ(app.mm().Brk(caller_, 0x10003000), 0x10003000u);
  EXPECT_EQ(*app.Read(0x10002ff8), 0u);
  EXPECT_EQ(app.mm().FindVma(0x10000000)->name, "[heap]");
}

TEST_F(MemoryManagerTest, MremapKeepsContents) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 4 * kPageSize);
  const UserAddr blocker = MapAnon(app, kPageSize, Prot::kRead, a + 4 * kPageSize);
  ASSERT_TRUE(app.Write(a + 3 * kPageSize, 77).ok());
  EXPECT_EQ(app.mm().MRemap(caller_, a, 4 * kPageSize, 8 * kPageSize, 0, 0).error(), Errno::kENOMEM);
  const UserAddr b = *app.mm().MRemap(caller_, a, 4 * kPageSize, 8 * kPageSize, abi::kMremapMayMove, 0);
  EXPECT_NE(a, b);
  EXPECT_EQ(*app.Read(b + 3 * kPageSize), 77u);
  EXPECT_EQ(*app.Read(b + 7 * kPageSize), 0u);
  EXPECT_EQ(app.Read(a).error(), Errno::kEFAULT);
  EXPECT_TRUE(app.Read(blocker).ok());
  const UserAddr c = 0x600000000000;
  EXPECT_EQ(*app.mm().MRemap(caller_, b, 8 * kPageSize, 4 * kPageSize, abi::kMremapMayMove | abi::kMremapFixed, c), c);
  EXPECT_EQ(*app.Read(c + 3 * kPageSize), 77u);
  EXPECT_EQ(app.Read(b + 5 * kPageSize).error(), Errno::kEFAULT);
}

TEST_F(MemoryManagerTest, DontNeedDropsAndFileComesBack) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 4 * kPageSize);
  ASSERT_TRUE(app.Write(a, 1).ok());
  ASSERT_TRUE(app.mm().MAdvise(a, 4 * kPageSize, abi::kMadvDontNeed).ok());
  EXPECT_EQ(*app.Read(a), 0u);
  EXPECT_EQ(app.mm().MAdvise(a, 8 * kPageSize, abi::kMadvDontNeed).error(), Errno::kENOMEM);
  EXPECT_EQ(app.mm().MAdvise(a, kPageSize, 12345).error(), Errno::kEINVAL);
  EXPECT_EQ(app.mm().MAdvise(a + 1, kPageSize, abi::kMadvDontNeed).error(), Errno::kEINVAL);
}

TEST_F(MemoryManagerTest, ForkAdvice) {
  App app = NewApp();
  const UserAddr gone = MapAnon(app, kPageSize);
  const UserAddr wiped = MapAnon(app, kPageSize);
  ASSERT_TRUE(app.Write(gone, 1).ok());
  ASSERT_TRUE(app.Write(wiped, 2).ok());
  ASSERT_TRUE(app.mm().MAdvise(gone, kPageSize, abi::kMadvDontFork).ok());
  ASSERT_TRUE(app.mm().MAdvise(wiped, kPageSize, abi::kMadvWipeOnFork).ok());
  App child(platform_, *app.mm().Fork(), false);
  EXPECT_EQ(child.Read(gone).error(), Errno::kEFAULT);
  EXPECT_EQ(*child.Read(wiped), 0u);
  EXPECT_EQ(*app.Read(wiped), 2u);
}

TEST_F(MemoryManagerTest, ForkCommitsWhileItHoldsTheLock) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, kPageSize);
  ASSERT_TRUE(app.Write(a, 1).ok());
  app.space().HoldChanges(true);
  auto context = platform_.NewContext();
  ASSERT_TRUE(app.mm().Fork(context->get()).ok());
  EXPECT_EQ(app.space().applied(), app.space().queued());
  app.space().FailNextApply(Errno::kENOMEM);
  EXPECT_EQ(app.mm().Fork(context->get()).error(), Errno::kENOMEM);
}

TEST_F(MemoryManagerTest, WhatIsReadIntoAPageThatIsCopiedMeanwhileArrives) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 3 * kPageSize);
  for (uint64_t page = 0; page < 3; ++page) ASSERT_TRUE(app.Write(a + page * kPageSize, 7).ok());
  const auto dst = app.mm().NewDst({AddrRange{a + 8, a + 16}, AddrRange{a + kPageSize + 8, a + 3 * kPageSize}});
  Ref<MemoryManager> child = *app.mm().Fork();
  child->Clear();
  const auto filled = dst->Fill(SIZE_MAX, [&](std::span<const iovec> segments) -> Result<size_t> {
    // In the middle of the read somebody forks and goes on writing next to the buffer.
    child = *app.mm().Fork();
    EXPECT_TRUE(app.Write(a, 8).ok());
    EXPECT_TRUE(app.Write(a + kPageSize, 9).ok());
    size_t moved = 0;
    for (const iovec& s : segments) {
      std::memset(s.iov_base, 0x5a, s.iov_len);
      moved += s.iov_len;
    }
    return moved;
  });
  EXPECT_EQ(*filled, 8 + 2 * kPageSize - 8);
  EXPECT_EQ(*app.Read(a), 8u);
  EXPECT_EQ(*app.Read(a + 8), 0x5a5a5a5a5a5a5a5au);
  EXPECT_EQ(*app.Read(a + 16), 0u);
  EXPECT_EQ(*app.Read(a + kPageSize), 9u);
  for (uint64_t at = a + kPageSize + 8; at < a + 3 * kPageSize; at += 8) ASSERT_EQ(*app.Read(at), 0x5a5a5a5a5a5a5a5au);
}

TEST_F(MemoryManagerTest, ManyThreadsAtOnce) {
  App app = NewApp();
  const UserAddr shared = MapAnon(app, 64 * kPageSize);
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> total{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      App mine(platform_, app.ref(), t % 2 == 0);
      for (uint64_t round = 0; round < 300; ++round) {
        MMapArgs args;
        args.length = 40 * kPageSize;
        args.prot = Prot::kReadWrite;
        const UserAddr a = *mine.mm().MMap(caller_, args);
        for (uint64_t i = 0; i < 40; i += 3) {
          const uint64_t value = t << 32 | round << 8 | i;
          ASSERT_TRUE(mine.mm().CopyOutBytes(a + i * kPageSize, std::as_bytes(std::span(&value, 1))).ok());
        }
        (void)mine.Read(a + 5 * kPageSize);
        auto src = mine.mm().NewSrc({AddrRange{a, a + 40 * kPageSize}});
        std::vector<std::byte> bytes(40 * kPageSize);
        ASSERT_EQ(*src->Read(bytes), bytes.size());
        for (uint64_t i = 0; i < 40; i += 3) {
          uint64_t value = 0;
          std::memcpy(&value, bytes.data() + i * kPageSize, 8);
          ASSERT_EQ(value, t << 32 | round << 8 | i);
        }
        ASSERT_TRUE(mine.mm().Atomic32(shared + round % 64 * kPageSize, Atomic32Op::kAdd, 1, 0).ok());
        total.fetch_add(1);
        ASSERT_TRUE(mine.mm().MUnmap(a, 40 * kPageSize).ok());
      }
    });
  }
  std::thread forker([&] {
    while (!stop) {
      auto child = app.mm().Fork();
      ASSERT_TRUE(child.ok());
      ASSERT_TRUE((*child)->Atomic32(shared, Atomic32Op::kAdd, 1000000, 0).ok());
      (*child)->Clear();
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  forker.join();
  uint32_t sum = 0;
  for (uint64_t i = 0; i < 64; ++i) sum += *app.mm().Atomic32(shared + i * kPageSize, Atomic32Op::kLoad, 0, 0);
  EXPECT_EQ(sum, total.load());
  app.mm().Clear();
  EXPECT_EQ(UsedPages(), 0u);
}

class LimitedCaller : public Caller {
 public:
  const auth::Credentials& creds() const override { return *creds_; }
  uint64_t limit(abi::Resource r) const override { return limits.contains(r) ? limits.at(r) : abi::kRlimInfinity; }
  uint32_t umask() const override { return 0; }
  wait::Sleeper& sleeper() override { return sleeper_; }
  kernel::Task* task() override { return nullptr; }
  std::map<abi::Resource, uint64_t> limits;

 private:
  Ref<const auth::Credentials> creds_ = auth::Credentials::User(1000, 1000, {});
  wait::Sleeper sleeper_;
};

TEST_F(MemoryManagerTest, LimitsHold) {
  App app = NewApp();
  LimitedCaller caller;
  caller.limits[abi::Resource::kAs] = 1 << 20;
  MMapArgs args;
  args.length = 1 << 20;
  args.prot = Prot::kReadWrite;
  const UserAddr a = *app.mm().MMap(caller, args);
  args.length = kPageSize;
  EXPECT_EQ(app.mm().MMap(caller, args).error(), Errno::kENOMEM);
  // Replacing what is there costs nothing more.
  args.fixed = true;
  args.address = a;
  EXPECT_EQ(*app.mm().MMap(caller, args), a);
  caller.limits[abi::Resource::kMemlock] = 2 * kPageSize;
  EXPECT_TRUE(app.mm().MLock(caller, a, 2 * kPageSize, true, false).ok());
  EXPECT_TRUE(app.mm().MLock(caller, a, kPageSize, true, false).ok());
  EXPECT_EQ(app.mm().MLock(caller, a, 3 * kPageSize, true, false).error(), Errno::kENOMEM);
  EXPECT_EQ(app.mm().stats().locked_bytes, 2 * kPageSize);
  EXPECT_EQ(app.mm().MAdvise(a, kPageSize, abi::kMadvDontNeed).error(), Errno::kEINVAL);
  app.mm().MUnlockAll();
  EXPECT_EQ(app.mm().stats().locked_bytes, 0u);
  caller.limits[abi::Resource::kMemlock] = 0;
  EXPECT_EQ(app.mm().MLock(caller, a, kPageSize, true, false).error(), Errno::kEPERM);
}

TEST_F(MemoryManagerTest, MemoryLimitGivesEnomemAndRecovers) {
  memory_file_ = NewMemoryFile(64 * kPageSize);
  App app = NewApp();
  const UserAddr a = MapAnon(app, 256 * kPageSize);
  int pages = 0;
  while (pages < 256 && app.Write(a + static_cast<uint64_t>(pages) * kPageSize, 1).ok()) ++pages;
  EXPECT_EQ(pages, 64);
  EXPECT_EQ(app.Write(a + 64 * kPageSize, 1).error(), Errno::kENOMEM);
  ASSERT_TRUE(app.mm().MAdvise(a, 32 * kPageSize, abi::kMadvDontNeed).ok());
  EXPECT_TRUE(app.Write(a + 64 * kPageSize, 1).ok());
}

TEST_F(MemoryManagerTest, TheMemoryLimitChangesWhileMemoryIsInUse) {
  memory_file_ = NewMemoryFile(16 * kPageSize);
  App app = NewApp();
  const UserAddr a = MapAnon(app, 64 * kPageSize);
  uint64_t pages = 0;
  const auto fill = [&] {
    while (pages < 64 && app.Write(a + pages * kPageSize, 1).ok()) ++pages;
    return pages;
  };
  EXPECT_EQ(fill(), 16u);
  EXPECT_EQ(memory_file_->SetLimit(8 * kPageSize).error(), Errno::kEBUSY);
  EXPECT_EQ(memory_file_->usage().limit_bytes, 16 * kPageSize);
  ASSERT_TRUE(memory_file_->SetLimit(32 * kPageSize).ok());
  EXPECT_EQ(memory_file_->total_bytes(), 32 * kPageSize);
  EXPECT_EQ(fill(), 32u);
  ASSERT_TRUE(memory_file_->SetLimit(0).ok());
  EXPECT_GT(memory_file_->total_bytes(), 64 * kPageSize);
  EXPECT_EQ(fill(), 64u);
}

TEST_F(MemoryManagerTest, ObviousOvercommitmentIsRefused) {
  App app = NewApp();
  MMapArgs args;
  args.length = uint64_t{1} << 44;
  args.prot = Prot::kReadWrite;
  EXPECT_EQ(app.mm().MMap(caller_, args).error(), Errno::kENOMEM);
  args.noreserve = true;
  EXPECT_TRUE(app.mm().MMap(caller_, args).ok());
  args.noreserve = false;
  args.prot = Prot::kNone;
  EXPECT_TRUE(app.mm().MMap(caller_, args).ok());
}

TEST_F(MemoryManagerTest, FixedMappingReplaces) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 8 * kPageSize);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(app.Write(a + static_cast<uint64_t>(i) * kPageSize, 1).ok());
  MapAnon(app, 2 * kPageSize, Prot::kReadWrite, a + 2 * kPageSize);
  EXPECT_EQ(*app.Read(a + 2 * kPageSize), 0u);
  EXPECT_EQ(*app.Read(a + 4 * kPageSize), 1u);
  MMapArgs args;
  args.address = a;
  args.length = kPageSize;
  args.fixed_noreplace = true;
  EXPECT_EQ(app.mm().MMap(caller_, args).error(), Errno::kEEXIST);
}

TEST_F(MemoryManagerTest, ForceReachesThroughProtection) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(4 * kPageSize, false);
  MMapArgs args;
  args.length = 4 * kPageSize;
  args.prot = Prot::kReadExec;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  const uint8_t breakpoint = 0xcc;
  EXPECT_TRUE(app.mm().ForceCopyOut(a + 5, std::as_bytes(std::span(&breakpoint, 1))).ok());
  EXPECT_EQ(*app.Read(a) >> 40 & 0xff, 0xccu);
  EXPECT_EQ(file->view()[5], std::byte{0});
  EXPECT_EQ(app.space().Find(a)->prot, Prot::kReadExec);
}

TEST_F(MemoryManagerTest, InvalidateTakesTranslationsBack) {
  App app = NewApp();
  auto file = MakeRef<MappedFile>(8 * kPageSize, true);
  MMapArgs args;
  args.length = 8 * kPageSize;
  args.prot = Prot::kReadWrite;
  args.shared = true;
  args.file = file;
  const UserAddr a = *app.mm().MMap(caller_, args);
  ASSERT_TRUE(app.Write(a + 5 * kPageSize, 1).ok());
  file->set_size(2 * kPageSize);
  app.mm().Invalidate(*file, FileRange{2 * kPageSize, UINT64_MAX}, true);
  EXPECT_EQ(app.Read(a + 5 * kPageSize).error(), Errno::kEIO);
  EXPECT_TRUE(app.Read(a + kPageSize).ok());
  EXPECT_GE(app.space().kicks(), 1u);
}

TEST_F(MemoryManagerTest, AtomicsAndStrings) {
  App app = NewApp();
  const UserAddr a = MapAnon(app, 2 * kPageSize);
  EXPECT_EQ(*app.mm().Atomic32(a, Atomic32Op::kAdd, 5, 0), 0u);
  EXPECT_EQ(*app.mm().Atomic32(a, Atomic32Op::kCompareExchange, 9, 5), 5u);
  EXPECT_EQ(*app.mm().Atomic32(a, Atomic32Op::kLoad, 0, 0), 9u);
  EXPECT_EQ(app.mm().Atomic32(a + 2, Atomic32Op::kLoad, 0, 0).error(), Errno::kEINVAL);
  const UserAddr end = a + 2 * kPageSize;
  ASSERT_TRUE(app.mm().CopyOutBytes(end - 4, std::as_bytes(std::span("abc", 4))).ok());
  EXPECT_EQ(*app.mm().CopyInString(end - 4, 4096, Errno::kENAMETOOLONG), "abc");
  ASSERT_TRUE(app.mm().CopyOutBytes(end - 4, std::as_bytes(std::span("abcd", 4))).ok());
  EXPECT_EQ(app.mm().CopyInString(end - 4, 4096, Errno::kENAMETOOLONG).error(), Errno::kEFAULT);
  EXPECT_EQ(app.mm().CopyInString(end - 4, 3, Errno::kENAMETOOLONG).error(), Errno::kENAMETOOLONG);
}

TEST(SafeCopy, StopsWhereTheFileEnds) {
  InstallSafeCopy();
  const int fd = memfd_create("t", 0);
  ASSERT_EQ(ftruncate(fd, 4096), 0);
  auto* p = static_cast<std::byte*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  std::vector<std::byte> buffer(8192, std::byte{3});
  EXPECT_EQ(SafeCopy(p, buffer.data(), 8192), 4096u);
  EXPECT_EQ(SafeCopy(buffer.data(), p + 4000, 200), 96u);
  EXPECT_EQ(SafeZero(p, 8192), 4096u);
  EXPECT_FALSE(SafeLoad32(reinterpret_cast<uint32_t*>(p + 4096)).has_value());
  EXPECT_EQ(SafeCompareExchange32(reinterpret_cast<uint32_t*>(p), 0, 5), 0u);
  EXPECT_EQ(SafeLoad32(reinterpret_cast<uint32_t*>(p)), 5u);
  EXPECT_EQ(SafeCopy(nullptr, buffer.data(), 10), 0u);
  munmap(p, 8192);
  close(fd);
}

}  // namespace
}  // namespace rampart::mm
