/* The physical floor of a start: the system calls of one container of mocker's, in C.
 *
 *     container_floor once  BUSYBOX UID_MAP GID_MAP FILTER [NEWUIDMAP NEWGIDMAP]
 *     container_floor warm  ...      a container for each line of stdin, one after the other;
 *                                    prints the milliseconds of each, until nothing of it is left
 *     container_floor served ...     the same as for a fork server, where the applets of busybox are
 *                                    linked once for all, see isolation/applets.py
 *     container_floor alive ... N    keeps N of those alive until the end of stdin, then kills and
 *                                    reaps them; prints the milliseconds of the first, once they
 *                                    are alive, and of the second
 *
 * UID_MAP and GID_MAP are lines of "inside outside length", as the kernel takes them. With the two
 * helpers they are written by those, as for an ordinary user with a range in /etc/subuid. FILTER is
 * a file of BPF instructions, which the command's system calls are filtered by.
 *
 * start_latency.py compiles this and compares mocker with it. It does what isolation/launch.py (the
 * parent), isolation/program.py (the init and the command) and the plan of `mocker run true` do, in
 * that order and with the same arguments, checks of what is open included. Left out is only what
 * Python's objects do for themselves, such as getsockname(2) after socketpair(2). A step that is
 * added there, moved or removed, is here too: test_container_floor.py compares all system calls. As
 * there, the init leaves open what it has opened, up to one close_range(2) at its end.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Named here and called by number, because the C library has them only from 2.36 on. */
enum {
    open_tree_clone = 1,
    move_mount_empty_paths = 0x4 | 0x40,
    mount_attr_closed = 0x1 | 0x2 | 0x4, /* read-only, no set-user-ID programs, no devices */
    mount_attr_nosuid = 0x2,
    mount_attr_nodev = 0x4,
    mount_attr_noexec = 0x8,
    at_recursive = 0x8000,
    fsconfig_set_string = 1,
    fsconfig_cmd_create = 6,
    resolve_no_magiclinks = 0x02,
    resolve_in_root = 0x10,
    close_range_cloexec = 4,
    clone_pidfd = 0x1000,
    clone_newcgroup = 0x02000000,
    keyctl_join_session_keyring = 1,
    setup_failed = 125,
    max_applets = 1024,
    max_processors = 1024,
    max_map_words = 1024,
    max_path = 4096,
    max_message = 65536, /* of what the init and the parent tell one another */
    max_status = 16384,  /* of /proc/self/status */
    max_instructions = 4096,
    copy_chunk = 1 << 24,
};

#define CLOSED (MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define NAMESPACES                                                                                \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET |     \
     clone_newcgroup)
#define INNER_NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS)

struct container {
    pid_t pid;
    int pidfd;
    int control;
};

static const char *busybox;
static const char *uid_map, *gid_map;
static const char *uid_helper, *gid_helper;
static char *applets[max_applets];
static size_t applet_count;
static char inner_uid_map[max_path], inner_gid_map[max_path];
static unsigned last_gid;
static int deny_setgroups;
static char *throttles[max_processors];
static size_t throttle_count;
static int looked_around, copies_busybox, last_capability;
static int trees = -1; /* where trees with applets come from; without, each container has links */
static struct rlimit no_core;
static sigset_t all_signals, waited_for, news;
static struct sock_filter instructions[max_instructions];
static struct sock_fprog filter = {.filter = instructions};

static char *container_env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "TERM=dumb",
    "HOSTNAME=containerhostname",
    NULL,
};

static const char passwd_file[] =
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "bin:x:2:2:bin:/bin:/bin/false\n"
    "sys:x:3:3:sys:/dev:/bin/false\n"
    "mail:x:8:8:mail:/var/mail:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n";
static const char group_file[] =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\n"
    "users:x:100:\nwww-data:x:33:\nnogroup:x:65534:\n";
static const char hosts_file[] =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "127.0.1.1\tcontainerhostname\n";

static void die(const char *what) {
    fprintf(stderr, "container_floor: cannot %s: %s\n", what, strerror(errno));
    _exit(setup_failed);
}

static long check(long result, const char *what) {
    if (result < 0)
        die(what);
    return result;
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static pid_t clone_process(uint64_t flags, uint64_t exit_signal, int *pidfd) {
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        uint64_t set_tid, set_tid_size, cgroup;
    } args = {
        .flags = flags | (pidfd ? clone_pidfd : 0),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = exit_signal,
    };
    return check(syscall(SYS_clone3, &args, sizeof args), "clone");
}

/* Starts a program that has the end of a pipe as each of these descriptors; nobody else has it. */
static pid_t spawn_writing(const char *path, char *const argv[], int end, const int *as,
                           size_t count) {
    pid_t pid;
    char *env[] = {NULL};
    sigset_t none;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    for (size_t i = 0; i < count; i++)
        posix_spawn_file_actions_adddup2(&actions, end, as[i]);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if ((errno = posix_spawn(&pid, path, &actions, &attributes, argv, env)) != 0)
        die(path);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(end);
    return pid;
}

static void list_applets(void) {
    static const int output[] = {1};
    static char names[2 << 16];
    int ends[2], status;
    size_t size = 0;
    ssize_t got;
    pid_t pid;
    char *argv[] = {"busybox", "--list", NULL};
    check(pipe2(ends, O_CLOEXEC), "make a pipe");
    pid = spawn_writing(busybox, argv, ends[1], output, COUNT(output));
    while ((got = read(ends[0], names + size, sizeof names - 1 - size)) > 0)
        size += got;
    close(ends[0]);
    waitpid(pid, &status, 0);
    for (char *name = strtok(names, "\n"); name; name = strtok(NULL, "\n"))
        if (strcmp(name, "busybox") != 0 && !strchr(name, '/') && applet_count < max_applets)
            applets[applet_count++] = name;
}

static void read_whole(const char *path) {
    char buffer[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
    close(fd);
}

/* Finds the first directory of a search path that has a program, and puts the two together. */
static int find_program(const char *search_path, const char *name, int mode, char *path) {
    while (*search_path) {
        int length = strcspn(search_path, ":");
        snprintf(path, max_path, "%.*s/%s", length, search_path, name);
        if (*path == '/' && length && access(path, mode) == 0)
            return 1;
        search_path += length + (search_path[length] == ':');
    }
    return 0;
}

static int find_helpers(void) {
    static const char search_path[] = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin";
    char path[max_path];
    int first = find_program(search_path, "newuidmap", X_OK, path);
    return find_program(search_path, "newgidmap", X_OK, path) && first;
}

static void plan_user_mapping(void) {
    struct stat stat_buffer;
    uid_t uid = geteuid();
    getegid();
    stat("/proc/self/ns/user", &stat_buffer);
    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    stat("/etc/subuid", &stat_buffer);
    stat("/etc/subgid", &stat_buffer);
    find_helpers();
    if (looked_around)
        return;
    if (uid == 0) {
        read_whole("/proc/self/uid_map");
        read_whole("/proc/self/gid_map");
        read_whole("/etc/subuid");
        read_whole("/etc/subgid");
    } else if (find_helpers() && !prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)) {
        geteuid();
        getpwuid(geteuid());
        read_whole("/etc/subuid");
        read_whole("/proc/self/uid_map");
        geteuid();
        getpwuid(geteuid());
        read_whole("/etc/subgid");
        read_whole("/proc/self/gid_map");
    }
}

static void find_busybox(void) {
    char search_path[max_path], path[max_path], head[4096];
    const char *callers = getenv("PATH");
    struct stat stat_buffer;
    int fd;
    snprintf(search_path, sizeof search_path, "%s:/bin:/usr/bin:/usr/local/bin:/sbin:/usr/sbin",
             callers ? callers : "");
    find_program(search_path, "busybox", R_OK | X_OK, path);
    check(stat(busybox, &stat_buffer), "stat busybox");
    if (looked_around)
        return;
    fd = check(open(busybox, O_RDONLY | O_CLOEXEC), "open busybox");
    check(read(fd, head, sizeof head), "read busybox");
    check(fstat(fd, &stat_buffer), "stat busybox");
    close(fd);
    list_applets();
}

/* Processors that tell how hot they became, where a path is as the container has it. */
static void list_throttles(void) {
    static const char processors[] = "/sys/devices/system/cpu";
    struct dirent **entries;
    struct stat stat_buffer;
    char path[max_path];
    int count = scandir(processors, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s/thermal_throttle", processors, entries[i]->d_name);
        if (*entries[i]->d_name != '.' && throttle_count < max_processors &&
            stat(path, &stat_buffer) == 0)
            throttles[throttle_count++] = strdup(path + 1);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* What is the same for every container of a process is looked at once, as the plan's parts do. */
static void look_around(void) {
    struct stat stat_buffer;
    struct rlimit core;
    char status[max_status];
    int fd;
    plan_user_mapping();
    find_busybox();
    /* Who could write to the binary on the host gets a copy. */
    copies_busybox = geteuid() != 0 && access(busybox, W_OK) == 0;
    check(stat("/dev/null", &stat_buffer), "stat /dev/null");
    if (!looked_around)
        list_throttles();
    check(getrlimit(RLIMIT_CORE, &core), "look at the limit of core dumps");
    /* Zero would not stop one that goes to a program; and nobody may raise a limit. */
    no_core.rlim_cur = no_core.rlim_max = core.rlim_max == 0 ? 0 : 1;
    if (!looked_around) {
        read_whole("/proc/self/stat");
        while (prctl(PR_CAPBSET_READ, last_capability + 1, 0, 0, 0) >= 0)
            last_capability++;
    }
    fd = check(open("/proc/self/status", O_RDONLY | O_CLOEXEC), "open /proc/self/status");
    check(read(fd, status, sizeof status), "read /proc/self/status");
    close(fd);
    check(stat("/proc/self/exe", &stat_buffer), "stat the own program");
    check(stat("/proc/self/task", &stat_buffer), "count threads");
    for (fd = 0; fd < 3; fd++)
        check(fcntl(fd, F_GETFD), "look at a standard descriptor");
    looked_around = 1;
}

static void write_open(int fd, const char *text, const char *path) {
    check(write(fd, text, strlen(text)), path);
}

static void write_map(pid_t pid, const char *name, const char *text, int flags) {
    char path[64];
    int fd;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    fd = check(open(path, O_WRONLY | O_CLOEXEC | flags), path);
    write_open(fd, text, path);
    close(fd);
}

static void run_helper(const char *helper, pid_t pid, const char *map) {
    static const int output[] = {2, 1};
    char *argv[max_map_words], words[max_path], number[16];
    int ends[2], status;
    size_t count = 0;
    pid_t child;
    snprintf(number, sizeof number, "%d", pid);
    snprintf(words, sizeof words, "%s", map);
    argv[count++] = (char *)helper;
    argv[count++] = number;
    for (char *word = strtok(words, " \n"); word && count < COUNT(argv) - 1;
         word = strtok(NULL, " \n"))
        argv[count++] = word;
    argv[count] = NULL;
    check(pipe2(ends, O_CLOEXEC), "make a pipe");
    child = spawn_writing(helper, argv, ends[1], output, COUNT(output));
    check(read(ends[0], words, sizeof words), helper);
    check(waitpid(child, &status, 0), helper);
    close(ends[0]);
    if (status) {
        errno = EPERM;
        die(helper);
    }
}

static void map_users(pid_t pid) {
    if (uid_helper) {
        run_helper(uid_helper, pid, uid_map);
        run_helper(gid_helper, pid, gid_map);
        return;
    }
    if (deny_setgroups)
        write_map(pid, "setgroups", "deny", 0);
    write_map(pid, "uid_map", uid_map, 0);
    write_map(pid, "gid_map", gid_map, 0);
}

/* The command's user namespace has the IDs of the container's, each as itself. */
static void render_inner_map(const char *map, char *inner, unsigned *last) {
    unsigned inside, outside, length;
    int used;
    while (sscanf(map, "%u %u %u%n", &inside, &outside, &length, &used) == 3) {
        inner += sprintf(inner, "%u %u %u\n", inside, inside, length);
        *last = inside + length - 1;
        map += used;
    }
}

static void go_to(int directory) {
    check(fchdir(directory), "go to a directory");
}

/* By a path in the new root, which is the working directory. */
static void mount_fresh(const char *path, const char *type, unsigned long flags,
                        const char *data) {
    check(mount("none", path, type, flags, data), path);
}

static void move_onto(int tree, int target) {
    check(syscall(SYS_move_mount, tree, "", target, "", move_mount_empty_paths), "move a mount");
}

static int mount_root(void) {
    int context = check(syscall(SYS_fsopen, "tmpfs", 1), "open tmpfs");
    int tmpfs, old;
    check(syscall(SYS_fsconfig, context, fsconfig_set_string, "mode", "0755", 0), "set the mode");
    check(syscall(SYS_fsconfig, context, fsconfig_set_string, "size", "20%", 0), "set the size");
    check(syscall(SYS_fsconfig, context, fsconfig_set_string, "nr_inodes", "800k", 0),
          "bound the files");
    check(syscall(SYS_fsconfig, context, fsconfig_cmd_create, NULL, NULL, 0), "make tmpfs");
    tmpfs = check(syscall(SYS_fsmount, context, 1, mount_attr_nodev), "mount tmpfs");
    close(context);
    old = check(open("/", O_PATH | O_CLOEXEC), "open /");
    move_onto(tmpfs, old);
    close(old);
    go_to(tmpfs);
    return tmpfs;
}

static void make_directories(int root) {
    static const struct {
        const char *name;
        mode_t mode;
    } directories[] = {
        {"bin", 0755},  {"dev", 0755},  {"etc", 0755}, {"home", 0755},
        {"proc", 0555}, {"root", 0700}, {"run", 0755}, {"sys", 0555},
        {"tmp", 01777}, {"usr", 0755},  {"var", 0755}, {"var/tmp", 01777},
    };
    static const char *const links[][2] = {
        {"sbin", "bin"}, {"usr/bin", "../bin"}, {"usr/sbin", "../bin"}, {"var/run", "../run"}};
    for (size_t i = 0; i < COUNT(directories); i++)
        check(mkdirat(root, directories[i].name, directories[i].mode), directories[i].name);
    for (size_t i = 0; i < COUNT(links); i++)
        check(symlinkat(links[i][1], root, links[i][0]), links[i][0]);
}

static void bind_busybox(int root) {
    uint64_t attributes[4] = {mount_attr_closed, 0, 0, 0};
    int target, tree;
    target = openat(root, "bin/busybox", O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0755);
    check(target, "make /bin/busybox");
    tree = check(syscall(SYS_open_tree, AT_FDCWD, busybox, open_tree_clone | O_CLOEXEC), busybox);
    check(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, attributes, sizeof attributes),
          "make busybox read-only");
    move_onto(tree, target);
    close(tree);
    close(target);
}

static void copy_busybox(int root, const char *path) {
    int source = check(open(busybox, O_RDONLY | O_CLOEXEC), busybox);
    int target = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
    check(target, "make /bin/busybox");
    while (check(sendfile(target, source, NULL, copy_chunk), "copy busybox") > 0)
        ;
    close(target);
    close(source);
}

static void link_applets(int root, const char *path) {
    int bin = check(openat(root, path, O_PATH | O_CLOEXEC), path);
    go_to(bin);
    check(symlinkat("busybox", bin, applets[0]), applets[0]);
    for (size_t i = 1; i < applet_count; i++)
        check(link(applets[0], applets[i]), applets[i]);
    close(bin);
}

static void write_files(int root) {
    static const struct {
        const char *name, *text;
    } files[] = {
        {"etc/passwd", passwd_file},
        {"etc/group", group_file},
        {"etc/hosts", hosts_file},
        {"etc/hostname", "containerhostname\n"},
        {"etc/resolv.conf", ""},
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        int fd = openat(root, files[i].name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        check(fd, files[i].name);
        if (*files[i].text)
            write_open(fd, files[i].text, files[i].name);
        close(fd);
    }
}

static void make_devices(void) {
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"fd", "/proc/self/fd"},
                                           {"stdin", "/proc/self/fd/0"},
                                           {"stdout", "/proc/self/fd/1"},
                                           {"stderr", "/proc/self/fd/2"},
                                           {"ptmx", "pts/ptmx"}};
    static const char *const directories[] = {"pts", "shm", "mqueue"};
    static const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    uint64_t attributes[4] = {mount_attr_nosuid | mount_attr_noexec, 0, 0, 0};
    char path[32];
    int dev;
    for (size_t i = 0; i < COUNT(nodes); i++) {
        snprintf(path, sizeof path, "/dev/%s", nodes[i]);
        close(check(open(path + 1, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0644), path));
        check(mount(path, path + 1, "", MS_BIND, ""), path);
    }
    check(syscall(SYS_mount_setattr, AT_FDCWD, "dev", at_recursive, attributes, sizeof attributes),
          "close /dev");
    dev = check(open("dev", flags), "open /dev");
    for (size_t i = 0; i < COUNT(links); i++)
        check(symlinkat(links[i][1], dev, links[i][0]), links[i][0]);
    for (size_t i = 0; i < COUNT(directories); i++)
        check(mkdirat(dev, directories[i], 0755), directories[i]);
    close(dev);
}

static void write_sysctl(const char *path, const char *text) {
    int fd = check(open(path, O_WRONLY | O_CLOEXEC), path);
    write_open(fd, text, path);
    close(fd);
}

static void set_up_network(void) {
    struct ifreq request = {.ifr_name = "lo"};
    char range[32];
    int control = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a socket");
    request.ifr_flags = IFF_UP;
    check(ioctl(control, SIOCSIFFLAGS, &request), "bring lo up");
    close(control);
    write_sysctl("proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    snprintf(range, sizeof range, "0 %u", last_gid);
    write_sysctl("proc/sys/net/ipv4/ping_group_range", range);
}

/* What this kernel was built without is left out. */
static void bind_over(const char *source, const char *target) {
    if (mount(source, target, "", MS_BIND, "") < 0 && errno != ENOENT)
        die(target);
}

static void hide_host(void) {
    static const char *const switches[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys",
                                           "proc/sysrq-trigger"};
    static const char *const files[] = {
        "proc/interrupts",    "proc/kcore",       "proc/keys",        "proc/kpagecgroup",
        "proc/kpagecount",    "proc/kpageflags",  "proc/latency_stats", "proc/sched_debug",
        "proc/slabinfo",      "proc/timer_list",  "proc/timer_stats", "proc/vmallocinfo"};
    static const char *const directories[] = {"sys/devices/virtual/powercap", "proc/acpi",
                                              "proc/asound", "proc/scsi"};
    unsigned long again = CLOSED | MS_REMOUNT | MS_BIND;
    mount_fresh("proc", "", again | MS_RDONLY, ""); /* which what is bound from it takes on */
    for (size_t i = 0; i < COUNT(switches); i++)
        bind_over(switches[i], switches[i]);
    mount_fresh("proc", "", again, "");
    for (size_t i = 0; i < COUNT(files); i++)
        bind_over("dev/null", files[i]);
    mount_fresh("sys/firmware", "tmpfs", CLOSED | MS_RDONLY, "size=4k,nr_inodes=1,mode=0555");
    for (size_t i = 0; i < COUNT(directories); i++)
        bind_over("sys/firmware", directories[i]);
    for (size_t i = 0; i < throttle_count; i++)
        bind_over("sys/firmware", throttles[i]);
}

static void pivot(int root) {
    struct statx above = {0}, here = {0};
    go_to(root);
    check(syscall(SYS_pivot_root, ".", "."), "pivot");
    check(umount2(".", MNT_DETACH), "let go of the old root");
    check(chdir("/"), "go to /");
    check(statx(AT_FDCWD, "/..", 0, STATX_INO, &above), "look above /");
    check(statx(root, "", AT_EMPTY_PATH, STATX_INO, &here), "look at /");
    if (memcmp(&above, &here, sizeof above) != 0)
        die("leave the old root");
}

static void overlay_applets(int root, int tree) {
    static const char *const names[] = {"proc/lower", "proc/upper", "proc/work"};
    int place;
    for (size_t i = 0; i < COUNT(names); i++)
        check(mkdirat(root, names[i], 0755), names[i]);
    place = check(openat(root, names[0], O_PATH | O_CLOEXEC), names[0]);
    move_onto(tree, place);
    close(place);
    close(tree);
    go_to(root);
    check(mount("overlay", "bin", "overlay", MS_NODEV,
                "lowerdir=proc/lower,upperdir=proc/upper,workdir=proc/work,userxattr"),
          "mount an overlay");
    check(umount2(names[0], MNT_DETACH), names[0]);
}

/* A message with a descriptor, received or sent. */
static long pass_fd(int peer, int *fd, int is_sent) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof *fd)];
    } control = {.head = {CMSG_LEN(sizeof *fd), SOL_SOCKET, SCM_RIGHTS}};
    char text[1] = {0};
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    long result;
    if (is_sent) {
        memcpy(CMSG_DATA(&control.head), fd, sizeof *fd);
        return sendmsg(peer, &message, MSG_NOSIGNAL);
    }
    result = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
    if (result == 0) {
        errno = EPIPE;
        return -1;
    }
    memcpy(fd, CMSG_DATA(&control.head), sizeof *fd);
    return result;
}

static void serve_trees(int peer) {
    unsigned uid, gid, inside;
    char map[64];
    int root, tree;
    char asked;
    int is_root = geteuid() == 0; /* in a user namespace of its own everybody is */
    umask(0);
    if (is_root) {
        check(unshare(CLONE_NEWNS), "unshare");
        check(mount("none", "/", "", MS_REC | MS_SLAVE, ""), "make mounts slaves");
    } else {
        uid = geteuid();
        gid = getegid();
        check(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
        write_map(getpid(), "setgroups", "deny", 0);
        snprintf(map, sizeof map, "0 %u 1\n", uid);
        write_map(getpid(), "uid_map", map, 0);
        snprintf(map, sizeof map, "0 %u 1\n", gid);
        write_map(getpid(), "gid_map", map, 0);
    }
    root = mount_root();
    check(mkdirat(root, "tree", 0755), "make the tree");
    copy_busybox(root, "tree/busybox");
    link_applets(root, "tree");
    if (is_root && sscanf(uid_map, "%u %u", &inside, &uid) == 2 &&
        sscanf(gid_map, "%u %u", &inside, &gid) == 2) {
        check(fchownat(root, "tree", uid, gid, 0), "own the tree");
        check(fchownat(AT_FDCWD, "busybox", uid, gid, 0), "own busybox");
        check(fchownat(AT_FDCWD, applets[0], uid, gid, AT_SYMLINK_NOFOLLOW), "own the links");
    }
    pivot(root);
    while (recv(peer, &asked, sizeof asked, 0) > 0) {
        tree = check(syscall(SYS_open_tree, AT_FDCWD, "tree", open_tree_clone | O_CLOEXEC), "tree");
        check(pass_fd(peer, &tree, 1), "hand out a tree");
        close(tree);
    }
    _exit(0);
}

static void open_trees(void) {
    int ends[2];
    find_busybox();
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "make a socket pair");
    if (check(fork(), "fork") == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        serve_trees(ends[1]);
    }
    close(ends[1]);
    trees = ends[0];
    check(send(trees, "?", 1, MSG_NOSIGNAL), "ask for a tree");
}

static void build(int tree) {
    int root;
    check(sethostname("containerhostname", strlen("containerhostname")), "set the host name");
    root = mount_root();
    make_directories(root);
    if (tree >= 0) {
        overlay_applets(root, tree);
    } else {
        if (copies_busybox)
            copy_busybox(root, "bin/busybox");
        else
            bind_busybox(root);
        link_applets(root, "bin");
    }
    write_files(root);
    go_to(root);
    mount_fresh("proc", "proc", CLOSED, "");
    mount_fresh("sys", "sysfs", CLOSED | MS_RDONLY, "");
    mount_fresh("dev", "tmpfs", CLOSED, "mode=0755,size=64k,nr_inodes=1k");
    make_devices();
    mount_fresh("dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                last_gid >= 5 ? "newinstance,ptmxmode=0666,mode=0620,gid=5"
                              : "newinstance,ptmxmode=0666,mode=0620");
    mount_fresh("dev/shm", "tmpfs", CLOSED, "mode=1777,size=64m,nr_inodes=64k");
    mount_fresh("dev/mqueue", "mqueue", CLOSED, "");
    set_up_network();
    hide_host();
    pivot(root);
}

static void take_default_action(int number) {
    static const struct sigaction action = {.sa_handler = SIG_DFL};
    check(sigaction(number, &action, NULL), "take a default action");
}

static void become_root(void) {
    static const gid_t none[1];
    if (setgroups(0, none) < 0 && errno != EPERM)
        die("give up the caller's groups");
    check(setresgid(0, 0, 0), "become group 0");
    check(setresuid(0, 0, 0), "become user 0");
}

/* What docker run(1) leaves to root; the rest nobody gets back by executing something. */
static const unsigned kept_capabilities =
    1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID |
    1U << CAP_KILL | 1U << CAP_SETGID | 1U << CAP_SETUID | 1U << CAP_SETPCAP |
    1U << CAP_NET_BIND_SERVICE | 1U << CAP_NET_RAW | 1U << CAP_SYS_CHROOT | 1U << CAP_MKNOD |
    1U << CAP_AUDIT_WRITE | 1U << CAP_SETFCAP;

static void bound_capabilities(void) {
    for (int number = 0; number <= last_capability; number++)
        if (number > 31 || !(kept_capabilities >> number & 1))
            check(prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "bound the capabilities");
}

static void drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {
        {.effective = kept_capabilities, .permitted = kept_capabilities}};
    check(syscall(SYS_capset, &header, sets), "drop capabilities");
}

static int be_idle(void *unused) {
    pause();
    return unused != NULL;
}

/* Whoever makes a user namespace has the say over what belongs to it. */
static void own_host_name(void) {
    static char stack[1 << 14] __attribute__((aligned(16)));
    pid_t pid = check(clone(be_idle, stack + sizeof stack,
                            CLONE_NEWUTS | CLONE_NEWUSER | CLONE_VM, NULL),
                      "make a namespace of the host name");
    int pidfd = check(syscall(SYS_pidfd_open, pid, 0), "open a pidfd");
    check(setns(pidfd, CLONE_NEWUTS), "join it");
    close(pidfd);
    check(kill(pid, SIGKILL), "end who is in it");
    check(waitpid(pid, NULL, __WALL), "wait for who was in it");
}

static void be_command(char *const argv[], int gate) {
    /* Ignored or handled by every Python. */
    static const int changed[] = {SIGINT, SIGPIPE, SIGXFSZ};
    uint64_t count;
    int moved[3];
    sigset_t none;
    check(read(gate, &count, sizeof count), "wait for the init");
    own_host_name();
    check(setpgid(0, 0), "make a process group");
    for (int fd = 0; fd < 3; fd++)
        moved[fd] = check(fcntl(fd, F_DUPFD_CLOEXEC, 3), "move a descriptor out of the way");
    check(syscall(SYS_close_range, 3, ~0U, close_range_cloexec), "close the rest on exec");
    for (int fd = 0; fd < 3; fd++)
        check(dup2(moved[fd], fd), "place a descriptor");
    bound_capabilities();
    become_root();
    drop_capabilities();
    check(setrlimit(RLIMIT_CORE, &no_core), "limit core");
    check(chdir("/"), "go to /");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "gain no privileges");
    for (size_t i = 0; i < COUNT(changed); i++)
        take_default_action(changed[i]);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "filter system calls");
    environ = container_env;
    execvp(argv[0], argv);
    die("execute the command");
}

static void be_init(char *const argv[], const int control_pair[2], const int report[2],
                    int tree) {
    static const uint64_t one = 1;
    static const struct timespec at_once;
    char message[max_message];
    struct pollfd asked = {.fd = control_pair[1], .events = POLLIN};
    siginfo_t info;
    int control = control_pair[1], gate, status = setup_failed;
    pid_t command;
    close(control_pair[0]);
    close(report[0]);
    if (check(recv(control, message, sizeof message, 0), "wait for the parent") != 2 ||
        memcmp(message, "go", 2) != 0)
        _exit(setup_failed);
    take_default_action(SIGCHLD);
    check(syscall(SYS_keyctl, keyctl_join_session_keyring, NULL), "join a keyring");
    become_root();
    check(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "die with the parent");
    umask(0);
    build(tree);
    umask(022);
    setsid();
    prctl(PR_SET_NAME, "floor-init", 0, 0, 0);
    gate = check(eventfd(0, EFD_CLOEXEC), "make a gate");
    check(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "become dumpable");
    command = clone_process(INNER_NAMESPACES, SIGCHLD, NULL);
    if (command == 0)
        be_command(argv, gate);
    check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "become undumpable");
    if (deny_setgroups)
        write_map(command, "setgroups", "deny", O_NONBLOCK);
    write_map(command, "uid_map", inner_uid_map, O_NONBLOCK);
    write_map(command, "gid_map", inner_gid_map, O_NONBLOCK);
    check(fcntl(control, F_SETOWN, getpid()), "own the control socket");
    check(fcntl(control, F_SETSIG, SIGRTMAX), "choose a signal");
    check(fcntl(control, F_SETFL, O_ASYNC | O_RDWR), "be told of requests");
    check(send(control, "ready", 5, MSG_NOSIGNAL | MSG_DONTWAIT), "tell the parent");
    check(write(gate, &one, sizeof one), "let the command go on");
    check(syscall(SYS_close_range, 0, control - 1, 0), "close descriptors");
    check(syscall(SYS_close_range, control + 1, ~0U, 0), "close descriptors");
    if (poll(&asked, 1, 0) != 0)
        _exit(setup_failed); /* the parent asks for nothing, so it is gone */
    while (sigwaitinfo(&waited_for, &info) != SIGCHLD)
        ;
    sigtimedwait(&news, &info, &at_once);
    while (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG) == 0 && info.si_pid != 0)
        if (info.si_pid == command)
            status = info.si_status;
    snprintf(message, sizeof message, "exited %d", status);
    send(control, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
    _exit(status);
}

/* Returns when the command is executed, as isolation.spawn does. */
static struct container start(char *const argv[]) {
    struct container container;
    sigset_t old, blocked;
    int control[2], report[2], tree = -1;
    char path[64], buffer[max_message];
    look_around();
    if (trees >= 0) {
        check(pass_fd(trees, &tree, 0), "take a tree");
        check(send(trees, "?", 1, MSG_NOSIGNAL), "ask for the next one");
    }
    check(pipe2(report, O_CLOEXEC), "make a pipe");
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), "make a socket pair");
    sigprocmask(SIG_BLOCK, &all_signals, &old);
    container.pid = clone_process(NAMESPACES, SIGCHLD, &container.pidfd);
    if (container.pid == 0)
        be_init(argv, control, report, tree);
    close(control[1]);
    close(report[1]);
    if (tree >= 0)
        close(tree);
    sigprocmask(SIG_SETMASK, &old, &blocked);
    container.control = control[0];
    map_users(container.pid);
    /* A pipe would be given to the container's root. The other side of the comparison has none. */
    for (int fd = geteuid() == 0 ? 0 : 3; fd < 3; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        check(readlink(path, buffer, max_path), path);
    }
    check(send(container.control, "go", 2, 0), "let the init go on");
    while (read(report[0], buffer, sizeof buffer) > 0)
        ;
    close(report[0]);
    if (recv(container.control, buffer, sizeof buffer, MSG_DONTWAIT) < 0)
        die("make a container: its init ended");
    return container;
}

static int wait_gone(struct container *container) {
    struct pollfd gone = {.fd = container->pidfd, .events = POLLIN};
    char message[max_message];
    siginfo_t info = {0};
    check(poll(&gone, 1, -1), "wait for the init");
    while (recv(container->control, message, sizeof message, MSG_DONTWAIT) > 0)
        ;
    check(waitid(P_PIDFD, container->pidfd, &info, WEXITED), "reap the init");
    close(container->pidfd);
    close(container->control);
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static void run_once(void) {
    char *argv[] = {"true", NULL};
    struct container container = start(argv);
    if (wait_gone(&container) != 0)
        _exit(setup_failed);
}

static void run_warm(void) {
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        double begin = now_ms();
        run_once();
        printf("%.4f\n", now_ms() - begin);
        fflush(stdout);
    }
}

static void keep_alive(int count) {
    char *argv[] = {"sleep", "3600", NULL};
    struct container *containers = calloc(count, sizeof *containers);
    struct pollfd gone = {.events = POLLIN};
    double begin;
    look_around(); /* once more than needed: who is compared with this has made containers before */
    begin = now_ms();
    for (int i = 0; i < count; i++) {
        containers[i] = start(argv);
        gone.fd = containers[i].pidfd;
        if (poll(&gone, 1, 0) != 0)
            _exit(setup_failed);
    }
    printf("%.4f\n", now_ms() - begin);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    begin = now_ms();
    for (int i = 0; i < count; i++)
        syscall(SYS_pidfd_send_signal, containers[i].pidfd, SIGKILL, NULL, 0);
    for (int i = 0; i < count; i++)
        wait_gone(&containers[i]);
    printf("%.4f\n", now_ms() - begin);
    free(containers);
}

static void read_filter(const char *path) {
    int fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
    filter.len = check(read(fd, instructions, sizeof instructions), path) / sizeof *instructions;
    close(fd);
}

int main(int argc, char **argv) {
    unsigned last_uid;
    if (argc < 6) {
        fputs("usage: container_floor once|warm|served|alive BUSYBOX UID_MAP GID_MAP FILTER "
              "[NEWUIDMAP NEWGIDMAP] [N]\n",
              stderr);
        return 2;
    }
    busybox = argv[2];
    uid_map = argv[3];
    gid_map = argv[4];
    read_filter(argv[5]);
    if (argc > 7) {
        uid_helper = argv[6];
        gid_helper = argv[7];
    }
    deny_setgroups = geteuid() != 0 && !uid_helper;
    render_inner_map(uid_map, inner_uid_map, &last_uid);
    render_inner_map(gid_map, inner_gid_map, &last_gid);
    sigfillset(&all_signals);
    /* Those too that the C library keeps for itself. */
    memset(&waited_for, -1, sizeof waited_for);
    sigemptyset(&news);
    sigaddset(&news, SIGRTMAX);
    if (strcmp(argv[1], "alive") == 0 || strcmp(argv[1], "served") == 0)
        open_trees();
    if (strcmp(argv[1], "alive") == 0)
        keep_alive(atoi(argv[argc - 1]));
    else if (strcmp(argv[1], "warm") == 0 || strcmp(argv[1], "served") == 0)
        run_warm();
    else
        run_once();
    return 0;
}
