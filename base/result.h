// Result<T>: a value or an Errno; the error type inside the kernel (absl::Status is for what people read, outside it).
//
//   Result<size_t> Read(...);
//   const size_t n = TRY(Read(...));      // returns the Errno to the caller on failure
//   TRY(Sync());                          // Result<void>
//
// Do not nest TRY in TRY (-Wshadow objects): name the inner value. Thread safety: as the contained value.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/errno.h"

namespace rampart {

template <class T = void>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design
  Result(Errno error) : error_(error) { CHECK(static_cast<int>(error) != 0); }  // NOLINT: implicit by design
  template <class U>
    requires(std::is_convertible_v<U, T> && !std::is_same_v<std::decay_t<U>, T> && !std::is_same_v<std::decay_t<U>, Errno> &&
             !std::is_same_v<std::decay_t<U>, Result>)
  Result(U&& value) : value_(T(std::forward<U>(value))) {}  // NOLINT: implicit by design

  bool ok() const { return value_.has_value(); }
  // REQUIRES: !ok().
  Errno error() const {
    CHECK(!ok());
    return error_;
  }
  // REQUIRES: ok().
  T& value() & {
    CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    CHECK(ok());
    return *value_;
  }
  T value() && {
    CHECK(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T value_or(T other) && { return ok() ? std::move(*value_) : std::move(other); }

 private:
  std::optional<T> value_;
  Errno error_{};
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Errno error) : error_(error) { CHECK(static_cast<int>(error) != 0); }  // NOLINT: implicit by design
  bool ok() const { return error_ == Errno{}; }
  Errno error() const {
    CHECK(!ok());
    return error_;
  }
  void value() const { CHECK(ok()); }

 private:
  Errno error_{};
};

// What a function that succeeds without a value returns.
inline Result<void> Ok() { return {}; }

}  // namespace rampart

#define RAMPART_CAT2(a, b) a##b
#define RAMPART_CAT(a, b) RAMPART_CAT2(a, b)
// The one macro with a hidden return.
#define TRY(expression)                                                   \
  __extension__({                                                         \
    auto try_result_ = (expression);                                      \
    if (!try_result_.ok()) [[unlikely]] return try_result_.error();       \
    std::move(try_result_).value();                                       \
  })
