// Bits and indices of struct termios (termios(3)), x86-64.
#pragma once

#include <cstdint>

namespace rampart::abi {

// c_iflag
inline constexpr uint32_t kIgnBrk = 1, kBrkInt = 2, kIgnPar = 4, kParMrk = 8, kInpck = 0x10, kIStrip = 0x20, kInlCr = 0x40, kIgnCr = 0x80,
                          kIcrNl = 0x100, kIucLc = 0x200, kIxOn = 0x400, kIxAny = 0x800, kIxOff = 0x1000, kImaxBel = 0x2000, kIutf8 = 0x4000;
// c_oflag
inline constexpr uint32_t kOPost = 1, kOlcUc = 2, kOnlCr = 4, kOcrNl = 8, kOnoCr = 0x10, kOnlRet = 0x20, kTabDly = 0x1800, kXTabs = 0x1800;
// c_cflag
inline constexpr uint32_t kB38400 = 0xf, kCs8 = 0x30, kCread = 0x80, kHupCl = 0x400, kCLocal = 0x800;
// c_lflag
inline constexpr uint32_t kISig = 1, kICanon = 2, kEcho = 8, kEchoE = 0x10, kEchoK = 0x20, kEchoNl = 0x40, kNoFlsh = 0x80, kToStop = 0x100,
                          kEchoCtl = 0x200, kEchoPrt = 0x400, kEchoKe = 0x800, kFlushO = 0x1000, kPendIn = 0x4000, kIExten = 0x8000, kExtProc = 0x10000;
// c_cc
inline constexpr int kVIntr = 0, kVQuit = 1, kVErase = 2, kVKill = 3, kVEof = 4, kVTime = 5, kVMin = 6, kVSwtc = 7, kVStart = 8, kVStop = 9,
                     kVSusp = 10, kVEol = 11, kVReprint = 12, kVDiscard = 13, kVWerase = 14, kVLnext = 15, kVEol2 = 16;

// TIOCPKT status bits.
inline constexpr uint8_t kPktData = 0, kPktFlushRead = 1, kPktFlushWrite = 2, kPktStop = 4, kPktStart = 8, kPktNoStop = 16, kPktDoStop = 32,
                         kPktIoctl = 64;

}  // namespace rampart::abi
