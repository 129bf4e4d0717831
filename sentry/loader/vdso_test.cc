#include "sentry/loader/vdso.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <atomic>
#include <ctime>
#include <thread>
#include <utility>

#include "base/safe_math.h"
#include "sentry/loader/testing_files.h"
#include "sentry/loader/vdso_blob.h"
#include "sentry/loader/vdso_keeper.h"

namespace rampart::loader {
namespace {

// Maps the memory file's vvar and code pages here, executable, as an application has them, and finds a symbol.
class MappedVdso {
 public:
  explicit MappedVdso(Vdso& vdso, mm::MemoryFile& memory_file) {
    const uint64_t length = vdso.vvar_bytes() + vdso.code_bytes();
    auto t = vdso.mappable()->Translate({0, 4096}, {0, length}, false);
    CHECK(t.ok() && t->range.length() == length);
    void* p = mmap(nullptr, length, PROT_READ | PROT_EXEC, MAP_SHARED, memory_file.fd(), static_cast<off_t>(t->offset));
    CHECK(p != MAP_FAILED);
    image_ = static_cast<std::byte*>(p) + vdso.vvar_bytes();
    memory_file.DecRef(mm::FileRange{t->offset, t->offset + length});
  }
  void* Find(const char* name) const {
    const auto* e = reinterpret_cast<const Elf64_Ehdr*>(image_);
    const auto* ph = reinterpret_cast<const Elf64_Phdr*>(image_ + e->e_phoff);
    const Elf64_Dyn* dynamic = nullptr;
    for (int i = 0; i < e->e_phnum; ++i) {
      if (ph[i].p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const Elf64_Dyn*>(image_ + ph[i].p_vaddr);
    }
    const Elf64_Sym* symbols = nullptr;
    const char* strings = nullptr;
    const uint32_t* hash = nullptr;
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
      EXPECT_NE(dynamic->d_tag, DT_RELA);
      if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const Elf64_Sym*>(image_ + dynamic->d_un.d_ptr);
      if (dynamic->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(image_ + dynamic->d_un.d_ptr);
      if (dynamic->d_tag == DT_HASH) hash = reinterpret_cast<const uint32_t*>(image_ + dynamic->d_un.d_ptr);
    }
    for (uint32_t i = 0; i < hash[1]; ++i) {
      if (std::strcmp(strings + symbols[i].st_name, name) == 0) return const_cast<std::byte*>(image_) + symbols[i].st_value;
    }
    return nullptr;
  }

 private:
  std::byte* image_;
};

Nanos Host(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return ts.tv_sec * kNanosPerSecond + ts.tv_nsec;
}

class VdsoTest : public ::testing::TestWithParam<bool> {
 protected:
  Ref<mm::MemoryFile> memory_file_ = testing::NewMemoryFile();
  Ref<Vdso> vdso_ = Vdso::Create(memory_file_, GetParam()).value();
  MappedVdso mapped_{*vdso_, *memory_file_};
  using ClockGettime = int (*)(int, timespec*);
  ClockGettime clock_gettime_ = reinterpret_cast<ClockGettime>(mapped_.Find("__vdso_clock_gettime"));
  Nanos Read(int clock) {
    timespec ts{};
    EXPECT_EQ(clock_gettime_(clock, &ts), 0);
    return ts.tv_sec * kNanosPerSecond + ts.tv_nsec;
  }
};
INSTANTIATE_TEST_SUITE_P(WithAndWithoutTsc, VdsoTest, ::testing::Bool());

TEST_P(VdsoTest, HasLinuxsNames) {
  for (const char* name : {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_clock_getres", "__vdso_getcpu", "clock_gettime"}) {
    EXPECT_NE(mapped_.Find(name), nullptr) << name;
  }
}

TEST_P(VdsoTest, AgreesWithTheHost) {
  for (const int clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE}) {
    const Nanos ours = Read(clock);
    const Nanos host = Host(clock);
    EXPECT_LT(std::abs(ours - host), 10 * kNanosPerMilli) << clock;
  }
  EXPECT_NE(clock_gettime_(12345, nullptr), 0);
  timespec cpu{};
  EXPECT_EQ(clock_gettime_(CLOCK_PROCESS_CPUTIME_ID, &cpu), 0);  // by system call
}

TEST_P(VdsoTest, NeverGoesBackwardsAgainstNow) {
  std::atomic<bool> stop{false};
  std::thread calibrator([&] {
    while (!stop) {
      vdso_->Recalibrate();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  Nanos last = 0;
  const Nanos end = Host(CLOCK_MONOTONIC) + 300 * kNanosPerMilli;
  while (last < end) {
    const Nanos a = Read(CLOCK_MONOTONIC);
    ASSERT_GE(a, last);
    const Nanos b = vdso_->Now(VdsoClock::kMonotonic);
    ASSERT_GE(b, a);
    last = b;
  }
  stop = true;
  calibrator.join();
  // Between two readings of the host, however long this thread was off the processor between them.
  constexpr Nanos kDrift = 20'000;
  for (const auto& [ours, hosts] : {std::pair(VdsoClock::kMonotonic, CLOCK_MONOTONIC), std::pair(VdsoClock::kMonotonicRaw, CLOCK_MONOTONIC_RAW)}) {
    const Nanos before = Host(hosts);
    const Nanos now = vdso_->Now(ours);
    EXPECT_GE(now, before - kDrift);
    EXPECT_LE(now, Host(hosts) + kDrift);
  }
}

TEST_P(VdsoTest, KeeperWorksAndStops) {
  time::TimerQueue queue;
  queue.Start();
  {
    VdsoKeeper keeper(queue, vdso_);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  }
  EXPECT_LT(std::abs(vdso_->Now(VdsoClock::kMonotonic) - Host(CLOCK_MONOTONIC)), 20'000);
}

}  // namespace
}  // namespace rampart::loader
