// ArgCodec<T>: how one system-call argument is decoded from its register and printed by --strace. A handler's signature is its decoder.
// To teach a new type: specialise ArgCodec with Decode and Print.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "abi/types.h"
#include "sentry/mm/user_memory.h"
#include "sentry/mm/user_ptr.h"

namespace rampart::syscalls {

void PrintSigned(std::string& out, int64_t value);
void PrintHex(std::string& out, uint64_t value);
// A quoted, escaped, shortened string from the application; the bare address if it cannot be read.
void PrintUserString(std::string& out, UserAddr address, mm::UserMemory& memory);

template <class T>
struct ArgCodec;

template <class T>
  requires std::is_integral_v<T>
struct ArgCodec<T> {
  static T Decode(uint64_t word) { return static_cast<T>(word); }
  static void Print(std::string& out, uint64_t word, mm::UserMemory&) {
    if constexpr (sizeof(T) == 8 && std::is_unsigned_v<T>) {
      word < 4096 ? PrintSigned(out, static_cast<int64_t>(word)) : PrintHex(out, word);
    } else {
      PrintSigned(out, static_cast<int64_t>(static_cast<T>(word)));
    }
  }
};
template <class T>
  requires std::is_enum_v<T>
struct ArgCodec<T> {
  using U = std::underlying_type_t<T>;
  static T Decode(uint64_t word) { return static_cast<T>(static_cast<U>(word)); }
  static void Print(std::string& out, uint64_t word, mm::UserMemory& memory) { ArgCodec<U>::Print(out, word, memory); }
};
template <class T>
  requires(!std::is_same_v<T, UserPath> && requires(T t) { t.address(); })
struct ArgCodec<T> {
  static T Decode(uint64_t word) { return T(word); }
  static void Print(std::string& out, uint64_t word, mm::UserMemory&) { PrintHex(out, word); }
};
template <>
struct ArgCodec<UserPath> {
  static UserPath Decode(uint64_t word) { return UserPath(word); }
  static void Print(std::string& out, uint64_t word, mm::UserMemory& memory) { PrintUserString(out, word, memory); }
};

}  // namespace rampart::syscalls
