// What the runner hands to the two processes that it starts. Descriptor numbers in it are those of the child.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "runner/namespaces/id_map.h"
#include "runner/namespaces/privileges.h"
#include "runner/namespaces/security_label.h"
#include "runner/sandbox/options.h"
#include "sentry/boot/boot.h"

namespace rampart::runner {

// Where a child finds its configuration; what it was donated follows from there.
inline constexpr int kConfigFd = 3;
inline constexpr int kReportFd = 4;  // SOCK_SEQPACKET: the runner's "go", and its life; the sentry's control messages

// Names under which the binary executes itself; nobody's command, because a command is never argv[0].
inline constexpr char kBootName[] = "rampart-boot";
inline constexpr char kGoferName[] = "rampart-gofer";

struct SentryChild {
  uint32_t host_uid = 0;  // to become
  uint32_t host_gid = 0;
  bool change_user = false;
  std::vector<int> processors;  // to run on; empty = where the runner may
  SelfTest self_test = SelfTest::kOff;
  SecurityLabels labels;        // to be taken on
  sentry::boot::BootConfig boot;
};

struct GoferExport {
  std::string name;
  std::string path;
  bool readonly = true;
  IdMaps owners = {};             // of an idmapped mount; empty: files belong to whom the disk says. The runner's only
  bool owners_below = false;      // also in mounts below
  int tree = -1;                  // the idmapped mount; -1: none
};

struct GoferChild {
  CapabilitySet keep = 0;
  bool become_root = false;  // of its user namespace, in which the runner's user is not mapped
  int channel_fd = -1;
  int log_level = 0;
  SecurityLabels labels;     // to be taken on
  std::vector<GoferExport> exports;
};

std::string Encode(const SentryChild& config);
std::string Encode(const GoferChild& config);
// Errors: kInvalidArgument for anything that Encode did not write.
absl::StatusOr<SentryChild> DecodeSentry(std::string_view bytes);
absl::StatusOr<GoferChild> DecodeGofer(std::string_view bytes);

// A memfd with `bytes`, and back. ReadConfig takes the descriptor from 0 to the end.
absl::StatusOr<UniqueFd> StoreConfig(const std::string& bytes);
absl::StatusOr<std::string> LoadConfig(int fd);

}  // namespace rampart::runner
