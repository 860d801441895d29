/* Records what a process and its children do to the files under one folder, in order.
 *
 * Loaded with LD_PRELOAD. Every call that changes a file or a folder under MILVINE_TRACE_ROOT is made and recorded
 * under one lock, so the order of the records is the order of the effects. A sync has two records, one before and one
 * after the call: it covers the writes recorded before the first and is a promise only once the second is there.
 * Writes to the file MILVINE_TRACE_ACK become ACK records, which place acknowledgements in the same order.
 *
 * Files are named by what /proc/self/fd says at the time of the call, so dup, fork, inherited descriptors and renames
 * need no table here. What cannot be followed (stdio streams, shared writable mappings, exotic calls) is recorded as
 * UNSEEN, and the simulator refuses such a trace. Writes to an sqlite `-shm` file do not count: it does not outlive a crash.
 *
 * Record, little endian: u32 magic, u32 op, u32 bytes of path, u32 bytes of other, u64 number, u64 bytes of data,
 * then path, other and data. Paths are relative to the root; "" is the root itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC 0x5243564du
#define PATH_BYTES (PATH_MAX + 16)
#define EXPORT __attribute__((visibility("default")))

enum op {
    CREATE = 1, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, LINK, SYNC_BEGIN, SYNC_END, ACK, UNSEEN
};

struct header {
    uint32_t magic, op, path_bytes, other_bytes;
    uint64_t number, data_bytes;
};

static char root[PATH_BYTES], ack[PATH_BYTES];
static size_t root_bytes;
static int trace_fd = -1, lock_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void after_fork(void) { pthread_mutex_init(&mutex, NULL); }

/* A descriptor out of the way of programs that number theirs from 0. */
static int open_high(const char *path, int flags) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        perror("milvine tracer");
        abort();
    }
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    if (high < 0) return fd;
    syscall(SYS_close, fd);
    return high;
}

__attribute__((constructor)) static void start(void) {
    const char *from = getenv("MILVINE_TRACE_ROOT"), *to = getenv("MILVINE_TRACE_FILE"), *acks = getenv("MILVINE_TRACE_ACK");
    char lock[PATH_BYTES];
    if (!from || !to || !realpath(from, root)) return;
    root_bytes = strlen(root);
    if (acks) snprintf(ack, sizeof ack, "%s", acks);
    snprintf(lock, sizeof lock, "%s.lock", to);
    lock_fd = open_high(lock, O_RDWR | O_CREAT);
    trace_fd = open_high(to, O_WRONLY | O_CREAT | O_APPEND);
    pthread_atfork(NULL, NULL, after_fork);
}

/* POSIX locks belong to a process, the mutex to its threads: both are needed. */
static void enter(void) {
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pthread_mutex_lock(&mutex);
    while (fcntl(lock_fd, F_SETLKW, &all) < 0 && errno == EINTR) {}
}

static void leave(void) {
    struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    int saved = errno;
    fcntl(lock_fd, F_SETLK, &all);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

/* One writev for a record where the kernel takes it whole; the rest, if any, piece by piece. */
static void append(struct iovec *parts, int count) {
    while (count) {
        ssize_t n = syscall(SYS_writev, trace_fd, parts, count);
        if (n < 0 && errno != EINTR) {
            perror("milvine tracer");
            abort();
        }
        for (size_t left = n > 0 ? (size_t)n : 0; count; parts++, count--) {
            if (left < parts->iov_len) {
                parts->iov_base = (char *)parts->iov_base + left;
                parts->iov_len -= left;
                break;
            }
            left -= parts->iov_len;
        }
    }
}

static void record(enum op op, const char *path, const char *other, uint64_t number, const void *data, size_t bytes) {
    int saved = errno;
    struct header head = {MAGIC, op, (uint32_t)strlen(path), (uint32_t)strlen(other), number, bytes};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)other, head.other_bytes}, {(void *)data, bytes}};
    append(parts, 4);
    errno = saved;
}

static void unseen(const char *path, const char *what) { record(UNSEEN, path, what, 0, NULL, 0); }

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

/* The part of an absolute path below the root, or NULL when it lies elsewhere. */
static const char *below_root(const char *path) {
    if (trace_fd < 0 || strncmp(path, root, root_bytes)) return NULL;
    if (!path[root_bytes]) return path + root_bytes;
    return path[root_bytes] == '/' ? path + root_bytes + 1 : NULL;
}

/* Fills `path` with the name of a descriptor. */
static int name_of(int fd, char *path) {
    char link[64];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_BYTES - 1);
    path[n < 0 ? 0 : n] = 0;
    errno = saved;
    return n > 0;
}

/* Whether writes to a descriptor are recorded, and under which name. A deleted file is of no interest. */
static const char *traced(int fd, char *path) {
    if (trace_fd < 0 || fd < 0 || !name_of(fd, path)) return NULL;
    const char *name = below_root(path);
    if (!name || !ends_with(name, " (deleted)")) return name;
    struct stat status;
    if (!fstat(fd, &status) && status.st_nlink) unseen(name, "a descriptor whose name is gone");
    return NULL;
}

/* The true absolute path of (folder, path), the last part not followed; NULL when it is not under the root. */
static const char *resolve(int folder, const char *path, char *full) {
    char joined[PATH_BYTES], parent[PATH_BYTES];
    int saved = errno;
    if (trace_fd < 0) return NULL;
    if (path[0] == '/') snprintf(joined, sizeof joined, "%s", path);
    else {
        char base[PATH_BYTES];
        if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !name_of(folder, base)) base[0] = 0;
        if (strlen(base) + strlen(path) + 2 > sizeof joined) return NULL;
        strcat(strcat(strcpy(joined, base), "/"), path);
    }
    size_t length = strlen(joined);
    while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
    char *slash = strrchr(joined, '/');
    if (slash == joined) return NULL;
    *slash = 0;
    const char *found = realpath(joined, parent);
    errno = saved;
    if (!found || strlen(parent) + strlen(slash + 1) + 2 > PATH_BYTES) return NULL;
    strcat(strcat(strcpy(full, parent), "/"), slash + 1);
    return below_root(full);
}

/* ---- open */

static int traced_open(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_BYTES];
    const char *name = flags & (O_CREAT | O_TRUNC) ? resolve(folder, path, full) : NULL;
    if (!name) return (int)syscall(SYS_openat, folder, path, flags, mode);
    enter();
    struct stat status;
    int saved = errno;
    int existed = !fstatat(AT_FDCWD, full, &status, AT_SYMLINK_NOFOLLOW);
    errno = saved;
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && existed && S_ISLNK(status.st_mode)) unseen(name, "opening through a symbolic link");
    if (fd >= 0 && !existed) record(CREATE, name, "", 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record(TRUNCATE, name, "", 0, NULL, 0);
    leave();
    return fd;
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0; }

#define OPEN_LIKE(name)                                   \
    EXPORT int name(const char *path, int flags, ...) {   \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = mode_of(flags, rest);               \
        va_end(rest);                                     \
        return traced_open(AT_FDCWD, path, flags, mode);  \
    }
#define OPENAT_LIKE(name)                                         \
    EXPORT int name(int folder, const char *path, int flags, ...) { \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = mode_of(flags, rest);                       \
        va_end(rest);                                             \
        return traced_open(folder, path, flags, mode);            \
    }

OPEN_LIKE(open)
OPEN_LIKE(open64)
OPEN_LIKE(__open_2)
OPEN_LIKE(__open64_2)
OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)
OPENAT_LIKE(__openat_2)
OPENAT_LIKE(__openat64_2)
EXPORT int creat(const char *path, mode_t mode) { return traced_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
EXPORT int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* Streams write from inside the C library, where no preload sees them. */
static FILE *watched_fopen(const char *symbol, const char *path, const char *mode) {
    char full[PATH_BYTES];
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, symbol);
    const char *name = strpbrk(mode, "wa+") ? resolve(AT_FDCWD, path, full) : NULL;
    if (name) {
        enter();
        unseen(name, "a stdio stream");
        leave();
    }
    return real(path, mode);
}
EXPORT FILE *fopen(const char *path, const char *mode) { return watched_fopen("fopen", path, mode); }
EXPORT FILE *fopen64(const char *path, const char *mode) { return watched_fopen("fopen64", path, mode); }

/* ---- write */

#define HERE (-1)

static void record_write(int fd, const char *name, int64_t offset, const void *data, ssize_t n) {
    int saved = errno;
    if (offset == HERE) offset = lseek(fd, 0, SEEK_CUR) - n;
    record(WRITE, name, "", (uint64_t)offset, data, (size_t)n);
    if (fcntl(fd, F_GETFL) & O_DSYNC) {
        record(SYNC_BEGIN, name, "", (uint64_t)gettid(), NULL, 0);
        record(SYNC_END, name, "", (uint64_t)gettid(), NULL, 0);
    }
    errno = saved;
}

static ssize_t raw_write(int fd, const void *data, size_t bytes, int64_t offset) {
    return offset == HERE ? syscall(SYS_write, fd, data, bytes) : syscall(SYS_pwrite64, fd, data, bytes, offset);
}

static ssize_t traced_write(int fd, const void *data, size_t bytes, int64_t offset) {
    char path[PATH_BYTES];
    if (trace_fd < 0 || !name_of(fd, path)) return raw_write(fd, data, bytes, offset);
    int is_ack = ack[0] && !strcmp(path, ack);
    if (!is_ack && !below_root(path)) return raw_write(fd, data, bytes, offset);
    enter();
    const char *name = is_ack ? "" : traced(fd, path); /* again: it may have been renamed before the lock was ours */
    ssize_t n = raw_write(fd, data, bytes, offset);
    if (n > 0 && is_ack) record(ACK, "", "", 0, data, (size_t)n);
    else if (n > 0 && name && !ends_with(name, "-shm")) record_write(fd, name, offset, data, n);
    leave();
    return n;
}

/* One buffer, then as above. */
static ssize_t traced_writev(int fd, const struct iovec *parts, int count, int64_t offset) {
    char path[PATH_BYTES];
    size_t bytes = 0, at = 0;
    if (!traced(fd, path))
        return offset == HERE ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, offset, 0);
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    char *joined = malloc(bytes ? bytes : 1);
    if (!joined) {
        errno = ENOMEM;
        return -1;
    }
    for (int i = 0; i < count; at += parts[i++].iov_len) memcpy(joined + at, parts[i].iov_base, parts[i].iov_len);
    ssize_t n = traced_write(fd, joined, bytes, offset);
    free(joined);
    return n;
}

EXPORT ssize_t write(int fd, const void *data, size_t bytes) { return traced_write(fd, data, bytes, HERE); }
EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { return traced_write(fd, data, bytes, at); }
EXPORT ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) { return traced_write(fd, data, bytes, at); }
EXPORT ssize_t writev(int fd, const struct iovec *v, int n) { return traced_writev(fd, v, n, HERE); }
EXPORT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { return traced_writev(fd, v, n, at); }
EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { return traced_writev(fd, v, n, at); }
EXPORT ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags) {
    (void)flags;
    return traced_writev(fd, v, n, at);
}
EXPORT ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off64_t at, int flags) {
    (void)flags;
    return traced_writev(fd, v, n, at);
}

/* Copies inside the kernel: refused, so that callers fall back to read and write. */
EXPORT ssize_t sendfile(int out, int in, off_t *at, size_t bytes) {
    char path[PATH_BYTES];
    if (!traced(out, path)) return syscall(SYS_sendfile, out, in, at, bytes);
    errno = ENOSYS;
    return -1;
}
EXPORT ssize_t sendfile64(int out, int in, off64_t *at, size_t bytes) { return sendfile(out, in, at, bytes); }
EXPORT ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t bytes, unsigned flags) {
    char path[PATH_BYTES];
    if (!traced(out, path)) return syscall(SYS_copy_file_range, in, from, out, to, bytes, flags);
    errno = ENOSYS;
    return -1;
}

EXPORT void *mmap(void *at, size_t bytes, int access, int flags, int fd, off_t offset) {
    char path[PATH_BYTES];
    if (fd >= 0 && (access & PROT_WRITE) && (flags & MAP_SHARED) && trace_fd >= 0) {
        const char *name = traced(fd, path);
        if (name && !ends_with(name, "-shm")) {
            enter();
            unseen(name, "a shared writable mapping");
            leave();
        }
    }
    return (void *)syscall(SYS_mmap, at, bytes, access, flags, fd, offset);
}
EXPORT void *mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset) {
    return mmap(at, bytes, access, flags, fd, offset);
}

/* ---- size */

EXPORT int ftruncate(int fd, off_t size) {
    char path[PATH_BYTES];
    if (!traced(fd, path)) return (int)syscall(SYS_ftruncate, fd, size);
    enter();
    const char *name = traced(fd, path);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (!result && name && !ends_with(name, "-shm")) record(TRUNCATE, name, "", (uint64_t)size, NULL, 0);
    leave();
    return result;
}
EXPORT int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

EXPORT int truncate(const char *path, off_t size) {
    char full[PATH_BYTES];
    const char *name = resolve(AT_FDCWD, path, full);
    if (!name) return (int)syscall(SYS_truncate, path, size);
    enter();
    int result = (int)syscall(SYS_truncate, path, size);
    if (!result) record(TRUNCATE, name, "", (uint64_t)size, NULL, 0);
    leave();
    return result;
}
EXPORT int truncate64(const char *path, off64_t size) { return truncate(path, size); }

EXPORT int fallocate(int fd, int mode, off_t at, off_t bytes) {
    char path[PATH_BYTES];
    struct stat status;
    if (!traced(fd, path)) return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
    enter();
    const char *name = traced(fd, path);
    int known = !fstat(fd, &status);
    int result = (int)syscall(SYS_fallocate, fd, mode, at, bytes);
    if (!result && name && mode & ~FALLOC_FL_KEEP_SIZE) unseen(name, "fallocate");
    else if (!result && name && !mode && known && at + bytes > status.st_size)
        record(TRUNCATE, name, "", (uint64_t)(at + bytes), NULL, 0);
    leave();
    return result;
}
EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t bytes) { return fallocate(fd, mode, at, bytes); }
EXPORT int posix_fallocate(int fd, off_t at, off_t bytes) { return fallocate(fd, 0, at, bytes) ? errno : 0; }
EXPORT int posix_fallocate64(int fd, off64_t at, off64_t bytes) { return posix_fallocate(fd, at, bytes); }

/* ---- names */

static int traced_rename(int a, const char *from, int b, const char *to, unsigned flags, enum op op) {
    char full_from[PATH_BYTES], full_to[PATH_BYTES];
    const char *old = resolve(a, from, full_from), *new = resolve(b, to, full_to);
    long call = op == LINK ? SYS_linkat : SYS_renameat2;
    if (!old && !new) return (int)syscall(call, a, from, b, to, flags);
    enter();
    int result = (int)syscall(call, a, from, b, to, flags);
    if (!result) {
        if (!old || !new || (op == RENAME && flags & ~1u)) unseen(old ? old : new, "a rename or link across the root");
        else record(op, old, new, 0, NULL, 0);
    }
    leave();
    return result;
}
EXPORT int rename(const char *from, const char *to) { return traced_rename(AT_FDCWD, from, AT_FDCWD, to, 0, RENAME); }
EXPORT int renameat(int a, const char *from, int b, const char *to) { return traced_rename(a, from, b, to, 0, RENAME); }
EXPORT int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return traced_rename(a, from, b, to, flags, RENAME);
}
EXPORT int link(const char *from, const char *to) { return traced_rename(AT_FDCWD, from, AT_FDCWD, to, 0, LINK); }
EXPORT int linkat(int a, const char *from, int b, const char *to, int flags) {
    return traced_rename(a, from, b, to, (unsigned)flags, LINK);
}

static int traced_unlink(int folder, const char *path, int flags) {
    char full[PATH_BYTES];
    const char *name = resolve(folder, path, full);
    if (!name) return (int)syscall(SYS_unlinkat, folder, path, flags);
    enter();
    int result = (int)syscall(SYS_unlinkat, folder, path, flags);
    if (!result) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, name, "", 0, NULL, 0);
    leave();
    return result;
}
EXPORT int unlink(const char *path) { return traced_unlink(AT_FDCWD, path, 0); }
EXPORT int unlinkat(int folder, const char *path, int flags) { return traced_unlink(folder, path, flags); }
EXPORT int rmdir(const char *path) { return traced_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

EXPORT int mkdirat(int folder, const char *path, mode_t mode) {
    char full[PATH_BYTES];
    const char *name = resolve(folder, path, full);
    if (!name) return (int)syscall(SYS_mkdirat, folder, path, mode);
    enter();
    int result = (int)syscall(SYS_mkdirat, folder, path, mode);
    if (!result) record(MKDIR, name, "", 0, NULL, 0);
    leave();
    return result;
}
EXPORT int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

EXPORT int symlinkat(const char *target, int folder, const char *path) {
    char full[PATH_BYTES];
    const char *name = resolve(folder, path, full);
    if (name) {
        enter();
        unseen(name, "a symbolic link");
        leave();
    }
    return (int)syscall(SYS_symlinkat, target, folder, path);
}
EXPORT int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

/* ---- sync. The lock is not held during the call: others go on writing, as they do in life. */

static int traced_sync(long call, int fd) {
    char path[PATH_BYTES];
    if (!traced(fd, path)) return (int)syscall(call, fd);
    enter();
    const char *name = traced(fd, path);
    if (name) record(SYNC_BEGIN, name, "", (uint64_t)gettid(), NULL, 0);
    leave();
    int result = (int)syscall(call, fd);
    if (result || !name) return result;
    enter();
    record(SYNC_END, name, "", (uint64_t)gettid(), NULL, 0);
    leave();
    return result;
}
EXPORT int fsync(int fd) { return traced_sync(SYS_fsync, fd); }
EXPORT int fdatasync(int fd) { return traced_sync(SYS_fdatasync, fd); }
