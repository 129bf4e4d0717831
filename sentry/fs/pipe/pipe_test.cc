#include "sentry/fs/pipe/pipe.h"

#include <gtest/gtest.h>

#include <string>

#include "base/safe_math.h"

namespace rampart::fs {
namespace {

Result<size_t> Write(Pipe& pipe, std::string_view text, bool packet = false) {
  mm::BufferSrc src(std::as_bytes(std::span(text)));
  return pipe.Write(src, packet);
}
Result<std::string> Read(Pipe& pipe, size_t max) {
  std::string text(max, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
  const size_t n = TRY(pipe.Read(dst));
  text.resize(n);
  return text;
}

// A source that hands out one byte at a time, as user memory across many mappings may.
class CrumblingSrc final : public mm::IoSrc {
 public:
  explicit CrumblingSrc(std::string text, size_t fault_at = SIZE_MAX) : text_(std::move(text)), fault_at_(fault_at) {}
  size_t remaining() const override { return text_.size() - at_; }
  Result<size_t> Drain(size_t max, mm::SegmentFn drain) override {
    size_t done = 0;
    while (done < max && at_ < text_.size()) {
      if (at_ >= fault_at_) break;
      const iovec one{&text_[at_], 1};
      const Result<size_t> n = drain(std::span(&one, 1));
      if (!n.ok()) {
        if (done == 0) return n;
        break;
      }
      if (*n == 0) break;
      ++at_, ++done;
    }
    if (done == 0) return Errno::kEFAULT;
    return done;
  }
  void Skip(size_t n) override { at_ += n; }

 private:
  std::string text_;
  size_t fault_at_;
  size_t at_ = 0;
};

struct Open {
  Ref<Pipe> pipe = MakeRef<Pipe>();
  Open() { pipe->AddEnds(true, true); }
};

TEST(Pipe, BytesComeOutInOrder) {
  Open o;
  EXPECT_EQ(*Write(*o.pipe, "hello "), 6u);
  EXPECT_EQ(*Write(*o.pipe, "world"), 5u);
  EXPECT_EQ(o.pipe->bytes(), 11u);
  EXPECT_EQ(*Read(*o.pipe, 3), "hel");
  EXPECT_EQ(*Read(*o.pipe, 100), "lo world");
}

TEST(Pipe, EmptyIsEagainWithWritersAndEofWithout) {
  Open o;
  EXPECT_EQ(Read(*o.pipe, 1).error(), Errno::kEAGAIN);
  o.pipe->RemoveEnds(false, true);
  EXPECT_EQ(*Read(*o.pipe, 1), "");
  EXPECT_EQ(o.pipe->Readiness(true, false, ~uint64_t{0}), abi::kPollHup);
}

TEST(Pipe, WriteWithoutReaderIsEpipe) {
  Open o;
  o.pipe->RemoveEnds(true, false);
  EXPECT_EQ(Write(*o.pipe, "x").error(), Errno::kEPIPE);
  EXPECT_EQ(*Write(*o.pipe, ""), 0u);
  EXPECT_TRUE(o.pipe->Readiness(false, true, 0) & abi::kPollErr);
}

TEST(Pipe, HoldsSixtyFourKib) {
  Open o;
  const std::string big(100000, 'a');
  EXPECT_EQ(*Write(*o.pipe, big), 65536u);
  EXPECT_EQ(Write(*o.pipe, "x").error(), Errno::kEAGAIN);
  EXPECT_FALSE(o.pipe->Readiness(false, true, 0) & abi::kPollOut);
  EXPECT_EQ(Read(*o.pipe, 4095)->size(), 4095u);
  EXPECT_EQ(Write(*o.pipe, "x").error(), Errno::kEAGAIN);  // a buffer must be free, not a byte
  EXPECT_EQ(*Read(*o.pipe, 1), "a");
  EXPECT_TRUE(o.pipe->Readiness(false, true, 0) & abi::kPollOut);
  EXPECT_EQ(*Write(*o.pipe, "x"), 1u);
}

TEST(Pipe, SmallWriteIsAllOrNothing) {
  Open o;
  EXPECT_EQ(*Write(*o.pipe, std::string(65536 - 4096 + 100, 'a')), 65536u - 4096 + 100);
  EXPECT_EQ(Write(*o.pipe, std::string(4096, 'b')).error(), Errno::kEAGAIN);
  EXPECT_EQ(*Write(*o.pipe, std::string(3996, 'b')), 3996u);  // fits behind the last odd end
}

TEST(Pipe, SmallWriteInPiecesIsOnePacket) {
  Open o;
  CrumblingSrc src("abcdef");
  EXPECT_EQ(*o.pipe->Write(src, true), 6u);
  EXPECT_EQ(*Read(*o.pipe, 100), "abcdef");
}

TEST(Pipe, OfASmallWriteThatFaultsNothingIsWritten) {
  Open o;
  CrumblingSrc src("abcdef", 3);
  EXPECT_EQ(o.pipe->Write(src, false).error(), Errno::kEFAULT);
  EXPECT_EQ(Read(*o.pipe, 100).error(), Errno::kEAGAIN);
  CrumblingSrc bad("abcdef", 0);
  EXPECT_EQ(o.pipe->Write(bad, false).error(), Errno::kEFAULT);
}

TEST(Pipe, PacketsKeepTheirBoundsAndLoseTheirRest) {
  Open o;
  EXPECT_EQ(*Write(*o.pipe, "one", true), 3u);
  EXPECT_EQ(*Write(*o.pipe, "second", true), 6u);
  EXPECT_EQ(*Read(*o.pipe, 100), "one");
  EXPECT_EQ(*Read(*o.pipe, 2), "se");
  EXPECT_EQ(Read(*o.pipe, 100).error(), Errno::kEAGAIN);
}

TEST(Pipe, CapacityIsRoundedAndGuarded) {
  Open o;
  EXPECT_EQ(*o.pipe->SetCapacity(1, false), 4096u);
  EXPECT_EQ(*o.pipe->SetCapacity(100000, false), 131072u);
  EXPECT_EQ(o.pipe->SetCapacity(2 << 20, false).error(), Errno::kEPERM);
  EXPECT_EQ(*o.pipe->SetCapacity(2 << 20, true), 2u << 20);
  EXPECT_EQ(*Write(*o.pipe, std::string(8192, 'x')), 8192u);
  EXPECT_EQ(o.pipe->SetCapacity(4096, true).error(), Errno::kEBUSY);
  EXPECT_EQ(*o.pipe->SetCapacity(8192, true), 8192u);
  EXPECT_EQ(Read(*o.pipe, 10000)->size(), 8192u);
  EXPECT_EQ(*o.pipe->SetCapacity(0, true), 4096u);
}

TEST(Pipe, FifoReaderSeesNoHangUpBeforeTheFirstWriter) {
  Ref<Pipe> pipe = MakeRef<Pipe>();
  pipe->AddEnds(true, false);
  EXPECT_EQ(pipe->Readiness(true, false, 0), 0u);
  pipe->AddEnds(false, true);
  pipe->RemoveEnds(false, true);
  EXPECT_EQ(pipe->Readiness(true, false, 0), abi::kPollHup);
}

class Counter final : public wait::WaitEntry {
 public:
  void OnEvent(wait::EventMask) override { ++count; }
  int count = 0;
};

TEST(Pipe, TellsWritersOnlyWhenItWasFull) {
  Open o;
  Counter counter;
  o.pipe->queue().Register(counter, abi::kPollOut);
  EXPECT_TRUE(Write(*o.pipe, "xy").ok());
  EXPECT_TRUE(Read(*o.pipe, 1).ok());
  EXPECT_EQ(counter.count, 0);
  EXPECT_TRUE(Write(*o.pipe, std::string(65536, 'a')).ok());
  EXPECT_TRUE(Read(*o.pipe, 8192).ok());
  EXPECT_EQ(counter.count, 1);
  o.pipe->queue().Unregister(counter);
}

}  // namespace
}  // namespace rampart::fs
