// /proc/PID/maps: its query, and which areas stay apart; /proc/PID/pagemap.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "apart.h"

namespace {

using test::Apart;

struct Query {
  uint64_t size, flags, address, start, end, vma_flags, page_size, offset, inode;
  uint32_t major, minor, name_size, build_id_size;
  uint64_t name, build_id;
};
constexpr unsigned long kQuery = 0xC0686611;
constexpr uint64_t kWritable = 2, kShared = 8, kOrNext = 16, kFileBacked = 32;
constexpr size_t kPage = 4096;

class ProcmapQuery : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = open("/proc/self/maps", O_RDONLY);
    ASSERT_GE(fd_, 0);
    Query q{};
    q.size = sizeof(q);
    if (ioctl(fd_, kQuery, &q) != 0 && errno == ENOTTY) GTEST_SKIP() << "the kernel is older than 6.11";
    area_ = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(area_, MAP_FAILED);
    ASSERT_EQ(mprotect(area_, kPage, PROT_NONE), 0);
    ASSERT_EQ(mprotect(area_ + 3 * kPage, kPage, PROT_NONE), 0);
    ASSERT_EQ(munmap(area_ + kPage, kPage), 0);  // [none][hole][rw][none]
  }
  void TearDown() override { close(fd_); }
  int Ask(Query& q, uint64_t address, uint64_t flags) {
    q.size = sizeof(q);
    q.address = address;
    q.flags = flags;
    return ioctl(fd_, kQuery, &q) == 0 ? 0 : errno;
  }
  uint64_t At(size_t page) const { return reinterpret_cast<uint64_t>(area_) + page * kPage; }
  int fd_ = -1;
  char* area_ = nullptr;
};

TEST_F(ProcmapQuery, FindsWhatCoversAnAddress) {
  Query q{};
  ASSERT_EQ(Ask(q, At(2) + 5, 0), 0);
  EXPECT_EQ(q.start, At(2));
  EXPECT_EQ(q.end, At(3));
  EXPECT_EQ(q.vma_flags, 3u);
  EXPECT_EQ(q.page_size, kPage);
  EXPECT_EQ(q.inode, 0u);
  EXPECT_EQ(Ask(q, At(1), 0), ENOENT);
  EXPECT_EQ(Ask(q, At(3), kWritable), ENOENT);
}

TEST_F(ProcmapQuery, OrTheNextThatFits) {
  Query q{};
  ASSERT_EQ(Ask(q, At(1), kOrNext), 0);
  EXPECT_EQ(q.start, At(2));
  ASSERT_EQ(Ask(q, At(0), kOrNext | kWritable), 0);
  EXPECT_EQ(q.start, At(2));
  EXPECT_EQ(Ask(q, UINT64_MAX - kPage, kOrNext | kWritable), ENOENT);
}

TEST_F(ProcmapQuery, NamesFiles) {
  char exe[PATH_MAX] = {}, name[PATH_MAX] = {};
  ASSERT_GT(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
  Query q{};
  q.name = reinterpret_cast<uint64_t>(name);
  q.name_size = sizeof(name);
  static const char in_the_program[] = "text";
  ASSERT_EQ(Ask(q, reinterpret_cast<uint64_t>(in_the_program), 0), 0);
  EXPECT_STREQ(name, exe);
  EXPECT_EQ(q.name_size, strlen(exe) + 1);
  EXPECT_NE(q.inode, 0u);
  q.name_size = 3;
  EXPECT_EQ(Ask(q, reinterpret_cast<uint64_t>(in_the_program), 0), ENAMETOOLONG);
  q.name = 0, q.name_size = 0;
  EXPECT_EQ(Ask(q, 0, kOrNext | kFileBacked), 0);
}

TEST_F(ProcmapQuery, Errors) {
  Query q{};
  EXPECT_EQ(Ask(q, At(2), 64), EINVAL);
  q.name_size = 10;
  EXPECT_EQ(Ask(q, At(2), 0), EINVAL);
  q = {};
  q.size = 8;
  EXPECT_EQ(ioctl(fd_, kQuery, &q), -1);
  EXPECT_EQ(errno, EINVAL);
  q.size = 8192;
  EXPECT_EQ(ioctl(fd_, kQuery, &q), -1);
  EXPECT_EQ(errno, E2BIG);
  EXPECT_EQ(ioctl(fd_, kQuery, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  (void)kShared;
}

class PageMap : public testing::Test {
 protected:
  static constexpr uint64_t kPresent = uint64_t{1} << 63, kOfFile = uint64_t{1} << 61, kExclusive = uint64_t{1} << 56;
  void SetUp() override {
    fd_ = open("/proc/self/pagemap", O_RDONLY);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override { close(fd_); }
  uint64_t Entry(const void* page) {
    uint64_t entry = 1;
    EXPECT_EQ(pread(fd_, &entry, sizeof(entry), static_cast<off_t>(reinterpret_cast<uintptr_t>(page) / kPage * sizeof(entry))), 8);
    return entry & (kPresent | kOfFile | kExclusive);
  }
  int fd_ = -1;
};

TEST_F(PageMap, TellsWhatIsThere) {
  auto* const area = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  area[0] = 1;
  EXPECT_EQ(Entry(area), kPresent | kExclusive);
  ASSERT_EQ(madvise(area, 4 * kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(Entry(area), 0u);
  area[kPage] = 1;
  ASSERT_EQ(munmap(area + 2 * kPage, kPage), 0);
  EXPECT_EQ(Entry(area + kPage), kPresent | kExclusive);
  EXPECT_EQ(Entry(area + 2 * kPage), 0u);
  auto* const shared = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  shared[0] = 1;
  EXPECT_EQ(Entry(shared) & ~kExclusive, kPresent | kOfFile);
}

TEST_F(PageMap, ReadsWholeEntries) {
  uint64_t entries[2];
  EXPECT_EQ(lseek(fd_, 0, SEEK_SET), 0);
  EXPECT_EQ(read(fd_, entries, 0), 0);
  EXPECT_EQ(read(fd_, entries, 4), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(pread(fd_, entries, 8, 4), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(read(fd_, entries, sizeof(entries)), 16);
  EXPECT_EQ(entries[0] | entries[1], 0u);
  EXPECT_EQ(lseek(fd_, 0, SEEK_CUR), 16);
  EXPECT_EQ(pread(fd_, entries, 8, off_t{1} << 40), 0);  // beyond the address space
  EXPECT_EQ(lseek(fd_, 0, SEEK_END), -1);
}

// The areas of [from, to) as pages: "0-3 3-6".
std::string AreasOf(const char* from, size_t pages) {
  std::ifstream maps("/proc/self/maps");
  std::string line, out;
  while (std::getline(maps, line)) {
    uint64_t start = 0, end = 0;
    if (sscanf(line.c_str(), "%lx-%lx", &start, &end) != 2) continue;
    const auto first = reinterpret_cast<uint64_t>(from), last = first + pages * kPage;
    if (end <= first || start >= last) continue;
    out += (out.empty() ? "" : " ") + std::to_string((std::max(start, first) - first) / kPage) + "-" + std::to_string((std::min(end, last) - first) / kPage);
  }
  return out;
}
char* MapAt(char* at, size_t pages) {
  void* const p = mmap(at, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

// Room with nothing beside it.
class AreasAfterFork : public testing::Test {
 protected:
  void SetUp() override {
    room_ = static_cast<char*>(mmap(nullptr, 12 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(room_, MAP_FAILED);
    at_ = room_ + kPage;
    ASSERT_NE(MapAt(at_, 3), nullptr);
  }
  void TearDown() override { munmap(room_, 12 * kPage); }
  char *room_ = nullptr, *at_ = nullptr;
};

TEST_F(AreasAfterFork, WhatHasPagesStaysApartFromWhatIsNew) {
  at_[0] = 1;
  Apart([this] {
    ASSERT_NE(MapAt(at_ + 3 * kPage, 3), nullptr);
    EXPECT_EQ(AreasOf(at_, 6), "0-3 3-6");
    Apart([this] { EXPECT_EQ(AreasOf(at_, 6), "0-3 3-6"); });
  });
  // The parent's are still its own.
  ASSERT_NE(MapAt(at_ + 3 * kPage, 3), nullptr);
  EXPECT_EQ(AreasOf(at_, 6), "0-6");
}

TEST_F(AreasAfterFork, PartsOfOneComeTogetherAgain) {
  at_[0] = 1;
  Apart([this] {
    ASSERT_EQ(mprotect(at_ + kPage, kPage, PROT_READ), 0);
    EXPECT_EQ(AreasOf(at_, 3), "0-1 1-2 2-3");
    ASSERT_EQ(mprotect(at_ + kPage, kPage, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(AreasOf(at_, 3), "0-3");
  });
}

TEST_F(AreasAfterFork, ButNotThoseThatWereApartBefore) {
  memset(at_, 1, 3 * kPage);
  ASSERT_EQ(mprotect(at_ + 2 * kPage, kPage, PROT_READ), 0);
  Apart([this] {
    ASSERT_EQ(mprotect(at_ + 2 * kPage, kPage, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(AreasOf(at_, 3), "0-2 2-3");
  });
  ASSERT_EQ(mprotect(at_ + 2 * kPage, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(AreasOf(at_, 3), "0-3");
}

TEST_F(AreasAfterFork, TheHeapHasTwoThen) {
  char* const end = static_cast<char*>(sbrk(0));
  ASSERT_NE(sbrk(2 * kPage), reinterpret_cast<void*>(-1));
  end[kPage] = 1;
  Apart([] {
    char* const own = static_cast<char*>(sbrk(0));
    char* const top = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(own) + kPage - 1) / kPage * kPage);
    ASSERT_NE(sbrk(2 * kPage), reinterpret_cast<void*>(-1));
    EXPECT_EQ(AreasOf(top - kPage, 2), "0-1 1-2");
    ASSERT_EQ(brk(own - kPage), 0);  // over both
    EXPECT_EQ(AreasOf(top, 2), "");
  });
}

}  // namespace
