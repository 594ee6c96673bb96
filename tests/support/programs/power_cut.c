/* Power cut: records what a file system must keep when the power fails, as strictly as POSIX allows it to forget.
 *
 * Preloaded (LD_PRELOAD), it copies a file's content below POWER_CUT_DISK whenever the program calls fsync or fdatasync
 * on it, and a folder's list of entries whenever the folder is synced. Both are named by inode: an entry's name and a
 * file's content are kept apart, and what was never synced is in neither.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void record_file(int source, int target) {
    char buffer[65536];
    off_t at = 0;
    ssize_t count;
    while ((count = pread(source, buffer, sizeof buffer, at)) > 0) {
        if (write(target, buffer, count) != count) abort();
        at += count;
    }
}

static void record_folder(int folder, int target) {
    DIR *entries = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY));
    struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        dprintf(target, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
    if (entries) closedir(entries);
}

static void record(int descriptor) {
    const char *disk = getenv("POWER_CUT_DISK");
    char link[64], part[4096], whole[4096];
    struct stat status;
    if (!disk || fstat(descriptor, &status)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    snprintf(part, sizeof part, "%s/part-%ld", disk, (long)syscall(SYS_gettid));
    snprintf(whole, sizeof whole, "%s/%lu", disk, (unsigned long)status.st_ino);
    int target = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (target < 0) return;
    if (S_ISDIR(status.st_mode)) {
        record_folder(descriptor, target);
    } else {
        /* SQLite's files are read by their own descriptor: closing another one would release the process's locks. */
        int is_write_only = (fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY;
        int readable = is_write_only ? open(link, O_RDONLY) : descriptor;
        record_file(readable, target);
        if (is_write_only) close(readable);
    }
    close(target);
    rename(part, whole);
}

int fsync(int descriptor) {
    int result = syscall(SYS_fsync, descriptor);
    if (result == 0) record(descriptor);
    return result;
}

int fdatasync(int descriptor) {
    int result = syscall(SYS_fdatasync, descriptor);
    if (result == 0) record(descriptor);
    return result;
}
