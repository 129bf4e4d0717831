#include "sentry/auth/credentials.h"

#include <algorithm>

namespace rampart::auth {

Ref<const Credentials> Credentials::Root() {
  CredentialValues values;
  values.permitted = values.effective = abi::kAllCapabilities;
  return MakeRef<const Credentials>(std::move(values));
}

Ref<const Credentials> Credentials::User(abi::Uid uid, abi::Gid gid, std::vector<abi::Gid> groups) {
  CredentialValues values;
  values.ruid = values.euid = values.suid = values.fsuid = uid;
  values.rgid = values.egid = values.sgid = values.fsgid = gid;
  std::sort(groups.begin(), groups.end());
  values.groups = std::move(groups);
  return MakeRef<const Credentials>(std::move(values));
}

bool Credentials::InGroup(abi::Gid gid) const { return gid == fsgid || std::binary_search(groups.begin(), groups.end(), gid); }

bool Credentials::InEffectiveGroup(abi::Gid gid) const {
  return gid == egid || std::binary_search(groups.begin(), groups.end(), gid);
}

}  // namespace rampart::auth
