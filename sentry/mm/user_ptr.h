// Pointers into application memory, with their direction in the type. They are numbers, never C++ pointers: only UserMemory turns them
// into bytes. Only types without padding may cross (STYLE rule 5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace rampart {

using UserAddr = uint64_t;  // an address in the application's address space; any value, unchecked

template <class T>
concept Crossable = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> &&
                    (std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);

namespace internal {
template <class T>
class UserPtrBase {
 public:
  UserPtrBase() = default;
  explicit constexpr UserPtrBase(UserAddr address) : address_(address) {}
  constexpr UserAddr address() const { return address_; }
  explicit constexpr operator bool() const { return address_ != 0; }

 private:
  UserAddr address_ = 0;
};
}  // namespace internal

// The application's T (or array of T) that we read / write / read and write.
template <Crossable T>
class UserIn : public internal::UserPtrBase<T> {
 public:
  using internal::UserPtrBase<T>::UserPtrBase;
};
template <Crossable T>
class UserOut : public internal::UserPtrBase<T> {
 public:
  using internal::UserPtrBase<T>::UserPtrBase;
};
template <Crossable T>
class UserInOut : public internal::UserPtrBase<T> {
 public:
  using internal::UserPtrBase<T>::UserPtrBase;
  constexpr operator UserIn<T>() const { return UserIn<T>(this->address()); }    // NOLINT: implicit by design
  constexpr operator UserOut<T>() const { return UserOut<T>(this->address()); }  // NOLINT: implicit by design
};
// A NUL-terminated path or string that we read once.
class UserPath : public internal::UserPtrBase<char> {
 public:
  using internal::UserPtrBase<char>::UserPtrBase;
};

}  // namespace rampart
