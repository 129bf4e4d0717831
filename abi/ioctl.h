// ioctl(2) commands of Linux x86-64 that the kernel carries out, and the structures of terminals.
#pragma once

#include <cstdint>

namespace rampart::abi {

// Terminals (ioctl_tty(2)).
inline constexpr uint32_t kTcGets = 0x5401, kTcSets = 0x5402, kTcSetsW = 0x5403, kTcSetsF = 0x5404, kTcGeta = 0x5405, kTcSeta = 0x5406,
                          kTcSetaW = 0x5407, kTcSetaF = 0x5408, kTiocGlcktrmios = 0x5456, kTiocSlcktrmios = 0x5457, kTcSbrk = 0x5409, kTcXonc = 0x540a,
                          kTcFlsh = 0x540b, kTiocExcl = 0x540c, kTiocNxcl = 0x540d, kTiocSctty = 0x540e, kTiocGpgrp = 0x540f,
                          kTiocSpgrp = 0x5410, kTiocOutq = 0x5411, kTiocSti = 0x5412, kTiocGwinsz = 0x5413, kTiocSwinsz = 0x5414,
                          kTiocInq = 0x541b, kTiocNotty = 0x5422, kTiocGsid = 0x5429, kTcSbrkp = 0x5425, kTiocGptn = 0x80045430,
                          kTiocSptlck = 0x40045431, kTiocGptlck = 0x80045439, kTiocGptpeer = 0x5441, kTiocPkt = 0x5420, kTcGets2 = 0x802c542a,
                          kTcSets2 = 0x402c542b, kTcSetsW2 = 0x402c542c, kTcSetsF2 = 0x402c542d;
// Files in general.
inline constexpr uint32_t kFionclex = 0x5450, kFioclex = 0x5451, kFioasync = 0x5452, kFionbio = 0x5421, kFionread = 0x541b,
                          kFioqsize = 0x5460, kFigetbsz = 2;
// Sockets.
inline constexpr uint32_t kSiocAtmark = 0x8905, kSiocGpgrp = 0x8904, kSiocSpgrp = 0x8902, kFioGetown = 0x8903, kFioSetown = 0x8901,
                          kSiocOutq = 0x5411, kSiocInq = 0x541b, kSiocGstamp = 0x8906, kSiocGifname = 0x8910, kSiocGifconf = 0x8912,
                          kSiocGifflags = 0x8913, kSiocGifaddr = 0x8915, kSiocGifdstaddr = 0x8917, kSiocGifbrdaddr = 0x8919,
                          kSiocGifnetmask = 0x891b, kSiocGifmetric = 0x891d, kSiocGifmtu = 0x8921, kSiocGifhwaddr = 0x8927,
                          kSiocGifindex = 0x8933, kSiocGiftxqlen = 0x8942, kSiocEthtool = 0x8946;
// Random devices.
inline constexpr uint32_t kRndGetEntCnt = 0x80045200, kRndAddToEntCnt = 0x40045201, kRndAddEntropy = 0x40085203, kRndZapEntCnt = 0x5204,
                          kRndClearPool = 0x5206, kRndReseedCrng = 0x5207;

// struct termios as TCGETS has it.
struct Termios {
  uint32_t iflag;
  uint32_t oflag;
  uint32_t cflag;
  uint32_t lflag;
  uint8_t line;
  uint8_t cc[19];
};
static_assert(sizeof(Termios) == 36);
// struct termios2.
struct Termios2 {
  Termios base;
  uint32_t ispeed;
  uint32_t ospeed;
};
static_assert(sizeof(Termios2) == 44);
// struct termio, System V's: the low halves of the flags, and of the characters the first eight. The last byte is padding.
struct Termio {
  uint16_t iflag;
  uint16_t oflag;
  uint16_t cflag;
  uint16_t lflag;
  uint8_t line;
  uint8_t cc[8];
  uint8_t pad;
};
static_assert(sizeof(Termio) == 18);
struct Winsize {
  uint16_t rows;
  uint16_t cols;
  uint16_t xpixel;
  uint16_t ypixel;
};

}  // namespace rampart::abi
