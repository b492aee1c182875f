/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/service.h"

#include "format/superblock.h"
#include "util/checked.h"
#include "util/lock.h"

#include <errno.h>
#include <time.h>

static unsigned io_flags(const struct thin_pool_conf *conf)
{
	return conf->io == THIN_IO_SYNC ? THIN_STORAGE_SYNC : 0;
}

/*
 * A process that was killed is gone before its locks are: the system keeps
 * these until what was in flight in its rings has ended.  Who comes next waits
 * for that, a few milliseconds as a rule.
 */
#define PATIENCE_NS (UINT64_C(2) * 1000000000)

static int open_one(const char *dir, const char *where, unsigned flags,
		    struct thin_storage **ret, struct thin_error *e)
{
	const struct timespec nap = {.tv_nsec = 10000000};
	uint64_t deadline_ns = thin_now_ns() + PATIENCE_NS;
	_cleanup_free char *path = NULL;
	int r = thin_pool_conf_locate(dir, where, &path);

	if (r)
		return r;
	for (;;) {
		r = thin_storage_open(path, flags, ret, e);
		if (r != -EBUSY || thin_now_ns() >= deadline_ns)
			return r;
		(void)nanosleep(&nap, NULL); /* shorter is fine */
	}
}

int thin_open_storages(const char *dir, const struct thin_pool_conf *conf, bool read_only,
		       struct thin_storage **ret_metadata, struct thin_storage **ret_data,
		       struct thin_error *e)
{
	unsigned flags = io_flags(conf) | THIN_STORAGE_EXCLUSIVE |
			 (read_only ? THIN_STORAGE_READONLY : 0);
	_cleanup_storage struct thin_storage *metadata = NULL;
	int r = open_one(dir, conf->metadata, flags, &metadata, e);

	if (!r)
		r = open_one(dir, conf->data,
			     flags | (conf->direct ? THIN_STORAGE_DIRECT : 0), ret_data,
			     e);
	if (!r)
		*ret_metadata = thin_steal(metadata);
	return r;
}

static enum thin_discard discard_of(const struct thin_pool_conf *conf)
{
	switch (conf->discard) {
	case THIN_CONF_DISCARD_NOPASSDOWN:
		return THIN_DISCARD_NOPASSDOWN;
	case THIN_CONF_DISCARD_IGNORE:
		return THIN_DISCARD_IGNORE;
	default:
		return THIN_DISCARD_PASSDOWN;
	}
}

void thin_pool_policy(const struct thin_pool_conf *conf, struct thin_pool_params *params)
{
	params->metadata_cache = conf->metadata_cache;
	params->queue_if_full = conf->when_full == THIN_WHEN_FULL_QUEUE;
	params->no_space_timeout_s = conf->no_space_timeout;
	params->discard = discard_of(conf);
	params->commit_interval_s = conf->commit_interval;
}

/* dm-thin's own mark for metadata, where the conf gives none that fits. */
static uint64_t metadata_low_water(const struct thin_amount *a, uint64_t nr_blocks)
{
	if (!a->percent)
		return thin_min(1024, nr_blocks / 4);
	return thin_amount_bytes(a, nr_blocks);
}

uint64_t thin_block_size(struct thin_storage *metadata)
{
	_Alignas(8) uint8_t block[THIN_METADATA_BLOCK];
	const struct thin_disk_superblock *sb = (const void *)block;

	if (thin_storage_read_at(metadata, 0, block, sizeof(block)) ||
	    thin_superblock_check(block, 0, NULL))
		return 0;
	return le32_get(sb->data_block_size) * THIN_SECTOR;
}

uint64_t thin_data_blocks(struct thin_storage *metadata, uint64_t data_bytes)
{
	uint64_t block_size = thin_block_size(metadata);

	return block_size ? data_bytes / block_size : 0;
}

void thin_pool_low_water(const struct thin_pool_conf *conf,
			 struct thin_pool_params *params)
{
	uint64_t bytes;

	/* What is wrong here is told, with more words, by opening the pool. */
	if (!thin_storage_size(params->metadata, &bytes))
		params->low_water_metadata =
			metadata_low_water(&conf->low_water, bytes / THIN_METADATA_BLOCK);
	if (!thin_storage_size(params->data, &bytes))
		params->low_water_data = thin_data_blocks(
			params->metadata, thin_amount_bytes(&conf->low_water, bytes));
}

/* What low is depends on the size. */
static void follow_low_water(struct thinbd *t)
{
	const struct thin_amount *mark = &t->conf.low_water;
	struct thin_pool_status s;

	thin_pool_status(t->pool, &s);
	uint64_t bytes = s.metadata.nr_data_blocks * t->block_size;
	thin_pool_set_low_water(t->pool, thin_amount_bytes(mark, bytes) / t->block_size,
				metadata_low_water(mark, s.metadata.nr_metadata_blocks));
}

int thin_grow(struct thinbd *t, uint64_t data, uint64_t metadata)
{
	int r = thin_pool_grow(t->pool, data, metadata);

	follow_low_water(t);
	return r;
}
