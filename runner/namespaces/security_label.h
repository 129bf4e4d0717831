// Mandatory access control for a confined process: the AppArmor profile and the SELinux label of a container (process.apparmorProfile, selinuxLabel).
//
// Model. The process takes them on by itself (aa_change_profile(2), setcon(3)) when it has put its surroundings together and before it has threads or
// serves anybody: what engines have for containers forbids what set-up needs (mounts), and what a thread has taken on its siblings have not. It needs
// descriptors that were opened while /proc could be seen. From then on the process, and what it makes, is confined so; no_new_privs does not keep a process
// that no profile confines from taking one.
// Thread safety: none; REQUIRES: one thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

struct SecurityLabels {
  std::string profile;  // of AppArmor; "" or "unconfined" = none
  std::string selinux;  // "" = none
};

bool IsUnconfined(const std::string& profile);

// This process may take on the AppArmor profile: the host's kernel has AppArmor, and the profile is loaded. Nothing is changed. Errors: one line with the remedy.
absl::Status CheckProfile(const std::string& profile);
// `profile`//`part`, which a set of profiles has for one of the processes, if it can be taken on; else `profile`.
std::string PartOfProfile(const std::string& profile, const std::string& part);

// The host's kernel has SELinux, and a policy that knows the label. Errors: one line with the remedy.
absl::Status CheckSelinuxLabel(const std::string& label);

class LabelChange {
 public:
  // While /proc can be seen.
  static absl::StatusOr<LabelChange> Prepare(const SecurityLabels& labels);
  // Takes them on, and closes the descriptors. Errors: one line; the process must end.
  absl::Status Carry() &&;

 private:
  SecurityLabels labels_;
  UniqueFd apparmor_, selinux_;
};

}  // namespace rampart::runner
