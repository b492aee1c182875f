/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/state.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* How many blocks are read between two calls of the progress function. */
#define PROGRESS_STEP 1024

void audit_fail(struct audit *a, int err)
{
	if (!a->failed)
		a->failed = err;
}

/* --- memory ------------------------------------------------------------ */

static int out_of_memory(struct audit *a)
{
	return thin_error_set(a->e, -ENOMEM, "out of memory for the audit");
}

static bool memory_take(struct audit *a, uint64_t bytes)
{
	uint64_t limit = a->params->max_memory ? a->params->max_memory : UINT64_MAX;

	if (bytes > limit || a->memory > limit - bytes) {
		audit_fail(a, thin_error_set(a->e, -ENOMEM,
					     "the audit needs more than %" PRIu64
					     " bytes of memory",
					     limit));
		return false;
	}
	a->memory += bytes;
	a->memory_max = thin_max(a->memory_max, a->memory);
	return true;
}

void *audit_alloc(struct audit *a, size_t nr, size_t size)
{
	uint64_t bytes;
	void *p;

	if (!thin_mul_ok(nr, size, &bytes) || !memory_take(a, bytes)) {
		audit_fail(a, -ENOMEM);
		return NULL;
	}
	p = calloc(nr ? nr : 1, size);
	if (!p) {
		a->memory -= bytes;
		audit_fail(a,
			   thin_error_set(a->e, -ENOMEM, "out of memory for the audit"));
	}
	return p;
}

void audit_free(struct audit *a, void *p, size_t nr, size_t size)
{
	if (!p)
		return;
	assert(a->memory >= (uint64_t)nr * size);
	a->memory -= (uint64_t)nr * size;
	free(p);
}

bool audit_room(struct audit *a, void *array, size_t nr, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 16;
	void *p;

	if (nr < *cap)
		return true;
	if (!memory_take(a, (uint64_t)(more - *cap) * size))
		return false;
	memcpy(&p, array, sizeof(p));
	p = reallocarray(p, more, size);
	if (!p) {
		a->memory -= (uint64_t)(more - *cap) * size;
		audit_fail(a, out_of_memory(a));
		return false;
	}
	memcpy(array, &p, sizeof(p));
	*cap = more;
	return true;
}

/* --- blocks ------------------------------------------------------------ */

static void tell_progress(struct audit *a)
{
	const struct thin_audit_params *p = a->params;
	uint64_t total =
		thin_min(le64_get(a->sb.metadata_space_map.nr_allocated), a->nr_blocks);
	int r;

	a->reads_told = a->reads;
	if (!p->progress)
		return;
	r = p->progress(p->progress_ctx, a->reads, thin_max(total, a->reads));
	if (r)
		audit_fail(a, r);
}

void audit_load(struct audit *a, struct batch *b)
{
	audit_batch_load(b, a->storage);
	a->reads += b->nr;
	if (a->reads - a->reads_told >= PROGRESS_STEP)
		tell_progress(a);
}

/* Is this a sound block, though of another kind than was looked for? */
static bool sound_as_other(enum thin_block_kind kind, uint64_t block, const void *data)
{
	for (int other = 0; other < THIN_BLOCK_KINDS; other++)
		if (other != (int)kind && thin_block_verify((enum thin_block_kind)other,
							    data, block) != -EILSEQ)
			return true;
	return false;
}

bool audit_block_fault(enum thin_block_kind kind, uint64_t block, const void *data,
		       int status, struct thin_finding *ret)
{
	const struct thin_disk_header *header = data;

	if (status) {
		ret->kind = THIN_AUDIT_READ_ERROR;
		ret->found = (uint64_t)-status;
		return true;
	}
	switch (thin_block_verify(kind, data, block)) {
	case 0:
		return false;
	case -ENOTBLK:
		ret->kind = THIN_AUDIT_BAD_BLOCKNR;
		ret->found = le64_get(header->blocknr);
		ret->expected = block;
		return true;
	default:
		ret->kind = sound_as_other(kind, block, data)
				    ? THIN_AUDIT_WRONG_BLOCK_TYPE
				    : THIN_AUDIT_BAD_CHECKSUM;
		return true;
	}
}

bool audit_claim(struct audit *a, uint64_t block, enum audit_role role,
		 struct thin_finding *f)
{
	audit_ref(a, block);
	if (!audit_in_range(a, block)) {
		audit_out_of_range(a, block, f);
		a->incomplete_trees = true; /* this reference is not counted */
	} else if (a->memo[block].role != ROLE_NONE) {
		f->kind = THIN_AUDIT_BLOCK_TWO_USES;
	} else {
		a->memo[block].role = (uint8_t)role;
		return true;
	}
	audit_report(a, f);
	return false;
}

void audit_out_of_range(const struct audit *a, uint64_t block, struct thin_finding *f)
{
	bool recorded = block < le64_get(a->sb.metadata_space_map.nr_blocks);

	f->kind = recorded && block >= a->device_blocks ? THIN_AUDIT_FILE_TOO_SHORT
							: THIN_AUDIT_BLOCK_OUT_OF_RANGE;
	f->found = recorded ? a->device_blocks : block;
	f->expected = recorded ? block + 1 : a->nr_blocks;
}

bool audit_all_zero(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

void audit_note_slack(struct audit *a, uint64_t block)
{
	if (!a->slack_blocks || block < a->slack_first)
		a->slack_first = block;
	a->slack_blocks++;
}
