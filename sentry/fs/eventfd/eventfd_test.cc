#include "sentry/fs/eventfd/eventfd.h"

#include <gtest/gtest.h>

namespace rampart::fs {
namespace {

class EventFdTest : public testing::Test {
 protected:
  Result<uint64_t> Read(EventFd& file, size_t size = 8) {
    uint64_t value[2] = {};
    mm::BufferDst dst(std::as_writable_bytes(std::span(value)).first(size));
    TRY(file.Read(caller_, dst, 0));
    return value[0];
  }
  Result<size_t> Write(EventFd& file, uint64_t value, size_t size = 8) {
    mm::BufferSrc src(std::as_bytes(std::span(&value, 1)).first(size));
    return file.Write(caller_, src, 0);
  }
  KernelCaller caller_;
};

TEST_F(EventFdTest, ReadTakesEverything) {
  Ref<EventFd> file = EventFd::Create(3, false, 0);
  EXPECT_EQ(*Write(*file, 4), 8u);
  EXPECT_EQ(*Read(*file), 7u);
  EXPECT_EQ(Read(*file).error(), Errno::kEAGAIN);
  EXPECT_EQ(file->Readiness(~0u), abi::kPollOut);
}

TEST_F(EventFdTest, SemaphoreTakesOne) {
  Ref<EventFd> file = EventFd::Create(2, true, 0);
  EXPECT_EQ(*Read(*file), 1u);
  EXPECT_EQ(*Read(*file), 1u);
  EXPECT_EQ(Read(*file).error(), Errno::kEAGAIN);
}

TEST_F(EventFdTest, WriteOfMaxValueIsInvalid) {
  Ref<EventFd> file = EventFd::Create(0, false, 0);
  EXPECT_EQ(Write(*file, UINT64_MAX).error(), Errno::kEINVAL);
  EXPECT_EQ(*Write(*file, UINT64_MAX - 1), 8u);
  EXPECT_EQ(file->Readiness(~0u), abi::kPollIn);
  EXPECT_EQ(Write(*file, 1).error(), Errno::kEAGAIN);
}

TEST_F(EventFdTest, ShortBuffersAreInvalid) {
  Ref<EventFd> file = EventFd::Create(1, false, 0);
  EXPECT_EQ(Read(*file, 7).error(), Errno::kEINVAL);
  EXPECT_EQ(Write(*file, 1, 7).error(), Errno::kEINVAL);
}

TEST_F(EventFdTest, InfoShowsTheCount) {
  Ref<EventFd> file = EventFd::Create(0x2a, true, 0);
  EXPECT_NE(file->FdInfo().find("eventfd-count:               2a\n"), std::string::npos);
}

}  // namespace
}  // namespace rampart::fs
