// The primitive codec of the Gofer's protocol: little-endian integers, counted strings, payloads and lists, as 9P lays them out.
//
// A message or a part of one is a plain struct that lists its fields once, in wire order:
//
//   struct Twalk { FidNum fid; FidNum new_fid; std::vector<std::string_view> names; GOFER_WIRE(fid, new_fid, names) };
//
// and both Writer and Reader go through that list, so that a layout stands in one place.
//   integers, enums   1, 2, 4 or 8 bytes            string_view  length[2] bytes
//   Payload           length[4] bytes               vector<T>    count[2] elements
// Reader never looks outside its bytes and never allocates more than the bytes it was given can describe; string_views and payloads
// point into those bytes, which must outlive the message. After a failure every further read gives zeros and ok() stays false.
// Thread safety: none needed, one thread uses a Reader or Writer.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rampart::gofer {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

// A run of file bytes in a message, with a four-byte length.
struct Payload {
  Bytes bytes;
};

#define GOFER_WIRE(...)               \
  template <class Archive>            \
  void Visit(Archive& archive_) {     \
    archive_(__VA_ARGS__);            \
  }                                   \
  template <class Archive>            \
  void Visit(Archive& archive_) const { \
    archive_(__VA_ARGS__);            \
  }

template <class T>
concept WireScalar = std::unsigned_integral<T> || std::same_as<T, int64_t> || std::is_enum_v<T>;

// Writes into memory that the caller owns; what does not fit sets ok() to false and is dropped.
class Writer {
 public:
  explicit Writer(MutableBytes out) : out_(out) {}

  template <class... T>
  void operator()(const T&... fields) {
    (Put(fields), ...);
  }
  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t room() const { return out_.size() - position_; }

 private:
  template <WireScalar T>
  void Put(T value) {
    Raw(&value, sizeof(value));
  }
  void Put(std::string_view text) {
    if (text.size() > UINT16_MAX) {
      ok_ = false;
      return;
    }
    Put(static_cast<uint16_t>(text.size()));
    Raw(text.data(), text.size());
  }
  void Put(const Payload& payload) {
    Put(static_cast<uint32_t>(payload.bytes.size()));
    Raw(payload.bytes.data(), payload.bytes.size());
  }
  template <class T>
  void Put(const std::vector<T>& list) {
    if (list.size() > UINT16_MAX) {
      ok_ = false;
      return;
    }
    Put(static_cast<uint16_t>(list.size()));
    for (const T& element : list) Put(element);
  }
  template <class T>
    requires requires(const T& t, Writer& w) { t.Visit(w); }
  void Put(const T& part) {
    part.Visit(*this);
  }
  void Raw(const void* from, size_t size) {
    if (!ok_ || size > room()) {
      ok_ = false;
      return;
    }
    std::byte* const to = out_.data() + position_;
    if (size != 0 && to != from) std::memmove(to, from, size);  // a read(2) may have put its bytes in place already
    position_ += size;
  }

  MutableBytes out_;
  size_t position_ = 0;
  bool ok_ = true;
};

class Reader {
 public:
  explicit Reader(Bytes in) : in_(in) {}

  template <class... T>
  void operator()(T&... fields) {
    (Get(fields), ...);
  }
  bool ok() const { return ok_; }
  size_t remaining() const { return in_.size() - position_; }

 private:
  template <WireScalar T>
  void Get(T& value) {
    value = T{};
    if (const std::byte* from = Take(sizeof(T))) std::memcpy(&value, from, sizeof(T));
  }
  void Get(std::string_view& text) {
    uint16_t size = 0;
    Get(size);
    const std::byte* from = Take(size);
    // SAFETY: Take checked that `size` bytes follow; any byte is a char.
    text = from ? std::string_view(reinterpret_cast<const char*>(from), size) : std::string_view();
  }
  void Get(Payload& payload) {
    uint32_t size = 0;
    Get(size);
    const std::byte* from = Take(size);
    payload.bytes = from ? Bytes(from, size) : Bytes();
  }
  template <class T>
  void Get(std::vector<T>& list) {
    uint16_t count = 0;
    Get(count);
    list.clear();
    list.reserve(std::min<size_t>(count, remaining() / 2));  // no element is shorter than two bytes
    for (size_t i = 0; i < count && ok_; ++i) {
      T element{};
      Get(element);
      list.push_back(std::move(element));
    }
    if (!ok_) list.clear();
  }
  template <class T>
    requires requires(T& t, Reader& r) { t.Visit(r); }
  void Get(T& part) {
    part.Visit(*this);
  }
  const std::byte* Take(size_t size) {
    if (!ok_ || size > remaining()) {
      ok_ = false;
      return nullptr;
    }
    const std::byte* at = in_.data() + position_;
    position_ += size;
    return at;
  }

  Bytes in_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace rampart::gofer
