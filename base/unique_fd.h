// UniqueFd: owns one host file descriptor and closes it. It has no conversion to int: a host call writes fd.get(), so that a guest
// descriptor (enum class Fd) can never reach a host call by accident. Thread safety: as int.
#pragma once

#include <utility>

#include "base/result.h"

namespace rampart {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Gives the descriptor up to the caller.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);
  // A close-on-exec duplicate.
  Result<UniqueFd> Duplicate() const;

 private:
  int fd_ = -1;
};

// Wraps what a host call returned: a descriptor, or -1 with errno.
Result<UniqueFd> FdFromHost(int fd_or_minus_one);

}  // namespace rampart
