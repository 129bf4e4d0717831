// What gdb.case looks at: threads, a counter, a crash, a signal, a child.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int result;
static volatile int stop_waiting;
static pthread_barrier_t barrier;

int add(int a, int b) { return a + b; }
int innermost(int n) { return n * n; }
int middle(int n, int depth) { return innermost(n) + depth; }
void gathered(void) {}
void in_child(void) {}
static void handler(int signo) { printf("handled %d\n", signo); }

static void *run(void *argument) {
  int n = (int)(long)argument;
  __atomic_fetch_add(&result, middle(n, 10 * n), __ATOMIC_SEQ_CST);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

int main(int argc, char **argv) {
  int local_sum = 1;
  local_sum = add(local_sum, 2);
  local_sum = add(local_sum, 3);
  if (argc > 1 && strcmp(argv[1], "signal") == 0) {
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "crash") == 0) return *(volatile int *)8;
  if (argc > 1 && strcmp(argv[1], "call") == 0) return getppid() == 0;
  if (argc > 1 && strcmp(argv[1], "fork") == 0) {
    if (fork() == 0) {
      in_child();
      _exit(9);
    }
    return wait(NULL) < 0;
  }
  if (argc > 1 && strcmp(argv[1], "wait") == 0) {
    while (!stop_waiting) usleep(1000);
    return 6;
  }
  pthread_t threads[3];
  pthread_barrier_init(&barrier, NULL, 4);
  for (long i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, run, (void *)(i + 2));
  pthread_barrier_wait(&barrier);
  gathered();
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  printf("sum %d\n", result);
  return 0;
}
