#include "runner/oci/spec_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rampart::oci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kFull[] = R"({
  "ociVersion": "1.1.0",
  "process": {"terminal": true, "consoleSize": {"height": 24, "width": 80},
    "user": {"uid": 5, "gid": 6, "umask": 18, "additionalGids": [7, 8]},
    "args": ["sh", "-c", "true"], "env": ["A=b"], "cwd": "/w",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 18446744073709551615}], "noNewPrivileges": true,
    "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}},
  "hooks": {"startContainer": [{"path": "/h", "args": ["h", "x"], "timeout": 3}]},
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "h",
  "mounts": [{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]},
             {"destination": "/b", "type": "bind", "source": "/b", "options": ["idmap"], "uidMappings": [{"containerID": 5, "hostID": 1000, "size": 2}],
              "gidMappings": [{"containerID": 6, "hostID": 1001, "size": 3}]}],
  "annotations": {"a": "b"},
  "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}], "cgroupsPath": "/c",
    "personality": {"domain": "LINUX32"}, "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 7}},
    "intelRdt": {"closID": "", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50", "enableCMT": true},
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    "resources": {"memory": {"limit": 4096}, "cpu": {"quota": 5000, "period": 10000}, "pids": {"limit": 9}}},
  "unknown": {"x": 1}
})";

std::string ErrorOf(std::string_view text) {
  const auto spec = ParseSpec(text);
  return spec.ok() ? "no error" : std::string(spec.status().message());
}

TEST(ParseSpec, ReadsWhatTheSpecificationNames) {
  const auto spec = ParseSpec(kFull);
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_THAT(spec->process->args, ElementsAre("sh", "-c", "true"));
  EXPECT_THAT(spec->process->user.additional_gids, ElementsAre(7, 8));
  EXPECT_EQ(spec->process->user.umask, 18u);
  EXPECT_EQ(spec->process->rlimits[0].hard, UINT64_MAX);
  EXPECT_EQ(spec->process->scheduler->policy, "SCHED_BATCH");
  EXPECT_EQ(spec->process->scheduler->nice, 5);
  EXPECT_EQ(spec->process->io_priority->priority, 4);
  EXPECT_EQ(spec->hooks.start_container[0].timeout, 3);
  EXPECT_EQ(spec->linux_config.personality->domain, "LINUX32");
  EXPECT_EQ(spec->linux_config.time_offsets.at("monotonic").secs, -5);
  EXPECT_EQ(spec->root->path, "rootfs");
  EXPECT_EQ(spec->mounts[0].options[0], "size=4k");
  EXPECT_EQ(spec->linux_config.namespaces[1].path, "/n");
  EXPECT_EQ(spec->linux_config.resources->memory->limit, 4096);
  EXPECT_EQ(spec->linux_config.resources->pids->limit, 9);
  EXPECT_EQ(spec->linux_config.uid_mappings[0].host_id, 1000u);
  EXPECT_EQ(spec->mounts[1].uid_mappings[0].container_id, 5u);
  EXPECT_EQ(spec->mounts[1].gid_mappings[0].size, 3u);
  ASSERT_TRUE(spec->linux_config.intel_rdt.has_value());
  EXPECT_EQ(spec->linux_config.intel_rdt->clos_id, "");
  EXPECT_EQ(spec->linux_config.intel_rdt->mem_bw_schema, "MB:0=50");
  EXPECT_TRUE(spec->linux_config.intel_rdt->enable_cmt);
}

TEST(ParseSpec, WhatIsSerialisedParsesToTheSame) {
  const auto spec = ParseSpec(kFull);
  ASSERT_TRUE(spec.ok());
  const std::string once = SerializeSpec(*spec);
  const auto again = ParseSpec(once);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(SerializeSpec(*again), once);
}

TEST(ParseSpec, ErrorsNameThePlace) {
  EXPECT_THAT(ErrorOf("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("$: expected an object, found a array"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("$.ociVersion: is required"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"2.0"})"), HasSubstr("understands 1.x"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","process":{"cwd":"/","args":["a",2]}})"),
              HasSubstr("$.process.args[1]: expected a string, found a number"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","process":{"cwd":"/","args":[]}})"), HasSubstr("$.process: args must name a program"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","process":{"cwd":"x","args":["a"]}})"), HasSubstr("absolute path, found 'x'"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","process":{"cwd":"/","args":["a"],"user":{"uid":-1}}})"),
              HasSubstr("$.process.user.uid: must be between 0 and 4294967295"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","process":{"cwd":"/","args":["a\u0000b"]}})"), HasSubstr("NUL"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","mounts":[{"type":"tmpfs"}]})"), HasSubstr("$.mounts[0].destination: is required"));
}

TEST(ParseSpec, DeepNestingDoesNotOverflowTheStack) {
  EXPECT_THAT(ErrorOf(std::string(1 << 20, '[')), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace rampart::oci
