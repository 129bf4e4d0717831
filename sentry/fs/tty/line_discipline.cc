#include "sentry/fs/tty/line_discipline.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "abi/signal.h"

namespace rampart::fs::tty {
namespace {

abi::Termios DefaultTermios() {
  abi::Termios t{};
  t.iflag = abi::kIcrNl | abi::kIxOn;
  t.oflag = abi::kOPost | abi::kOnlCr;
  t.cflag = abi::kB38400 | abi::kCs8 | abi::kCread;
  t.lflag = abi::kISig | abi::kICanon | abi::kEcho | abi::kEchoE | abi::kEchoK | abi::kEchoCtl | abi::kEchoKe | abi::kIExten;
  constexpr uint8_t kControl[] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0};
  std::copy(std::begin(kControl), std::end(kControl), t.cc);
  return t;
}

bool IsControl(uint8_t c) { return c < 0x20 || c == 0x7f; }
bool Continuation(uint8_t c) { return (c & 0xc0) == 0x80; }
bool WordByte(uint8_t c) { return std::isalnum(c) != 0 || c == '_' || c >= 0x80; }

}  // namespace

LineDiscipline::LineDiscipline() : termios_(DefaultTermios()) {}

void LineDiscipline::SetTermios(const abi::Termios& termios) {
  const bool was_canonical = Canonical();
  termios_ = termios;
  if (was_canonical && !Canonical() && !line_.empty()) PushLine();
  if (!Flag(termios_.iflag, abi::kIxOn)) stopped_ = false;
}

bool LineDiscipline::InputFull() const {
  // In canonical mode more must always be taken, or an erase or a newline could never arrive.
  if (Canonical() && ready_.empty()) return false;
  return input_bytes_ >= kInputLimit;
}

size_t LineDiscipline::Input(std::string_view bytes, std::vector<int>& signals) {
  size_t taken = 0;
  while (taken < bytes.size() && !InputFull()) InputByte(static_cast<uint8_t>(bytes[taken++]), signals);
  return taken;
}

void LineDiscipline::InputByte(uint8_t c, std::vector<int>& signals) {
  if (Flag(termios_.iflag, abi::kIStrip)) c &= 0x7f;
  if (literal_next_) {
    literal_next_ = false;
    Echo(c);
    Append(c);
    return;
  }
  if (SpecialByte(c, signals)) return;
  if (c == '\r') {
    if (Flag(termios_.iflag, abi::kIgnCr)) return;
    if (Flag(termios_.iflag, abi::kIcrNl)) c = '\n';
  } else if (c == '\n' && Flag(termios_.iflag, abi::kInlCr)) {
    c = '\r';
  }
  if (Canonical()) {
    if (EditByte(c)) return;
    const bool ends = c == '\n' || Is(c, abi::kVEol) || (Flag(termios_.lflag, abi::kIExten) && Is(c, abi::kVEol2));
    if (!ends && line_.size() >= kLineLimit) {
      if (Flag(termios_.iflag, abi::kImaxBel)) Emit('\a');
      return;
    }
    Echo(c);
    line_ += static_cast<char>(c);
    if (ends) PushLine();
    return;
  }
  Echo(c);
  Append(c);
}

bool LineDiscipline::SpecialByte(uint8_t c, std::vector<int>& signals) {
  if (Flag(termios_.iflag, abi::kIxOn)) {
    if (Is(c, abi::kVStart)) {
      stopped_ = false;
      return true;
    }
    if (Is(c, abi::kVStop)) {
      stopped_ = true;
      return true;
    }
    if (stopped_ && Flag(termios_.iflag, abi::kIxAny)) stopped_ = false;
  }
  if (!Flag(termios_.lflag, abi::kISig)) return false;
  const int signal = Is(c, abi::kVIntr) ? abi::kSigInt : Is(c, abi::kVQuit) ? abi::kSigQuit : Is(c, abi::kVSusp) ? abi::kSigTstp : 0;
  if (signal == 0) return false;
  if (!Flag(termios_.lflag, abi::kNoFlsh)) {
    FlushInput();
    FlushOutput();
  }
  stopped_ = false;
  Echo(c);
  signals.push_back(signal);
  return true;
}

bool LineDiscipline::EditByte(uint8_t c) {
  const bool extended = Flag(termios_.lflag, abi::kIExten);
  if (Is(c, abi::kVErase)) {
    EraseOne();
  } else if (extended && Is(c, abi::kVWerase)) {
    EraseWord();
  } else if (Is(c, abi::kVKill)) {
    EraseLine();
  } else if (extended && Is(c, abi::kVLnext)) {
    literal_next_ = true;
    if (Flag(termios_.lflag, abi::kEcho) && Flag(termios_.lflag, abi::kEchoCtl)) Emit('^'), Emit('\b');
  } else if (extended && Is(c, abi::kVReprint)) {
    Echo(c);
    Emit('\n');
    for (const char l : line_) Echo(static_cast<uint8_t>(l));
  } else if (Is(c, abi::kVEof)) {
    PushLine();
  } else {
    return false;
  }
  return true;
}

void LineDiscipline::Append(uint8_t c) {
  if (Canonical()) {
    if (line_.size() < kLineLimit) line_ += static_cast<char>(c);
    return;
  }
  if (ready_.empty()) ready_.emplace_back();
  ready_.back() += static_cast<char>(c);
  ++input_bytes_;
}

void LineDiscipline::PushLine() {
  input_bytes_ += line_.size();
  ready_.push_back(std::move(line_));
  line_.clear();
}

void LineDiscipline::Echo(uint8_t c) {
  if (!Flag(termios_.lflag, abi::kEcho)) {
    if (c == '\n' && Canonical() && Flag(termios_.lflag, abi::kEchoNl)) Emit(c);
    return;
  }
  if (IsControl(c) && Flag(termios_.lflag, abi::kEchoCtl) && c != '\t' && c != '\n') {
    Emit('^');
    Emit(static_cast<uint8_t>(c ^ 0x40));
    return;
  }
  Emit(c);
}

void LineDiscipline::EchoErase(std::string_view erased) {
  if (!Flag(termios_.lflag, abi::kEcho)) return;
  size_t columns = 0;
  for (const char ch : erased) {
    const auto c = static_cast<uint8_t>(ch);
    if (Flag(termios_.iflag, abi::kIutf8) && Continuation(c)) continue;
    columns += IsControl(c) && Flag(termios_.lflag, abi::kEchoCtl) && c != '\t' ? 2 : 1;
  }
  for (size_t i = 0; i < columns; ++i) {
    for (const char ch : std::string_view("\b \b")) Emit(static_cast<uint8_t>(ch));
  }
}

void LineDiscipline::EraseOne() {
  if (line_.empty()) return;
  size_t start = line_.size() - 1;
  if (Flag(termios_.iflag, abi::kIutf8)) {
    while (start > 0 && Continuation(static_cast<uint8_t>(line_[start]))) --start;
  }
  const std::string erased = line_.substr(start);
  line_.resize(start);
  if (Flag(termios_.lflag, abi::kEchoE)) {
    EchoErase(erased);
  } else {
    Echo(termios_.cc[abi::kVErase]);
  }
}

void LineDiscipline::EraseWord() {
  size_t start = line_.size();
  while (start > 0 && !WordByte(static_cast<uint8_t>(line_[start - 1]))) --start;
  while (start > 0 && WordByte(static_cast<uint8_t>(line_[start - 1]))) --start;
  const std::string erased = line_.substr(start);
  line_.resize(start);
  EchoErase(erased);
}

void LineDiscipline::EraseLine() {
  const std::string erased = std::move(line_);
  line_.clear();
  if (Flag(termios_.lflag, abi::kEchoKe) && Flag(termios_.lflag, abi::kEchoE)) {
    EchoErase(erased);
    return;
  }
  Echo(termios_.cc[abi::kVKill]);
  if (Flag(termios_.lflag, abi::kEchoK)) Emit('\n');
}

bool LineDiscipline::Readable() const {
  if (Canonical()) return !ready_.empty();
  // poll(2): with a timer running the first byte is enough.
  const size_t wanted = termios_.cc[abi::kVTime] == 0 && termios_.cc[abi::kVMin] != 0 ? termios_.cc[abi::kVMin] : 1;
  return input_bytes_ >= wanted;
}

Result<std::string> LineDiscipline::Read(size_t size, bool ignore_min) {
  if (Canonical()) {
    if (ready_.empty()) return Errno::kEAGAIN;
    std::string& line = ready_.front();
    std::string out = line.substr(0, size);
    line.erase(0, out.size());
    input_bytes_ -= out.size();
    if (line.empty()) ready_.pop_front();
    return out;
  }
  const size_t minimum = ignore_min ? 0 : std::min<size_t>(termios_.cc[abi::kVMin], size);
  if (input_bytes_ < minimum || (input_bytes_ == 0 && !ignore_min && termios_.cc[abi::kVMin] == 0 && termios_.cc[abi::kVTime] != 0)) {
    return Errno::kEAGAIN;
  }
  std::string out;
  while (!ready_.empty() && out.size() < size) {
    std::string& piece = ready_.front();
    const size_t n = std::min(size - out.size(), piece.size());
    out.append(piece, 0, n);
    piece.erase(0, n);
    if (piece.empty()) ready_.pop_front();
  }
  input_bytes_ -= out.size();
  return out;
}

size_t LineDiscipline::Output(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && !OutputFull()) Emit(static_cast<uint8_t>(bytes[taken++]));
  return taken;
}

void LineDiscipline::Emit(uint8_t c) {
  if (!Flag(termios_.oflag, abi::kOPost)) {
    output_ += static_cast<char>(c);
    return;
  }
  switch (c) {
    case '\n':
      if (Flag(termios_.oflag, abi::kOnlCr)) output_ += '\r', column_ = 0;
      if (Flag(termios_.oflag, abi::kOnlRet)) column_ = 0;
      break;
    case '\r':
      if (Flag(termios_.oflag, abi::kOnoCr) && column_ == 0) return;
      column_ = 0;
      if (Flag(termios_.oflag, abi::kOcrNl)) c = '\n';
      break;
    case '\t': {
      const size_t spaces = 8 - column_ % 8;
      column_ += spaces;
      if ((termios_.oflag & abi::kTabDly) == abi::kXTabs) {
        output_.append(spaces, ' ');
        return;
      }
      break;
    }
    case '\b':
      if (column_ > 0) --column_;
      break;
    default:
      if (Flag(termios_.oflag, abi::kOlcUc)) c = static_cast<uint8_t>(std::toupper(c));
      if (!IsControl(c) && !(Flag(termios_.iflag, abi::kIutf8) && Continuation(c))) ++column_;
  }
  output_ += static_cast<char>(c);
}

void LineDiscipline::FlushInput() {
  line_.clear();
  ready_.clear();
  input_bytes_ = 0;
}

}  // namespace rampart::fs::tty
