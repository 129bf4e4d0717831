// LineDiscipline: N_TTY, the rules between a terminal's two sides: editing of lines, echo, signal characters, output processing. Pure state:
// no locks, no descriptors; the pty that owns it guards it.
//
//   typed bytes (from the master) → Input → lines or raw bytes that the slave reads; echo to the master's side; signals
//   written bytes (from the slave) → Output → what the master reads
//
// Bounds: at most kInputLimit bytes wait for the slave, kOutputLimit for the master.
// Source: Linux drivers/tty/n_tty.c's documented behaviour, termios(3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "abi/ioctl.h"
#include "abi/termios.h"
#include "base/result.h"

namespace rampart::fs::tty {

class LineDiscipline {
 public:
  static constexpr size_t kLineLimit = 4095;        // of one line being edited (N_TTY_BUF_SIZE - 1)
  static constexpr size_t kInputLimit = 4096;
  static constexpr size_t kOutputLimit = 64 * 1024;

  LineDiscipline();

  const abi::Termios& termios() const { return termios_; }
  // tcsetattr. Switching from canonical to raw makes the line being edited readable.
  void SetTermios(const abi::Termios& termios);

  // Typed bytes. Returns how many were taken (0: full, wait). Signals to send to the foreground group are appended to `signals`.
  size_t Input(std::string_view bytes, std::vector<int>& signals);
  bool InputFull() const;

  // What the slave may read now.
  bool Readable() const;                            // a line (or an end of file), or in raw mode at least VMIN bytes
  size_t InputBytes() const { return input_bytes_; }
  // Reads at most `size` bytes; in canonical mode at most one line. EAGAIN: nothing yet. An empty answer is an end of file (VEOF), or raw mode with
  // VMIN 0 and nothing there. `ignore_min`: the time of VTIME is over, take what is there.
  Result<std::string> Read(size_t size, bool ignore_min);

  // Written bytes. Returns how many were taken (0: the master's side is full or output is stopped).
  size_t Output(std::string_view bytes);
  bool OutputFull() const { return stopped_ || output_.size() >= kOutputLimit; }
  std::string& output() { return output_; }        // what the master reads next, from the front
  size_t output_bytes() const { return output_.size(); }

  void FlushInput();
  void FlushOutput() { output_.clear(); }
  bool stopped() const { return stopped_; }
  void SetStopped(bool stopped) { stopped_ = stopped; }

 private:
  bool Flag(uint32_t word, uint32_t bit) const { return (word & bit) != 0; }
  bool Is(uint8_t c, int index) const { return termios_.cc[index] != 0 && termios_.cc[index] == c; }
  bool Canonical() const { return Flag(termios_.lflag, abi::kICanon); }
  void InputByte(uint8_t c, std::vector<int>& signals);
  bool SpecialByte(uint8_t c, std::vector<int>& signals);  // flow control and signals
  bool EditByte(uint8_t c);                                // canonical mode's editing characters
  void Append(uint8_t c);
  void PushLine();
  void Echo(uint8_t c);
  void EchoErase(std::string_view erased);
  void EraseOne();
  void EraseWord();
  void EraseLine();
  void Emit(uint8_t c);                                    // one byte through output processing

  abi::Termios termios_;
  std::string line_;               // being edited (canonical mode)
  std::deque<std::string> ready_;  // readable: lines, or one growing piece in raw mode
  size_t input_bytes_ = 0;         // in ready_
  std::string output_;
  size_t column_ = 0;
  bool stopped_ = false;
  bool literal_next_ = false;
};

}  // namespace rampart::fs::tty
