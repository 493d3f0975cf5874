"""The loop of `memory.walk` in machine code: one call after the other, and nothing in between.

Python writes to whatever it looks at, and each page that a fork writes to has to be copied first.
An init that walked its tape in Python copied 170 pages, its command 80, which took as long as a
third of all the system calls. This loop reads the tape and writes results, in some twenty pages. It
calls functions of the C library alone, and stops at what is Python's, and at what has failed.

It is written for x86-64, where its effect was measured. On other machines, and where memory that
was written to can't be executed, Python does all of it.

Source: the System V ABI for x86-64: arguments in rdi, rsi, rdx, rcx, r8 and r9, zero in eax for a
function that takes any number of them, the result in eax; rbx, rbp and r12 to r15 are kept.
"""

from _collections_abc import Callable

from .library import find_address, load_code
from .machine import find_machine

# Words of the memory: the result that the loop stopped at, where the C library tells where errno
# is, and where each function is, 0 for one of Python's.
RESULT, FIND_ERRNO, TABLE = 1, 2, 64
EACH = 0  # the number of the function that is called with each word of a list

# long walk(long *memory, long place): rbx is the memory, r12 the place of a record.
_X86_64 = bytes.fromhex(
    "f30f1efa"  # endbr64
    "53"  # push rbx
    "55"  # push rbp
    "4154"  # push r12
    "4155"  # push r13
    "4156"  # push r14
    "4889fb"  # mov rbx, rdi
    "4989f4"  # mov r12, rsi
    # next: the record at r13, its function at r14; none, or one of Python's, ends the loop
    "4d85e4"  # test r12, r12
    "0f84f2000000"  # je out
    "4e8d2ce3"  # lea r13, [rbx+r12*8]
    "4d8b7500"  # mov r14, [r13]
    "4e8bb4f300020000"  # mov r14, [rbx+r14*8+8*64]
    "4d85f6"  # test r14, r14
    "0f84d9000000"  # je out
    "418b4538"  # mov eax, [r13+56]
    "498b7d08"  # mov rdi, [r13+8]
    "a801"  # test al, 1
    "7404"  # je L1
    "488b3cfb"  # mov rdi, [rbx+rdi*8]
    # L1:
    "498b7510"  # mov rsi, [r13+16]
    "a802"  # test al, 0x2
    "7404"  # je L2
    "488b34f3"  # mov rsi, [rbx+rsi*8]
    # L2:
    "498b5518"  # mov rdx, [r13+24]
    "a804"  # test al, 4
    "7404"  # je L3
    "488b14d3"  # mov rdx, [rbx+rdx*8]
    # L3:
    "498b4d20"  # mov rcx, [r13+32]
    "a808"  # test al, 8
    "7404"  # je L4
    "488b0ccb"  # mov rcx, [rbx+rcx*8]
    # L4:
    "4d8b4528"  # mov r8, [r13+40]
    "a810"  # test al, 16
    "7404"  # je L5
    "4e8b04c3"  # mov r8, [rbx+r8*8]
    # L5:
    "4d8b4d30"  # mov r9, [r13+48]
    "a820"  # test al, 32
    "7404"  # je L6
    "4e8b0ccb"  # mov r9, [rbx+r9*8]
    # L6:
    "49837d0000"  # cmp [r13], 0
    "7438"  # je each
    "31c0"  # xor eax, eax
    "41ffd6"  # call r14
    # judge: an int of C's is the result; is it the least that is all right?
    "4898"  # cdqe
    "493b4540"  # cmp rax, [r13+64]
    "7c4d"  # jl failed
    # store: keep the result, and go on; after a zero there may be another way
    "498b4d50"  # mov rcx, [r13+80]
    "488904cb"  # mov [rbx+rcx*8], rax
    "4d8b6558"  # mov r12, [r13+88]
    "4885c0"  # test rax, rax
    "0f8569ffffff"  # jne next
    "498b4d60"  # mov rcx, [r13+96]
    "4885c9"  # test rcx, rcx
    "0f845cffffff"  # je next
    "4c8b24cb"  # mov r12, [rbx+rcx*8]
    "e953ffffff"  # jmp next
    # each: call the function with the first argument and each word of a list
    "31ed"  # xor ebp, ebp
    # L7:
    "31c0"  # xor eax, eax
    "493b6d18"  # cmp rbp, [r13+24]
    "74c3"  # je judge
    "498b7d08"  # mov rdi, [r13+8]
    "498b7510"  # mov rsi, [r13+16]
    "488b34ee"  # mov rsi, [rsi+rbp*8]
    "41ffd6"  # call r14
    "48ffc5"  # inc rbp
    "85c0"  # test eax, eax
    "74e2"  # je L7
    "ebab"  # jmp judge
    # failed: without an error, or with one that is not tolerated, the loop ends
    "48894308"  # mov [rbx+8], rax
    "85c0"  # test eax, eax
    "7924"  # jns out
    "ff5310"  # call [rbx+16]
    "8b08"  # mov ecx, [rax]
    "67e31c"  # jecxz out
    "498b5548"  # mov rdx, [r13+72]
    # L8:
    "4885d2"  # test rdx, rdx
    "7413"  # je out
    "38ca"  # cmp dl, cl
    "7406"  # je L9
    "48c1ea08"  # shr rdx, 8
    "ebf1"  # jmp L8
    # L9:
    "48c7c0ffffffff"  # mov rax, -1
    "eb87"  # jmp store
    # out: tell where
    "4c89e0"  # mov rax, r12
    "415e"  # pop r14
    "415d"  # pop r13
    "415c"  # pop r12
    "5d"  # pop rbp
    "5b"  # pop rbx
    "c3"  # ret
)


def load_walker(words: "memoryview[int]") -> Callable[[int, int], int] | None:
    """Return the loop: given the address of the memory and a place, where it stopped, 0 at the end.

    Args:
        words: The memory, in which it finds what it needs besides the tape.

    Returns:
        None where there is none.
    """
    if find_machine() != "x86_64":
        return None
    words[FIND_ERRNO] = find_address("__errno_location")
    return load_code(_X86_64, 2)
