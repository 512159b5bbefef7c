/* Counts, records and breaks off what a process writes beneath one folder.

   Loaded with LD_PRELOAD it stands before the C library, and so sees what SQLite, FAISS and Python do alike:
   each creation, write, truncation, sync, rename and removal is a step. A test arms it:

       torture_arm(folder, kill_at, fail_at, error, log)

   kill_at: the process is killed (SIGKILL) just before this step; 0 for never.
   fail_at: this step and all later ones that take room, or sync, fail with `error`, as on a full disk; 0 for none.
   log: a folder that takes a record of all steps, with the bytes written; empty for none.

   A step is a line of the record: number, what, inode or path, and what belongs to it. The disk itself is never waited
   for: what it would hold after a loss of power is put together from the record. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char folder[PATH_MAX];
static long step, kill_at, fail_at;
static int error_number, log_steps = -1, log_bytes = -1;
static long logged;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

long torture_steps(void) { return step; }

void torture_arm(const char *in, long kill_before, long fail_from, int error, const char *log) {
    step = 0;
    kill_at = kill_before;
    fail_at = fail_from;
    error_number = error;
    logged = 0;
    if (log_steps >= 0) close(log_steps), close(log_bytes), log_steps = log_bytes = -1;
    folder[0] = 0;
    if (log && *log) {
        char name[PATH_MAX];
        snprintf(name, sizeof name, "%s/steps", log);
        log_steps = REAL(open)(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        snprintf(name, sizeof name, "%s/bytes", log);
        log_bytes = REAL(open)(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    if (in) strncpy(folder, in, sizeof folder - 1);
}

static int beneath(const char *path) {
    size_t n = strlen(folder);
    return n && !strncmp(path, folder, n) && (path[n] == '/' || path[n] == 0);
}

/* The path of an open file, or of a name relative to one; empty if it is not beneath the folder. */
static int path_of(int descriptor, char *path) {
    char link[64];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
    return n > 0 && beneath(path);
}

static int path_at(int at, const char *name, char *path) {
    if (!folder[0] || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return beneath(path);
    }
    char base[PATH_MAX];
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, base, sizeof base - 1);
        base[n > 0 ? n : 0] = 0;
    }
    snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
    return beneath(path);
}

static long inode_of(int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) ? -1 : (long)found.st_ino;
}

/* One step: die, fail, or record it. Returns whether it is to fail. */
static int take(const char *line, const void *bytes, size_t size, int can_fail) {
    int fails = 0;
    pthread_mutex_lock(&lock);
    step++;
    if (kill_at && step == kill_at) kill(getpid(), SIGKILL);
    if (fail_at && step >= fail_at && can_fail) fails = 1;
    if (log_steps >= 0 && !fails) {
        char whole[3 * PATH_MAX];
        int n = snprintf(whole, sizeof whole, "%ld %s %ld %zu\n", step, line, logged, size);
        if (bytes && size) {
            if (REAL(write)(log_bytes, bytes, size) != (ssize_t)size) abort();
            logged += size;
        }
        if (REAL(write)(log_steps, whole, n) != n) abort();
    }
    pthread_mutex_unlock(&lock);
    if (fails) errno = error_number;
    return fails;
}

static int wrote(int descriptor, const void *bytes, size_t size, long offset) {
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!path_of(descriptor, path)) return 0;
    snprintf(line, sizeof line, "write %ld %ld", inode_of(descriptor), offset);
    return take(line, bytes, size, 1);
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    if (folder[0] && wrote(descriptor, bytes, size, lseek(descriptor, 0, SEEK_CUR))) return -1;
    return REAL(write)(descriptor, bytes, size);
}
ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset) {
    if (folder[0] && wrote(descriptor, bytes, size, offset)) return -1;
    return REAL(pwrite)(descriptor, bytes, size, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t offset) {
    if (folder[0] && wrote(descriptor, bytes, size, offset)) return -1;
    return REAL(pwrite64)(descriptor, bytes, size, offset);
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (folder[0] && path_of(descriptor, path)) { /* piece by piece, so that each is a step */
        ssize_t all = 0;
        for (int i = 0; i < count; i++) {
            ssize_t n = parts[i].iov_len ? write(descriptor, parts[i].iov_base, parts[i].iov_len) : 0;
            if (n < 0) return all ? all : -1;
            all += n;
            if ((size_t)n < parts[i].iov_len) break;
        }
        return all;
    }
    return REAL(writev)(descriptor, parts, count);
}
size_t fwrite(const void *bytes, size_t size, size_t count, FILE *file) {
    if (folder[0] && size && count && wrote(fileno(file), bytes, size * count, ftell(file))) return 0;
    return REAL(fwrite)(bytes, size, count, file);
}

static int cut(int descriptor, off64_t size) {
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!path_of(descriptor, path)) return 0;
    snprintf(line, sizeof line, "truncate %ld %ld", inode_of(descriptor), (long)size);
    return take(line, 0, 0, 0);
}
int ftruncate(int descriptor, off_t size) {
    if (folder[0] && cut(descriptor, size)) return -1;
    return REAL(ftruncate)(descriptor, size);
}
int ftruncate64(int descriptor, off64_t size) {
    if (folder[0] && cut(descriptor, size)) return -1;
    return REAL(ftruncate64)(descriptor, size);
}

static int synced(int descriptor) {
    char path[PATH_MAX], line[2 * PATH_MAX];
    if (!path_of(descriptor, path)) return 0;
    struct stat found;
    if (fstat(descriptor, &found)) return 0;
    if (!S_ISDIR(found.st_mode)) {
        snprintf(line, sizeof line, "sync %ld", (long)found.st_ino);
        return take(line, 0, 0, 1);
    }
    /* What is in a folder is recorded with it: Rust renames without the C library. */
    char entries[1 << 16];
    size_t n = 0;
    DIR *listed = log_steps >= 0 ? opendir(path) : 0;
    for (struct dirent *entry; listed && (entry = readdir(listed));)
        if (entry->d_name[0] != '.' || (entry->d_name[1] && entry->d_name[1] != '.'))
            n += snprintf(entries + n, sizeof entries - n, "%ld %s\n",
                          entry->d_type == DT_REG ? (long)entry->d_ino : 0, entry->d_name);
    if (listed) closedir(listed);
    snprintf(line, sizeof line, "syncdir %s", path);
    return take(line, entries, n, 1);
}
int fsync(int descriptor) {
    return folder[0] && synced(descriptor) ? -1 : 0;
}
int fdatasync(int descriptor) {
    return folder[0] && synced(descriptor) ? -1 : 0;
}

/* Opening is a step where it makes a file or empties one. It is recorded after it was done: only then is the inode known. */
static int makes(int at, const char *name, int flags, char *path) {
    struct stat found;
    if (!path_at(at, name, path)) return 0;
    int there = !fstatat(at, name, &found, 0);
    if (there && S_ISDIR(found.st_mode)) return 0;
    if (flags & O_CREAT && !there) return 1;
    return there && flags & O_TRUNC && found.st_size ? 2 : 0;
}
static int opened(int descriptor, int how, const char *path) {
    char line[2 * PATH_MAX];
    if (descriptor < 0) return descriptor;
    if (how == 1) snprintf(line, sizeof line, "create %ld %s", inode_of(descriptor), path);
    else snprintf(line, sizeof line, "truncate %ld 0", inode_of(descriptor));
    if (!take(line, 0, 0, how == 1)) return descriptor;
    close(descriptor);
    unlink(path);
    errno = error_number;
    return -1;
}
#define MODE(flags) mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *name, int flags, ...) {
    char path[PATH_MAX];
    MODE(flags)
    int how = folder[0] ? makes(AT_FDCWD, name, flags, path) : 0;
    int descriptor = REAL(open)(name, flags, mode);
    return how ? opened(descriptor, how, path) : descriptor;
}
int open64(const char *name, int flags, ...) {
    char path[PATH_MAX];
    MODE(flags)
    int how = folder[0] ? makes(AT_FDCWD, name, flags, path) : 0;
    int descriptor = REAL(open64)(name, flags, mode);
    return how ? opened(descriptor, how, path) : descriptor;
}
int openat(int at, const char *name, int flags, ...) {
    char path[PATH_MAX];
    MODE(flags)
    int how = folder[0] ? makes(at, name, flags, path) : 0;
    int descriptor = REAL(openat)(at, name, flags, mode);
    return how ? opened(descriptor, how, path) : descriptor;
}
int openat64(int at, const char *name, int flags, ...) {
    char path[PATH_MAX];
    MODE(flags)
    int how = folder[0] ? makes(at, name, flags, path) : 0;
    int descriptor = REAL(openat64)(at, name, flags, mode);
    return how ? opened(descriptor, how, path) : descriptor;
}
FILE *fopen(const char *name, const char *mode) {
    char path[PATH_MAX];
    int flags = strchr(mode, 'w') ? O_CREAT | O_TRUNC : strchr(mode, 'a') ? O_CREAT : 0;
    int how = folder[0] && flags ? makes(AT_FDCWD, name, flags, path) : 0;
    FILE *file = REAL(fopen)(name, mode);
    if (how && file && opened(fileno(file), how, path) < 0) return 0;
    return file;
}
FILE *fopen64(const char *name, const char *mode) { return fopen(name, mode); }

static int named(const char *what, int at, const char *from, int to_at, const char *to, int can_fail) {
    char old[PATH_MAX], new[PATH_MAX] = "", line[3 * PATH_MAX];
    if (!folder[0] || !path_at(at, from, old) || (to && !path_at(to_at, to, new))) return 0;
    snprintf(line, sizeof line, "%s %s %s", what, old, new);
    return take(line, 0, 0, can_fail);
}
int rename(const char *from, const char *to) {
    if (named("rename", AT_FDCWD, from, AT_FDCWD, to, 0)) return -1;
    return REAL(rename)(from, to);
}
int renameat(int at, const char *from, int to_at, const char *to) {
    if (named("rename", at, from, to_at, to, 0)) return -1;
    return REAL(renameat)(at, from, to_at, to);
}
int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    if (named("rename", at, from, to_at, to, 0)) return -1;
    return REAL(renameat2)(at, from, to_at, to, flags);
}
int unlink(const char *name) {
    if (named("unlink", AT_FDCWD, name, 0, 0, 0)) return -1;
    return REAL(unlink)(name);
}
int unlinkat(int at, const char *name, int flags) {
    if (named("unlink", at, name, 0, 0, 0)) return -1;
    return REAL(unlinkat)(at, name, flags);
}
int rmdir(const char *name) {
    if (named("unlink", AT_FDCWD, name, 0, 0, 0)) return -1;
    return REAL(rmdir)(name);
}
int mkdir(const char *name, mode_t mode) {
    if (named("mkdir", AT_FDCWD, name, 0, 0, 1)) return -1;
    return REAL(mkdir)(name, mode);
}
int mkdirat(int at, const char *name, mode_t mode) {
    if (named("mkdir", at, name, 0, 0, 1)) return -1;
    return REAL(mkdirat)(at, name, mode);
}
