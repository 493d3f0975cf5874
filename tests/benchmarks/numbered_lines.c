/* Lines that can be told apart: prints them, and finds out what has become of them.
 *
 *     numbered_lines lines COUNT DIRECTORY          prints as many lines of 100 bytes, one at a time
 *     numbered_lines blocks COUNT DIRECTORY         the same, 4 KiB at a time
 *     numbered_lines ticks COUNT DIRECTORY PERIOD   the same, one about each PERIOD microseconds,
 *                                                   each with the moment at which it is written
 *     numbered_lines paced COUNT DIRECTORY RATE     the same, one at a time, so many in a second
 *     numbered_lines check COUNT                    reads a log and prints how many lines it has, and
 *                                                   how many of them are whole and the next in turn
 *     numbered_lines watch COUNT FILE               waits for ticks to arrive in a file, and prints
 *                                                   how many nanoseconds each has taken
 *
 * relay_throughput.py links this statically, so that it runs in any container. The first four say
 * in the FIFO DIRECTORY/ready that they are there, print when somebody opens DIRECTORY/go for
 * writing, say in the first FIFO that they are done, and stay until the other one is closed.
 */

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

enum {
    line_bytes = 100, /* with the newline */
    text_bytes = line_bytes - 1,
    number_at = 5,
    number_digits = 10,
    moment_at = number_at + number_digits + 1,
    moment_digits = 19,
    block_bytes = 4096, /* what the C library takes for a pipe */
    log_block_bytes = 1 << 20,
    patience_ms = 20000,
    pause_us = 1000,
};

static const char pattern[line_bytes + 1] =
    "line 0000000000 0000000000000000000 GET /shop/cart?item=4711 200 1834 as any program may print them\n";

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* which no namespace of mocker's changes */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void write_digits(char *text, int digits, int64_t number) {
    for (char *digit = text + digits; digit-- > text; number /= 10)
        *digit = '0' + number % 10;
}

/* Adds one to a number without a division for each digit. */
static void count_up(char *text, int digits) {
    char *digit = text + digits - 1;
    while (*digit == '9')
        *digit-- = '0';
    ++*digit;
}

/* Says that it is there, and returns the descriptor that is at its end when it shall go. */
static int wait_turn(const char *directory, int *ready) {
    char path[4096];
    snprintf(path, sizeof path, "%s/ready", directory);
    if ((*ready = open(path, O_WRONLY)) < 0 || write(*ready, "r", 1) != 1)
        err(1, "%s", path);
    snprintf(path, sizeof path, "%s/go", directory);
    int go = open(path, O_RDONLY);
    if (go < 0)
        err(1, "%s", path);
    return go;
}

static void print_line(const char *line) {
    if (write(STDOUT_FILENO, line, line_bytes) != line_bytes)
        err(1, "stdout");
}

static void print_lines(int64_t count) {
    char line[line_bytes + 1];
    memcpy(line, pattern, sizeof line);
    for (int64_t number = 0; number < count; number++) {
        print_line(line);
        count_up(line + number_at, number_digits);
    }
}

static void print_blocks(int64_t count) {
    char line[line_bytes + 1];
    memcpy(line, pattern, sizeof line);
    static char block[block_bytes];
    setvbuf(stdout, block, _IOFBF, sizeof block);
    for (int64_t number = 0; number < count; number++) {
        if (fwrite(line, line_bytes, 1, stdout) != 1)
            err(1, "stdout");
        count_up(line + number_at, number_digits);
    }
    if (fflush(stdout))
        err(1, "stdout");
}

static void print_ticks(int64_t count, int64_t microseconds) {
    char line[line_bytes + 1];
    memcpy(line, pattern, sizeof line);
    unsigned seed = 1;
    for (int64_t number = 0; number < count; number++) {
        /* Between half and one and a half times as long, so as not to keep step with anything. */
        usleep(microseconds / 2 + rand_r(&seed) % (microseconds + 1));
        write_digits(line + moment_at, moment_digits, nanoseconds());
        print_line(line);
        count_up(line + number_at, number_digits);
    }
}

/* Late, it prints without a break until it has made up for that. */
static void print_paced(int64_t count, int64_t rate) {
    char line[line_bytes + 1];
    memcpy(line, pattern, sizeof line);
    int64_t begin = nanoseconds();
    for (int64_t number = 0; number < count; number++) {
        int64_t due = begin + number * INT64_C(1000000000) / rate;
        while (nanoseconds() < due)
            usleep(pause_us);
        print_line(line);
        count_up(line + number_at, number_digits);
    }
}

static void check_lines(void) {
    char expected[line_bytes + 1];
    memcpy(expected, pattern, sizeof expected);
    static char block[log_block_bytes];
    setvbuf(stdin, block, _IOFBF, sizeof block);
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int64_t lines = 0, right = 0;
    for (; (length = getline(&line, &capacity, stdin)) >= 0; lines++) {
        if (memmem(line, length, expected, text_bytes))
            right++;
        else {
            /* Count on from the number that it has, so that one lost line is one mistake. */
            char *found = memmem(line, length, pattern, number_at);
            if (found && line + length - found >= moment_at)
                memcpy(expected + number_at, found + number_at, number_digits);
        }
        count_up(expected + number_at, number_digits);
    }
    if (ferror(stdin))
        err(1, "stdin");
    printf("%lld %lld\n", (long long)lines, (long long)right);
}

static void wait_change(int notices) {
    struct pollfd poll_fd = {.fd = notices, .events = POLLIN};
    char events[4096];
    if (poll(&poll_fd, 1, patience_ms) != 1)
        errx(1, "no tick comes any more");
    if (read(notices, events, sizeof events) < 0)
        err(1, "inotify");
}

static void watch_ticks(int64_t count, const char *path) {
    int notices = inotify_init1(IN_CLOEXEC), file;
    for (int64_t begin = nanoseconds(); (file = open(path, O_RDONLY | O_CLOEXEC)) < 0; usleep(500))
        if (nanoseconds() - begin > patience_ms * INT64_C(1000000))
            err(1, "%s", path);
    if (notices < 0 || inotify_add_watch(notices, path, IN_MODIFY) < 0)
        err(1, "%s", path);
    char text[1 << 16];
    size_t length = 0;
    while (count > 0) {
        ssize_t more = read(file, text + length, sizeof text - length);
        if (more < 0)
            err(1, "%s", path);
        if (!more) {
            wait_change(notices);
            continue;
        }
        int64_t now = nanoseconds();
        length += more;
        char *start = text, *end;
        while ((end = memchr(start, '\n', text + length - start))) {
            char *found = memmem(start, end - start, pattern, number_at);
            if (found && end - found > moment_at + moment_digits) {
                printf("%lld\n", (long long)(now - strtoll(found + moment_at, NULL, 10)));
                count--;
            }
            start = end + 1;
        }
        length -= start - text;
        memmove(text, start, length);
    }
}

int main(int argc, char **argv) {
    if (argc < 3)
        errx(2, "usage: numbered_lines lines|blocks|ticks|paced|check|watch COUNT ...");
    const char *mode = argv[1];
    int64_t count = atoll(argv[2]);
    if (!strcmp(mode, "check"))
        check_lines();
    else if (!strcmp(mode, "watch") && argc == 4)
        watch_ticks(count, argv[3]);
    else if (argc > 3) {
        int ready, go = wait_turn(argv[3], &ready);
        if (!strcmp(mode, "lines"))
            print_lines(count);
        else if (!strcmp(mode, "blocks"))
            print_blocks(count);
        else if (!strcmp(mode, "paced") && argc == 5)
            print_paced(count, atoll(argv[4]));
        else
            print_ticks(count, argc > 4 ? atoll(argv[4]) : 0);
        char rest;
        if (write(ready, "d", 1) != 1 || read(go, &rest, 1))
            err(1, "%s", argv[3]);
    }
    return 0;
}
