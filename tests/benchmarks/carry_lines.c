/* Carries what comes by stdin into a file, with as little trouble for who writes it as can be.
 *
 *     carry_lines FILE
 *
 * The pipe is as big as anybody may have it, nobody is ever asked to wake this program when something
 * is there, and all that has come within half a millisecond is taken at once. So what is left is what
 * the one who writes a line at a time needs by himself, and no logger has more lines a second from
 * him: relay_throughput.py compares with that what there is to reach.
 */

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { pipe_bytes = 1 << 20, pause_ns = 500 * 1000 };

static char buffer[pipe_bytes];

int main(int argc, char **argv) {
    const struct timespec pause = {0, pause_ns};
    if (argc != 2)
        errx(2, "usage: carry_lines FILE");
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        err(1, "cannot open %s", argv[1]);
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, pipe_bytes); /* what is not root's may have to do with less */
    for (;;) {
        ssize_t size = read(STDIN_FILENO, buffer, sizeof buffer);
        if (size <= 0)
            return size != 0;
        for (char *begin = buffer; size > 0;) {
            ssize_t written = write(file, begin, size);
            if (written < 0)
                err(1, "cannot write to %s", argv[1]);
            begin += written;
            size -= written;
        }
        nanosleep(&pause, NULL);
    }
}
