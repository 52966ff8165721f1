/* LD_PRELOAD: a log of everything that a process does to the files under $WLOG_DIR and says on its sockets, in the order in which it was done.
 *
 * A record: kind, u16 length of the name, u64 offset (of a socket: its number), u32 length of the bytes; the name; the bytes.
 * W written  T truncated to  S synced  U unlinked  M renamed to (the bytes)  N said on a socket  R heard on a socket
 * Taken down after the fact, so a sync stands behind what it made safe, and a word on a socket behind the sync it waited for. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define REAL(ret, name, args) static ret(*real) args; if (!real) real = dlsym(RTLD_NEXT, name)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *dir;
static char *names[FDS];

static ssize_t put(const void *bytes, size_t n) { REAL(ssize_t, "write", (int, const void *, size_t)); return real(log_fd, bytes, n); }

__attribute__((constructor)) static void begin(void) {
    const char *out = getenv("WLOG_OUT");
    dir = getenv("WLOG_DIR");
    if (!dir || !out) return;
    REAL(int, "open64", (const char *, int, ...));
    log_fd = real(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void record(char kind, const char *name, uint64_t offset, const struct iovec *pieces, int count, size_t n) {
    if (log_fd < 0) return;
    uint16_t length = strlen(name);
    uint32_t bytes = n;
    char head[15];
    head[0] = kind;
    memcpy(head + 1, &length, 2), memcpy(head + 3, &offset, 8), memcpy(head + 11, &bytes, 4);
    pthread_mutex_lock(&mutex);
    put(head, sizeof head), put(name, length);
    for (int i = 0; i < count && n; i++) {
        size_t part = pieces[i].iov_len < n ? pieces[i].iov_len : n;
        put(pieces[i].iov_base, part), n -= part;
    }
    pthread_mutex_unlock(&mutex);
}

static void one(char kind, const char *name, uint64_t offset, const void *bytes, size_t n) {
    struct iovec piece = {(void *)bytes, n};
    record(kind, name, offset, &piece, 1, n);
}

static const char *name_of(int fd) { return fd >= 0 && fd < FDS ? names[fd] : NULL; }
static int ours(const char *path) { return dir && !strncmp(path, dir, strlen(dir)); }

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS || !ours(path)) return fd;
    free(names[fd]), names[fd] = strdup(path);
    if (flags & O_TRUNC) one('T', path, 0, "", 0);
    return fd;
}

#define OPEN(name) int name(const char *path, int flags, ...) { REAL(int, #name, (const char *, int, ...)); va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); return opened(real(path, flags, mode), path, flags); }
OPEN(open) OPEN(open64)

int close(int fd) { REAL(int, "close", (int)); if (name_of(fd)) free(names[fd]), names[fd] = NULL; return real(fd); }

static void spoke(char kind, int fd, const struct iovec *pieces, int count, ssize_t n) {
    struct stat what;
    if (n > 0 && log_fd >= 0 && !fstat(fd, &what) && S_ISSOCK(what.st_mode)) record(kind, "", fd, pieces, count, n);
}

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, "write", (int, const void *, size_t));
    off_t at = name_of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, bytes, n);
    struct iovec piece = {(void *)bytes, n};
    if (done > 0 && name_of(fd)) one('W', name_of(fd), at, bytes, done); else spoke('N', fd, &piece, 1, done);
    return done;
}
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(ssize_t, "writev", (int, const struct iovec *, int));
    off_t at = name_of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, pieces, count);
    if (done > 0 && name_of(fd)) record('W', name_of(fd), at, pieces, count, done); else spoke('N', fd, pieces, count, done);
    return done;
}
ssize_t send(int fd, const void *bytes, size_t n, int flags) { REAL(ssize_t, "send", (int, const void *, size_t, int)); ssize_t done = real(fd, bytes, n, flags); struct iovec piece = {(void *)bytes, n}; spoke('N', fd, &piece, 1, done); return done; }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) { REAL(ssize_t, "sendmsg", (int, const struct msghdr *, int)); ssize_t done = real(fd, message, flags); spoke('N', fd, message->msg_iov, message->msg_iovlen, done); return done; }
ssize_t read(int fd, void *bytes, size_t n) { REAL(ssize_t, "read", (int, void *, size_t)); ssize_t done = real(fd, bytes, n); struct iovec piece = {bytes, n}; if (!name_of(fd)) spoke('R', fd, &piece, 1, done); return done; }
ssize_t recv(int fd, void *bytes, size_t n, int flags) { REAL(ssize_t, "recv", (int, void *, size_t, int)); ssize_t done = real(fd, bytes, n, flags); struct iovec piece = {bytes, n}; spoke('R', fd, &piece, 1, done); return done; }

#define PWRITE(name) ssize_t name(int fd, const void *bytes, size_t n, off64_t at) { REAL(ssize_t, #name, (int, const void *, size_t, off64_t)); ssize_t done = real(fd, bytes, n, at); if (done > 0 && name_of(fd)) one('W', name_of(fd), at, bytes, done); return done; }
PWRITE(pwrite) PWRITE(pwrite64)
#define TRUNCATE(name) int name(int fd, off64_t to) { REAL(int, #name, (int, off64_t)); int failed = real(fd, to); if (!failed && name_of(fd)) one('T', name_of(fd), to, "", 0); return failed; }
TRUNCATE(ftruncate) TRUNCATE(ftruncate64)
#define SYNC(name) int name(int fd) { REAL(int, #name, (int)); int failed = real(fd); if (!failed && name_of(fd)) one('S', name_of(fd), 0, "", 0); return failed; }
SYNC(fsync) SYNC(fdatasync)
int unlink(const char *path) { REAL(int, "unlink", (const char *)); int failed = real(path); if (!failed && ours(path)) one('U', path, 0, "", 0); return failed; }
int rename(const char *path, const char *to) { REAL(int, "rename", (const char *, const char *)); int failed = real(path, to); if (!failed && ours(path)) one('M', path, 0, to, strlen(to)); return failed; }
