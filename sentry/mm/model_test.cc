// Random operations against a simple model: a process is a map from page to {rights, value}; values of private pages are copied at fork.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "abi/mman.h"
#include "base/safe_math.h"
#include "sentry/mm/testing_app.h"

namespace rampart::mm {
namespace {

using testing::App;
using testing::MappedFile;
using testing::NewMemoryFile;
using platform::Prot;

struct ModelPage {
  Prot prot;
  bool shared;
  bool anonymous;
  std::shared_ptr<uint64_t> value;  // shared pages share it; private ones are copied at fork
};

struct Process {
  App app;
  std::map<UserAddr, ModelPage> pages;
};

class Model {
 public:
  explicit Model(uint32_t seed) : rng_(seed), memory_file_(NewMemoryFile()) {
    for (uint64_t i = 0; i < kFilePages; ++i) {
      const uint64_t value = 0xf00 + i;
      std::memcpy(private_file_->view() + i * kPageSize, &value, 8);
      shared_values_.push_back(std::make_shared<uint64_t>(0));
    }
    auto mm = MemoryManager::Create(platform_, memory_file_);
    CHECK(mm.ok());
    processes_.push_back(std::make_unique<Process>(Process{App(platform_, *mm, rng_() % 2 == 0), {}}));
  }

  void Step() {
    Process& p = *processes_[rng_() % processes_.size()];
    p.app.space().HoldChanges(rng_() % 2 == 0);
    switch (rng_() % 16) {
      case 0: case 1: return Map(p);
      case 2: return Unmap(p);
      case 3: return Protect(p);
      case 4: return DontNeed(p);
      case 5: return Remap(p);
      case 6: return Fork(p);
      case 7: return Exit();
      case 8: case 9: return KernelAccess(p);
      default: return AppAccess(p);
    }
  }

  void CheckAll() {
    for (auto& p : processes_) {
      for (auto& [a, page] : p->pages) {
        const auto value = p->app.Read(a);
        if (!platform::Any(page.prot)) {
          ASSERT_FALSE(value.ok());
        } else {
          ASSERT_TRUE(value.ok()) << std::hex << a;
          ASSERT_EQ(*value, *page.value) << std::hex << a;
        }
      }
    }
  }

  void Finish() {
    for (auto& p : processes_) p->app.mm().Clear();
    processes_.clear();
    EXPECT_EQ(memory_file_->usage().used_bytes, 0u);
    EXPECT_TRUE(private_file_->mappings.empty());
    EXPECT_TRUE(shared_file_->mappings.empty());
  }

 private:
  static constexpr UserAddr kBase = 0x10000000;
  static constexpr uint64_t kArena = 300;      // pages
  static constexpr uint64_t kFilePages = 64;

  UserAddr RandomPage() { return kBase + rng_() % kArena * kPageSize; }
  uint64_t RandomLength() { return rng_() % 3 == 0 ? 1 + rng_() % 100 : 1 + rng_() % 8; }
  Prot RandomProt() {
    const Prot choices[] = {Prot::kNone, Prot::kRead, Prot::kReadWrite, Prot::kReadWrite, Prot::kReadWrite};
    return choices[rng_() % 5];
  }

  void Map(Process& p) {
    MMapArgs args;
    args.address = RandomPage();
    args.fixed = true;
    const uint64_t kind = rng_() % 4;
    uint64_t pages = RandomLength();
    const uint64_t first = rng_() % kFilePages;
    if (kind >= 2) pages = std::min(pages, kFilePages - first);
    args.length = pages * kPageSize;
    args.prot = RandomProt();
    args.shared = kind == 1 || kind == 3;
    args.noreserve = rng_() % 2 == 0;
    args.populate = rng_() % 8 == 0;
    if (kind == 2) args.file = private_file_;
    if (kind == 3) args.file = shared_file_;
    if (kind >= 2) args.offset = first * kPageSize;
    ASSERT_TRUE(p.app.mm().MMap(caller_, args).ok());
    for (uint64_t i = 0; i < pages; ++i) {
      ModelPage page{args.prot, args.shared, kind < 2, nullptr};
      if (kind == 3) {
        page.value = shared_values_[first + i];
      } else {
        page.value = std::make_shared<uint64_t>(kind == 2 ? 0xf00 + first + i : 0);
      }
      p.pages.insert_or_assign(args.address + i * kPageSize, std::move(page));
    }
  }

  void Unmap(Process& p) {
    const UserAddr a = RandomPage();
    const uint64_t pages = RandomLength();
    ASSERT_TRUE(p.app.mm().MUnmap(a, pages * kPageSize).ok());
    p.pages.erase(p.pages.lower_bound(a), p.pages.lower_bound(a + pages * kPageSize));
  }

  bool Covered(Process& p, UserAddr a, uint64_t pages) {
    for (uint64_t i = 0; i < pages; ++i) {
      if (!p.pages.contains(a + i * kPageSize)) return false;
    }
    return true;
  }

  void Protect(Process& p) {
    const UserAddr a = RandomPage();
    const uint64_t pages = RandomLength();
    const Prot prot = RandomProt();
    ASSERT_EQ(p.app.mm().MProtect(a, pages * kPageSize, prot, false).ok(), Covered(p, a, pages));
    for (uint64_t i = 0; i < pages; ++i) {
      const auto it = p.pages.find(a + i * kPageSize);
      if (it == p.pages.end()) break;
      it->second.prot = prot;
    }
  }

  void DontNeed(Process& p) {
    const UserAddr a = RandomPage();
    const uint64_t pages = RandomLength();
    ASSERT_EQ(p.app.mm().MAdvise(a, pages * kPageSize, abi::kMadvDontNeed).ok(), Covered(p, a, pages));
    for (uint64_t i = 0; i < pages; ++i) {
      const auto it = p.pages.find(a + i * kPageSize);
      if (it == p.pages.end() || it->second.shared) continue;
      if (it->second.anonymous) {
        it->second.value = std::make_shared<uint64_t>(0);
      } else {
        const auto value = p.app.mm().FindVma(it->first);
        it->second.value = std::make_shared<uint64_t>(0xf00 + (value->offset + it->first - value->range.start) / kPageSize);
      }
    }
  }

  void Remap(Process& p) {
    const UserAddr from = RandomPage();
    const UserAddr to = RandomPage();
    const uint64_t pages = 1 + rng_() % 8;
    const bool ok = p.app.mm().MRemap(caller_, from, pages * kPageSize, pages * kPageSize, abi::kMremapMayMove | abi::kMremapFixed, to).ok();
    if (!ok) return Resync(p, to, pages);
    ASSERT_TRUE(p.pages.contains(from));
    // Holes stay behind, and leave what is at their place.
    for (uint64_t i = 0; i < pages; ++i) {
      const auto it = p.pages.find(from + i * kPageSize);
      if (it == p.pages.end()) continue;
      const ModelPage moved = it->second;
      p.pages.erase(it);
      p.pages.insert_or_assign(to + i * kPageSize, moved);
    }
  }
  // A failed fixed mremap may have unmapped its target.
  void Resync(Process& p, UserAddr a, uint64_t pages) {
    for (uint64_t i = 0; i < pages; ++i) {
      if (!p.app.mm().FindVma(a + i * kPageSize)) p.pages.erase(a + i * kPageSize);
    }
  }

  void Fork(Process& p) {
    if (processes_.size() >= 5) return;
    auto mm = p.app.mm().Fork();
    ASSERT_TRUE(mm.ok());
    p.app.space().ApplyNow();
    auto child = std::make_unique<Process>(Process{App(platform_, *mm, rng_() % 2 == 0), p.pages});
    for (auto& [a, page] : child->pages) {
      if (!page.shared) page.value = std::make_shared<uint64_t>(*page.value);
    }
    processes_.push_back(std::move(child));
  }

  void Exit() {
    if (processes_.size() < 2 || rng_() % 2 == 0) return;
    const size_t i = rng_() % processes_.size();
    processes_[i]->app.mm().Clear();
    processes_.erase(processes_.begin() + static_cast<ptrdiff_t>(i));
  }

  void KernelAccess(Process& p) {
    const UserAddr a = RandomPage();
    const auto it = p.pages.find(a);
    if (rng_() % 2 == 0) {
      uint64_t value = 0;
      const bool ok = p.app.mm().CopyInBytes(a, std::as_writable_bytes(std::span(&value, 1))).ok();
      ASSERT_EQ(ok, it != p.pages.end() && platform::Any(it->second.prot));
      if (ok) {
        ASSERT_EQ(value, *it->second.value);
      }
    } else {
      const uint64_t value = rng_();
      const bool ok = p.app.mm().CopyOutBytes(a, std::as_bytes(std::span(&value, 1))).ok();
      ASSERT_EQ(ok, it != p.pages.end() && platform::Allows(it->second.prot, Prot::kWrite));
      if (ok) *it->second.value = value;
    }
  }

  void AppAccess(Process& p) {
    const UserAddr a = RandomPage();
    const auto it = p.pages.find(a);
    if (rng_() % 2 == 0) {
      const auto value = p.app.Read(a);
      ASSERT_EQ(value.ok(), it != p.pages.end() && platform::Any(it->second.prot));
      if (value.ok()) {
        ASSERT_EQ(*value, *it->second.value);
      }
    } else {
      const uint64_t value = rng_();
      const auto result = p.app.Write(a, value);
      ASSERT_EQ(result.ok(), it != p.pages.end() && platform::Allows(it->second.prot, Prot::kWrite)) << std::hex << a;
      if (result.ok()) *it->second.value = value;
    }
  }

  std::mt19937 rng_;
  platform::testing::FakePlatform platform_;
  KernelCaller caller_;
  Ref<MemoryFile> memory_file_;
  Ref<MappedFile> private_file_ = MakeRef<MappedFile>(kFilePages * kPageSize, false);
  Ref<MappedFile> shared_file_ = MakeRef<MappedFile>(kFilePages * kPageSize, true);
  std::vector<std::shared_ptr<uint64_t>> shared_values_;
  std::vector<std::unique_ptr<Process>> processes_;
};

TEST(MemoryModel, RandomOperationsAgree) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (int i = 0; i < 3000; ++i) {
      model.Step();
      if (i % 500 == 499) model.CheckAll();
      if (::testing::Test::HasFatalFailure()) return;
    }
    model.Finish();
  }
}

}  // namespace
}  // namespace rampart::mm
