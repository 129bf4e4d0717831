#include "sentry/net/socket/interface.h"

#include <array>
#include <cstring>
#include <string_view>

#include "abi/ioctl.h"
#include "abi/socket.h"

namespace rampart::net {
namespace {

constexpr uint32_t kSiocGifmap = 0x8970, kSiocGarp = 0x8954, kSiocGmiiphy = 0x8947, kSiocGmiireg = 0x8948, kSiocGhwtstamp = 0x89b1;

// struct ifreq: a name, and a union of 24 bytes.
struct Request {
  char name[16];
  std::array<char, 24> value;
};
static_assert(sizeof(Request) == 40);
struct Conf {
  int32_t length;
  int32_t pad;
  uint64_t buffer;
};

void PutAddress(Request& r, uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  r.value = {};
  r.value[0] = static_cast<char>(abi::kAfInet);
  r.value[4] = static_cast<char>(a), r.value[5] = static_cast<char>(b), r.value[6] = static_cast<char>(c), r.value[7] = static_cast<char>(d);
}
template <class T>
void PutNumber(Request& r, T value) {
  std::memcpy(r.value.data(), &value, sizeof(value));
}

Result<uint64_t> GiveConf(mm::UserMemory& memory, uint64_t argument) {
  Conf conf = TRY(memory.CopyIn(UserIn<Conf>(argument)));
  if (conf.buffer == 0) {
    conf.length = sizeof(Request);
  } else if (conf.length < static_cast<int32_t>(sizeof(Request))) {
    conf.length = 0;
  } else {
    Request r{};
    std::memcpy(r.name, kLoopbackName, sizeof(kLoopbackName));
    PutAddress(r, 127, 0, 0, 1);
    TRY(memory.CopyOut(UserOut<Request>(conf.buffer), r));
    conf.length = sizeof(Request);
  }
  TRY(memory.CopyOut(UserOut<Conf>(argument), conf));
  return uint64_t{0};
}

// What ethtool(8) asks of lo: struct ethtool_value for the most part. Changes are EPERM, as those of the interface.
Result<void> Ethtool(mm::UserMemory& memory, uint64_t argument) {
  struct Value {
    uint32_t command, data;
  };
  struct TimestampInfo {
    uint32_t command, so_timestamping;
    int32_t phc_index;
    uint32_t tx_types, tx_reserved[3], rx_filters, rx_reserved[3];
  };
  constexpr uint32_t kGlink = 0x0a, kGetTimestampInfo = 0x41, kSoftwareStamps = 0x1a;
  Value value{TRY(memory.CopyIn(UserIn<uint32_t>(argument))), 0};
  switch (value.command) {
    case kGlink: case 0x14: case 0x16: case 0x18: case 0x1e: case 0x23: case 0x2b: value.data = 1; break;  // G{RXCSUM,TXCSUM,SG,TSO,GSO,GRO}
    case 0x21: case 0x25: break;                                                                           // GUFO, GFLAGS
    case kGetTimestampInfo: return memory.CopyOut(UserOut<TimestampInfo>(argument), TimestampInfo{value.command, kSoftwareStamps, -1, 0, {}, 0, {}});
    case 0x02: case 0x06: case 0x08: case 0x0c: case 0x0f: case 0x11: case 0x13: case 0x15: case 0x17: case 0x19: case 0x1f: case 0x22: case 0x24:
    case 0x26: case 0x2c: case 0x3b: return Errno::kEPERM;  // S…
    default: return Errno::kEOPNOTSUPP;
  }
  return memory.CopyOut(UserOut<Value>(argument), value);
}

// SIOCGARP: there are no neighbours on lo.
Result<uint64_t> GetNeighbour(mm::UserMemory& memory, uint64_t argument) {
  const uint16_t family = TRY(memory.CopyIn(UserIn<uint16_t>(argument)));
  return family == abi::kAfInet ? Errno::kENXIO : Errno::kEPFNOSUPPORT;
}

bool Changes(uint32_t command) {
  constexpr uint32_t kChanges[] = {0x890b, 0x890c, 0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x8922, 0x8923, 0x8924, 0x8931,
                                   0x8932, 0x8934, 0x8936, 0x8937, 0x8943, 0x8953, 0x8955};
  for (const uint32_t c : kChanges) {
    if (c == command) return true;
  }
  return false;
}

}  // namespace

Result<uint64_t> InterfaceIoctl(int family, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command == abi::kSiocGifconf) return GiveConf(memory, argument);
  const bool has_addresses = family == abi::kAfInet || family == abi::kAfPacket;
  if (Changes(command)) {
    TRY(memory.CopyIn(UserIn<Request>(argument)));
    return Errno::kEPERM;
  }
  switch (command) {
    case abi::kSiocGifaddr: case abi::kSiocGifdstaddr: case abi::kSiocGifbrdaddr: case abi::kSiocGifnetmask:
      if (!has_addresses) return Errno::kENOTTY;
      break;
    case kSiocGarp:
      if (!has_addresses) return Errno::kENOTTY;
      return GetNeighbour(memory, argument);
    case abi::kSiocGifname: case abi::kSiocGifflags: case abi::kSiocGifmetric: case abi::kSiocGifmtu: case abi::kSiocGifhwaddr:
    case abi::kSiocGifindex: case abi::kSiocGiftxqlen: case kSiocGifmap: case abi::kSiocEthtool: case kSiocGmiiphy: case kSiocGmiireg:
    case kSiocGhwtstamp: break;
    default: return Errno::kENOTTY;
  }
  Request r = TRY(memory.CopyIn(UserIn<Request>(argument)));
  if (command == abi::kSiocGifname) {
    int32_t index = 0;
    std::memcpy(&index, r.value.data(), sizeof(index));
    if (index != kLoopbackIndex) return Errno::kENODEV;
    std::memcpy(r.name, kLoopbackName, sizeof(kLoopbackName));
  } else {
    r.name[sizeof(r.name) - 1] = '\0';
    if (std::string_view(r.name) != kLoopbackName) return Errno::kENODEV;
    switch (command) {
      case abi::kSiocGifflags: PutNumber(r, static_cast<int16_t>(kLoopbackFlags)); break;
      case abi::kSiocGifaddr:
      case abi::kSiocGifdstaddr: PutAddress(r, 127, 0, 0, 1); break;
      case abi::kSiocGifbrdaddr: PutAddress(r, 0, 0, 0, 0); break;
      case abi::kSiocGifnetmask: PutAddress(r, 255, 0, 0, 0); break;
      case abi::kSiocGifmetric: PutNumber(r, int32_t{0}); break;
      case abi::kSiocGifmtu: PutNumber(r, kLoopbackMtu); break;
      case abi::kSiocGifindex: PutNumber(r, kLoopbackIndex); break;
      case abi::kSiocGiftxqlen: PutNumber(r, kLoopbackQueueLength); break;
      case kSiocGifmap: r.value = {}; break;
      case abi::kSiocGifhwaddr:
        r.value = {};
        PutNumber(r, kHardwareLoopback);
        break;
      case abi::kSiocEthtool: {
        uint64_t data = 0;
        std::memcpy(&data, r.value.data(), sizeof(data));
        TRY(Ethtool(memory, data));
        break;
      }
      default: return Errno::kEOPNOTSUPP;
    }
  }
  TRY(memory.CopyOut(UserOut<Request>(argument), r));
  return uint64_t{0};
}

}  // namespace rampart::net
