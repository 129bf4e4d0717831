# Debian 12's packages (the list that installs them is tools/packages.txt). All third-party headers are SYSTEM.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(GTest REQUIRED)
find_package(Protobuf REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(FUSE3 REQUIRED IMPORTED_TARGET fuse3)

set(RAMPART_ABSL absl::synchronization absl::flat_hash_map absl::flat_hash_set absl::btree absl::inlined_vector
    absl::strings absl::status absl::statusor absl::function_ref absl::span)
