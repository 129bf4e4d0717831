// Scheduling: sched_setscheduler(2), sched_setattr(2), getpriority(2), ioprio_get(2).
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr int32_t kSchedOther = 0, kSchedFifo = 1, kSchedRr = 2, kSchedBatch = 3, kSchedIdle = 5, kSchedDeadline = 6;
inline constexpr int32_t kSchedResetOnForkFlag = 0x40000000;

struct SchedParam {
  int32_t priority;
};
// struct sched_attr, first version (48 bytes) and with utilisation clamps (56).
struct SchedAttr {
  uint32_t size = 0, policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
  uint32_t util_min = 0, util_max = 0;
};
static_assert(sizeof(SchedAttr) == 56);
inline constexpr uint32_t kSchedAttrSizeVer0 = 48;
inline constexpr uint64_t kSchedFlagResetOnFork = 1, kSchedFlagKeepPolicy = 8, kSchedFlagKeepParams = 16;

inline constexpr int32_t kPrioProcess = 0, kPrioPgrp = 1, kPrioUser = 2;

}  // namespace rampart::abi
