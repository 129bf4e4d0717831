// Room for one message. Not zeroed: its pages cost nothing until a message is as long as that, and most never are.
// Thread safety: none.
#pragma once

#include <cstddef>
#include <memory>

#include "gofer/protocol/wire.h"

namespace rampart::gofer {

class MessageBuffer {
 public:
  MessageBuffer() = default;
  explicit MessageBuffer(size_t size) : bytes_(new std::byte[size]), size_(size) {}

  // The later size is at most the first.
  void Shorten(size_t size) { size_ = size; }
  operator MutableBytes() { return {bytes_.get(), size_}; }          // NOLINT(google-explicit-constructor): a span of itself
  operator Bytes() const { return {bytes_.get(), size_}; }           // NOLINT(google-explicit-constructor)

 private:
  std::unique_ptr<std::byte[]> bytes_;
  size_t size_ = 0;
};

}  // namespace rampart::gofer
