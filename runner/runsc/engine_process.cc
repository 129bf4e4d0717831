#include "runner/runsc/engine_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/unique_fd.h"

namespace rampart::runner {
namespace {

constexpr size_t kSmall = 4096;
constexpr int kMost = 65536;  // entries that are looked at

std::string ReadBelow(int directory, const std::string& name) {
  const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC));
  char text[kSmall];
  const ssize_t n = fd.valid() ? ::read(fd.get(), text, sizeof(text)) : 0;
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

// What stands after "NAME:" at the beginning of a line; "" if there is no such line.
std::string Field(const std::string& text, const std::string& name) {
  const size_t at = absl::StrCat("\n", text).find(absl::StrCat("\n", name, ":"));
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 1;
  return std::string(absl::StripAsciiWhitespace(text.substr(begin, text.find('\n', begin) - begin)));
}

// False: there is no such directory, or it may not be read.
bool ForEachEntry(int proc, const std::string& directory, const std::function<void(int place, const std::string& name)>& look) {
  UniqueFd fd(::openat(proc, directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(fd.get()), ::closedir);
  if (entries == nullptr) return false;
  const int place = fd.Release();  // of `entries` now
  const dirent* entry = nullptr;
  for (int seen = 0; seen < kMost && (entry = ::readdir(entries.get())) != nullptr; ++seen) {
    if (entry->d_name[0] != '.') look(place, entry->d_name);
  }
  return true;
}

}  // namespace

std::optional<EventDescriptors> EventDescriptorsOf(int proc, pid_t pid) {
  EventDescriptors out;
  bool seen = false;
  bool numbered = true;
  const bool read = ForEachEntry(proc, absl::StrCat(pid, "/fdinfo"), [&](int place, const std::string& name) {
    const std::string text = ReadBelow(place, name);
    seen = seen || !text.empty();
    const std::string count = Field(text, "eventfd-count");
    int64_t id = 0;
    if (count.empty()) return;
    numbered = numbered && absl::SimpleAtoi(Field(text, "eventfd-id"), &id);
    out[id] = count.find_first_not_of('0') != std::string::npos;
  });
  if (!read || !seen || !numbered) return std::nullopt;  // who may be looked at has some descriptor
  return out;
}

pid_t ParentOf(int proc, const std::string& name) {
  pid_t parent = 0;
  return absl::SimpleAtoi(Field(ReadBelow(proc, name + "/status"), "PPid"), &parent) && parent > 0 ? parent : 0;
}

std::vector<pid_t> ChildrenOf(int proc, pid_t pid) {
  std::vector<pid_t> out;
  (void)ForEachEntry(proc, absl::StrCat(pid, "/task"), [&](int place, const std::string& name) {
    for (const auto word : absl::StrSplit(ReadBelow(place, name + "/children"), ' ', absl::SkipEmpty())) {
      pid_t child = 0;
      if (absl::SimpleAtoi(word, &child)) out.push_back(child);
    }
  });
  return out;
}

std::vector<std::string> WordsOf(int proc, pid_t pid) {
  std::string text = ReadBelow(proc, absl::StrCat(pid, "/cmdline"));
  if (!text.empty() && text.back() == '\0') text.pop_back();
  if (text.empty()) return {};
  return absl::StrSplit(text, '\0');
}

}  // namespace rampart::runner
