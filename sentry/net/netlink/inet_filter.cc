#include "sentry/net/netlink/inet_filter.h"

#include <array>
#include <cstring>
#include <set>

namespace rampart::net {
namespace {

enum Code : uint8_t { kNop, kJump, kSourceGe, kSourceLe, kTargetGe, kTargetLe, kAuto, kSourceHost, kTargetHost, kDevice, kMark, kSourceEq, kTargetEq };

struct Instruction {
  uint8_t code, yes;  // where to go on, from the instruction on: when it holds, and when not
  uint16_t no;
};
static_assert(sizeof(Instruction) == 4);
// struct inet_diag_hostcond, with the address behind it.
struct HostCondition {
  uint8_t family, prefix;
  uint16_t pad;
  int32_t port;  // -1: any
};
static_assert(sizeof(HostCondition) == 8);

template <class T>
T At(std::string_view program, size_t at) {
  T value{};
  std::memcpy(&value, program.data() + at, sizeof(value));
  return value;
}

size_t AddressBytes(uint8_t family) { return family == abi::kAfInet ? 4 : family == abi::kAfInet6 ? 16 : 0; }

// Bytes of the instruction at `at`; 0: it is not one.
size_t LengthAt(std::string_view program, size_t at) {
  const size_t left = program.size() - at;
  const auto fits = [&](size_t n) { return left >= n ? n : size_t{0}; };
  switch (At<Instruction>(program, at).code) {
    case kNop:
    case kJump:
    case kAuto: return sizeof(Instruction);
    case kSourceGe: case kSourceLe: case kTargetGe: case kTargetLe: case kSourceEq: case kTargetEq:  // the port is in another one
    case kDevice: return fits(2 * sizeof(Instruction));
    case kSourceHost:
    case kTargetHost: {
      const size_t fixed = fits(sizeof(Instruction) + sizeof(HostCondition));
      if (fixed == 0) return 0;
      const auto host = At<HostCondition>(program, at + sizeof(Instruction));
      const size_t bytes = AddressBytes(host.family);
      if ((host.family != 0 && bytes == 0) || host.prefix > bytes * 8) return 0;
      return fits(fixed + bytes);
    }
    default: return 0;
  }
}

struct End {
  uint16_t port = 0;
  std::array<uint8_t, 16> address{};
  uint8_t family = 0;
};
End EndOf(const std::string& name) {
  End end;
  if (name.size() < 8) return end;
  end.family = static_cast<uint8_t>(name[0]);
  end.port = static_cast<uint16_t>(static_cast<uint8_t>(name[2]) << 8 | static_cast<uint8_t>(name[3]));
  const size_t bytes = AddressBytes(end.family), from = bytes == 4 ? 4 : 8;
  if (bytes != 0 && name.size() >= from + bytes) std::memcpy(end.address.data(), name.data() + from, bytes);
  return end;
}

bool PrefixFits(const uint8_t* a, const uint8_t* b, unsigned bits) {
  if (std::memcmp(a, b, bits / 8) != 0) return false;
  return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8)) == 0;
}

bool HostFits(std::string_view program, size_t at, const End& end) {
  const auto host = At<HostCondition>(program, at + sizeof(Instruction));
  if (host.port != -1 && host.port != end.port) return false;
  std::array<uint8_t, 16> wanted{};
  std::memcpy(wanted.data(), program.data() + at + sizeof(Instruction) + sizeof(HostCondition), AddressBytes(host.family));
  if (host.family != 0 && host.family != end.family) {
    constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const bool mapped = host.family == abi::kAfInet && end.family == abi::kAfInet6 && std::memcmp(end.address.data(), kMapped.data(), 12) == 0;
    return mapped && PrefixFits(end.address.data() + 12, wanted.data(), host.prefix);
  }
  return PrefixFits(end.address.data(), wanted.data(), host.prefix);
}

bool Holds(std::string_view program, size_t at, const SocketReport& socket, const End& source, const End& target) {
  const auto code = At<Instruction>(program, at).code;
  const auto number = [&] { return At<Instruction>(program, at + sizeof(Instruction)).no; };
  switch (code) {
    case kSourceGe: return source.port >= number();
    case kSourceLe: return source.port <= number();
    case kSourceEq: return source.port == number();
    case kTargetGe: return target.port >= number();
    case kTargetLe: return target.port <= number();
    case kTargetEq: return target.port == number();
    case kAuto: return false;  // whether the port was chosen by the kernel: nobody remembers
    case kSourceHost: return HostFits(program, at, source);
    case kTargetHost: return HostFits(program, at, target);
    case kDevice: return false;
    default: (void)socket; return code == kNop;
  }
}

}  // namespace

// As the kernel's audit: what follows an instruction is where its "yes" leads, so that bytes between the two are nobody's.
bool CheckInetFilter(std::string_view program) {
  std::set<size_t> starts;
  size_t at = 0;
  while (at < program.size()) {
    if (program.size() - at < sizeof(Instruction)) return false;
    const size_t length = LengthAt(program, at), yes = At<Instruction>(program, at).yes;
    if (length == 0 || yes < length || yes % 4 != 0) return false;
    starts.insert(at);
    at += yes;
  }
  if (at != program.size()) return false;
  starts.insert(at);
  for (const size_t start : starts) {
    if (start == program.size()) break;
    const auto op = At<Instruction>(program, start);
    if (op.code == kNop) continue;
    const size_t to = start + op.no;
    if (op.no < LengthAt(program, start) || op.no % 4 != 0) return false;
    // An instruction beyond the end is "no".
    if (!starts.contains(to) && to != program.size() + sizeof(Instruction)) return false;
  }
  return true;
}

bool RunInetFilter(std::string_view program, const SocketReport& socket) {
  const End source = EndOf(socket.local), target = EndOf(socket.peer);
  size_t at = 0;
  while (at < program.size()) {
    const auto op = At<Instruction>(program, at);
    const bool yes = op.code != kJump && Holds(program, at, socket, source, target);
    at += yes ? op.yes : op.no;
  }
  return at == program.size();
}

}  // namespace rampart::net
