#include "sentry/fs/tty/line_discipline.h"

#include <gtest/gtest.h>

#include "abi/signal.h"

namespace rampart::fs::tty {
namespace {

class LineDisciplineTest : public testing::Test {
 protected:
  void Type(std::string_view text) { EXPECT_EQ(d.Input(text, signals), text.size()); }
  std::string Read(size_t n = 4096) { return d.Read(n, false).value_or("<EAGAIN>"); }
  std::string Echoed() { return std::exchange(d.output(), ""); }
  void Raw(uint8_t min, uint8_t time) {
    abi::Termios t = d.termios();
    t.lflag &= ~(abi::kICanon | abi::kEcho | abi::kISig | abi::kIExten);
    t.cc[abi::kVMin] = min;
    t.cc[abi::kVTime] = time;
    d.SetTermios(t);
  }
  LineDiscipline d;
  std::vector<int> signals;
};

TEST_F(LineDisciplineTest, CanonicalReadsWholeLinesOnly) {
  Type("ab");
  EXPECT_FALSE(d.Readable());
  EXPECT_EQ(Read(), "<EAGAIN>");
  Type("c\rsecond\n");
  EXPECT_EQ(Read(), "abc\n");  // ICRNL
  EXPECT_EQ(Read(3), "sec");
  EXPECT_EQ(Read(), "ond\n");
  EXPECT_EQ(Echoed(), "abc\r\nsecond\r\n");
}

TEST_F(LineDisciplineTest, EditingErasesCharactersWordsAndLines) {
  Type("abx\x7f" "c\n");
  EXPECT_EQ(Read(), "abc\n");
  EXPECT_EQ(Echoed(), "abx\b \bc\r\n");
  Type("one two\x17three\n");
  EXPECT_EQ(Read(), "one three\n");
  Type("gone\x15kept\n");
  EXPECT_EQ(Read(), "kept\n");
  Type("\x16\x03x\n");  // literal next
  EXPECT_EQ(Read(), "\x03x\n");
  EXPECT_TRUE(signals.empty());
}

TEST_F(LineDisciplineTest, EndOfFileEndsTheLineOrTheFile) {
  Type("part\x04");
  EXPECT_EQ(Read(), "part");
  Type("\x04");
  EXPECT_TRUE(d.Readable());
  EXPECT_EQ(Read(), "");
  EXPECT_FALSE(d.Readable());
}

TEST_F(LineDisciplineTest, SignalCharactersFlushAndEcho) {
  Type("abc\x03");
  EXPECT_EQ(signals, std::vector<int>({abi::kSigInt}));
  EXPECT_EQ(Echoed(), "^C");
  Type("\x1c\x1a");
  EXPECT_EQ(signals, std::vector<int>({abi::kSigInt, abi::kSigQuit, abi::kSigTstp}));
  Type("x\n");
  EXPECT_EQ(Read(), "x\n");
}

TEST_F(LineDisciplineTest, RawObeysMinAndTime) {
  Raw(2, 0);
  Type("a");
  EXPECT_FALSE(d.Readable());
  EXPECT_EQ(Read(), "<EAGAIN>");
  EXPECT_EQ(Read(1), "a");  // never more than asked for
  Type("b\x03");
  EXPECT_EQ(Read(), "b\x03");
  EXPECT_TRUE(signals.empty());
  Raw(0, 0);
  EXPECT_EQ(Read(), "");
  Raw(0, 5);
  EXPECT_EQ(Read(), "<EAGAIN>");
  EXPECT_EQ(d.Read(10, true).value_or("x"), "");
}

TEST_F(LineDisciplineTest, SwitchToRawMakesThePartialLineReadable) {
  Type("half");
  Raw(1, 0);
  EXPECT_EQ(Read(), "half");
}

TEST_F(LineDisciplineTest, OutputIsProcessedAndStopped) {
  EXPECT_EQ(d.Output("a\nb"), 3u);
  EXPECT_EQ(Echoed(), "a\r\nb");
  Type("\x13");
  EXPECT_EQ(d.Output("x"), 0u);
  Type("\x11");
  EXPECT_EQ(d.Output("x"), 1u);
}

TEST_F(LineDisciplineTest, OutputIsBounded) {
  const std::string much(200 * 1024, 'x');
  const size_t taken = d.Output(much);
  EXPECT_EQ(taken, LineDiscipline::kOutputLimit);
}

TEST_F(LineDisciplineTest, Utf8IsErasedByCharacter) {
  abi::Termios t = d.termios();
  t.iflag |= abi::kIutf8;
  d.SetTermios(t);
  Type("a\xc3\xa9\x7f\n");
  EXPECT_EQ(Read(), "a\n");
}

}  // namespace
}  // namespace rampart::fs::tty
