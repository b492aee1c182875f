/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/pool_lock.h"

#include "registry/conf.h"
#include "registry/files.h"
#include "registry/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What an owner writes is never longer. */
#define RECORD_BYTES 4096

struct thin_pool_lock {
	int fd;
	pid_t owner;
	char *command;
	char *path; /* of the file, for messages */
};

static int failed(const struct thin_pool_lock *lock, const char *verb,
		  struct thin_error *e)
{
	return thin_error_set(e, -errno, "cannot %s %s: %s", verb, lock->path,
			      strerrordesc_np(errno));
}

static int open_file(struct thin_pool_lock *lock, const char *dir, struct thin_error *e)
{
	_cleanup_close int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (folder < 0)
		return thin_error_set(e, -errno, "cannot open folder %s: %s", dir,
				      strerrordesc_np(errno));
	lock->fd = openat(folder, THIN_POOL_LOCK,
			  O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (lock->fd < 0)
		return failed(lock, "open", e);
	r = thin_give_to_owner(folder, lock->fd);
	return r ? thin_error_set(e, r, "cannot make %s: %s", lock->path,
				  strerrordesc_np(-r))
		 : 0;
}

/* ---- the record ---- */

struct record {
	uint32_t pid;
	char *host;
	char *command;
};

#define AT(member) .offset = offsetof(struct record, member)

static const struct thin_conf_key keys[] = {
	{"pid", THIN_CONF_NUMBER, AT(pid), .max = INT32_MAX},
	{"host", THIN_CONF_STRING, AT(host)},
	{"command", THIN_CONF_STRING, AT(command)},
	{.name = NULL},
};

static int write_record(struct thin_pool_lock *lock)
{
	char host[256] = "";
	struct record rec = {(uint32_t)getpid(), host, lock->command};
	_cleanup_free char *text = NULL;
	struct thin_text t;
	size_t len;
	int r;

	if (gethostname(host, sizeof(host) - 1))
		return -errno;
	r = thin_text_open(&t);
	if (r)
		return r;
	thin_conf_write_all(t.out, keys, &rec, "\n");
	r = thin_text_close(&t, &text, &len);
	if (r)
		return r;
	/* All at once: somebody may be reading it. */
	if (pwrite(lock->fd, text, len, 0) != (ssize_t)len ||
	    ftruncate(lock->fd, (off_t)len))
		return errno ? -errno : -EIO;
	lock->owner = getpid();
	return 0;
}

/* "pid 1 on host: command", or what is known of it. */
static int read_record(const struct thin_pool_lock *lock, char **ret)
{
	struct record rec = {0};
	char text[RECORD_BYTES + 1];
	ssize_t len = pread(lock->fd, text, RECORD_BYTES, 0);
	struct thin_conf c;
	int r;

	if (len <= 0)
		return -ENODATA;
	text[len] = '\0';
	r = thin_conf_parse(&c, lock->path, text, (size_t)len, NULL);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), keys, &rec, NULL);
	thin_conf_fini(&c);
	if (!r &&
	    asprintf(ret, "process %u on %s (%s)", rec.pid, rec.host, rec.command) < 0)
		r = -ENOMEM;
	thin_conf_free(keys, &rec);
	return r;
}

/*
 * Who has it.  One that has just taken the lock has not yet written its
 * name: wait a little for it.
 */
static int busy(const struct thin_pool_lock *lock, const char *dir, struct thin_error *e)
{
	static const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	_cleanup_free char *who = NULL;

	for (int tries = 0; tries < 5 && read_record(lock, &who); tries++)
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	return thin_error_set(e, -EBUSY, "%s: the pool is open in %s", dir,
			      who ? who : "another process");
}

/* ---- the lock ---- */

static int lock_file(const struct thin_pool_lock *lock, const char *dir,
		     struct thin_error *e)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(lock->fd, F_OFD_SETLK, &fl))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return busy(lock, dir, e);
	return failed(lock, "lock", e);
}

static int new_lock(const char *dir, const char *command, struct thin_pool_lock **ret)
{
	_cleanup_pool_lock struct thin_pool_lock *lock = calloc(1, sizeof(*lock));

	if (!lock)
		return -ENOMEM;
	lock->fd = -1;
	lock->command = strndup(command, 256);
	if (!lock->command || asprintf(&lock->path, "%s/" THIN_POOL_LOCK, dir) < 0) {
		lock->path = NULL;
		return -ENOMEM;
	}
	*ret = thin_steal(lock);
	return 0;
}

int thin_pool_lock_take(const char *dir, const char *command, struct thin_pool_lock **ret,
			struct thin_error *e)
{
	_cleanup_pool_lock struct thin_pool_lock *lock = NULL;
	int r;

	r = new_lock(dir, command, &lock);
	if (!r)
		r = open_file(lock, dir, e);
	if (!r)
		r = lock_file(lock, dir, e);
	if (!r)
		r = thin_pool_lock_refresh(lock, e);
	if (r)
		return r;
	*ret = thin_steal(lock);
	return 0;
}

int thin_pool_lock_refresh(struct thin_pool_lock *lock, struct thin_error *e)
{
	int r = write_record(lock);

	if (!r)
		return 0;
	return thin_error_set(e, r, "cannot write %s: %s", lock->path,
			      strerrordesc_np(-r));
}

void thin_pool_lock_release(struct thin_pool_lock *lock)
{
	if (!lock)
		return;
	/* Its owner's name should not outlive the lock; where it does, no harm. */
	if (lock->fd >= 0 && lock->owner == getpid() && ftruncate(lock->fd, 0))
		lock->owner = 0;
	if (lock->fd >= 0)
		(void)close(lock->fd);
	free(lock->command);
	free(lock->path);
	free(lock);
}
