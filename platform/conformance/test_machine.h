// For the tests of every platform: a memory file, and one address space with code, data and stack to run blobs of machine code in.
#pragma once

#include <gtest/gtest.h>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/safe_math.h"
#include "platform/platform.h"
#include "platform/testing/test_file.h"

namespace rampart::platform::conformance {

using platform::testing::TestFile;

inline constexpr uint64_t kCode = 0x400000;
inline constexpr uint64_t kData = 0x555555554000;
inline constexpr uint64_t kStackTop = 0x7ffff0000000;
inline constexpr uint64_t kStackSize = 0x10000;

// Machine code as bytes, from literals such as "\x0f\x05".
using Code = std::string_view;
#define CODE(literal) ::std::string_view(literal, sizeof(literal) - 1)

// The platform under test. Each test program names it, in a file of its own.
const PlatformInfo& ThePlatformInfo();

// Why it cannot be tested here; empty when it can.
inline const std::string& WhyNotHere() {
  static const std::string why = ThePlatformInfo().why_unavailable();
  return why;
}
// At the start of a test, or of its SetUp.
#define SKIP_WITHOUT_PLATFORM() \
  if (!WhyNotHere().empty()) GTEST_SKIP() << WhyNotHere()

inline Platform& ThePlatform() {
  static Platform* const platform = [] {
    CHECK(WhyNotHere().empty());
    Result<std::unique_ptr<Platform>> made = ThePlatformInfo().create();
    CHECK(made.ok());
    return std::move(made).value().release();
  }();
  return *platform;
}
inline bool IsPtrace() { return std::string_view(ThePlatformInfo().name) == "ptrace"; }

inline std::unique_ptr<Context> NewContext() { return ThePlatform().NewContext().value(); }

inline void SetEntry(abi::UserRegs& regs, uint64_t rip) {
  regs = {};
  regs.rip = rip;
  regs.rsp = kStackTop - 64;
  regs.cs = 0x33;
  regs.ss = 0x2b;
  regs.eflags = 0x202;
}

// A space with `code` at kCode (r-x), one page of data at kData (rw-), a stack. File layout: code 0, data 0x10000, stack 0x20000.
struct Machine {
  static constexpr uint64_t kCodeOffset = 0, kDataOffset = 0x10000, kStackOffset = 0x20000, kFileSize = 0x40000;

  explicit Machine(Code code) : file(MakeRef<TestFile>(kFileSize)), space(ThePlatform().NewAddressSpace().value()) {
    std::memcpy(file->view() + kCodeOffset, code.data(), code.size());
    space->Map(kCode, PageUp(code.size()), Ref<BackingFile>(file), kCodeOffset, Prot::kReadExec, Populate::kNow);
    space->Map(kData, kPageSize, Ref<BackingFile>(file), kDataOffset, Prot::kReadWrite, Populate::kOnFault);
    space->Map(kStackTop - kStackSize, kStackSize, Ref<BackingFile>(file), kStackOffset, Prot::kReadWrite, Populate::kOnFault);
  }
  uint64_t& data(size_t index) { return reinterpret_cast<uint64_t*>(file->view() + kDataOffset)[index]; }

  Ref<TestFile> file;
  Ref<AddressSpace> space;
};

// A fixture that skips where the platform cannot run.
class OnPlatform : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_PLATFORM(); }
};

// Runs until something other than kInterrupted.
inline Exit RunOn(Context& context, AddressSpace& space, Step step = Step::kRun) {
  for (;;) {
    Result<Exit> exit = context.Switch(space, step);
    if (!exit.ok()) {
      ADD_FAILURE() << "Switch: " << ErrnoName(exit.error());
      return Exit{.reason = ExitReason::kInterrupted, .signo = -1};
    }
    if (exit->reason != ExitReason::kInterrupted) return *exit;
  }
}

// A thread that is joined on every way out of a test, a failed ASSERT included. `release` lets it end; it runs before each join.
class JoinedThread {
 public:
  explicit JoinedThread(std::function<void()> body, std::function<void()> release = [] {})
      : release_(std::move(release)), thread_(std::move(body)) {}
  JoinedThread(const JoinedThread&) = delete;
  JoinedThread& operator=(const JoinedThread&) = delete;
  ~JoinedThread() { Join(); }
  void Join() {
    if (!thread_.joinable()) return;
    release_();
    thread_.join();
  }

 private:
  std::function<void()> release_;
  std::thread thread_;
};

}  // namespace rampart::platform::conformance
