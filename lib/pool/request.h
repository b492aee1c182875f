/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_POOL_REQUEST_H
#define THINBD_POOL_REQUEST_H

/*
 * How a request on a volume is done.
 *
 *   request   bytes of a volume, and what shall be done with them
 *   run       blocks of it that are mapped alike (the metadata says which)
 *   piece     part of a run for which one thing is to be done: a single
 *             block of which the request covers a part, or whole blocks
 *   action    that thing
 *   work      a request under way: what it gathered, reserved and will insert
 *
 * A write first looks whether all of it goes in place; that needs no lock
 * but the gate.  Otherwise it locks the range of its blocks, looks again,
 * reserves all the blocks it needs, writes, and inserts.
 *
 * Nobody reads the origin inside a gate or a range: it may be on a host that does
 * not answer.  Who finds that he needs some of it leaves both, reads it, and begins
 * again.
 */

#include "pool/pool_internal.h"

/* Runs, segments and inserts in hand at a time: on the stack. */
#define THIN_RUNS 32

/* --- gather.c: many segments, one transfer --------------------------------- */

struct thin_gather {
	struct thin_storage *s;
	int (*transfer)(struct thin_storage *s, const struct thin_segment *seg,
			size_t nr);
	size_t nr;
	struct thin_segment seg[THIN_RUNS];
};

void thin_gather_reads(struct thin_gather *g, struct thin_storage *s);
void thin_gather_writes(struct thin_gather *g, struct thin_storage *s);
/* Goes by itself when there is no more room for segments. */
THIN_MUST_CHECK int thin_gather_add(struct thin_gather *g, uint64_t offset, void *buf,
				    size_t len);
THIN_MUST_CHECK int thin_gather_go(struct thin_gather *g);

/*
 * Reading @len bytes of the origin at @offset into @buf: zeros past @end, which
 * is the origin's or before it (and 0 for @o == NULL), are there at once, the rest
 * when @g goes.
 */
THIN_MUST_CHECK int thin_origin_gather(struct thin_origin *o, uint64_t end,
				       struct thin_gather *g, uint64_t offset, void *buf,
				       size_t len);

/* --- cursor.c: the runs of a range of blocks -------------------------------- */

struct thin_cursor {
	struct thin_core *core;
	uint64_t begin, end; /* blocks */
	uint64_t from, to;   /* what the runs in hand cover */
	size_t nr, next;
	struct thin_run runs[THIN_RUNS];
};

/* Look up the first runs of [@begin, @end), which is not empty. */
THIN_MUST_CHECK int thin_cursor_init(struct thin_cursor *c, struct thin_core *core,
				     uint64_t begin, uint64_t end);
/* Are all of them in hand? */
bool thin_cursor_complete(const struct thin_cursor *c);
/* The next run, looked up where need be; NULL at the end. */
THIN_MUST_CHECK int thin_cursor_next(struct thin_cursor *c, const struct thin_run **ret);
THIN_MUST_CHECK int thin_cursor_rewind(struct thin_cursor *c);

/* --- pieces.c: what is to be done with what --------------------------------- */

enum thin_op {
	THIN_OP_WRITE,
	THIN_OP_ZERO,
};

/* What the origin shows in a block, around the caller's bytes (below.c). */
struct thin_below {
	uint64_t vblock;
	uint64_t end; /* bytes of the volume: from there on these are zeros */
	uint8_t *buf; /* one of the pool's; NULL: nothing was read */
};

/* A request has two blocks at most that it covers in part. */
#define THIN_EDGES 2

struct thin_request {
	struct thin_core *core;
	enum thin_op op;
	uint64_t begin, end; /* bytes, not empty */
	const uint8_t *buf;  /* of a WRITE */
	unsigned flags;

	bool mapped_only; /* what is not mapped is left alone */

	uint64_t origin_end; /* bytes; 0 without; good while it is inside the gate */

	/* what was read of the origin, and what is to be: nothing was done then */
	struct thin_below below[THIN_EDGES];
	uint64_t lacks[THIN_EDGES]; /* blocks */
	size_t nr_lacks;

	/* what could not be reserved, -ENOSPC or -ENOBUFS: nothing was done then */
	int short_of;
	uint64_t need; /* blocks, then */
	bool promised; /* though they are kept for this volume */
};

struct thin_piece {
	uint64_t vblock, nr;
	uint64_t dblock; /* of the first one, where mapped */
	bool mapped, shared;
	bool whole;  /* the request covers all bytes of its blocks */
	bool all;    /* all those that the volume has: also of a short last block */
	bool origin; /* the origin has bytes there */
};

enum thin_action {
	THIN_NOTHING, /* it is so already */
	THIN_IN_PLACE,
	THIN_UNMAP,
	THIN_PROVISION, /* a new block */
};

/* The first and the last block plus one that @req touches. */
uint64_t thin_request_first(const struct thin_request *req);
uint64_t thin_request_last(const struct thin_request *req);
/* The first piece of @run from @vblock on. */
void thin_piece_cut(const struct thin_request *req, const struct thin_run *run,
		    uint64_t vblock, struct thin_piece *ret);
enum thin_action thin_piece_action(const struct thin_request *req,
				   const struct thin_piece *p);
/* The request's part of a piece: bytes in the volume. */
uint64_t thin_piece_begin(const struct thin_request *req, const struct thin_piece *p);
uint64_t thin_piece_end(const struct thin_request *req, const struct thin_piece *p);

/* What a request comes to. */
struct thin_plan {
	uint64_t provision; /* blocks */
	bool in_place;
	bool unmap;
	uint64_t lacks[THIN_EDGES]; /* blocks that the origin was not read for */
	size_t nr_lacks;
};

THIN_MUST_CHECK int thin_plan_make(const struct thin_request *req, struct thin_cursor *c,
				   struct thin_plan *ret);

/* --- below.c: what a request needs of the origin ----------------------------- */

/* Do blocks fit into a buffer, so that reading what is lacking takes no room? */
bool thin_below_fits(const struct thin_request *req);
/* Is what the origin shows in @vblock still to be read? */
bool thin_below_lacks(const struct thin_request *req, uint64_t vblock);
/*
 * See to it that @req lacks nothing of @req->lacks any more.  Takes as long as the
 * origin does to answer: outside the gate.
 * Returns 0; -ENOMEM; as a read, or as thin_volume_hydrate().
 */
THIN_MUST_CHECK int thin_below_read(struct thin_request *req);
/*
 * A buffer with what shows around @req's bytes in @vblock; NULL: nothing was read,
 * since there are only zeros.  Good until the end of @req.
 */
uint8_t *thin_below_find(struct thin_request *req, uint64_t vblock);
void thin_below_fini(struct thin_request *req);

/* --- reserve.c: blocks that a request may use ------------------------------- */

struct thin_reserved {
	uint64_t dblock, nr;
};

/* Extents are taken and used up in one order: the first taken is used first. */
struct thin_reservation {
	struct thin_pool *pool;
	struct thin_guarantee *guarantee; /* the volume's, or NULL */
	uint64_t pending; /* of the guarantee: reserved, and not inserted yet */
	bool promised;	  /* there was too little of what is kept for the volume */
	struct thin_reserved *extent;
	size_t nr, max;
	size_t at;	/* extent that is taken from */
	uint64_t taken; /* of that extent */
	uint64_t used;	/* of all: inserted, so no longer ours to give back */
	struct thin_reserved few[8];
};

void thin_reservation_init(struct thin_reservation *res, struct thin_pool *pool,
			   struct thin_guarantee *guarantee);
/* All of @want blocks, or an error and none. */
THIN_MUST_CHECK int thin_reservation_make(struct thin_reservation *res, uint64_t want);
/* Consecutive ones of them, at most @want; returns how many. */
uint64_t thin_reservation_take(struct thin_reservation *res, uint64_t want,
			       uint64_t *ret_dblock);
/*
 * [@dblock, @dblock + @nr) were taken, all before them are used or went back, and
 * they are not needed after all.
 */
void thin_reservation_return(struct thin_reservation *res, uint64_t dblock, uint64_t nr);
/* Gives back what was not used. */
void thin_reservation_fini(struct thin_reservation *res);

/* --- guarantee.c ------------------------------------------------------------- */

/*
 * @take(@res, @want), where there are so many blocks that are not kept for
 * others; else -ENOSPC.
 */
THIN_MUST_CHECK int thin_guarantee_take(struct thin_reservation *res, uint64_t want,
					int (*take)(struct thin_reservation *res,
						    uint64_t want));
/* @nr of its blocks are the volume's own now. */
void thin_guarantee_inserted(struct thin_reservation *res, uint64_t nr);
/* @nr of those that are still pending will not be. */
void thin_guarantee_returned(struct thin_reservation *res, uint64_t nr);

/* --- work.c: a request under way -------------------------------------------- */

struct thin_insertion {
	uint64_t vblock, dblock, nr;
};

struct thin_work {
	struct thin_request *req;
	struct thin_pool *pool;
	struct thin_gather out;		 /* to the data storage */
	uint64_t unmap_begin, unmap_end; /* blocks */
	struct thin_reservation res;
	size_t nr_insertions, nr_buffers;
	struct thin_insertion insertion[THIN_RUNS]; /* when @out is written */
	void *buffer[THIN_EDGES];
};

void thin_work_init(struct thin_work *w, struct thin_request *req);
void thin_work_fini(struct thin_work *w);
/* A buffer of a piece's length, good until the end; NULL: no memory. */
void *thin_work_buffer(struct thin_work *w);
/* These blocks hold, or @out will have written, what belongs there. */
THIN_MUST_CHECK int thin_work_insert(struct thin_work *w, uint64_t vblock,
				     uint64_t dblock, uint64_t nr);
/* Write what was gathered, and make the insertions that were noted. */
THIN_MUST_CHECK int thin_work_finish(struct thin_work *w);
/* Do what @c's runs need, from the first one on. */
THIN_MUST_CHECK int thin_work_run(struct thin_work *w, struct thin_cursor *c);

/* --- provision.c ------------------------------------------------------------ */

/* Fill new blocks for a piece, and note their insertion. */
THIN_MUST_CHECK int thin_provision_piece(struct thin_work *w, const struct thin_piece *p);
/* A request that does not go in place: inside the gate. */
THIN_MUST_CHECK int thin_provision(struct thin_request *req);
/* @want blocks for @w; where there are too few @req is short of them. */
THIN_MUST_CHECK int thin_provision_reserve(struct thin_work *w, uint64_t want);

/* --- hydrate.c -------------------------------------------------------------- */

/* Blocks of [@begin, @end) that the origin shows become the volume's. */
THIN_MUST_CHECK int thin_hydrate(struct thin_core *core, uint64_t begin, uint64_t end);

/* --- write.c, discard.c ----------------------------------------------------- */

/*
 * Unmap [@begin, @end), which may be empty, in steps; where metadata is
 * scarce with a commit after each of them.  Inside the gate; in no epoch.
 */
THIN_MUST_CHECK int thin_unmap(struct thin_core *core, uint64_t begin, uint64_t end);
/* Does @req lack something of the origin, by @plan?  It is noted. */
bool thin_request_lacks(struct thin_request *req, const struct thin_plan *plan);
/* @req was short of room: wait for some.  As thin_space_wait(). */
THIN_MUST_CHECK int thin_request_wait(struct thin_request *req, struct thin_patience *p);
/* Do a request, whatever it takes; waits for room and for FUA's commit. */
THIN_MUST_CHECK int thin_request_do(struct thin_request *req);
/* 0; -ERANGE; -EROFS. */
THIN_MUST_CHECK int thin_volume_check(const struct thin_volume *v, uint64_t offset,
				      uint64_t len, bool change);

#endif
