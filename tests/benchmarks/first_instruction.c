/* Tells when it began, and stays: nanoseconds of CLOCK_MONOTONIC, which no namespace of mocker's
 * changes, so that whoever made it begin can compare. supervise_scale.py links it statically.
 */

#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (dprintf(STDOUT_FILENO, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec) < 0)
        return 1;
    pause();
    return 0;
}
