#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "sentry/strace/line.h"
#include "sentry/strace/trace_set.h"

namespace rampart::strace {
namespace {

constexpr UserAddr kBase = 0x1000;

class FlatMemory final : public mm::UserMemory {
 public:
  Result<size_t> CopyInPartial(UserAddr from, std::span<std::byte> out) override {
    if (from < kBase || from >= kBase + bytes.size()) return Errno::kEFAULT;
    const size_t n = std::min(out.size(), bytes.size() - (from - kBase));
    std::memcpy(out.data(), bytes.data() + (from - kBase), n);
    return n;
  }
  Result<size_t> CopyOutPartial(UserAddr, std::span<const std::byte>) override { return Errno::kEFAULT; }
  Result<uint32_t> Atomic32(UserAddr, mm::Atomic32Op, uint32_t, uint32_t) override { return Errno::kEFAULT; }
  void Put(size_t offset, const void* data, size_t n) { std::memcpy(bytes.data() + offset, data, n); }
  std::vector<std::byte> bytes = std::vector<std::byte>(4096);
};

abi::UserRegs Args(uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  abi::UserRegs regs{};
  regs.rdi = a, regs.rsi = b, regs.rdx = c, regs.r10 = d, regs.r8 = e, regs.r9 = f;
  return regs;
}

std::string Trace(FlatMemory& memory, abi::Sysno number, const abi::UserRegs& regs, Result<Word> result) {
  Line line(7, static_cast<uint32_t>(number), regs);
  line.PrintEntry(memory, nullptr);
  line.PrintExit(memory, result, 1'234'000);
  return line.text();
}

TEST(Strace, OpenatShowsPathAndFlags) {
  FlatMemory memory;
  memory.Put(0, "/etc/passwd", 12);
  EXPECT_EQ(Trace(memory, abi::Sysno::openat, Args(static_cast<uint64_t>(-100), kBase, 02000000 | 0100 | 1, 0644), Word{3}),
            "[7] openat(AT_FDCWD, \"/etc/passwd\", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = 3 <0.001234>");
}

TEST(Strace, WriteShowsTheBytesAndAnErrorItsName) {
  FlatMemory memory;
  memory.Put(0, "hi\n", 3);
  EXPECT_EQ(Trace(memory, abi::Sysno::write, Args(1, kBase, 3), Errno::kEPIPE), "[7] write(1, \"hi\\n\", 3) = -1 EPIPE (Broken pipe) <0.001234>");
}

TEST(Strace, ReadShowsWhatWasRead) {
  FlatMemory memory;
  memory.Put(0, "abcdef", 6);
  EXPECT_EQ(Trace(memory, abi::Sysno::read, Args(0, kBase, 100), Word{2}), "[7] read(0, \"ab\", 100) = 2 <0.001234>");
}

TEST(Strace, IovecsAreShown) {
  FlatMemory memory;
  memory.Put(0, "abcdef", 6);
  const abi::Iovec iov[2] = {{kBase, 2}, {kBase + 2, 4}};
  memory.Put(64, iov, sizeof(iov));
  EXPECT_EQ(Trace(memory, abi::Sysno::writev, Args(1, kBase + 64, 2), Word{6}), "[7] writev(1, [{\"ab\", 2}, {\"cdef\", 4}], 2) = 6 <0.001234>");
}

TEST(Strace, SocketAddressesAreShown) {
  FlatMemory memory;
  const unsigned char address[16] = {2, 0, 0x1f, 0x90, 127, 0, 0, 1};
  memory.Put(0, address, sizeof(address));
  EXPECT_EQ(Trace(memory, abi::Sysno::connect, Args(3, kBase, 16), Word{0}), "[7] connect(3, {AF_INET, 127.0.0.1:8080}, 16) = 0 <0.001234>");
}

TEST(Strace, BadPointersArePrintedAsNumbers) {
  FlatMemory memory;
  EXPECT_EQ(Trace(memory, abi::Sysno::unlink, Args(0xdead0000), Errno::kEFAULT), "[7] unlink(0xdead0000) = -1 EFAULT (Bad address) <0.001234>");
  EXPECT_EQ(Trace(memory, abi::Sysno::writev, Args(1, 0xdead0000, UINT64_MAX), Errno::kEINVAL),
            "[7] writev(1, [, …], 18446744073709551615) = -1 EINVAL (Invalid argument) <0.001234>");
}

TEST(Strace, RestartIsShownAsSuch) {
  FlatMemory memory;
  EXPECT_EQ(Trace(memory, abi::Sysno::pause, Args(), Errno::kERESTARTNOHAND), "[7] pause(0, 0, 0, 0, 0, 0) = ? ERESTARTNOHAND <0.001234>");
}

TEST(Strace, MmapFlags) {
  FlatMemory memory;
  EXPECT_EQ(Trace(memory, abi::Sysno::mmap, Args(0, 4096, 3, 0x22, static_cast<uint64_t>(-1), 0), Word{0x7f0000000000}),
            "[7] mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000 <0.001234>");
}

TEST(TraceSet, NamesClassesAndInversion) {
  const TraceSet names = ParseTraceSet("openat,close").value();
  EXPECT_TRUE(names.test(static_cast<size_t>(abi::Sysno::openat)));
  EXPECT_EQ(names.count(), 2u);
  EXPECT_TRUE(ParseTraceSet("%file").value().test(static_cast<size_t>(abi::Sysno::stat)));
  EXPECT_FALSE(ParseTraceSet("!%file").value().test(static_cast<size_t>(abi::Sysno::stat)));
  EXPECT_TRUE(ParseTraceSet("").value().all());
  EXPECT_FALSE(ParseTraceSet("opennat").ok());
  EXPECT_FALSE(ParseTraceSet("%nope").ok());
}

}  // namespace
}  // namespace rampart::strace
