/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FILES_MODEL_H
#define THINBD_TESTS_FILES_MODEL_H

/*
 * A folder of small files in memory, which keeps to F1 to F4 of
 * registry/files.h and to nothing more: it knows what is durable, and what
 * has only been done.  It can lose power after any number of events, and
 * fail at any of them.
 */

#include "unit.h"

#include "registry/files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#define MODEL_FILES   40
#define MODEL_PENDING 128
#define MODEL_NAME    64

/*
 * A file's content.  It never changes, but for `synced`: what is overwritten
 * gets a new one, since models share them.
 */
struct model_inode {
	const char *text;
	size_t len;
	bool synced;
	const char *before; /* what it was when it was synced; NULL: nothing */
};

struct model_entry {
	char name[MODEL_NAME];
	struct model_inode *inode;
};

struct model_folder {
	struct model_entry entry[MODEL_FILES];
	size_t nr;
};

/* What was done to the folder: @from goes, @to is then @inode. */
struct model_op {
	char from[MODEL_NAME], to[MODEL_NAME];
	struct model_inode *inode;
};

struct model {
	struct thin_files files;
	struct model_folder now;
	struct model_folder durable;
	struct model_op pending[MODEL_PENDING]; /* done and not durable */
	size_t nr_pending;

	size_t events;	 /* so far */
	size_t cut;	 /* from this event on the power is off */
	size_t fail;	 /* this event fails, */
	int fail_with;	 /* with this, unless 0 */
	bool sticky;	 /* and so do all of its kind after it */
	char failed;	 /* the kind that did, */
	bool failed_new; /* of a file that means nothing yet */
};

/* ---- memory that lasts until model_forget_all() ---- */

struct model_chunk {
	struct model_chunk *next;
	char bytes[];
};

static struct model_chunk *model_chunks;

static inline void *model_alloc(size_t len)
{
	struct model_chunk *c = calloc(1, sizeof(*c) + len);

	if (!c)
		abort();
	c->next = model_chunks;
	model_chunks = c;
	return c->bytes;
}

static inline void model_forget_all(void)
{
	while (model_chunks) {
		struct model_chunk *next = model_chunks->next;

		free(model_chunks);
		model_chunks = next;
	}
}

/* ---- folders ---- */

static inline struct model_entry *model_find(struct model_folder *f, const char *name)
{
	for (size_t i = 0; i < f->nr; i++)
		if (!strcmp(f->entry[i].name, name))
			return &f->entry[i];
	return NULL;
}

static inline void model_drop(struct model_folder *f, const char *name)
{
	struct model_entry *e = model_find(f, name);

	if (e)
		*e = f->entry[--f->nr];
}

static inline void model_add(struct model_folder *f, const char *name,
			     struct model_inode *i)
{
	model_drop(f, name);
	assert_true(f->nr < MODEL_FILES && strlen(name) < MODEL_NAME);
	strcpy(f->entry[f->nr].name, name);
	f->entry[f->nr++].inode = i;
}

static inline void model_do(struct model_folder *f, const struct model_op *op)
{
	if (*op->from)
		model_drop(f, op->from);
	if (*op->to)
		model_add(f, op->to, op->inode);
}

static inline struct model_inode *model_inode(const char *text, size_t len)
{
	struct model_inode *i = model_alloc(sizeof(*i));
	char *copy = model_alloc(len + 1);

	memcpy(copy, text, len);
	*i = (struct model_inode){.text = copy, .len = len};
	return i;
}

/* ---- operations ---- */

static inline struct model *model_of(struct thin_files *f)
{
	return (struct model *)f;
}

/* One event of @kind, with @name; what it fails with, if it does. */
static inline int model_event(struct model *m, char kind, const char *name)
{
	size_t i = m->events++;

	if (i >= m->cut)
		return -EIO;
	if (m->fail_with && i == m->fail) {
		m->failed = kind;
		m->failed_new = !strncmp(name, THIN_FILES_TMP, strlen(THIN_FILES_TMP));
	}
	if (m->failed && (i == m->fail || (m->sticky && kind == m->failed)))
		return m->fail_with;
	return 0;
}

static inline void model_perform(struct model *m, const char *from, const char *to,
				 struct model_inode *inode)
{
	struct model_op *op = &m->pending[m->nr_pending++];

	assert_true(m->nr_pending <= MODEL_PENDING);
	snprintf(op->from, sizeof(op->from), "%s", from);
	snprintf(op->to, sizeof(op->to), "%s", to);
	op->inode = inode;
	model_do(&m->now, op);
}

static inline int model_write(struct thin_files *f, const char *name, const char *text,
			      size_t len)
{
	int r = model_event(model_of(f), 'w', name);

	if (r)
		return r;
	model_perform(model_of(f), name, name, model_inode(text, len));
	return 0;
}

static inline void model_exchange(struct model *m, struct model_inode *old,
				  struct model_inode *new)
{
	for (size_t i = 0; i < m->now.nr; i++)
		if (m->now.entry[i].inode == old)
			m->now.entry[i].inode = new;
	for (size_t i = 0; i < m->durable.nr; i++)
		if (m->durable.entry[i].inode == old)
			m->durable.entry[i].inode = new;
	for (size_t i = 0; i < m->nr_pending; i++)
		if (m->pending[i].inode == old)
			m->pending[i].inode = new;
}

static inline int model_overwrite(struct thin_files *f, const char *name, size_t offset,
				  const char *text, size_t len)
{
	struct model_entry *e = model_find(&model_of(f)->now, name);
	struct model_inode *old, *new;
	int r = model_event(model_of(f), 'o', name);

	if (r || !e)
		return r ? r : -ENOENT;
	old = e->inode;
	assert_true(offset + len <= old->len);
	new = model_inode(old->text, old->len);
	memcpy((char *)(uintptr_t) new->text + offset, text, len);
	new->before = old->synced ? old->text : old->before;
	model_exchange(model_of(f), old, new);
	return 0;
}

static inline int model_sync(struct thin_files *f, const char *name)
{
	struct model_entry *e = model_find(&model_of(f)->now, name);
	int r = model_event(model_of(f), 's', name);

	if (r || !e)
		return r ? r : -ENOENT;
	e->inode->synced = true;
	return 0;
}

static inline int model_sync_all(struct thin_files *f)
{
	struct model *m = model_of(f);
	int r = model_event(m, 'S', "");

	for (size_t i = 0; i < m->now.nr && !r; i++)
		m->now.entry[i].inode->synced = true;
	return r;
}

static inline int model_rename(struct thin_files *f, const char *from, const char *to)
{
	struct model_entry *e = model_find(&model_of(f)->now, from);
	int r = model_event(model_of(f), 'r', from);

	if (r || !e)
		return r ? r : -ENOENT;
	model_perform(model_of(f), from, to, e->inode);
	return 0;
}

static inline int model_unlink(struct thin_files *f, const char *name)
{
	struct model_entry *e = model_find(&model_of(f)->now, name);
	int r = model_event(model_of(f), 'u', name);

	if (r || !e)
		return r ? r : -ENOENT;
	model_perform(model_of(f), name, "", NULL);
	return 0;
}

static inline int model_sync_folder(struct thin_files *f)
{
	struct model *m = model_of(f);
	int r = model_event(m, 'd', "");

	if (r)
		return r;
	m->durable = m->now;
	m->nr_pending = 0;
	return 0;
}

static inline int model_list(struct thin_files *f, thin_files_fn *fn, void *ctx)
{
	struct model *m = model_of(f);

	for (size_t i = 0; i < m->now.nr; i++) {
		int r = fn(ctx, m->now.entry[i].name);

		if (r)
			return r;
	}
	return 0;
}

static inline int model_read(struct thin_files *f, const char *name, size_t max,
			     char **ret_text, size_t *ret_len)
{
	struct model_entry *e = model_find(&model_of(f)->now, name);

	if (!e)
		return -ENOENT;
	if (e->inode->len > max)
		return -EFBIG;
	*ret_text = malloc(e->inode->len + 1);
	assert_non_null(*ret_text);
	memcpy(*ret_text, e->inode->text, e->inode->len);
	(*ret_text)[e->inode->len] = '\0';
	*ret_len = e->inode->len;
	return 0;
}

static inline void model_close(struct thin_files *f)
{
	(void)f;
}

static const struct thin_files_ops model_ops = {
	.write = model_write,
	.overwrite = model_overwrite,
	.sync = model_sync,
	.sync_all = model_sync_all,
	.rename = model_rename,
	.unlink = model_unlink,
	.sync_folder = model_sync_folder,
	.list = model_list,
	.read = model_read,
	.close = model_close,
};

static inline void model_init(struct model *m)
{
	*m = (struct model){
		.files = {.ops = &model_ops, .where = "volumes", .many = 6},
		.cut = SIZE_MAX,
	};
}

/* ---- losing power ---- */

/* What becomes of content that was not synced. */
enum model_content {
	MODEL_WHOLE,
	MODEL_HALF,  /* of what was overwritten each second sector */
	MODEL_OTHER, /* or the other ones; of a file its length, and zeros */
	MODEL_EMPTY, /* or nothing of it */
	MODEL_CONTENTS
};

#define MODEL_SECTOR 512

static inline struct model_inode *model_half_overwritten(const struct model_inode *i,
							 enum model_content content)
{
	struct model_inode *ret = model_inode(i->before, i->len);

	for (size_t at = 0; at < i->len && content != MODEL_EMPTY; at += MODEL_SECTOR) {
		size_t len = i->len - at < MODEL_SECTOR ? i->len - at : MODEL_SECTOR;

		if (content == MODEL_WHOLE ||
		    (at / MODEL_SECTOR) % 2 == (content == MODEL_OTHER))
			memcpy((char *)(uintptr_t)ret->text + at, i->text + at, len);
	}
	return ret;
}

static inline struct model_inode *model_half_written(const struct model_inode *i,
						     enum model_content content)
{
	struct model_inode *ret = model_inode(i->text, i->len);

	if (content == MODEL_OTHER)
		memset((char *)(uintptr_t)ret->text, 0, i->len);
	if (content == MODEL_HALF || content == MODEL_EMPTY)
		ret->len = content == MODEL_HALF ? i->len / 2 : 0;
	return ret;
}

/*
 * What is found after @m lost power: @ret is what was durable, and of what
 * was only done the operations whose bits are in @mask.
 */
static inline void model_crash(const struct model *m, uint64_t mask,
			       enum model_content content, struct model *ret)
{
	model_init(ret);
	ret->now = m->durable;
	for (size_t i = 0; i < m->nr_pending; i++)
		if (mask >> i & 1)
			model_do(&ret->now, &m->pending[i]);
	for (size_t i = 0; i < ret->now.nr; i++) {
		struct model_inode **at = &ret->now.entry[i].inode;
		struct model_inode *old = *at;

		if (old->synced)
			continue;
		*at = old->before ? model_half_overwritten(old, content)
				  : model_half_written(old, content);
		(*at)->synced = true;
	}
	/* It is on the disk now. */
	ret->durable = ret->now;
}

/* Did it matter what became of content? */
static inline bool model_has_unsynced(const struct model *m)
{
	for (size_t i = 0; i < m->nr_pending; i++)
		if (m->pending[i].inode && !m->pending[i].inode->synced)
			return true;
	for (size_t i = 0; i < m->durable.nr; i++)
		if (!m->durable.entry[i].inode->synced)
			return true;
	return false;
}

/* FNV-1a over names and contents, whatever their order. */
static inline uint64_t model_hash(const struct model *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->now.nr; i++) {
		const struct model_entry *e = &m->now.entry[i];
		uint64_t h = UINT64_C(0xcbf29ce484222325);

		for (const char *c = e->name; *c; c++)
			h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
		for (size_t j = 0; j < e->inode->len; j++)
			h = (h ^ (unsigned char)e->inode->text[j]) *
			    UINT64_C(0x100000001b3);
		sum += h ^ h >> 29;
	}
	return sum;
}

#endif
