#include "sentry/net/socket/endpoint.h"

#include <gtest/gtest.h>

namespace rampart::net {
namespace {

using Kind = Endpoint::Kind;

Result<size_t> Send(Endpoint& e, std::string_view text, RefPtr<Endpoint> to = nullptr) {
  mm::BufferSrc src(std::as_bytes(std::span(text)));
  return e.Send(src, std::move(to), {}, false);
}
Result<std::string> Receive(Endpoint& e, size_t max, bool peek = false) {
  std::string text(max, '\0');
  mm::BufferDst dst(std::as_writable_bytes(std::span(text)));
  const RecvResult got = TRY(e.Receive(dst, peek));
  text.resize(got.copied);
  return text;
}

struct Two {
  explicit Two(Kind kind) : a(MakeRef<Endpoint>(kind, abi::Ucred{1, 2, 3})), b(MakeRef<Endpoint>(kind, abi::Ucred{4, 5, 6})) {
    Endpoint::Pair(*a, *b);
  }
  ~Two() { a->Close(), b->Close(); }
  Ref<Endpoint> a, b;
};

TEST(Endpoint, StreamHasNoBoundaries) {
  Two two(Kind::kStream);
  EXPECT_EQ(*Send(*two.a, "hello "), 6u);
  EXPECT_EQ(*Send(*two.a, "world"), 5u);
  EXPECT_EQ(*Receive(*two.b, 7, true), "hello w");
  EXPECT_EQ(*Receive(*two.b, 7), "hello w");
  EXPECT_EQ(*Receive(*two.b, 70), "orld");
  EXPECT_EQ(Receive(*two.b, 1).error(), Errno::kEAGAIN);
  EXPECT_EQ(two.a->peer_credentials().pid, 4);
}

TEST(Endpoint, PacketsKeepThem) {
  Two two(Kind::kSeqpacket);
  EXPECT_EQ(*Send(*two.a, "one"), 3u);
  EXPECT_EQ(*Send(*two.a, "second"), 6u);
  EXPECT_EQ(*Receive(*two.b, 2), "on");
  EXPECT_EQ(*Receive(*two.b, 100), "second");
}

TEST(Endpoint, CloseIsEndOfFileAndBrokenPipe) {
  Two two(Kind::kStream);
  EXPECT_EQ(*Send(*two.a, "last"), 4u);
  two.a->Close();
  EXPECT_EQ(*Receive(*two.b, 10), "last");
  EXPECT_EQ(*Receive(*two.b, 10), "");
  EXPECT_EQ(Send(*two.b, "x").error(), Errno::kEPIPE);
  EXPECT_TRUE(two.b->Readiness() & abi::kPollHup);
}

TEST(Endpoint, CloseWithUnreadBytesResets) {
  Two two(Kind::kStream);
  EXPECT_EQ(*Send(*two.a, "unread"), 6u);
  two.b->Close();
  EXPECT_EQ(Receive(*two.a, 1).error(), Errno::kECONNRESET);
  EXPECT_EQ(*Receive(*two.a, 1), "");
}

TEST(Endpoint, HalfCloseLeavesTheOtherWay) {
  Two two(Kind::kStream);
  EXPECT_TRUE(two.a->Shutdown(abi::kShutWr).ok());
  EXPECT_EQ(*Receive(*two.b, 1), "");
  EXPECT_EQ(*Send(*two.b, "still"), 5u);
  EXPECT_EQ(*Receive(*two.a, 10), "still");
  EXPECT_EQ(Send(*two.a, "x").error(), Errno::kEPIPE);
  EXPECT_FALSE(two.b->Readiness() & abi::kPollHup);
  EXPECT_TRUE(two.b->Readiness() & abi::kPollRdHup);
}

TEST(Endpoint, FullStreamIsAgain) {
  Two two(Kind::kStream);
  EXPECT_EQ(*Send(*two.a, std::string(300000, 'a')), kQueueLimit);
  EXPECT_EQ(Send(*two.a, "x").error(), Errno::kEAGAIN);
  EXPECT_FALSE(two.a->Readiness() & abi::kPollOut);
  EXPECT_EQ(Receive(*two.b, 300000)->size(), kQueueLimit);
  EXPECT_TRUE(two.a->Readiness() & abi::kPollOut);
}

TEST(Endpoint, EmptyPacketsAreBounded) {
  Two two(Kind::kSeqpacket);
  for (size_t i = 0; i < kMessageLimit; ++i) ASSERT_TRUE(Send(*two.a, "").ok());
  EXPECT_EQ(Send(*two.a, "").error(), Errno::kEAGAIN);
  EXPECT_FALSE(two.a->Readiness() & abi::kPollOut);
}

TEST(Endpoint, ListenersTakeTurns) {
  Ref<Endpoint> listener = MakeRef<Endpoint>(Kind::kStream, abi::Ucred{});
  Ref<Endpoint> client = MakeRef<Endpoint>(Kind::kStream, abi::Ucred{7, 8, 9});
  EXPECT_EQ(client->Connect(*listener, "x").error(), Errno::kECONNREFUSED);
  EXPECT_TRUE(listener->Listen(0).ok());
  EXPECT_EQ(listener->Accept().error(), Errno::kEAGAIN);
  EXPECT_TRUE(client->Connect(*listener, "x").ok());
  EXPECT_EQ(client->Connect(*listener, "x").error(), Errno::kEISCONN);
  EXPECT_EQ(*Send(*client, "early"), 5u);
  Ref<Endpoint> server = *listener->Accept();
  EXPECT_EQ(*Receive(*server, 10), "early");
  EXPECT_EQ(server->peer_credentials().pid, 7);
  Ref<Endpoint> late = MakeRef<Endpoint>(Kind::kStream, abi::Ucred{});
  EXPECT_TRUE(late->Connect(*listener, "x").ok());
  listener->Close();
  EXPECT_EQ(Receive(*late, 1).error(), Errno::kECONNRESET);
  server->Close(), client->Close(), late->Close();
}

TEST(Endpoint, DatagramsNeedAReceiver) {
  Ref<Endpoint> a = MakeRef<Endpoint>(Kind::kDatagram, abi::Ucred{});
  Ref<Endpoint> b = MakeRef<Endpoint>(Kind::kDatagram, abi::Ucred{});
  EXPECT_EQ(Send(*a, "x").error(), Errno::kEDESTADDRREQ);
  EXPECT_EQ(*Send(*a, "", b), 0u);
  EXPECT_EQ(*Send(*a, "x", b), 1u);
  EXPECT_EQ(*Receive(*b, 10), "");
  EXPECT_EQ(*Receive(*b, 10), "x");
  b->Close();
  EXPECT_EQ(Send(*a, "x", b).error(), Errno::kECONNREFUSED);
  a->Close();
}

}  // namespace
}  // namespace rampart::net
