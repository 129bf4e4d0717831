// What a Mappable also is if its pages can be given back one by one (madvise(MADV_REMOVE)).
#pragma once

#include "base/result.h"
#include "sentry/mm/mappable.h"

namespace rampart::mm {

class Punchable {
 public:
  // Makes a hole of whole pages: they read as zeros from now on, in every mapping. May call MappingSpaces back. EPERM (sealed), EOPNOTSUPP.
  virtual Result<void> PunchPages(FileRange range) = 0;

 protected:
  ~Punchable() = default;
};

}  // namespace rampart::mm
