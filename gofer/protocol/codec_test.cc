#include "gofer/protocol/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace rampart::gofer {
namespace {

// Encodes, decodes, encodes again: equal bytes mean that nothing was lost.
template <class Message>
void ExpectRoundTrip(const Message& message) {
  std::vector<std::byte> first(kMaxMessage), second(kMaxMessage);
  const size_t size = EncodeMessage(7, message, first);
  ASSERT_NE(size, 0u);
  const auto frame = ParseFrame(Bytes(first).first(size));
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(frame->tag, 7);
  const auto decoded = DecodeBody<Message>(*frame);
  ASSERT_TRUE(decoded.ok()) << MsgName(Message::kType);
  ASSERT_EQ(EncodeMessage(7, *decoded, second), size);
  first.resize(size);
  second.resize(size);
  EXPECT_EQ(first, second) << MsgName(Message::kType);
  // Every cut is refused, and so is a byte too many.
  for (size_t cut = kHeaderSize; cut < size; ++cut) {
    Frame shorter{Message::kType, 7, Bytes(first).subspan(kHeaderSize, cut - kHeaderSize)};
    EXPECT_EQ(DecodeBody<Message>(shorter).error(), Errno::kEBADMSG) << MsgName(Message::kType) << " cut to " << cut;
  }
  first.push_back(std::byte{0});
  EXPECT_EQ(DecodeBody<Message>(Frame{Message::kType, 7, Bytes(first).subspan(kHeaderSize)}).error(), Errno::kEBADMSG);
}

TEST(Codec, EveryShapeOfMessageRoundTrips) {
  const std::string payload = "some bytes";
  const Payload data{std::as_bytes(std::span(payload))};
  ExpectRoundTrip(Tversion{8192, kVersionLinux});
  ExpectRoundTrip(Tattach{FidNum{1}, kNoFid, "user", "name", 1000});
  ExpectRoundTrip(Twalk{FidNum{1}, FidNum{2}, {"usr", "bin", "env"}});
  ExpectRoundTrip(Rwalk{{{kQidDir, 1, 2}, {0, 3, 4}}});
  ExpectRoundTrip(Twrite{FidNum{1}, 77, data});
  ExpectRoundTrip(Rread{data});
  ExpectRoundTrip(Rclunk{});
  ExpectRoundTrip(Tsetattr{FidNum{1}, {.valid = 0x1ff, .mode = 1, .uid = 2, .gid = 3, .size = 4, .atime_sec = -5}});
  ExpectRoundTrip(Tlock{FidNum{1}, LockType::kWrite, 1, 2, 3, 4, "client"});
  ExpectRoundTrip(Tewalk{FidNum{1}, {{FidNum{2}, "a"}, {kNoFid, "b"}}});
  FileAttr attr;
  attr.mode = 0100644;
  attr.size = 1ull << 40;
  attr.mtime = {-1, 999'999'999};
  ExpectRoundTrip(Rewalk{WalkEnd::kSymlink, 0, {attr, attr}, "target"});
  ExpectRoundTrip(Rereaddir{1, {{5, 8, "name", 1, attr}}});
  ExpectRoundTrip(Teclunk{{FidNum{1}, FidNum{2}}});
}

TEST(Codec, LayoutIsThatOf9P) {
  std::byte buffer[64];
  const size_t size = EncodeMessage(0x0102, Twalk{FidNum{0x11223344}, FidNum{5}, {"ab"}}, buffer);
  const uint8_t expected[] = {21, 0, 0, 0, 110, 2, 1, 0x44, 0x33, 0x22, 0x11, 5, 0, 0, 0, 1, 0, 2, 0, 'a', 'b'};
  ASSERT_EQ(size, sizeof(expected));
  EXPECT_EQ(std::memcmp(buffer, expected, size), 0);
}

TEST(Codec, FileAttrTakes128Bytes) {
  std::byte buffer[256];
  EXPECT_EQ(EncodeMessage(0, Regetattr{}, buffer), kHeaderSize + 128);  // handlers_dir.cc counts on it
}

TEST(Codec, WhatDoesNotFitIsNotEncoded) {
  std::byte buffer[16];
  EXPECT_EQ(EncodeMessage(1, Tversion{1, "a version that is too long"}, buffer), 0u);
  std::vector<std::byte> large(200000);
  const std::string name(70000, 'x');
  EXPECT_EQ(EncodeMessage(1, Tversion{1, name}, large), 0u);
}

TEST(Codec, ListCountBeyondTheBytesIsRefused) {
  // A Twalk that announces 65535 names and brings none.
  const uint8_t body[] = {1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff};
  EXPECT_EQ(DecodeBody<Twalk>(Frame{MsgType::kTwalk, 1, std::as_bytes(std::span(body))}).error(), Errno::kEBADMSG);
  EXPECT_EQ(DecodeBody<Tewalk>(Frame{MsgType::kTewalk, 1, std::as_bytes(std::span(body).subspan(4))}).error(), Errno::kEBADMSG);
}

TEST(Codec, FramesMustHaveTheirOwnSize) {
  std::byte buffer[16] = {};
  PutHeader(buffer, 9, MsgType::kTclunk, 1);
  EXPECT_TRUE(ParseFrame(Bytes(buffer).first(9)).ok());
  for (const size_t size : {0u, 6u, 7u, 8u, 10u, 16u}) EXPECT_EQ(ParseFrame(Bytes(buffer).first(size)).error(), Errno::kEBADMSG);
}

TEST(Codec, ErrorsOfAHostilePeerAreLinuxErrors) {
  std::byte buffer[32];
  for (const uint32_t code : {0u, 512u, 0xffffffffu, 134u}) {
    const size_t size = EncodeMessage(1, Rlerror{code}, buffer);
    EXPECT_EQ(DecodeReply<Tclunk>(*ParseFrame(Bytes(buffer).first(size))).error(), Errno::kEIO);
  }
  const size_t size = EncodeMessage(1, Rwrite{3}, buffer);
  EXPECT_EQ(DecodeReply<Tclunk>(*ParseFrame(Bytes(buffer).first(size))).error(), Errno::kEBADMSG);
}

TEST(Codec, ImpossibleAttributesAreRecognised) {
  FileAttr attr;
  attr.mode = 0100644;
  EXPECT_TRUE(IsValid(attr));
  attr.size = UINT64_MAX;
  EXPECT_FALSE(IsValid(attr));
  attr.size = 0;
  attr.ctime.nsec = 1'000'000'000;
  EXPECT_FALSE(IsValid(attr));
  attr.ctime.nsec = 0;
  attr.mode = 0170000;
  EXPECT_FALSE(IsValid(attr));
}

}  // namespace
}  // namespace rampart::gofer
