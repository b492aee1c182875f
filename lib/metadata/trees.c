/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

/*
 * The trees of the metadata, and what their leaves refer to:
 *
 *   top level -- device --> root of a mapping tree	one metadata block
 *   mapping   -- vblock --> data block and time	one data block
 *   details   -- device --> struct thin_disk_details	nothing
 */

struct thin_btree thin_details_tree(struct thin_metadata *m)
{
	return (struct thin_btree){.tm = &m->tm, .value_size = THIN_VALUE_DETAILS};
}

static uint64_t value64(const void *values, uint32_t i)
{
	struct le64 v;

	memcpy(&v, (const uint8_t *)values + i * sizeof(v), sizeof(v));
	return le64_get(v);
}

/* --- mappings ------------------------------------------------------------ */

static int inc_data(void *ctx, const void *values, uint32_t nr)
{
	struct thin_metadata *m = ctx;
	int r = 0;

	for (uint32_t i = 0; i < nr && !r; i++)
		r = thin_sm_inc(thin_sm_disk_interface(m->sm_data),
				thin_mapping_unpack(value64(values, i)).data_block);
	return r;
}

static int dec_data(void *ctx, const void *values, uint32_t nr)
{
	struct thin_metadata *m = ctx;
	int r = 0;

	for (uint32_t i = 0; i < nr && !r; i++)
		r = thin_sm_dec(thin_sm_disk_interface(m->sm_data),
				thin_mapping_unpack(value64(values, i)).data_block);
	return r;
}

struct thin_btree thin_mapping_tree(struct thin_metadata *m)
{
	return (struct thin_btree){
		.tm = &m->tm,
		.value_size = THIN_VALUE_BLOCK,
		.inc = inc_data,
		.dec = dec_data,
		.ctx = m,
	};
}

/* --- top level -------------------------------------------------------------- */

static int inc_roots(void *ctx, const void *values, uint32_t nr)
{
	struct thin_metadata *m = ctx;
	int r = 0;

	for (uint32_t i = 0; i < nr && !r; i++)
		r = thin_sm_inc(m->tm.sm, value64(values, i));
	return r;
}

static int delete_mappings(void *ctx, const void *values, uint32_t nr)
{
	struct thin_metadata *m = ctx;
	struct thin_btree mappings = thin_mapping_tree(m);
	int r = 0;

	for (uint32_t i = 0; i < nr && !r; i++)
		r = thin_btree_delete(&mappings, value64(values, i));
	return r;
}

struct thin_btree thin_top_tree(struct thin_metadata *m)
{
	return (struct thin_btree){
		.tm = &m->tm,
		.value_size = THIN_VALUE_BLOCK,
		.inc = inc_roots,
		.dec = delete_mappings,
		.ctx = m,
	};
}
