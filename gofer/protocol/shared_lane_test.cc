#include "gofer/protocol/shared_lane.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "gofer/protocol/codec.h"

namespace rampart::gofer {
namespace {

struct Ends {
  std::unique_ptr<SharedLane> client, server;
  UniqueFd window;
};

Ends Make() {
  auto pair = MakeSocketPair(SocketKind::kSeqPacket);
  Ends ends;
  ends.window = SharedLane::MakeWindow().value();
  ends.client = SharedLane::Create(ends.window, MessageSocket(std::move((*pair)[0]), SocketKind::kSeqPacket)).value();
  ends.server = SharedLane::Create(ends.window, MessageSocket(std::move((*pair)[1]), SocketKind::kSeqPacket)).value();
  return ends;
}

TEST(SharedLane, CarriesRequestsRepliesAndDescriptors) {
  Ends ends = Make();
  std::thread server([&] {
    std::vector<std::byte> buffer(kMaxMessage);
    for (;;) {
      auto size = ends.server->ReceiveRequest(buffer);
      if (!size.ok()) return;
      FdList fds;
      if (*size % 2 == 0) fds.Add(UniqueFd(::dup(0)));
      ASSERT_TRUE(ends.server->SendReply(Bytes(buffer).first(*size), fds).ok());
    }
  });
  std::vector<std::byte> request(kMaxMessage), reply(kMaxMessage);
  for (size_t i = 0; i < 2000; ++i) {
    const size_t size = i == 1999 ? kMaxMessage : kHeaderSize + i;
    std::memset(request.data(), static_cast<int>(i), size);
    FdList fds;
    const auto got = ends.client->Exchange(Bytes(request).first(size), reply, fds);
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(*got, size);
    EXPECT_EQ(std::memcmp(request.data(), reply.data(), size), 0);
    EXPECT_EQ(fds.size(), size % 2 == 0 ? 1u : 0u);
    if (i % 500 == 0) usleep(2000);  // so that both sides also sleep
  }
  ends.server->Interrupt();
  server.join();
}

TEST(SharedLane, InterruptWakesASleepingServer) {
  Ends ends = Make();
  std::thread server([&] {
    std::byte buffer[64];
    EXPECT_EQ(ends.server->ReceiveRequest(buffer).error(), Errno::kEPIPE);
    EXPECT_EQ(ends.server->ReceiveRequest(buffer).error(), Errno::kEPIPE);
  });
  usleep(10000);
  ends.server->Interrupt();
  server.join();
}

TEST(SharedLane, ClientNoticesThatTheServerDied) {
  Ends ends = Make();
  ends.server.reset();
  std::byte request[16] = {}, reply[16];
  FdList fds;
  EXPECT_EQ(ends.client->Exchange(request, reply, fds).error(), Errno::kEPIPE);
}

TEST(SharedLane, UnsealedOrShortWindowsAreRefused) {
  UniqueFd plain(::memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(plain.get(), SharedLane::kWindowSize), 0);
  EXPECT_EQ(SharedLane::Create(plain, MessageSocket()).error(), Errno::kEPERM);
  ASSERT_EQ(::ftruncate(plain.get(), 4096), 0);
  ASSERT_EQ(::fcntl(plain.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_EQ(SharedLane::Create(plain, MessageSocket()).error(), Errno::kEINVAL);
  EXPECT_EQ(SharedLane::Create(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), MessageSocket()).error(), Errno::kEPERM);
}

// The header is written over while messages pass: they may be lost or refused, but nobody crashes or reads outside.
TEST(SharedLane, SurvivesAWindowThatIsWrittenOver) {
  Ends ends = Make();
  auto* memory = static_cast<uint32_t*>(::mmap(nullptr, SharedLane::kWindowSize, PROT_READ | PROT_WRITE, MAP_SHARED, ends.window.get(), 0));
  ASSERT_NE(static_cast<void*>(memory), MAP_FAILED);
  std::byte buffer[256], request[16] = {};
  for (uint32_t i = 0; i < 2000; ++i) {
    for (size_t word = 0; word < 64; ++word) memory[word] = i * 2654435761u >> (word % 16);
    memory[0] = 1;  // the server's turn
    (void)ends.server->ReceiveRequest(buffer);
    memory[0] = 0;
    FdList fds;
    if (i % 700 != 0) continue;
    std::atomic<bool> answered{false};
    std::thread later([&] {  // the client's turn, again and again: the first time may be before it has asked
      while (!answered) {
        usleep(10);
        std::atomic_ref<uint32_t>(memory[0]).store(0);
      }
    });
    (void)ends.client->Exchange(request, buffer, fds);
    answered = true;
    later.join();
  }
  ::munmap(memory, SharedLane::kWindowSize);
}

}  // namespace
}  // namespace rampart::gofer
