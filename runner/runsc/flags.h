// Flags as gVisor's users write them: -name or --name, =VALUE or the next word; a bool alone means true; the first word that is no flag, or "--",
// ends them. Thread safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rampart::runner {

class Flags {
 public:
  // Variables hold the defaults, and outlive this object.
  void Bool(const char* name, bool* value, const char* help) { Add(name, Kind::kBool, value, help); }
  void String(const char* name, std::string* value, const char* help) { Add(name, Kind::kString, value, help); }
  void Int(const char* name, int64_t* value, const char* help) { Add(name, Kind::kInt, value, help); }
  void List(const char* name, std::vector<std::string>* values, const char* help) { Add(name, Kind::kList, values, help); }
  // A flag that is taken and does nothing; the help says why.
  void Ignored(const char* name, bool is_bool, const char* why) { Add(name, is_bool ? Kind::kIgnoredBool : Kind::kIgnored, nullptr, why); }
  // Another name of the flag declared last.
  void Alias(const char* name);

  // Takes the flags and returns the words after them. Errors: an unknown flag, a missing or malformed value.
  absl::StatusOr<std::vector<std::string>> Parse(const std::vector<std::string>& words);
  // As --name=value. kNotFound: there is no such flag.
  absl::Status Set(const std::string& name, const std::string& value);
  std::string Help() const;

 private:
  enum class Kind : uint8_t { kBool, kString, kInt, kList, kIgnored, kIgnoredBool };
  struct Flag {
    std::string name;
    std::string alias;
    Kind kind;
    void* value;
    std::string help;
    std::string default_text;
  };
  void Add(const char* name, Kind kind, void* value, const char* help);
  const Flag* Find(const std::string& name) const;
  static absl::Status Assign(const Flag& flag, const std::string& value);
  std::vector<Flag> flags_;
};

}  // namespace rampart::runner
