#include <gtest/gtest.h>

#include <tuple>

#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/stream_queue.h"

namespace rampart::net {
namespace {

using Style = StreamQueue::Style;

struct Stream {
  explicit Stream(Style style, size_t capacity = 1000)
      : reader(MakeRef<Side>()), writer(MakeRef<Side>()), queue(MakeRef<StreamQueue>(style, reader, writer, capacity, 0)) {}
  Result<size_t> Write(std::string_view text, bool urgent = false, abi::Ucred from = {1, 0, 0}) {
    mm::BufferSrc src(std::as_bytes(std::span(text)));
    Ancillary ancillary;
    ancillary.credentials = from;
    return queue->Write(src, ancillary, {.urgent = urgent, .file_limit = UINT64_MAX});
  }
  Result<std::string> Read(size_t room, StreamQueue::ReadOptions options = {}) {
    std::string text(room, '\0');
    mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
    RecvResult result;
    TRY(queue->Read(dst, options, result));
    text.resize(result.copied);
    return text;
  }
  Ref<Side> reader, writer;
  Ref<StreamQueue> queue;
};

TEST(StreamQueue, HasNoBoundaries) {
  Stream s(Style::kUnix);
  EXPECT_EQ(*s.Write("hello "), 6u);
  EXPECT_EQ(*s.Write("world"), 5u);
  EXPECT_EQ(*s.Read(7, {.peek = true}), "hello w");
  EXPECT_EQ(*s.Read(7), "hello w");
  EXPECT_EQ(*s.Read(70), "orld");
  EXPECT_EQ(s.Read(1).error(), Errno::kEAGAIN);
}

TEST(StreamQueue, WrapsAroundItsRing) {
  Stream s(Style::kTcp, 5000);
  std::string sent, got;
  for (int i = 0; i < 300; ++i) {
    const std::string piece(static_cast<size_t>(i * 7 % 900 + 1), static_cast<char>('a' + i % 26));
    const size_t n = s.Write(piece).ok() ? piece.size() : 0;
    sent += piece.substr(0, std::min(n, piece.size()));
    got += *s.Read(1 << 20);
  }
  EXPECT_EQ(got, sent);
}

// As natively: a buffer is begun as long as there is any room, and counts for more than its bytes.
TEST(StreamQueue, LocalBytesCountWithTheirBuffers) {
  for (const auto& [size, writes, cost] : {std::tuple{1, 278, 213504}, {193, 167, 213760}, {3776, 49, 213248}, {3777, 44, 214016}, {10000, 17, 213248}}) {
    Stream s(Style::kUnix, 212992);
    const std::string bytes(static_cast<size_t>(size), 'x');
    int n = 0;
    while (s.Write(bytes).ok()) ++n;
    EXPECT_EQ(n, writes) << size;
    EXPECT_EQ(s.queue->state().cost, static_cast<size_t>(cost)) << size;
    EXPECT_EQ(s.Read(1 << 20)->size(), static_cast<size_t>(size * n));
  }
  Stream s(Style::kUnix, 212992);
  EXPECT_EQ(*s.Write(std::string(1000000, 'x')), 219264u);
  EXPECT_EQ(s.queue->state().cost, 222720u);
  (void)s.Read(36543);
  EXPECT_EQ(s.queue->state().cost, 222720u);
  (void)s.Read(1);
  EXPECT_EQ(s.queue->state().cost, 222720u - 37120);
  EXPECT_FALSE(s.queue->state().writable);
  (void)s.Read(1 << 20);
  EXPECT_EQ(s.queue->state().cost, 0u);
  EXPECT_TRUE(s.queue->state().writable);
}

TEST(StreamQueue, FullIsAgainAndPartial) {
  Stream s(Style::kTcp, 10);
  EXPECT_EQ(*s.Write("0123456789abc"), 10u);
  EXPECT_EQ(s.Write("x").error(), Errno::kEAGAIN);
  EXPECT_FALSE(s.queue->state().writable);
  EXPECT_EQ(*s.Read(9), "012345678");
  EXPECT_TRUE(s.queue->state().writable);
  s.queue->SetWriterPart(1);
  EXPECT_EQ(s.Write("x").error(), Errno::kEAGAIN);
}

TEST(StreamQueue, WritersAreToldApartWhenAsked) {
  Stream s(Style::kUnix);
  ASSERT_TRUE(s.Write("one", false, {1, 0, 0}).ok());
  ASSERT_TRUE(s.Write("two", false, {2, 0, 0}).ok());
  EXPECT_EQ(*s.Read(100, {.peek = true}), "onetwo");
  EXPECT_EQ(*s.Read(100, {.split_writers = true}), "one");
  EXPECT_EQ(*s.Read(100, {.split_writers = true}), "two");
}

TEST(StreamQueue, EndsOfTheWriter) {
  Stream s(Style::kUnix);
  ASSERT_TRUE(s.Write("last").ok());
  s.queue->CloseWriter();
  EXPECT_EQ(s.Write("x").error(), Errno::kEPIPE);
  EXPECT_EQ(*s.Read(100), "last");
  EXPECT_EQ(*s.Read(100), "");
}

TEST(StreamQueue, EndsOfTheReaderDifferByStyle) {
  Stream local(Style::kUnix);
  ASSERT_TRUE(local.Write("x").ok());
  EXPECT_TRUE(local.queue->CloseReader());
  EXPECT_EQ(local.Write("x").error(), Errno::kEPIPE);
  Stream tcp(Style::kTcp);
  EXPECT_FALSE(tcp.queue->CloseReader());
  EXPECT_EQ(*tcp.Write("swallowed"), 9u);
  EXPECT_EQ(tcp.Write("x").error(), Errno::kEPIPE);
  EXPECT_EQ(tcp.writer->TakeError(), Errno::kEPIPE);
}

TEST(StreamQueue, ResetGivesTheErrorOnceAfterTheBytes) {
  Stream s(Style::kTcp);
  ASSERT_TRUE(s.Write("rest").ok());
  s.reader->SetError(Errno::kECONNRESET);
  s.queue->Reset();
  EXPECT_EQ(*s.Read(100), "rest");
  EXPECT_EQ(s.Read(100).error(), Errno::kECONNRESET);
  EXPECT_EQ(*s.Read(100), "");
}

TEST(StreamQueue, UrgentByteSplitsTheStream) {
  Stream s(Style::kTcp);
  ASSERT_TRUE(s.Write("abU", true).ok());
  ASSERT_TRUE(s.Write("cd").ok());
  EXPECT_TRUE(s.queue->state().urgent);
  EXPECT_EQ(*s.queue->TakeUrgent(true), std::byte{'U'});
  EXPECT_EQ(*s.queue->TakeUrgent(false), std::byte{'U'});
  EXPECT_EQ(s.queue->TakeUrgent(false).error(), Errno::kEINVAL);
  EXPECT_EQ(*s.Read(100), "ab");
  EXPECT_TRUE(s.queue->AtUrgentMark());
  EXPECT_EQ(*s.Read(100), "cd");
}

TEST(StreamQueue, DiscardTakesWithoutCopying) {
  Stream s(Style::kTcp);
  ASSERT_TRUE(s.Write("abcdef").ok());
  EXPECT_EQ(*s.Read(4, {.discard = true}), "");
  EXPECT_EQ(*s.Read(100), "ef");
}

Packet PacketOf(std::string_view text) {
  Packet p;
  p.bytes = text;
  return p;
}

TEST(PacketQueue, KeepsBoundariesAndTellsOfTruncation) {
  const Ref<PacketQueue> q = MakeRef<PacketQueue>(MakeRef<Side>(), 100000);
  for (const char* text : {"one", "second"}) {
    Packet p = PacketOf(text);
    ASSERT_TRUE(q->Put(p, PacketQueue::kNoMaximum, nullptr).ok());
  }
  bool end = false;
  EXPECT_EQ(q->Take(true, end)->bytes, "one");
  RecvResult result;
  std::string room(2, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(room)));
  ASSERT_TRUE(GivePacket(*q->Take(false, end), dst, result).ok());
  EXPECT_EQ(room, "on");
  EXPECT_EQ(result.full_length, 3u);
  EXPECT_EQ(result.flags, abi::kMsgTrunc);
  EXPECT_EQ(q->Take(false, end)->bytes, "second");
  EXPECT_EQ(q->Take(false, end).error(), Errno::kEAGAIN);
  q->CloseWriter();
  EXPECT_TRUE(q->Take(false, end).ok());
  EXPECT_TRUE(end);
}

class Count final : public wait::WaitEntry {
 public:
  void OnEvent(wait::EventMask) override { ++count; }
  int count = 0;
};

TEST(PacketQueue, TellsSendersThatFoundNoRoom) {
  const Ref<PacketQueue> q = MakeRef<PacketQueue>(MakeRef<Side>(), 100000);
  const Ref<Side> sender = MakeRef<Side>();
  Count told;
  sender->queue().Register(told, kOut);
  Packet a = PacketOf("a"), b = PacketOf("b");
  ASSERT_TRUE(q->Put(a, 1, sender).ok());
  EXPECT_EQ(q->Put(b, 1, sender).error(), Errno::kEAGAIN);
  EXPECT_EQ(b.bytes, "b");
  bool end = false;
  ASSERT_TRUE(q->Take(false, end).ok());
  EXPECT_EQ(told.count, 1);
  EXPECT_TRUE(q->HasRoom(1, sender));
  sender->queue().Unregister(told);
}

TEST(PacketQueue, LocalPacketsCountWithTheirBuffers) {
  for (const auto& [size, writes, cost] : {std::tuple{0, 278, 213504}, {705, 93, 214272}, {3777, 26, 219648}, {20000, 11, 228096}, {100000, 3, 307968}}) {
    const Ref<PacketQueue> q = MakeRef<PacketQueue>(MakeRef<Side>(), 212992, PacketQueue::Count::kLocal);
    int n = 0;
    for (;; ++n) {
      Packet p;
      p.bytes.assign(static_cast<size_t>(size), 'x');
      if (!q->Put(p, PacketQueue::kNoMaximum, nullptr).ok()) break;
    }
    EXPECT_EQ(n, writes) << size;
    EXPECT_EQ(q->state().cost, static_cast<size_t>(cost)) << size;
    EXPECT_EQ(q->state().bytes, static_cast<size_t>(size * n));
  }
}

TEST(PacketQueue, ManyEmptyPacketsAreBounded) {
  const Ref<PacketQueue> q = MakeRef<PacketQueue>(MakeRef<Side>(), 212992);
  int n = 0;
  while (true) {
    Packet p;
    if (!q->Put(p, PacketQueue::kNoMaximum, nullptr).ok()) break;
    ++n;
  }
  EXPECT_EQ(n, 278);  // as Linux
}

}  // namespace
}  // namespace rampart::net
