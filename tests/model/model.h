/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_H
#define THINBD_TESTS_MODEL_H

/*
 * What a pool should do, said as simply as can be: nothing here is shared
 * with the code that it judges.
 *
 * A volume's content is a plain array, copied by a snapshot.  Beside it
 * stands, for the accounts and for crashes, what its blocks are mapped to:
 * cells, counted, which hold what the data device holds.  The two are kept
 * independently; where they meet (after a crash, content comes from the
 * cells) the model finds its own mistakes too.
 *
 * A volume's array is as long as the largest size it may ever have.  What
 * lies beyond its size is content too, and shows when it grows.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_VOLUMES 12
#define MODEL_ORIGINS 4
#define MODEL_NONE    (-1)

struct model_cell {
	unsigned refs; /* mappings now, of all volumes */
	unsigned kept; /* mappings of the last commit */
	uint64_t time; /* when it was mapped */
	uint8_t *bytes;
};

struct model_volume {
	bool exists;
	uint32_t device;
	uint64_t size; /* bytes */
	int origin;    /* index, or MODEL_NONE */
	uint64_t snapshotted;
	uint8_t *content;
	struct model_cell **map;       /* by block */
	struct model_cell **committed; /* likewise */
};

struct model_origin {
	uint8_t *bytes;
	uint64_t size;
};

struct model {
	uint64_t block_size, nr_blocks; /* of a volume, at most */
	uint64_t nr_data_blocks, time;
	uint64_t used, used_committed; /* cells that are referred to */
	bool ignore_discard;
	struct model_volume volume[MODEL_VOLUMES];
	struct model_origin origin[MODEL_ORIGINS]; /* size 0: there is none */
};

enum model_op {
	MODEL_WRITE,
	MODEL_ZERO,
	MODEL_HYDRATE,
};

struct model_request {
	enum model_op op;
	uint64_t begin, end; /* bytes */
	const uint8_t *buf;
	bool may_unmap;
};

/* What a request comes to, in blocks. */
struct model_needs {
	uint64_t provision, in_place, unmap;
};

/* The origins' bytes are the caller's. */
void model_init(struct model *m, uint64_t block_size, uint64_t nr_blocks,
		uint64_t nr_data_blocks);
void model_fini(struct model *m);

void model_create(struct model *m, int v, uint32_t device, uint64_t size, int origin);
void model_snapshot(struct model *m, int v, int snap, uint32_t device);
void model_delete(struct model *m, int v);
void model_drop_origin(struct model *m, int v);

struct model_needs model_needs(const struct model *m, int v,
			       const struct model_request *req);
void model_do(struct model *m, int v, const struct model_request *req);
void model_trim(struct model *m, int v, uint64_t begin, uint64_t end);

/* All up to now is durable. */
void model_commit(struct model *m);
/* Back to the last commit; what was written in place since stays written. */
void model_crash(struct model *m);

/* Bytes below the origin's end; 0 without one. */
uint64_t model_origin_end(const struct model *m, int v);
bool model_shared(const struct model *m, int v, uint64_t block);
uint64_t model_mapped(const struct model *m, int v);
/* Cells that nobody else refers to. */
uint64_t model_exclusive(const struct model *m, int v);

#endif
