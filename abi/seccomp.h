// seccomp(2) and the classic BPF that its filters are written in.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr uint32_t kSeccompModeDisabled = 0, kSeccompModeStrict = 1, kSeccompModeFilter = 2;  // prctl's numbers
inline constexpr uint32_t kSeccompSetModeStrict = 0, kSeccompSetModeFilter = 1, kSeccompGetActionAvail = 2, kSeccompGetNotifSizes = 3;
inline constexpr uint64_t kSeccompFilterFlagTsync = 1, kSeccompFilterFlagLog = 2, kSeccompFilterFlagSpecAllow = 4,
                          kSeccompFilterFlagNewListener = 8, kSeccompFilterFlagTsyncEsrch = 16, kSeccompFilterFlagWaitKillable = 32;
inline constexpr uint32_t kSeccompRetKillProcess = 0x80000000, kSeccompRetKillThread = 0, kSeccompRetTrap = 0x00030000, kSeccompRetErrno = 0x00050000,
                          kSeccompRetUserNotif = 0x7fc00000, kSeccompRetTrace = 0x7ff00000, kSeccompRetLog = 0x7ffc0000,
                          kSeccompRetAllow = 0x7fff0000;
inline constexpr uint32_t kSeccompRetActionFull = 0xffff0000, kSeccompRetData = 0x0000ffff;
inline constexpr uint32_t kAuditArchX86_64 = 0xc000003e;

// What a filter sees: struct seccomp_data.
struct SeccompData {
  int32_t number;
  uint32_t arch;
  uint64_t instruction_pointer;
  uint64_t args[6];
};
static_assert(sizeof(SeccompData) == 64);

// struct sock_filter, struct sock_fprog.
struct SockFilter {
  uint16_t code;
  uint8_t jt, jf;
  uint32_t k;
};
static_assert(sizeof(SockFilter) == 8);
struct SockFprog {
  uint16_t length;
  uint16_t pad[3];
  uint64_t filter;
};
static_assert(sizeof(SockFprog) == 16);
inline constexpr uint16_t kBpfMaxInstructions = 4096;

// Codes: class | size or operation | mode or source.
inline constexpr uint16_t kBpfLd = 0x00, kBpfLdx = 0x01, kBpfSt = 0x02, kBpfStx = 0x03, kBpfAlu = 0x04, kBpfJmp = 0x05, kBpfRet = 0x06, kBpfMisc = 0x07;
inline constexpr uint16_t kBpfImm = 0x00, kBpfAbs = 0x20, kBpfMem = 0x60, kBpfLen = 0x80;
inline constexpr uint16_t kBpfAdd = 0x00, kBpfSub = 0x10, kBpfMul = 0x20, kBpfDiv = 0x30, kBpfOr = 0x40, kBpfAnd = 0x50, kBpfLsh = 0x60, kBpfRsh = 0x70,
                          kBpfNeg = 0x80, kBpfXor = 0xa0;
inline constexpr uint16_t kBpfJa = 0x00, kBpfJeq = 0x10, kBpfJgt = 0x20, kBpfJge = 0x30, kBpfJset = 0x40;
inline constexpr uint16_t kBpfK = 0x00, kBpfX = 0x08, kBpfA = 0x10, kBpfTax = 0x00, kBpfTxa = 0x80;
inline constexpr uint32_t kBpfMemoryWords = 16;

}  // namespace rampart::abi
