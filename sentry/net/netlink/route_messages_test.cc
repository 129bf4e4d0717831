#include "sentry/net/netlink/route_messages.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace rampart::net {
namespace {

std::string Request(uint16_t type, uint16_t flags, std::string body) {
  const NetlinkHeader head{static_cast<uint32_t>(sizeof(NetlinkHeader) + body.size()), type, flags, 7, 0};
  return std::string(reinterpret_cast<const char*>(&head), sizeof(head)) + body;  // SAFETY: the bytes of a plain value
}
NetlinkHeader HeadOf(const std::string& message) {
  NetlinkHeader head{};
  std::memcpy(&head, message.data(), sizeof(head));
  return head;
}
// The value of an attribute that begins at `at` or later.
std::string Attribute(const std::string& message, size_t at, uint16_t type) {
  while (at + 4 <= message.size()) {
    uint16_t head[2];
    std::memcpy(head, message.data() + at, sizeof(head));
    if (head[0] < 4) break;
    if (head[1] == type) return message.substr(at + 4, head[0] - size_t{4});
    at += (head[0] + size_t{3}) & ~size_t{3};
  }
  return "none";
}

TEST(RouteMessages, AddressesLastForEver) {
  const auto answers = AnswerRoute(Request(22, kNlmFRequest | kNlmFDump, std::string(1, '\2')), 55, 0);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(HeadOf(answers[0]).type, 20);
  EXPECT_EQ(HeadOf(answers[0]).port, 55u);
  EXPECT_EQ(HeadOf(answers[0]).sequence, 7u);
  EXPECT_EQ(Attribute(answers[0], 24, 1), std::string("\x7f\0\0\1", 4));
  const std::array<uint32_t, 4> for_ever{UINT32_MAX, UINT32_MAX, 0, 0};
  EXPECT_EQ(Attribute(answers[0], 24, 6), std::string(reinterpret_cast<const char*>(for_ever.data()), 16));  // SAFETY: as above
  EXPECT_EQ(HeadOf(answers[1]).type, kNlmsgDone);
}

TEST(RouteMessages, ChangesAndStrangersAreErrors) {
  const auto error = [](const std::string& message) {
    int32_t number = 0;
    std::memcpy(&number, message.data() + sizeof(NetlinkHeader), sizeof(number));
    return HeadOf(message).type == kNlmsgError ? -number : 0;
  };
  EXPECT_EQ(error(AnswerRoute(Request(16, kNlmFRequest, std::string(16, '\0')), 1, 1000)[0]), 1);
  EXPECT_EQ(error(AnswerRoute(Request(18, kNlmFRequest, std::string(3, '\0')), 1, 1000)[0]), 22);
  std::string wrong(16, '\0');
  wrong += std::string("\x0a\0\3\0eth0\0\0\0\0", 12);
  EXPECT_EQ(error(AnswerRoute(Request(18, kNlmFRequest, wrong), 1, 1000)[0]), 19);
  std::string torn(16, '\0');
  torn += std::string("\xff\xff\3\0lo", 6);
  EXPECT_EQ(error(AnswerRoute(Request(18, kNlmFRequest, torn), 1, 1000)[0]), 22);
}

TEST(RouteMessages, OneRouteIsFound) {
  const auto ask = [](const std::string& address) {
    std::string body(12, '\0');
    body[0] = address.size() == 4 ? '\2' : '\x0a';
    const uint16_t head[2] = {static_cast<uint16_t>(4 + address.size()), 1};
    body += std::string(reinterpret_cast<const char*>(head), 4) + address;  // SAFETY: as above
    return AnswerRoute(Request(26, kNlmFRequest, body), 1, 1000);
  };
  const auto here = ask(std::string("\x7f\3\4\5", 4));
  ASSERT_EQ(here.size(), 1u);
  EXPECT_EQ(HeadOf(here[0]).type, 24);
  EXPECT_EQ(Attribute(here[0], 28, 1), std::string("\x7f\3\4\5", 4));
  EXPECT_EQ(Attribute(here[0], 28, 7), std::string("\x7f\0\0\1", 4));
  EXPECT_EQ(HeadOf(ask(std::string("\x08\x08\x08\x08", 4))[0]).type, kNlmsgError);
  EXPECT_EQ(HeadOf(ask(std::string(15, '\0') + '\1')[0]).type, 24);
  EXPECT_EQ(HeadOf(ask("odd")[0]).type, kNlmsgError);
}

TEST(RouteMessages, RulesAndQueuesAreListed) {
  EXPECT_EQ(AnswerRoute(Request(34, kNlmFRequest | kNlmFDump, std::string(12, '\2')), 1, 1000)[0].size(), 52u + 60 + 60);
  EXPECT_EQ(AnswerRoute(Request(38, kNlmFRequest | kNlmFDump, std::string(20, '\0')), 1, 1000)[0].size(), 148u);
}

}  // namespace
}  // namespace rampart::net
