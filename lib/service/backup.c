/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/backup.h"

#include "audit/audit.h"
#include "service/backup_file.h"
#include "service/service.h"
#include "util/checked.h"
#include "util/lock.h"
#include "util/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How often it looks whether there is something to do. */
#define LOOK_S 10

/* Least of what the processors and disks have to give. */
#define NICE 19

struct thin_backups {
	struct thinbd *t;
	char *folder;
	uint64_t commits; /* the thread's: when the last one was made */
	int64_t tried;	  /* the thread's: when, the last time */
	pthread_t thread;
	bool started;
	struct thin_mutex lock;
	struct thin_cond changed;
	bool stop THIN_GUARDED_BY(lock);
	int64_t last THIN_GUARDED_BY(lock); /* 0: none */
	char problem[THIN_ERROR_TEXT] THIN_GUARDED_BY(lock);
};

/* --- those that there are --------------------------------------------------- */

#define PREFIX "metadata-"
#define SUFFIX ".zst"

void thin_backup_name(int64_t time, char ret[static THIN_BACKUP_NAME])
{
	struct tm tm;
	time_t then = (time_t)time;
	char text[32];

	(void)gmtime_r(&then, &tm);
	strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(ret, THIN_BACKUP_NAME, PREFIX "%s" SUFFIX, text);
}

bool thin_backup_time(const char *name, int64_t *ret)
{
	char again[THIN_BACKUP_NAME];
	struct tm tm = {0};

	if (!strptime(name, PREFIX "%Y%m%dT%H%M%SZ" SUFFIX, &tm))
		return false;
	*ret = (int64_t)timegm(&tm);
	thin_backup_name(*ret, again);
	return !strcmp(again, name);
}

static int note_name(void *ctx, const char *name)
{
	struct thin_backup_list *l = ctx;
	int64_t time;

	if (!thin_backup_time(name, &time))
		return 0;
	if (l->nr == l->room) {
		size_t room = 2 * l->room + 16;
		int64_t *grown = reallocarray(l->at, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->at = grown;
		l->room = room;
	}
	l->at[l->nr++] = time;
	return 0;
}

static int compare_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

int thin_backup_list_read(struct thin_backup_list *l, const char *dir)
{
	_cleanup_free char *path = NULL;
	_cleanup_files struct thin_files *f = NULL;
	int r;

	*l = (struct thin_backup_list){0};
	if (asprintf(&path, "%s/" THIN_BACKUPS, dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = thin_files_open(path, 0, &f, NULL);
	if (r)
		return r == -ENOENT ? 0 : r;
	r = f->ops->list(f, note_name, l);
	if (l->nr)
		qsort(l->at, l->nr, sizeof(*l->at), compare_time);
	return r;
}

void thin_backup_list_fini(struct thin_backup_list *l)
{
	free(l->at);
	*l = (struct thin_backup_list){0};
}

/* --- making one --------------------------------------------------------------- */

/* Two files that mean nothing, in the folder. */
struct making {
	struct thin_files *f;
	char *image_path, *packed_path;
	struct thin_storage *image, *packed;
};

#define IMAGE  THIN_FILES_TMP "image"
#define PACKED THIN_FILES_TMP "packed"

static void unlink_both(const struct making *m)
{
	(void)m->f->ops->unlink(m->f, IMAGE); /* they mean nothing */
	(void)m->f->ops->unlink(m->f, PACKED);
}

static int open_both(struct thin_backups *b, struct making *m, struct thin_error *e)
{
	unsigned flags = THIN_STORAGE_CREATE | THIN_STORAGE_NEW | THIN_STORAGE_SYNC;
	int r = thin_files_open(b->folder, THIN_FILES_CREATE, &m->f, e);

	if (r)
		return r;
	unlink_both(m);
	if (asprintf(&m->image_path, "%s/" IMAGE, b->folder) < 0)
		m->image_path = NULL;
	if (asprintf(&m->packed_path, "%s/" PACKED, b->folder) < 0)
		m->packed_path = NULL;
	if (!m->image_path || !m->packed_path)
		return -ENOMEM;
	r = thin_storage_open_file(m->image_path, flags, &m->image, e);
	return r ? r : thin_storage_open_file(m->packed_path, flags, &m->packed, e);
}

static void close_both(struct making *m)
{
	thin_storage_close(m->image);
	thin_storage_close(m->packed);
	if (m->f)
		unlink_both(m);
	thin_files_close(m->f);
	free(m->image_path);
	free(m->packed_path);
}

/* The last commit, as it is on disk. */
static int copy_commit(struct thin_backups *b, struct making *m, struct thin_error *e)
{
	_Alignas(8) uint8_t superblock[THIN_METADATA_BLOCK];
	int r = thin_pool_pin(b->t->pool, superblock);

	if (r)
		return r;
	r = thin_backup_copy(thin_pool_metadata_storage(b->t->pool), superblock,
			     m->image);
	if (!thin_pool_unpin(b->t->pool))
		r = thin_error_set(
			e, -ENOBUFS,
			"the metadata were too full to be read while they change");
	return r;
}

static int audit_copy(struct making *m, struct thin_error *e)
{
	struct thin_audit_summary sums;
	int r = thin_audit(m->image, NULL, NULL, NULL, &sums, e);

	if (!r && sums.fatal + sums.nonfatal)
		r = thin_error_set(
			e, -EILSEQ,
			"the metadata are damaged: see what `thinbd check` says");
	return r;
}

static int give_name(struct thin_backups *b, struct making *m, int64_t now)
{
	char name[THIN_BACKUP_NAME];
	int r;

	(void)b;
	thin_backup_name(now, name);
	r = m->f->ops->rename(m->f, PACKED, name);
	return r ? r : m->f->ops->sync_folder(m->f);
}

/* Only after a good one came in. */
static void drop_oldest(struct thin_backups *b, struct making *m)
{
	struct thin_backup_list l = {0};
	char name[THIN_BACKUP_NAME];
	size_t keep = b->t->conf.keep_metadata_backups;

	if (!thin_backup_list_read(&l, b->t->dir))
		for (size_t i = 0; i + keep < l.nr; i++) {
			thin_backup_name(l.at[i], name);
			(void)m->f->ops->unlink(m->f,
						name); /* the next one tries again */
		}
	thin_backup_list_fini(&l);
}

static int make_one(struct thin_backups *b, int64_t now, struct thin_error *e)
{
	struct making m = {0};
	int r = open_both(b, &m, e);

	if (!r)
		r = copy_commit(b, &m, e);
	if (!r)
		r = audit_copy(&m, e);
	if (!r)
		r = thin_backup_pack(m.image, m.packed);
	if (!r)
		r = thin_backup_unpack(m.packed, NULL, m.image);
	if (!r)
		r = give_name(b, &m, now);
	if (!r)
		drop_oldest(b, &m);
	close_both(&m);
	if (r == -ENOSPC)
		return thin_error_set(e, r, "no room for it in %s", b->folder);
	return r ? thin_error_default(e, r, "%s", thin_strerror(r)) : 0;
}

/* --- the thread ------------------------------------------------------------------ */

/* Is it time, and has something changed?  A clock may go back. */
static bool is_due(struct thin_backups *b, int64_t last, int64_t now, uint64_t commits)
{
	int64_t interval = b->t->conf.metadata_backup_interval;
	int64_t since = last > b->tried ? last : b->tried;

	return (!last || commits != b->commits) &&
	       (now < since || now - since >= interval);
}

/* One that failed is tried again when the next one would be; see the status. */
static void back_up(struct thin_backups *b) THIN_REQUIRES(b->lock)
{
	struct thin_pool_status s;
	int64_t now = (int64_t)time(NULL), last = b->last;
	struct thin_error e = {""};
	int r;

	thin_mutex_unlock(&b->lock);
	thin_pool_status(b->t->pool, &s);
	r = 1;
	if (is_due(b, last, now, s.metadata.commits)) {
		r = make_one(b, now, &e);
		if (r == -EBUSY)
			r = 1; /* somebody else looks at a commit; soon again */
		else
			b->tried = now;
	}
	if (!r)
		b->commits = s.metadata.commits;
	thin_mutex_lock(&b->lock);
	if (r > 0)
		return;
	b->last = r ? b->last : now;
	snprintf(b->problem, sizeof(b->problem), "%s", e.text);
}

static void *run(void *arg)
{
	struct thin_backups *b = arg;
	int64_t look = thin_min(LOOK_S, b->t->conf.metadata_backup_interval);

	/* Of this thread; without it things are but slower. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	thin_mutex_lock(&b->lock);
	while (!b->stop) {
		back_up(b);
		if (!b->stop)
			(void)thin_cond_wait_until(&b->changed, &b->lock,
						   thin_now_ns() +
							   (uint64_t)look * 1000000000);
	}
	thin_mutex_unlock(&b->lock);
	return NULL;
}

/* --- its life ---------------------------------------------------------------------- */

static int64_t latest(const char *dir)
{
	struct thin_backup_list l = {0};
	int64_t last = 0;

	if (!thin_backup_list_read(&l, dir) && l.nr)
		last = l.at[l.nr - 1];
	thin_backup_list_fini(&l);
	return last;
}

int thin_backups_new(struct thinbd *t, struct thin_backups **ret)
{
	struct thin_backups *b;

	*ret = NULL;
	if (!t->conf.keep_metadata_backups)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	if (asprintf(&b->folder, "%s/" THIN_BACKUPS, t->dir) < 0) {
		free(b);
		return -ENOMEM;
	}
	b->t = t;
	b->last = latest(t->dir);
	thin_mutex_init(&b->lock);
	thin_cond_init(&b->changed);
	*ret = b;
	return 0;
}

int thin_backups_start(struct thin_backups *b)
{
	if (!b)
		return 0;
	int r = thin_thread_start(&b->thread, "thin-backup", run, b);

	b->started = r == 0;
	return r;
}

void thin_backups_stop(struct thin_backups *b)
{
	if (!b)
		return;
	if (b->started) {
		thin_mutex_lock(&b->lock);
		b->stop = true;
		thin_cond_broadcast(&b->changed);
		thin_mutex_unlock(&b->lock);
		(void)pthread_join(b->thread, NULL);
	}
	thin_cond_fini(&b->changed);
	thin_mutex_fini(&b->lock);
	free(b->folder);
	free(b);
}

struct json_object *thin_backups_json(struct thin_backups *b)
{
	struct json_object *o;

	if (!b)
		return NULL;
	o = json_object_new_object();
	thin_mutex_lock(&b->lock);
	thin_json_add(o, "last", b->last ? thin_time_json(b->last) : NULL);
	thin_json_add(o, "problem", thin_json_string(*b->problem ? b->problem : NULL));
	thin_mutex_unlock(&b->lock);
	return o;
}
