/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/block_cache.h"

#include "format/btree_node.h"
#include "util/lock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * A hash table of frames; eviction goes round them like a clock's hand, and
 * passes over those that were used since it came by last.
 */
struct frame {
	struct frame *hash_next;
	uint64_t block;
	uint64_t op; /* the operation that touched it last (C2) */
	void *data;  /* 4096 bytes */
	enum thin_block_kind kind;
	bool dirty;
	atomic_bool writing; /* cleared by write_out, without the lock */
	atomic_bool used;    /* set by readers, cleared by the hand */
};

struct thin_cache {
	struct thin_storage *storage;
	uint64_t nr_blocks;
	size_t max_frames;

	struct frame **buckets;
	size_t nr_buckets; /* a power of two */

	struct frame **frames; /* all of them, in no order */
	size_t nr_frames, room;
	size_t hand;

	uint64_t op;
	uint64_t generation;

	struct frame **collected;
	size_t nr_collected;

	struct thin_mutex error_lock;
	struct thin_error error THIN_GUARDED_BY(error_lock);
};

static int complain(struct thin_cache *c, int r, uint64_t block,
		    enum thin_block_kind kind)
{
	thin_mutex_lock(&c->error_lock);
	thin_error_set(&c->error, r, "metadata block %" PRIu64 " (%s): %s", block,
		       thin_block_kind_name(kind), thin_strerror(r));
	thin_mutex_unlock(&c->error_lock);
	return r;
}

void thin_cache_last_error(struct thin_cache *c, struct thin_error *ret)
{
	thin_mutex_lock(&c->error_lock);
	*ret = c->error;
	thin_mutex_unlock(&c->error_lock);
}

/* --- frames ------------------------------------------------------------- */

static struct frame **bucket_of(const struct thin_cache *c, uint64_t block)
{
	uint64_t h = (block * UINT64_C(0x9e3779b97f4a7c15)) >> 32;

	return &c->buckets[h & (c->nr_buckets - 1)];
}

static struct frame *find(const struct thin_cache *c, uint64_t block)
{
	struct frame *f = *bucket_of(c, block);

	while (f && f->block != block)
		f = f->hash_next;
	return f;
}

static void hash_insert(struct thin_cache *c, struct frame *f)
{
	struct frame **b = bucket_of(c, f->block);

	f->hash_next = *b;
	*b = f;
}

static void hash_remove(struct thin_cache *c, struct frame *f)
{
	struct frame **p = bucket_of(c, f->block);

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
}

static void free_frame(struct frame *f)
{
	free(f->data);
	free(f);
}

static struct frame *alloc_frame(void)
{
	struct frame *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->data = malloc(THIN_METADATA_BLOCK);
	if (!f->data) {
		free(f);
		return NULL;
	}
	return f;
}

/* Write a dirty block before its time (C4). */
static int write_early(struct thin_cache *c, struct frame *f)
{
	int r;

	thin_block_seal(f->kind, f->data, f->block);
	r = thin_storage_write_at(c->storage, f->block * THIN_METADATA_BLOCK, f->data,
				  THIN_METADATA_BLOCK);
	if (r)
		return complain(c, r, f->block, f->kind);
	f->dirty = false;
	/* Who reads this block just now may get half of it. */
	c->generation++;
	return 0;
}

static bool evictable(const struct thin_cache *c, struct frame *f)
{
	if (f->op == c->op || atomic_load(&f->writing))
		return false;
	return !atomic_exchange_explicit(&f->used, false, memory_order_relaxed);
}

/* Go round at most twice: the first round takes away the marks of use. */
static struct frame *choose_victim(struct thin_cache *c)
{
	for (size_t i = 0; i < 2 * c->nr_frames; i++) {
		struct frame *f = c->frames[c->hand];

		c->hand = (c->hand + 1) % c->nr_frames;
		if (evictable(c, f))
			return f;
	}
	return NULL;
}

static int evict(struct thin_cache *c, struct frame *f)
{
	int r = f->dirty ? write_early(c, f) : 0;

	if (!r)
		hash_remove(c, f);
	return r;
}

static int grow_frames(struct thin_cache *c, struct frame **ret)
{
	struct frame **bigger, *f;

	if (c->nr_frames == c->room) {
		size_t room = c->room ? 2 * c->room : 256;

		bigger = realloc(c->frames, room * sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		c->frames = bigger;
		c->room = room;
	}
	f = alloc_frame();
	if (!f)
		return -ENOMEM;
	c->frames[c->nr_frames++] = f;
	*ret = f;
	return 0;
}

/* Take @f, which is in no bucket, out of the clock. */
static void discard_frame(struct thin_cache *c, struct frame *f)
{
	for (size_t i = 0; i < c->nr_frames; i++) {
		if (c->frames[i] == f) {
			c->frames[i] = c->frames[--c->nr_frames];
			break;
		}
	}
	if (c->nr_frames)
		c->hand %= c->nr_frames;
	free_frame(f);
}

/* What was taken on top of the limit goes again, where it is clean. */
static void shrink(struct thin_cache *c)
{
	struct frame *f = choose_victim(c);

	if (!f || f->dirty)
		return;
	hash_remove(c, f);
	discard_frame(c, f);
}

/* A frame that is in no bucket, to be filled. */
static int take_frame(struct thin_cache *c, struct frame **ret)
{
	struct frame *victim;
	int r;

	victim = c->nr_frames >= c->max_frames ? choose_victim(c) : NULL;
	if (!victim)
		return grow_frames(c, ret);
	r = evict(c, victim);
	if (r)
		return r;
	*ret = victim;
	return 0;
}

static void set_up(struct thin_cache *c, struct frame *f, uint64_t block,
		   enum thin_block_kind kind)
{
	f->block = block;
	f->kind = kind;
	f->op = c->op;
	f->dirty = false;
	atomic_store_explicit(&f->writing, false, memory_order_relaxed);
	atomic_store_explicit(&f->used, true, memory_order_relaxed);
	hash_insert(c, f);
}

/* --- reading ------------------------------------------------------------ */

static int kind_of(struct thin_cache *c, const struct frame *f, enum thin_block_kind kind)
{
	return f->kind == kind ? 0 : complain(c, -EILSEQ, f->block, kind);
}

int thin_cache_peek(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		    const void **ret)
{
	struct frame *f = find(c, block);
	int r;

	if (!f)
		return block < c->nr_blocks ? -EWOULDBLOCK
					    : complain(c, -EILSEQ, block, kind);
	r = kind_of(c, f, kind);
	if (r)
		return r;
	if (!atomic_load_explicit(&f->used, memory_order_relaxed))
		atomic_store_explicit(&f->used, true, memory_order_relaxed);
	*ret = f->data;
	return 0;
}

uint64_t thin_cache_generation(const struct thin_cache *c)
{
	return c->generation;
}

int thin_cache_fetch(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		     void *buf)
{
	int r = thin_storage_read_at(c->storage, block * THIN_METADATA_BLOCK, buf,
				     THIN_METADATA_BLOCK);

	if (!r)
		r = thin_block_verify(kind, buf, block);
	if (!r && kind == THIN_NODE)
		r = thin_node_check(buf);
	return r ? complain(c, r, block, kind) : 0;
}

int thin_cache_install(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		       const void *buf, uint64_t generation)
{
	struct frame *f;
	int r;

	if (find(c, block) || c->generation != generation)
		return 0;
	r = take_frame(c, &f);
	if (r)
		return r;
	memcpy(f->data, buf, THIN_METADATA_BLOCK);
	set_up(c, f, block, kind);
	return 0;
}

static int load(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		struct frame **ret)
{
	struct frame *f;
	int r;

	if (block >= c->nr_blocks)
		return complain(c, -EILSEQ, block, kind);
	r = take_frame(c, &f);
	if (r)
		return r;
	r = thin_cache_fetch(c, block, kind, f->data);
	if (r) {
		discard_frame(c, f);
		return r;
	}
	set_up(c, f, block, kind);
	*ret = f;
	return 0;
}

void thin_cache_begin_op(struct thin_cache *c)
{
	c->op++;
	for (unsigned i = 0; i < 2 && c->nr_frames > c->max_frames; i++)
		shrink(c);
}

int thin_cache_get(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		   void **ret)
{
	struct frame *f = find(c, block);
	int r = f ? kind_of(c, f, kind) : load(c, block, kind, &f);

	if (r)
		return r;
	f->op = c->op;
	atomic_store_explicit(&f->used, true, memory_order_relaxed);
	*ret = f->data;
	return 0;
}

/* --- writing ------------------------------------------------------------ */

int thin_cache_new(struct thin_cache *c, uint64_t block, enum thin_block_kind kind,
		   void **ret)
{
	struct frame *f = find(c, block);
	int r;

	assert(block < c->nr_blocks);
	if (f && (f->op == c->op || f->dirty || atomic_load(&f->writing)))
		return complain(c, -EILSEQ, block, kind);
	if (f) {
		hash_remove(c, f);
	} else {
		r = take_frame(c, &f);
		if (r)
			return r;
	}
	memset(f->data, 0, THIN_METADATA_BLOCK);
	set_up(c, f, block, kind);
	f->dirty = true;
	*ret = f->data;
	return 0;
}

void thin_cache_mark_dirty(struct thin_cache *c, uint64_t block)
{
	struct frame *f = find(c, block);

	assert(f && !atomic_load(&f->writing)); /* C3 */
	f->dirty = true;
}

static int by_block(const void *a, const void *b)
{
	uint64_t x = (*(struct frame *const *)a)->block,
		 y = (*(struct frame *const *)b)->block;

	return x < y ? -1 : x > y;
}

int thin_cache_collect(struct thin_cache *c)
{
	assert(!c->collected);
	c->collected = malloc((c->nr_frames + 1) * sizeof(struct frame *));
	if (!c->collected)
		return -ENOMEM;
	c->nr_collected = 0;
	for (size_t i = 0; i < c->nr_frames; i++) {
		struct frame *f = c->frames[i];

		if (!f->dirty)
			continue;
		thin_block_seal(f->kind, f->data, f->block);
		f->dirty = false;
		atomic_store(&f->writing, true);
		c->collected[c->nr_collected++] = f;
	}
	qsort(c->collected, c->nr_collected, sizeof(struct frame *), by_block);
	return 0;
}

/* So many writes are given to the storage at once. */
#define BATCH 128

static int write_batch(struct thin_cache *c, struct frame **frames, size_t nr)
{
	struct thin_segment seg[BATCH];

	for (size_t i = 0; i < nr; i++) {
		seg[i] = (struct thin_segment){frames[i]->block * THIN_METADATA_BLOCK,
					       frames[i]->data, THIN_METADATA_BLOCK};
	}
	return thin_storage_write(c->storage, seg, nr);
}

int thin_cache_write_out(struct thin_cache *c)
{
	size_t done = 0;
	int r = 0;

	while (done < c->nr_collected && !r) {
		size_t nr =
			c->nr_collected - done < BATCH ? c->nr_collected - done : BATCH;

		r = write_batch(c, c->collected + done, nr);
		if (r)
			complain(c, r, c->collected[done]->block,
				 c->collected[done]->kind);
		done += nr;
	}
	for (size_t i = 0; i < c->nr_collected; i++)
		atomic_store(&c->collected[i]->writing, false);
	free(c->collected);
	c->collected = NULL;
	return r;
}

/* --- the whole ---------------------------------------------------------- */

void thin_cache_drop(struct thin_cache *c)
{
	for (size_t i = 0; i < c->nr_frames; i++)
		free_frame(c->frames[i]);
	c->nr_frames = 0;
	c->hand = 0;
	c->generation++;
	memset(c->buckets, 0, c->nr_buckets * sizeof(*c->buckets));
	free(c->collected);
	c->collected = NULL;
}

void thin_cache_set_nr_blocks(struct thin_cache *c, uint64_t nr_blocks)
{
	c->nr_blocks = nr_blocks;
}

static size_t power_of_two(size_t n)
{
	size_t p = 64;

	while (p < n)
		p *= 2;
	return p;
}

int thin_cache_create(struct thin_storage *storage, size_t max_blocks, uint64_t nr_blocks,
		      struct thin_cache **ret)
{
	struct thin_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->storage = storage;
	c->nr_blocks = nr_blocks;
	c->max_frames = max_blocks;
	c->nr_buckets = power_of_two(max_blocks);
	c->buckets = calloc(c->nr_buckets, sizeof(*c->buckets));
	if (!c->buckets) {
		free(c);
		return -ENOMEM;
	}
	thin_mutex_init(&c->error_lock);
	*ret = c;
	return 0;
}

void thin_cache_destroy(struct thin_cache *c)
{
	if (!c)
		return;
	thin_cache_drop(c);
	thin_mutex_fini(&c->error_lock);
	free(c->frames);
	free(c->buckets);
	free(c);
}
