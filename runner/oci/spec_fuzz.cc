// Any bytes as config.json: a specification or an error; what was accepted is written and read again without a change.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "runner/oci/spec_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = rampart::oci::ParseSpec(text);
  if (!spec.ok()) {
    CHECK(!spec.status().message().empty());
    return 0;
  }
  const std::string written = rampart::oci::SerializeSpec(*spec);
  const auto again = rampart::oci::ParseSpec(written);
  CHECK(again.ok());
  CHECK(rampart::oci::SerializeSpec(*again) == written);
  return 0;
}
