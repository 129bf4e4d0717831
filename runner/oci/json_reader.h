// JsonReader: a place in a JSON document, for typed reading with errors that name the place. The first error wins; after it, reads do
// nothing, so a caller reads everything and looks at the status once.
//
// Thread safety: none; the document and the status must outlive it.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace rampart::oci {

class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, std::string path, absl::Status& status)
      : value_(&value), path_(std::move(path)), status_(&status) {}

  const std::string& path() const { return path_; }
  void Fail(const std::string& what) const {
    if (status_->ok()) *status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }
  void FailExpected(const std::string& wanted) const {
    Fail(absl::StrCat("expected ", wanted, ", found ", value_->is_object() ? "an " : "a ", value_->type_name()));
  }

  // Each reads this place into `out`; a wrong type or range is an error.
  void Read(std::string& out) const {
    if (!value_->is_string()) return FailExpected("a string");
    const auto& text = value_->get_ref<const std::string&>();
    if (text.find('\0') != std::string::npos) return Fail("a NUL byte is not allowed here");
    out = text;
  }
  void Read(bool& out) const {
    if (!value_->is_boolean()) return FailExpected("true or false");
    out = value_->get<bool>();
  }
  template <class Int>
    requires(std::is_integral_v<Int> && !std::is_same_v<Int, bool>)
  void Read(Int& out) const {
    if (!value_->is_number_integer()) return FailExpected("a whole number");
    if (value_->is_number_unsigned()) {
      const auto number = value_->get<uint64_t>();
      if (!std::in_range<Int>(number)) return FailRange<Int>();
      out = static_cast<Int>(number);
    } else {
      const auto number = value_->get<int64_t>();
      if (!std::in_range<Int>(number)) return FailRange<Int>();
      out = static_cast<Int>(number);
    }
  }
  template <class T>
  void Read(std::optional<T>& out) const {
    Read(out.emplace());
  }
  template <class T>
  void Read(std::vector<T>& out) const {
    if (!value_->is_array()) return FailExpected("a list");
    for (size_t i = 0; i < value_->size(); ++i) {
      JsonReader((*value_)[i], absl::StrCat(path_, "[", i, "]"), *status_).Read(out.emplace_back());
    }
  }
  template <class T>
  void Read(std::map<std::string, T>& out) const {
    if (!value_->is_object()) return FailExpected("an object");
    for (auto it = value_->begin(); it != value_->end(); ++it) {
      JsonReader(it.value(), absl::StrCat(path_, ".", it.key()), *status_).Read(out[it.key()]);
    }
  }
  // A struct: ReadMembers(const JsonReader&, T&) is found by argument-dependent lookup.
  template <class T>
    requires(std::is_class_v<T> && requires(const JsonReader& r, T& t) { ReadMembers(r, t); })
  void Read(T& out) const {
    if (!value_->is_object()) return FailExpected("an object");
    ReadMembers(*this, out);
  }

  // Reads member `name` if it is there and not null.
  template <class T>
  void Member(const char* name, T& out) const {
    const auto found = value_->find(name);
    if (found == value_->end() || found->is_null() || !status_->ok()) return;
    JsonReader(*found, absl::StrCat(path_, ".", name), *status_).Read(out);
  }
  // Whether member `name` is there and not null.
  bool Has(const char* name) const {
    const auto found = value_->find(name);
    return found != value_->end() && !found->is_null();
  }
  // As Member, and its absence is an error.
  template <class T>
  void Required(const char* name, T& out) const {
    if (const auto found = value_->find(name); found == value_->end() || found->is_null()) {
      return JsonReader(*value_, absl::StrCat(path_, ".", name), *status_).Fail("is required and missing");
    }
    Member(name, out);
  }

 private:
  template <class Int>
  void FailRange() const {
    Fail(absl::StrCat("must be between ", std::numeric_limits<Int>::min(), " and ", std::numeric_limits<Int>::max()));
  }

  const nlohmann::json* value_;
  std::string path_;
  absl::Status* status_;
};

}  // namespace rampart::oci
