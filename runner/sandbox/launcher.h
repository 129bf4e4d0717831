// Starts a sandbox, waits for its end, and leaves nothing behind.
//
// Model. This process (the runner) makes two children, each in its own six namespaces: the gofer, whose root holds the exported trees and
// nothing else, and the sentry, whose root is empty. It hands each exactly the descriptors that it needs, and then only supervises
// (monitor/supervisor.h). Whoever of the three is killed takes the others along: the children die with the runner (PDEATHSIG, checked against
// the race through the report socket), the application's host processes die with the sentry (its PID namespace), and the runner kills the child
// that is left. cgroups are removed here, or by a janitor process when the runner is killed.
//
// As root the sentry becomes the host's nobody (65534), and the gofer keeps of root's powers what its exports need (Plan::gofer_capabilities),
// valid for files only. As an ordinary user both keep the user's own uid, the only one that exists in their namespaces: files of other
// users are then shown under the overflow uid by the host, and the gofer reads what the user may read.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/monitor/supervisor.h"
#include "runner/namespaces/id_map.h"
#include "runner/namespaces/join.h"
#include "runner/oci/spec.h"
#include "runner/sandbox/caller.h"
#include "runner/sandbox/options.h"
#include "runner/sandbox/plan.h"

namespace rampart::runner {

// REQUIRES: one thread. Errors: what kept the sandbox from being started, one line for people; nothing is left running then.
absl::StatusOr<Outcome> RunInSandbox(const oci::Spec& spec, const SandboxOptions& options, const Caller& caller);

// Where and how a container of runsc runs, beyond its Plan.
struct ContainerSetting {
  std::vector<std::string> cgroups;   // directories that this process has joined: nothing to be made here
  std::vector<int> processors;        // to run on; empty: all
  IdMaps id_maps;                     // of the gofer (linux.uidMappings, gidMappings); empty: everybody, or the caller
  const ForeignNamespace* clocks = nullptr;  // a time namespace for the sandbox
  int listen_fd = -1;                 // the control socket
  int lifeline_fd = -1;               // its end before `committed` ends the sandbox; -1: none
  std::function<absl::Status()> ready;   // called when the sandbox waits for its start; an error ends it
  std::function<void()> started;      // called when the first program runs
  bool start_at_once = false;         // when ready() has returned
};

// A gofer by itself, for a further container of a sandbox that runs already. It is killed when this ends.
class GoferProcess {
 public:
  static absl::StatusOr<std::unique_ptr<GoferProcess>> Start(const Plan& plan, const SandboxOptions& options, const Caller& caller, const IdMaps& id_maps);
  ~GoferProcess();
  int pidfd() const { return child_.pidfd.get(); }
  // For whoever is served by it; once.
  UniqueFd TakeChannel() { return std::move(channel_); }
  // Why it could not start, or "".
  std::string Complaint() const;

 private:
  explicit GoferProcess(Child child) : child_(std::move(child)) {}
  Child child_;
  UniqueFd channel_;
  UniqueFd report_;
};

// As RunInSandbox for a container: supervises in this process, and returns when it has ended. `plan` is what MakePlan made.
absl::StatusOr<Outcome> RunContainer(Plan plan, const SandboxOptions& options, const Caller& caller, const ContainerSetting& setting);

}  // namespace rampart::runner
