// What a test changes of its process for good is changed in a child.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test {

// The wait status of a child that runs `body`, in which EXPECT and ASSERT work: 1 << 8 if any failed, else 0, unless a signal ended it.
template <class F>
int StatusApart(F body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}

// It must end with 0.
template <class F>
void Apart(F body) {
  EXPECT_EQ(StatusApart(body), 0);
}

}  // namespace test
