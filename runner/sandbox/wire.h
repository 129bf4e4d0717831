// How a process hands a configuration to the image that it executes next: integers, byte strings and lists in a fixed order. Both sides are
// the same binary, so there are no names and no versions; the reader checks every length and that nothing is left over.
//
//   template <class Archive> void Fields(Archive& ar, Config& c) { ar(c.fd); ar(c.argv); }
//   WireWriter w; Fields(w, config);  …  WireReader r(bytes); Fields(r, config); if (!r.Complete()) …
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rampart::runner {

template <class T>
concept WireScalar = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class WireWriter {
 public:
  template <WireScalar T>
  void operator()(const T& value) {
    const auto bytes = reinterpret_cast<const char*>(&value);  // SAFETY: a scalar's own bytes
    out_.append(bytes, sizeof(value));
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<uint32_t>(text.size()));
    out_.append(text);
  }
  template <class T>
  void operator()(const std::vector<T>& list) {
    (*this)(static_cast<uint32_t>(list.size()));
    for (const T& item : list) (*this)(item);
  }
  template <class T>
    requires(std::is_class_v<T>)
  void operator()(const T& value) {
    Fields(*this, const_cast<T&>(value));  // a writer only reads
  }
  const std::string& bytes() const { return out_; }

 private:
  std::string out_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  template <WireScalar T>
  void operator()(T& value) {
    if (!Has(sizeof(T))) return;
    if constexpr (std::is_same_v<T, bool>) {
      value = rest_[0] != 0;
    } else {
      std::memcpy(&value, rest_.data(), sizeof(T));
    }
    rest_.remove_prefix(sizeof(T));
  }
  void operator()(std::string& text) {
    uint32_t size = 0;
    (*this)(size);
    if (!Has(size)) return;
    text.assign(rest_.data(), size);
    rest_.remove_prefix(size);
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    uint32_t size = 0;
    (*this)(size);
    list.clear();
    for (uint32_t i = 0; i < size && !failed_; ++i) (*this)(list.emplace_back());
  }
  template <class T>
    requires(std::is_class_v<T>)
  void operator()(T& value) {
    Fields(*this, value);
  }
  // Everything was there, and nothing more.
  bool Complete() const { return !failed_ && rest_.empty(); }

 private:
  bool Has(size_t size) {
    if (failed_ || rest_.size() < size) failed_ = true;
    return !failed_;
  }
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace rampart::runner
