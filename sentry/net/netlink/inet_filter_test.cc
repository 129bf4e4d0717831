#include "sentry/net/netlink/inet_filter.h"

#include <gtest/gtest.h>

namespace rampart::net {
namespace {

std::string Op(uint8_t code, uint8_t yes, uint16_t no) {
  return {static_cast<char>(code), static_cast<char>(yes), static_cast<char>(no & 255), static_cast<char>(no >> 8)};
}
std::string Name(const char* ip, uint16_t port) {
  std::string name(16, '\0');
  name[0] = abi::kAfInet;
  name[2] = static_cast<char>(port >> 8), name[3] = static_cast<char>(port & 255);
  return name.replace(4, 4, std::string(ip, 4));
}
SocketReport Connection() {
  SocketReport r;
  r.family = abi::kAfInet;
  r.local = Name("\x7f\0\0\1", 80), r.peer = Name("\x7f\0\0\2", 4000);
  return r;
}
bool Fits(const std::string& program) { return CheckInetFilter(program) && RunInetFilter(program, Connection()); }
constexpr uint8_t kNop = 0, kJump = 1, kSourceGe = 2, kSourceLe = 3, kTargetEq = 12, kSourceHost = 7;

TEST(InetFilter, ComparesPorts) {
  EXPECT_TRUE(Fits(Op(kSourceGe, 8, 12) + Op(0, 0, 80)));
  EXPECT_FALSE(Fits(Op(kSourceGe, 8, 12) + Op(0, 0, 81)));
  EXPECT_FALSE(Fits(Op(kSourceLe, 8, 12) + Op(0, 0, 79)));
  EXPECT_TRUE(Fits(Op(kTargetEq, 8, 12) + Op(0, 0, 4000)));
  // not (sport <= 79): the jump is taken where it holds
  EXPECT_TRUE(Fits(Op(kSourceLe, 8, 12) + Op(0, 0, 79) + Op(kJump, 4, 8)));
  EXPECT_TRUE(Fits(Op(kNop, 4, 8)));
}

TEST(InetFilter, ComparesAddressesByTheirPrefix) {
  const auto host = [](uint8_t prefix, const char* ip) {
    return Op(kSourceHost, 16, 20) + std::string{abi::kAfInet, static_cast<char>(prefix), 0, 0} + std::string(4, '\xff') + std::string(ip, 4);
  };
  EXPECT_TRUE(Fits(host(32, "\x7f\0\0\1")));
  EXPECT_FALSE(Fits(host(32, "\x7f\0\0\2")));
  EXPECT_TRUE(Fits(host(8, "\x7f\x09\x09\x09")));
  EXPECT_TRUE(Fits(host(30, "\x7f\0\0\2")));
}

// As ss(8) writes it: four bytes of nothing behind a condition without an address.
TEST(InetFilter, BytesBetweenInstructionsAreSkipped) {
  const auto port = [](uint16_t number) {
    return Op(8, 16, 20) + std::string(4, '\0') + std::string{static_cast<char>(number & 255), static_cast<char>(number >> 8), 0, 0} + std::string(4, '\0');
  };
  EXPECT_TRUE(Fits(port(4000)));
  EXPECT_FALSE(Fits(port(4001)));
}

TEST(InetFilter, BrokenProgramsAreRefused) {
  EXPECT_FALSE(CheckInetFilter("abc"));
  EXPECT_FALSE(CheckInetFilter(Op(kSourceGe, 8, 12)));                       // its port is missing
  EXPECT_FALSE(CheckInetFilter(Op(kSourceGe, 8, 400) + Op(0, 0, 1)));        // beyond the end
  EXPECT_FALSE(CheckInetFilter(Op(kSourceGe, 4, 12) + Op(0, 0, 1)));         // into the port
  EXPECT_FALSE(CheckInetFilter(Op(kJump, 0, 0)));                            // for ever
  EXPECT_FALSE(CheckInetFilter(Op(99, 4, 4)));
  EXPECT_FALSE(CheckInetFilter(Op(kSourceHost, 16, 20) + std::string{abi::kAfInet, 33, 0, 0} + std::string(8, '\0')));  // a prefix of 33 bits
}

}  // namespace
}  // namespace rampart::net
