/* SPDX-License-Identifier: BSD-3-Clause */
#include "house_internal.h"

#include "util/checked.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK	 UINT64_C(8) /* sectors */
#define METADATA UINT64_C(128)
#define DATA	 UINT64_C(128) /* blocks */

int house_say(char *why, size_t len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, len, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* --- what the service opens --------------------------------------------------------- */

static struct thin_storage *given_storage[REC_FILES];
static struct folder *given_folder;
static char dir[200];

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && !strcmp(text + len - n, end);
}

int __real_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e);
int __wrap_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e);
int __wrap_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e)
{
	if (!given_folder || !ends_with(path, "/volumes"))
		return __real_thin_files_open(path, flags, ret, e);
	*ret = &given_folder->files;
	return 0;
}

int __real_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e);
int __wrap_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e);
int __wrap_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e)
{
	if (given_storage[REC_METADATA] && ends_with(where, "/metadata"))
		*ret = given_storage[REC_METADATA];
	else if (given_storage[REC_DATA] && ends_with(where, "/data"))
		*ret = given_storage[REC_DATA];
	else
		return __real_thin_storage_open(where, flags, ret, e);
	return 0;
}

int house_open_with(struct thin_storage *metadata, struct thin_storage *data,
		    struct folder *folder, struct thinbd **ret, struct thinbd_error *e)
{
	struct thinbd_params params = {.dir = dir, .command = "crash"};
	int r;

	given_storage[REC_METADATA] = metadata;
	given_storage[REC_DATA] = data;
	given_folder = folder;
	r = thinbd_open(&params, ret, e);
	given_folder = NULL;
	given_storage[REC_METADATA] = given_storage[REC_DATA] = NULL;
	return r;
}

bool house_ask(struct thinbd *t, const char *request, char **ret_reply)
{
	int r = t ? thinbd_request(t, request, NULL, ret_reply)
		  : thinbd_call(dir, request, NULL, ret_reply);

	if (r)
		abort();
	return !strstr(*ret_reply, "\"error\"");
}

/* --- the folder ------------------------------------------------------------------------
 */

/* What volumes are laid over: it is ours, not the library's to write. */
static void make_origin(void)
{
	uint8_t sector[THIN_SECTOR];
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/base", dir);
	file = fopen(path, "w");
	for (uint64_t s = 0; s < HOUSE_VOLUME; s++) {
		stamp_fill(sector, STAMP_ORIGIN, s);
		if (!file || fwrite(sector, sizeof(sector), 1, file) != 1)
			abort();
	}
	if (fclose(file))
		abort();
}

void house_found(void)
{
	const char *tmp = getenv("TMPDIR");
	char request[300], *reply;

	snprintf(dir, sizeof(dir), "%s/thinbd-house-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		abort();
	snprintf(request, sizeof(request),
		 "{\"verb\":\"init\",\"args\":{\"data_size\":%" PRIu64
		 ",\"metadata_size\":%" PRIu64 ",\"block_size\":%" PRIu64
		 ",\"set\":[\"auto_extend_step=0\",\"when_full=error\",\"io=sync\"]}}",
		 DATA * BLOCK * THIN_SECTOR, METADATA * THIN_METADATA_BLOCK,
		 BLOCK * THIN_SECTOR);
	if (!house_ask(NULL, request, &reply)) {
		fprintf(stderr, "house: init: %s\n", reply);
		exit(1);
	}
	free(reply);
	make_origin();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void house_fini(void)
{
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS); /* a leftover in /tmp */
}

static void load(struct disk *d, const char *name)
{
	struct thin_storage *s;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (thin_storage_open_file(path, THIN_STORAGE_READONLY, &s, NULL))
		abort();
	disk_init(d, 0);
	disk_load(d, s);
	thin_storage_close(s);
}

void house_base_new(struct house_base *b, const char *name)
{
	*b = (struct house_base){.next_value = STAMP_FIRST};
	snprintf(b->name, sizeof(b->name), "%s", name);
	load(&b->disk[REC_METADATA], "metadata");
	load(&b->disk[REC_DATA], "data");
	folder_init(&b->folder, NULL);
	model_init(&b->model);
}

void house_base_fini(struct house_base *b)
{
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&b->disk[f]);
	folder_fini(&b->folder);
	model_fini(&b->model);
}

/* --- opening and closing
 * ------------------------------------------------------------------- */

static int open_service(struct house *h)
{
	struct thinbd_error e = {0};
	int r = house_open_with(
		rec_lend(h->rec, REC_METADATA, &h->disk[REC_METADATA].base),
		rec_lend(h->rec, REC_DATA, &h->disk[REC_DATA].base), &h->folder, &h->t,
		&e);

	if (!r)
		return 0;
	h->t = NULL;
	return house_say(h->failure, sizeof(h->failure), "open: %.450s", e.text);
}

static void close_volume(struct house *h, uint32_t i)
{
	thinbd_volume_close(thin_steal(h->volume[i]));
}

static int close_service(struct house *h)
{
	int r;

	for (uint32_t i = 0; i < HOUSE_SLOTS; i++)
		close_volume(h, i);
	r = thinbd_close(thin_steal(h->t));
	if (r && !h->dead)
		return house_say(h->failure, sizeof(h->failure), "close: %d", r);
	return 0;
}

int house_open(struct house *h, const struct house_base *base)
{
	*h = (struct house){.base = base, .next_value = base->next_value};
	h->rec = rec_new(REC_KEEP);
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&h->disk[f], 0);
		disk_copy(&h->disk[f], &base->disk[f]);
		rec_look_below(h->rec, f, &h->disk[f].base);
	}
	folder_copy(&h->folder, &base->folder);
	h->folder.rec = h->rec;
	h->mon = monitor_new(h->rec, MONITOR_STRICT);
	model_copy(&h->model, &base->model);
	return open_service(h);
}

void house_crash(struct house *h)
{
	rec_stop(h->rec);
	h->dead = true;
	(void)close_service(h); /* it is gone, whatever it says */
}

void house_close(struct house *h)
{
	house_crash(h);
	monitor_free(h->mon);
	rec_free(h->rec);
	folder_fini(&h->folder);
	model_fini(&h->model);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&h->disk[f]);
}

int house_to_base(struct house *h, struct house_base *ret)
{
	int r = close_service(h);

	if (r)
		return r;
	*ret = (struct house_base){.next_value = h->next_value};
	snprintf(ret->name, sizeof(ret->name), "%s", h->base->name);
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&ret->disk[f], 0);
		disk_copy(&ret->disk[f], &h->disk[f]);
	}
	folder_copy(&ret->folder, &h->folder);
	model_copy(&ret->model, &h->model);
	for (uint32_t i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *v = &ret->model.volume[i];

		for (uint64_t s = 0; v->exists == MODEL_YES && s < v->nr_sectors; s++)
			model_set(&ret->model, i, s,
				  v->sectors[s].updates[v->sectors[s].nr - 1].value);
	}
	return 0;
}

/* --- marks and requests
 * -------------------------------------------------------------------- */

static void mark(struct house *h, struct rec_mark m)
{
	uint64_t stamp = rec_mark(h->rec, &m);

	if (stamp)
		model_apply(&h->model, &m, stamp);
}

/* A request in which ' stands for "; @done is marked with what came of it. */
static int __attribute__((format(printf, 3, 4)))
request(struct house *h, struct rec_mark done, const char *fmt, ...)
{
	char text[300], *reply;
	va_list args;
	bool ok;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	ok = house_ask(h->t, text, &reply);
	if (!ok && !rec_killed(h->rec) && !strstr(reply, "ENOSPC") &&
	    !strstr(reply, "is not a snapshot of it"))
		house_say(h->failure, sizeof(h->failure), "%.150s: %.300s", text, reply);
	free(reply);
	done.result = ok ? 0 : -ENOSPC;
	mark(h, done);
	return h->failure[0] ? -EINVAL : 0;
}

static bool is_there(const struct house *h, uint32_t volume)
{
	return volume < HOUSE_SLOTS && h->model.volume[volume].exists == MODEL_YES;
}

static bool is_free(const struct house *h, uint32_t volume)
{
	return volume < HOUSE_SLOTS && h->model.volume[volume].exists == MODEL_NO;
}

/* --- control
 * --------------------------------------------------------------------------------- */

static int do_create(struct house *h, const struct op *op)
{
	struct rec_mark m = {
		.kind = MARK_CREATE, .volume = op->volume, .nr = HOUSE_VOLUME};

	if (!is_free(h, op->volume))
		return 0;
	mark(h, m);
	m.kind = MARK_CREATED;
	return request(h, m, "{'verb':'create','args':{'name':'v%u','size':%" PRIu64 "}}",
		       op->volume, HOUSE_VOLUME * THIN_SECTOR);
}

/* All of it is the origin's. */
static int do_create_over(struct house *h, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_CREATE,
			     .volume = op->volume,
			     .first = HOUSE_VOLUME,
			     .nr = HOUSE_VOLUME};

	if (!is_free(h, op->volume))
		return 0;
	mark(h, m);
	m.kind = MARK_CREATED;
	return request(h, m, "{'verb':'create','args':{'name':'v%u','origin':'%s/base'}}",
		       op->volume, dir);
}

/* What it reads as does not change: there is nothing to mark. */
static int do_flatten(struct house *h, const struct op *op)
{
	char text[100], *reply;

	if (!is_there(h, op->volume))
		return 0;
	snprintf(text, sizeof(text), "{\"verb\":\"flatten\",\"args\":{\"name\":\"v%u\"}}",
		 op->volume);
	if (!house_ask(h->t, text, &reply) && !rec_killed(h->rec))
		house_say(h->failure, sizeof(h->failure), "%s: %.300s", text, reply);
	free(reply);
	return h->failure[0] ? -EINVAL : 0;
}

static int do_snapshot(struct house *h, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_SNAP, .volume = op->other, .other = op->volume};

	if (!is_there(h, op->volume) || !is_free(h, op->other))
		return 0;
	mark(h, m);
	m.kind = MARK_SNAPPED;
	return request(
		h, m,
		"{'verb':'snapshot','args':{'pairs':['v%u','v%u'],'writable':true}}",
		op->volume, op->other);
}

static int do_group(struct house *h, const struct op *op)
{
	struct rec_mark a = {.kind = MARK_SNAP, .volume = op->other, .other = op->volume};
	struct rec_mark b = a;
	int r;

	if (!is_there(h, op->volume) || !is_free(h, op->other) ||
	    !is_free(h, op->other + 1))
		return 0;
	b.volume++;
	a.value = b.volume + 1;
	b.value = a.volume + 1;
	mark(h, a);
	mark(h, b);
	a.kind = b.kind = MARK_SNAPPED;
	r = request(h, a,
		    "{'verb':'snapshot','args':{'pairs':['v%u','v%u','v%u','v%u'],"
		    "'writable':true}}",
		    op->volume, op->other, op->volume, op->other + 1);
	b.result = h->model.volume[op->other].exists == MODEL_YES ? 0 : -ENOSPC;
	mark(h, b);
	return r;
}

static int do_delete(struct house *h, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_DELETE, .volume = op->volume};

	if (!is_there(h, op->volume))
		return 0;
	close_volume(h, op->volume);
	monitor_forget(h->mon, 0, 0, UINT64_MAX);
	mark(h, m);
	m.kind = MARK_DELETED;
	return request(h, m, "{'verb':'delete','args':{'names':['v%u']}}", op->volume);
}

static int do_rename(struct house *h, const struct op *op)
{
	struct rec_mark m = {
		.kind = MARK_RENAME, .volume = op->volume, .other = op->other};

	if (!is_there(h, op->volume) || !is_free(h, op->other))
		return 0;
	close_volume(h, op->volume);
	mark(h, m);
	m.kind = MARK_RENAMED;
	return request(h, m, "{'verb':'rename','args':{'old':'v%u','new':'v%u'}}",
		       op->volume, op->other);
}

static int do_rollback(struct house *h, const struct op *op)
{
	struct rec_mark m = {
		.kind = MARK_ROLLBACK, .volume = op->volume, .other = op->other};

	if (!is_there(h, op->volume) || !is_there(h, op->other) ||
	    op->volume == op->other ||
	    h->model.volume[op->volume].nr_sectors !=
		    h->model.volume[op->other].nr_sectors)
		return 0;
	close_volume(h, op->volume);
	close_volume(h, op->other);
	mark(h, m);
	m.kind = MARK_ROLLED;
	return request(h, m, "{'verb':'rollback','args':{'name':'v%u','snapshot':'v%u'}}",
		       op->volume, op->other);
}

static int do_resize(struct house *h, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_SIZE, .volume = op->volume};

	if (!is_there(h, op->volume))
		return 0;
	m.nr = h->model.volume[op->volume].nr_sectors;
	m.nr = op->kind == 'b' ? m.nr + BLOCK : m.nr - BLOCK - 3;
	if (m.nr < BLOCK || m.nr > 3 * HOUSE_VOLUME)
		return 0;
	close_volume(h, op->volume);
	mark(h, m);
	m.kind = MARK_SIZED;
	return request(h, m,
		       "{'verb':'resize','args':{'name':'v%u','size':%" PRIu64
		       ",'force':true}}",
		       op->volume, m.nr * THIN_SECTOR);
}

/* --- I/O
 * ----------------------------------------------------------------------------------------
 */

static struct thinbd_volume *volume_of(struct house *h, uint32_t i)
{
	struct thinbd_error e;
	char name[16];

	snprintf(name, sizeof(name), "v%u", i);
	if (!h->volume[i] && is_there(h, i) &&
	    thinbd_volume_open(h->t, name, false, &h->volume[i], &e)) {
		h->volume[i] = NULL;
		house_say(h->failure, sizeof(h->failure), "%s: %.400s", name, e.text);
	}
	return h->volume[i];
}

static int do_write(struct house *h, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_UPDATE,
			     .request = ++h->next_request,
			     .volume = op->volume,
			     .first = op->first,
			     .nr = op->nr,
			     .value = h->next_value++};
	struct thinbd_volume *v;
	uint8_t *buf;

	if (!is_there(h, op->volume) ||
	    op->first + op->nr > h->model.volume[op->volume].nr_sectors)
		return 0;
	v = volume_of(h, op->volume);
	if (!v)
		return -EINVAL;
	buf = must_alloc(op->nr, THIN_SECTOR);
	for (uint64_t s = 0; s < op->nr; s++)
		stamp_fill(buf + s * THIN_SECTOR, m.value, op->first + s);
	mark(h, m);
	m.result = thinbd_write(v, buf, op->first * THIN_SECTOR, op->nr * THIN_SECTOR,
				op->kind == 'W' ? THINBD_FUA : 0);
	m.kind = op->kind == 'W' ? MARK_FUA : MARK_UPDATED;
	mark(h, m);
	free(buf);
	if (m.result && m.result != -ENOSPC && !rec_killed(h->rec))
		return house_say(h->failure, sizeof(h->failure), "write: %d", m.result);
	return 0;
}

static int do_flush(struct house *h, const struct op *op)
{
	struct rec_mark m = {
		.kind = MARK_FLUSH, .request = ++h->next_request, .volume = op->volume};
	struct thinbd_volume *v;

	if (!is_there(h, op->volume))
		return 0;
	v = volume_of(h, op->volume);
	if (!v)
		return -EINVAL;
	mark(h, m);
	m.kind = MARK_FLUSHED;
	m.result = thinbd_flush(v);
	mark(h, m);
	if (m.result && !rec_killed(h->rec))
		return house_say(h->failure, sizeof(h->failure), "flush: %d", m.result);
	return 0;
}

/* --- all of them
 * ----------------------------------------------------------------------------------- */

/* Which volumes are there, after a process was killed: nobody was told. */
static void find_volumes(struct house *h)
{
	for (uint32_t i = 0; i < HOUSE_SLOTS; i++) {
		struct rec_mark m = {.kind = MARK_FOUND, .volume = i};
		struct thinbd_volume *v;
		char name[16];

		if (h->model.volume[i].exists == MODEL_NO)
			continue;
		snprintf(name, sizeof(name), "v%u", i);
		m.result = thinbd_volume_open(h->t, name, true, &v, NULL);
		if (!m.result) {
			m.nr = thinbd_volume_size(v) / THIN_SECTOR;
			thinbd_volume_close(v);
		}
		mark(h, m);
		m.kind = MARK_RESIZE;
		if (!m.result)
			mark(h, m);
	}
}

static int revive(struct house *h)
{
	int r;

	h->dead = true;
	(void)close_service(h); /* it is dead: nobody hears what it says */
	h->dead = false;
	rec_revive(h->rec);
	mark(h, (struct rec_mark){.kind = MARK_RESTART});
	r = open_service(h);
	if (!r)
		find_volumes(h);
	return r;
}

static int do_it(struct house *h, const struct op *op)
{
	int r;

	switch (op->kind) {
	case 'c':
		return do_create(h, op);
	case 'C':
		return do_create_over(h, op);
	case 'F':
		return do_flatten(h, op);
	case 's':
		return do_snapshot(h, op);
	case 'q':
		return do_group(h, op);
	case 'd':
		return do_delete(h, op);
	case 'n':
		return do_rename(h, op);
	case 'y':
		return do_rollback(h, op);
	case 'a':
	case 'b':
		return do_resize(h, op);
	case 'w':
	case 'W':
		return do_write(h, op);
	case 'f':
		return do_flush(h, op);
	case 'x':
		rec_kill(h->rec, op->nr);
		return 0;
	case 'o':
		r = close_service(h);
		return r || rec_killed(h->rec) ? r : open_service(h);
	default:
		return 0;
	}
}

/* --- one step ------------------------------------------------------------------------
 */

int house_do(struct house *h, const struct op *op)
{
	int r = rec_killed(h->rec) ? revive(h) : 0;

	if (!r)
		r = do_it(h, op);
	if (rec_killed(h->rec))
		return 0;
	if (!r && h->failure[0])
		r = -EINVAL;
	if (!r && monitor_verdict(h->mon)[0])
		r = house_say(h->failure, sizeof(h->failure), "monitor: %s",
			      monitor_verdict(h->mon));
	if (!r)
		r = house_check(h->t, &h->model, true, h->failure, sizeof(h->failure));
	return r;
}
