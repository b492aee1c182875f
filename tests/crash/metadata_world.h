/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_METADATA_WORLD_H
#define THINBD_TESTS_METADATA_WORLD_H

/*
 * The metadata of a pool with a recorder and a monitor under it, and beside
 * it what it should say: for each device a plain array, of now and of each
 * commit.
 */

#include "../unit/seeded.h"
#include "disk.h"
#include "monitor.h"

#include "metadata/metadata.h"

#define METADATA_DEVICES 6
#define METADATA_VBLOCKS UINT64_C(24000)
#define METADATA_SMALL	 UINT64_C(900) /* as far as random steps go */
#define METADATA_NOWHERE UINT32_MAX

struct metadata_state {
	bool exists[METADATA_DEVICES];
	uint32_t *map[METADATA_DEVICES]; /* [vblocks] */
	uint64_t vblocks;
	uint64_t transaction_id;
	uint64_t nr_data, nr_metadata;
	bool held;
};

struct metadata_world {
	struct disk under[REC_FILES], before[REC_FILES];
	struct thin_storage *top;  /* what a test put over @under, or that */
	struct thin_storage *lent; /* by the recorder, over that */
	struct recorder *rec;
	struct monitor *mon;
	struct thin_metadata *m;
	struct metadata_state now, *commits;
	uint32_t nr_commits;
	uint32_t done;	   /* the last one that succeeded */
	unsigned refusals; /* of changes, for want of room */
	bool faults;	   /* errors are to be expected */
	char failure[400];
};

/* 0, or an error and a failure; all of these. */
int metadata_world_open(struct metadata_world *w, uint64_t metadata_blocks,
			uint64_t data_blocks);
/* The same in two steps, to put something over w->under[REC_METADATA] between them. */
void metadata_world_prepare(struct metadata_world *w, uint64_t metadata_blocks,
			    uint64_t data_blocks);
int metadata_world_start(struct metadata_world *w);
void metadata_world_crash(struct metadata_world *w);
void metadata_world_close(struct metadata_world *w);

int metadata_create(struct metadata_world *w, uint32_t id);
int metadata_snap(struct metadata_world *w, uint32_t id, uint32_t origin);
int metadata_delete(struct metadata_world *w, uint32_t id);
int metadata_map(struct metadata_world *w, uint32_t id, uint64_t vblock, uint64_t nr);
int metadata_trim(struct metadata_world *w, uint32_t id, uint64_t begin, uint64_t end);
int metadata_commit(struct metadata_world *w);
int metadata_grow(struct metadata_world *w, bool data, uint64_t nr_blocks);
/* Back to the last commit.  @reopen: by closing it without another one. */
int metadata_go_back(struct metadata_world *w, bool reopen);
/* Something of all that, by chance. */
int metadata_step(struct metadata_world *w, struct seeded *rnd);

/*
 * Does @s hold what commit number @nr (0: what was there first) made?
 * 0, or -EINVAL and why not.
 */
int metadata_is(struct metadata_world *w, struct thin_storage *s, uint32_t nr, char *why,
		size_t len);

#endif
