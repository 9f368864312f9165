/* A disk that fails, and forgets: preloaded (LD_PRELOAD), it stands between SQLite and the files of a store.

   FAULTS/read, FAULTS/write, FAULTS/sync   while such a file exists, these calls on the store's files return EIO
   DISK/                                    what would be there after a power cut: the pages of each fsync that succeeded

   A failed fsync marks the pages clean without having written them, as Linux does, so that a later fsync which succeeds
   says nothing about them: https://www.usenix.org/conference/atc20/presentation/rebello */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_PAGES = 1 << 16, MAX_DESCRIPTORS = 1 << 12 };

static const char *const NAMES[] = {"", "observability.db", "observability.db-wal"};
static int file_of[MAX_DESCRIPTORS]; /* an index of NAMES; 0 for any other file */
static char dirty[3][MAX_PAGES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int file_at(const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    size_t length = strlen(name);
    if (strncmp(name, NAMES[1], strlen(NAMES[1])) != 0) return 0;
    if (length > 4 && strcmp(name + length - 4, "-wal") == 0) return 2;
    return strcmp(name, NAMES[1]) == 0 || strcmp(name, "observability.db-new") == 0;
}

static int file_behind(int fd) { return fd >= 0 && fd < MAX_DESCRIPTORS ? file_of[fd] : 0; }

static int fails(const char *call) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", getenv("FAULTS"), call);
    if (access(path, F_OK) != 0) return 0;
    errno = EIO;
    return 1;
}

static void kept(int file, char *path) { snprintf(path, PATH_MAX, "%s/%s", getenv("DISK"), NAMES[file]); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = REAL(open64)(path, flags, flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0);
    va_end(rest);
    if (fd >= 0 && fd < MAX_DESCRIPTORS) file_of[fd] = file_at(path);
    return fd;
}

ssize_t pread64(int fd, void *to, size_t size, off64_t at) {
    if (file_behind(fd) && fails("read")) return -1;
    return REAL(pread64)(fd, to, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    int file = file_behind(fd);
    if (file && fails("write")) return -1;
    ssize_t written = REAL(pwrite64)(fd, from, size, at);
    if (file && written > 0) {
        pthread_mutex_lock(&lock);
        for (off64_t page = at / PAGE; page <= (at + written - 1) / PAGE && page < MAX_PAGES; page++) dirty[file][page] = 1;
        pthread_mutex_unlock(&lock);
    }
    return written;
}

int fdatasync(int fd) {
    int file = file_behind(fd);
    if (!file) return REAL(fdatasync)(fd);
    char path[PATH_MAX], bytes[PAGE];
    pthread_mutex_lock(&lock);
    int failed = fails("sync");
    kept(file, path);
    int disk = failed ? -1 : REAL(open64)(path, O_WRONLY | O_CREAT, 0600);
    for (off64_t page = 0; page < MAX_PAGES; page++) {
        if (!dirty[file][page]) continue;
        dirty[file][page] = 0;
        if (failed) continue;
        ssize_t size = REAL(pread64)(fd, bytes, PAGE, page * PAGE);
        if (size > 0 && REAL(pwrite64)(disk, bytes, size, page * PAGE) != size) abort();
    }
    if (!failed) close(disk);
    pthread_mutex_unlock(&lock);
    if (failed) errno = EIO;
    return failed ? -1 : 0;
}

int ftruncate64(int fd, off64_t size) {
    int result = REAL(ftruncate64)(fd, size), file = file_behind(fd);
    char path[PATH_MAX];
    if (file && result == 0) {
        kept(file, path);
        if (truncate(path, size) != 0 && errno != ENOENT) abort();
    }
    return result;
}

int unlink(const char *path) {
    char disk[PATH_MAX];
    int result = REAL(unlink)(path), file = file_at(path);
    if (file && result == 0) {
        kept(file, disk);
        REAL(unlink)(disk);
    }
    return result;
}
