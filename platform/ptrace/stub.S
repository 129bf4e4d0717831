// The code of a stub process. Position-independent, uses registers only: no stack, no writable memory, so nothing that an application
// thread of the same process writes can change what it does. It lies in read-only data here; the Sentry copies it to a memfd that
// stubs map executable at STUB_CODE.
#include <asm/unistd_64.h>

#include "platform/ptrace/stub_layout.h"

#define PROT_R 1
#define PROT_RW 3
#define PROT_RX 5
#define SHARED_FIXED 0x11
#define PRIVATE_FIXED 0x12
#define OP_FUTEX_WAIT 0
#define OP_FUTEX_WAKE 1

  .section .rodata.rampart_stub, "a", @progbits
  .balign 64
  .globl rampart_stub_begin
rampart_stub_begin:

// In: r12 = temporary address of this code, r13 = descriptor of the memfd. Unmaps all else, moves to STUB_CODE.
  .globl rampart_stub_enter
rampart_stub_enter:
  movl $__NR_munmap, %eax
  xorl %edi, %edi
  movq %r12, %rsi
  syscall
  testq %rax, %rax
  jnz .Ldie
  movl $__NR_munmap, %eax
  leaq STUB_PAGE(%r12), %rdi
  movabsq $STUB_USER_END, %rsi
  subq %rdi, %rsi
  syscall
  testq %rax, %rax
  jnz .Ldie
  movl $__NR_mmap, %eax
  movabsq $STUB_CODE, %rdi
  movl $STUB_PAGE, %esi
  movl $PROT_RX, %edx
  movl $PRIVATE_FIXED, %r10d
  movq %r13, %r8
  movl $STUB_FILE_CODE, %r9d
  syscall
  testq %rax, %rax
  js .Ldie
  movl $__NR_mmap, %eax
  movabsq $STUB_CONTROL, %rdi
  movl $STUB_PAGE, %esi
  movl $PROT_RW, %edx
  movl $SHARED_FIXED, %r10d
  movq %r13, %r8
  movl $STUB_FILE_CONTROL, %r9d
  syscall
  testq %rax, %rax
  js .Ldie
  movabsq $(STUB_CODE + (.Lpristine - rampart_stub_begin)), %rax
  jmp *%rax

// The pristine stub: waits for requests and forks. r15 = control page, ebx = last request handled.
.Lpristine:
  movl $__NR_munmap, %eax
  movq %r12, %rdi
  movl $STUB_PAGE, %esi
  syscall
  movabsq $STUB_CONTROL, %r15
  movl $1, %ebx
  movl %ebx, CONTROL_DONE(%r15)
  jmp .Lwake_pristine
.Lfork_failed:
  negl %eax
  movl %eax, CONTROL_ERROR(%r15)
  movl %ebx, CONTROL_DONE(%r15)
.Lwake_pristine:
  movl $__NR_futex, %eax
  leaq CONTROL_DONE(%r15), %rdi
  movl $OP_FUTEX_WAKE, %esi
  movl $1, %edx
  xorl %r10d, %r10d
  syscall
.Lwait:
  movl CONTROL_REQUEST(%r15), %eax
  cmpl %eax, %ebx
  jne .Lrequest
  movl $__NR_futex, %eax
  leaq CONTROL_REQUEST(%r15), %rdi
  movl $OP_FUTEX_WAIT, %esi
  movl %ebx, %edx
  xorl %r10d, %r10d
  syscall
  jmp .Lwait
.Lrequest:
  movl %eax, %ebx
  movl $__NR_clone, %eax
  movl $STUB_CLONE_PROCESS, %edi
  xorl %esi, %esi
  leaq CONTROL_PID(%r15), %rdx
  xorl %r10d, %r10d
  xorl %r8d, %r8d
  syscall
  testq %rax, %rax
  js .Lfork_failed
  jnz .Lwait

// The new process. The parent-death signal first, then the check that the parent had not died before.
  movl $__NR_prctl, %eax
  movl $1, %edi
  movl $9, %esi
  xorl %edx, %edx
  xorl %r10d, %r10d
  xorl %r8d, %r8d
  syscall
  movl $__NR_getppid, %eax
  syscall
  cmpl %eax, CONTROL_PPID(%r15)
  jne .Ldie
  movl $__NR_mmap, %eax
  movabsq $STUB_COMMANDS, %rdi
  movl $STUB_COMMANDS_SIZE, %esi
  movl $PROT_R, %edx
  movl $SHARED_FIXED, %r10d
  movq %r13, %r8
  movq CONTROL_SLOT(%r15), %r9
  syscall
  testq %rax, %rax
  js .Lchild_failed
  movl $__NR_clone, %eax
  movl $STUB_CLONE_FIRST_THREAD, %edi
  xorl %esi, %esi
  leaq CONTROL_TID(%r15), %rdx
  xorl %r10d, %r10d
  xorl %r8d, %r8d
  syscall
  testq %rax, %rax
  js .Lchild_failed
  jz rampart_stub_park
  // The leader only parks: application code runs in the other threads, which can be reaped one by one. The Sentry may unmap the
  // control page as soon as it sees the answer; the wake then fails with EFAULT, after it has become unnecessary.
  movl %ebx, CONTROL_DONE(%r15)
  movl $__NR_futex, %eax
  leaq CONTROL_DONE(%r15), %rdi
  movl $OP_FUTEX_WAKE, %esi
  movl $1, %edx
  xorl %r10d, %r10d
  syscall
  .globl rampart_stub_park
rampart_stub_park:
  movl $__NR_pause, %eax
  syscall
  jmp rampart_stub_park
.Lchild_failed:
  negl %eax
  movl %eax, CONTROL_ERROR(%r15)
  movl %ebx, CONTROL_DONE(%r15)
  movl $__NR_futex, %eax
  leaq CONTROL_DONE(%r15), %rdi
  movl $OP_FUTEX_WAKE, %esi
  movl $1, %edx
  xorl %r10d, %r10d
  syscall
.Ldie:
  .globl rampart_stub_exit
rampart_stub_exit:
  movl $__NR_exit, %eax
  movl $1, %edi
  syscall
  ud2

// In: rbx = first command, r12 = how many. Out, at the int3: r12 = how many were not completed, rax = -errno when r12 > 0.
  .globl rampart_stub_batch
rampart_stub_batch:
  testq %r12, %r12
  jz .Lbatch_end
  movq (%rbx), %rax
  movq 8(%rbx), %rdi
  movq 16(%rbx), %rsi
  movq 24(%rbx), %rdx
  movq 32(%rbx), %r10
  movq 40(%rbx), %r8
  movq 48(%rbx), %r9
  syscall
  cmpq $-4095, %rax
  jae .Lbatch_end
  addq $STUB_COMMAND_SIZE, %rbx
  decq %r12
  jmp rampart_stub_batch
.Lbatch_end:
  int3
  .globl rampart_stub_batch_done
rampart_stub_batch_done:
  ud2

  .globl rampart_stub_sibling
rampart_stub_sibling:
  movl $__NR_clone, %eax
  movl $STUB_CLONE_THREAD, %edi
  xorl %esi, %esi
  xorl %edx, %edx
  xorl %r10d, %r10d
  xorl %r8d, %r8d
  syscall
  testq %rax, %rax
  jz rampart_stub_park
  int3
  .globl rampart_stub_sibling_done
rampart_stub_sibling_done:
  ud2

  .globl rampart_stub_end
rampart_stub_end:
  .section .note.GNU-stack, "", @progbits
