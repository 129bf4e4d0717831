#include "gofer/protocol/types.h"

#include <sys/stat.h>

namespace rampart::gofer {

const char* MsgName(MsgType type) {
  switch (type) {
#define GOFER_MSG_NAME(name, number) \
  case MsgType::kT##name:            \
    return "T" #name;                \
  case MsgType::kR##name:            \
    return "R" #name;
    GOFER_MESSAGES(GOFER_MSG_NAME)
#undef GOFER_MSG_NAME
  }
  return "T?";
}

bool IsValid(const FileAttr& attr) {
  switch (attr.mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      break;
    default:
      return false;
  }
  if (attr.mode > 0177777 || attr.size > INT64_MAX || attr.blocks > INT64_MAX) return false;
  for (const WireTime& time : {attr.atime, attr.mtime, attr.ctime, attr.btime}) {
    if (time.nsec >= 1'000'000'000) return false;
  }
  return true;
}

bool IsValidName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name == "." || name == "..") return false;
  return name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

}  // namespace rampart::gofer
