// WalkIntent: tells filesystems what a walk is for, so that one which must ask elsewhere can ask for everything at once. Only a hint: whoever
// walks for other purposes meanwhile (an overlay looking below) may see it too.
// Thread safety: each thread has its own.
#pragma once

namespace rampart::vfs {

class WalkIntent {
 public:
  // For the lifetime of this: what is found will be opened for reading.
  WalkIntent() { current_ = true; }
  ~WalkIntent() { current_ = false; }
  WalkIntent(const WalkIntent&) = delete;
  WalkIntent& operator=(const WalkIntent&) = delete;
  static bool IsToRead() { return current_; }

 private:
  static inline thread_local bool current_ = false;
};

}  // namespace rampart::vfs
