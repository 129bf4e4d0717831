#include "sentry/net/inet/ip_packet.h"

#include <gtest/gtest.h>

#include "abi/socket.h"

namespace rampart::net {
namespace {

const InetAddress kHere = AddressV4(127, 0, 0, 1, 0), kThere = AddressV4(127, 0, 0, 2, 0);

TEST(IpPacket, V4IsReadAsItWasWritten) {
  const std::string bytes = BuildIp({true, 253, 7, 0x10, kHere, kThere, "payload"});
  ASSERT_EQ(bytes.size(), kIpv4Header + 7);
  const std::string longer = bytes + "behind it";
  const auto packet = ParseIp(longer);  // its payload lies in there
  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->v4);
  EXPECT_EQ(packet->protocol, 253);
  EXPECT_EQ(packet->hops, 7);
  EXPECT_EQ(packet->traffic_class, 0x10);
  EXPECT_EQ(packet->from, kHere);
  EXPECT_EQ(packet->to, kThere);
  EXPECT_EQ(packet->payload, "payload");
}

TEST(IpPacket, V6IsReadAsItWasWritten) {
  const InetAddress loopback{kLoopback6, 0};
  const std::string bytes = BuildIp({false, abi::kIpprotoUdp, 255, 0xab, loopback, loopback, "six"});
  const auto packet = ParseIp(bytes);
  ASSERT_TRUE(packet);
  EXPECT_FALSE(packet->v4);
  EXPECT_EQ(packet->protocol, abi::kIpprotoUdp);
  EXPECT_EQ(packet->hops, 255);
  EXPECT_EQ(packet->traffic_class, 0xab);
  EXPECT_EQ(packet->from, loopback);
  EXPECT_EQ(packet->payload, "six");
}

TEST(IpPacket, TornAndWrongOnesAreNone) {
  const std::string good = BuildIp({true, 253, 7, 0, kHere, kThere, "payload"});
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(ParseIp(std::string_view(good).substr(0, n))) << n;
  for (size_t at : {size_t{0}, size_t{2}, size_t{8}, size_t{12}}) {  // each is under the checksum
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    EXPECT_FALSE(ParseIp(bad)) << at;
  }
  std::string header = good.substr(0, kIpv4Header), fragment = good;
  header[6] = 0x20;  // more follow
  StoreChecksum(header, 10, 0);
  EXPECT_FALSE(ParseIp(fragment.replace(0, kIpv4Header, header)));
  const InetAddress loopback{kLoopback6, 0};
  const std::string six = BuildIp({false, 17, 1, 0, loopback, loopback, "x"});
  for (size_t n = 0; n < six.size(); ++n) EXPECT_FALSE(ParseIp(std::string_view(six).substr(0, n))) << n;
}

TEST(Checksum, OfRfc1071) {
  const std::string bytes("\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8);
  EXPECT_EQ(InternetChecksum(bytes), 0x220d);
  std::string odd("\x01\0\0\0\x05", 5);
  StoreChecksum(odd, 2, 0);
  EXPECT_EQ(InternetChecksum(odd), 0);
}

TEST(Udp, ItsChecksumCoversTheAddresses) {
  const InetAddress from = AddressV4(127, 0, 0, 1, 1000), to = AddressV4(127, 0, 0, 2, 2000);
  const std::string udp = BuildUdp(from, to, abi::kIpprotoUdp, "hello");
  EXPECT_EQ(udp.size(), 13u);
  EXPECT_EQ(InternetChecksum(udp, PseudoHeaderSum(from, to, abi::kIpprotoUdp, udp.size())), 0);
  EXPECT_NE(InternetChecksum(udp, PseudoHeaderSum(from, from, abi::kIpprotoUdp, udp.size())), 0);
}

}  // namespace
}  // namespace rampart::net
