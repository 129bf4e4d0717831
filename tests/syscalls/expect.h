// How a test says that a system call fails, or works.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

// A call that answers -1 and sets errno.
#define EXPECT_FAILS(call, error)                                        \
  do {                                                                   \
    errno = 0;                                                           \
    EXPECT_EQ(static_cast<long>(call), -1L) << #call;                    \
    EXPECT_EQ(errno, error) << #call << ": " << strerror(errno);         \
  } while (0)
#define EXPECT_WORKS(call)                                               \
  do {                                                                   \
    errno = 0;                                                           \
    EXPECT_GE(static_cast<long>(call), 0L) << #call << ": " << strerror(errno); \
  } while (0)
#define ASSERT_WORKS(call)                                               \
  do {                                                                   \
    errno = 0;                                                           \
    ASSERT_GE(static_cast<long>(call), 0L) << #call << ": " << strerror(errno); \
  } while (0)
