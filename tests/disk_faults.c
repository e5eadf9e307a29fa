/* Storage that fails or is slow, as told by a file: preloaded into a host (LD_PRELOAD).
 *
 * DISK_FAULTS names a file of rules, one a line: CALL SUBSTRING ERRNO MILLISECONDS. A call (fsync, write, or
 * create: to open a file that need not be there) on a file whose path holds the substring takes so many
 * milliseconds longer (-1: as long as the rule is there), and fails with that errno unless it is 0. The file is read at every call, so that rules
 * come and go while the host runs. DISK_FAULTS_LOG names a file to which every fsync is appended: its result
 * and path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* A signal's handler writes, too, on the small stack that faulthandler gives it: no room for PATH_MAX. */
enum { LONGEST = 1024 };

static void path_of(int descriptor, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

/* Return the errno with which a call on a path fails; sleep first, if told to. */
static int fault(const char *call, const char *path) {
    const char *file = getenv("DISK_FAULTS");
    char rules[LONGEST], *save = NULL;
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int result = 0, descriptor = file ? real(file, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor < 0) return 0;
    ssize_t length = read(descriptor, rules, sizeof rules - 1);
    close(descriptor);
    rules[length < 0 ? 0 : length] = 0;
    for (char *line = strtok_r(rules, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[32], part[512];
        int number, milliseconds;
        if (sscanf(line, "%31s %511s %d %d", name, part, &number, &milliseconds) != 4) continue;
        if (strcmp(name, call) || !strstr(path, part)) continue;
        if (milliseconds < 0) { /* until the rule is gone */
            struct timespec tick = {0, 5000000L};
            nanosleep(&tick, NULL);
            return fault(call, path);
        }
        struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
        nanosleep(&pause, NULL);
        if (number) result = number;
    }
    return result;
}

static void note(int error, const char *path) {
    const char *file = getenv("DISK_FAULTS_LOG");
    char line[LONGEST + 32];
    int (*open_it)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int descriptor = file ? open_it(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (descriptor < 0) return;
    int length = snprintf(line, sizeof line, "%d %s\n", error, path);
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (real(descriptor, line, length) < 0) { /* nobody to tell */ }
    close(descriptor);
}

static int synced(const char *name, int descriptor) {
    char path[LONGEST];
    path_of(descriptor, path, sizeof path);
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int error = fault("fsync", path);
    if (!error && real(descriptor)) error = errno;
    note(error, path);
    errno = error;
    return error ? -1 : 0;
}

int fsync(int descriptor) { return synced("fsync", descriptor); }
int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }

ssize_t write(int descriptor, const void *data, size_t size) {
    char path[LONGEST];
    path_of(descriptor, path, sizeof path);
    int error = path[0] == '/' ? fault("write", path) : 0;
    if (error) { errno = error; return -1; }
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return real(descriptor, data, size);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[LONGEST];
    path_of(descriptor, path, sizeof path);
    int error = path[0] == '/' ? fault("write", path) : 0;
    if (error) { errno = error; return -1; }
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    return real(descriptor, parts, count);
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int error = flags & O_CREAT ? fault("create", path) : 0;
    if (error) { errno = error; return -1; }
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    return real(path, flags, mode);
}

#define OPENED(name)                                                                                        \
    int name(const char *path, int flags, ...) {                                                            \
        va_list more;                                                                                       \
        va_start(more, flags);                                                                              \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                           \
        va_end(more);                                                                                       \
        return opened(#name, path, flags, mode);                                                            \
    }

OPENED(open)
OPENED(open64)
