// A process that removes a sandbox's cgroups if the runner cannot, because it was killed. It exists only for sandboxes that have cgroups.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/namespaces/clone.h"

namespace rampart::runner {

class Janitor {
 public:
  Janitor() = default;
  Janitor(Janitor&&) = default;
  Janitor& operator=(Janitor&&) = default;
  // Lets the process go and waits for its end.
  ~Janitor();

  // Starts the process, which waits for this one to end, and then removes `directories` as soon as they are empty (for up to 10 s).
  // It holds no descriptor of ours but one pipe. REQUIRES: one thread.
  static absl::StatusOr<Janitor> Start(const std::vector<std::string>& directories);

 private:
  Child process_;
  UniqueFd lifeline_;
};

}  // namespace rampart::runner
