// FilesystemTypes: what mount(2) and fsopen(2) can make. Filesystems that a program may mount are registered at boot.
// Thread safety: any thread; registration before the first program runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/vfs/operations.h"

namespace rampart::vfs {

// One "key=value" or "flag" of a mount's options.
struct FsOption {
  std::string key;
  std::string value;
  bool has_value = false;
  std::string Text() const { return has_value ? key + "=" + value : key; }
};

// What fsconfig(2) tells the reader of its descriptor: "e tmpfs: Bad value for 'size'".
class FsLog {
 public:
  void Error(std::string text) { lines_.push_back("e " + std::move(text)); }
  std::vector<std::string>& lines() { return lines_; }

 private:
  std::vector<std::string> lines_;
};

struct FsRequest {
  const Walk& walk;       // whose names the options' paths are
  std::string source;
  std::vector<FsOption> options;
  FsLog& log;
};

struct MadeFilesystem {
  Ref<Filesystem> fs;
  Ref<Dentry> root;
  bool shared = false;  // there was one already, whose flags stay
};

class FilesystemType {
 public:
  explicit FilesystemType(const char* name) : name_(name) {}
  virtual ~FilesystemType() = default;
  const char* name() const { return name_; }
  // Whether it knows the option and its value is well formed. EINVAL.
  virtual Result<void> Check(const FsOption& option, FsLog& log) const;  // default: none is known
  virtual Result<MadeFilesystem> Make(FsRequest& request) const = 0;

 private:
  const char* const name_;  // static storage
};

class FilesystemTypes {
 public:
  static FilesystemTypes& Get();
  void Register(std::unique_ptr<FilesystemType> type);
  const FilesystemType* Find(std::string_view name) const;  // null: ENODEV
  // In the order of registration.
  std::vector<const FilesystemType*> All() const;

 private:
  mutable absl::Mutex mu_;
  std::vector<std::unique_ptr<FilesystemType>> types_ ABSL_GUARDED_BY(mu_);
};

// "a=1,b,c=2"; empty pieces are skipped.
std::vector<FsOption> SplitOptions(std::string_view text);

}  // namespace rampart::vfs
