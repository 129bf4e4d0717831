#include "runner/runsc/flags.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {

// SAFETY (whole file): a flag's `value` points to what its kind says, because Bool, String, Int and List are the only ones to set it.
void Flags::Add(const char* name, Kind kind, void* value, const char* help) {
  Flag flag{name, "", kind, value, help, ""};
  if (kind == Kind::kBool) flag.default_text = *static_cast<bool*>(value) ? "true" : "false";
  if (kind == Kind::kString && !static_cast<std::string*>(value)->empty()) flag.default_text = *static_cast<std::string*>(value);
  if (kind == Kind::kInt && *static_cast<int64_t*>(value) != INT64_MIN) flag.default_text = absl::StrCat(*static_cast<int64_t*>(value));
  flags_.push_back(std::move(flag));
}

void Flags::Alias(const char* name) { flags_.back().alias = name; }

const Flags::Flag* Flags::Find(const std::string& name) const {
  for (const Flag& flag : flags_) {
    if (flag.name == name || (!flag.alias.empty() && flag.alias == name)) return &flag;
  }
  return nullptr;
}

absl::Status Flags::Assign(const Flag& flag, const std::string& value) {
  switch (flag.kind) {
    case Kind::kIgnoredBool:
    case Kind::kBool: {
      const bool yes = value == "true" || value == "1" || value == "t" || value == "T" || value == "TRUE" || value == "True";
      const bool no = value == "false" || value == "0" || value == "f" || value == "F" || value == "FALSE" || value == "False";
      if (!yes && !no) return UsageError(absl::StrCat("--", flag.name, "=", value, ": write true or false"));
      if (flag.value != nullptr) *static_cast<bool*>(flag.value) = yes;
      return absl::OkStatus();
    }
    case Kind::kString:
      *static_cast<std::string*>(flag.value) = value;
      return absl::OkStatus();
    case Kind::kInt:
      if (!absl::SimpleAtoi(value, static_cast<int64_t*>(flag.value))) return UsageError(absl::StrCat("--", flag.name, "=", value, ": write a whole number"));
      return absl::OkStatus();
    case Kind::kList:
      static_cast<std::vector<std::string>*>(flag.value)->push_back(value);
      return absl::OkStatus();
    case Kind::kIgnored:
      break;
  }
  return absl::OkStatus();
}

absl::Status Flags::Set(const std::string& name, const std::string& value) {
  const Flag* flag = Find(name);
  if (flag == nullptr) return absl::NotFoundError(absl::StrCat("there is no flag --", name));
  return Assign(*flag, value);
}

absl::StatusOr<std::vector<std::string>> Flags::Parse(const std::vector<std::string>& words) {
  size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      ++i;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    std::string name = word.substr(word[1] == '-' ? 2 : 1);
    const size_t equals = name.find('=');
    const bool has_value = equals != std::string::npos;
    std::string value = has_value ? name.substr(equals + 1) : "";
    name.resize(has_value ? equals : name.size());
    const Flag* flag = Find(name);
    if (flag == nullptr) return UsageError(absl::StrCat("unknown flag '", word, "'"));
    const bool is_bool = flag->kind == Kind::kBool || flag->kind == Kind::kIgnoredBool;
    if (!has_value && is_bool) value = "true";
    if (!has_value && !is_bool) {
      if (i + 1 >= words.size()) return UsageError(absl::StrCat("the flag --", name, " needs a value"));
      value = words[++i];
    }
    TRY_STATUS(Assign(*flag, value));
  }
  return std::vector<std::string>(words.begin() + static_cast<ptrdiff_t>(i), words.end());
}

std::string Flags::Help() const {
  static constexpr const char* kTypes[] = {"", " string", " int", " value", " value", ""};
  std::string out;
  for (const Flag& flag : flags_) {
    const bool ignored = flag.kind == Kind::kIgnored || flag.kind == Kind::kIgnoredBool;
    absl::StrAppend(&out, "  --", flag.name, flag.alias.empty() ? "" : absl::StrCat(", -", flag.alias), kTypes[static_cast<size_t>(flag.kind)], "\n      ",
                    ignored ? "accepted, without effect: " : "", flag.help);
    if (!flag.default_text.empty()) absl::StrAppend(&out, " (default ", flag.default_text, ")");
    out += "\n";
  }
  return out;
}

}  // namespace rampart::runner
