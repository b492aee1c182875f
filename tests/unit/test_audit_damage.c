/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each kind of damage is called by its name, and nothing else is found but
 * what comes of it.  (tests/audit has many more images, and a second
 * auditor to compare with.)
 */
#include "audit_image.h"

/* Damages @img, which is an image_pool() with a held copy. */
typedef void damage_fn(struct image *img);

static void seal_sb(struct image *img)
{
	image_seal(img, THIN_SUPERBLOCK, 0);
}

static void unformatted(struct image *img)
{
	memset(image_block(img, 0), 0, THIN_METADATA_BLOCK);
}

/* A field of the superblock, changed. */
#define SB_DAMAGE(name, field, value)                                                    \
	static void name(struct image *img)                                              \
	{                                                                                \
		image_sb(img)->field = value;                                            \
		seal_sb(img);                                                            \
	}                                                                                \
	_Static_assert(1, "wants a semicolon")

SB_DAMAGE(sb_magic, magic, le64_of(THIN_MAGIC + 1));
SB_DAMAGE(sb_version, version, le32_of(3));
SB_DAMAGE(sb_version_1, version, le32_of(1));
SB_DAMAGE(sb_needs_check, flags, le32_of(THIN_NEEDS_CHECK));
SB_DAMAGE(sb_flags, flags, le32_of(4));
SB_DAMAGE(sb_compat, compat_flags, le32_of(1));
SB_DAMAGE(sb_compat_ro, compat_ro_flags, le32_of(1));
SB_DAMAGE(sb_incompat, incompat_flags, le32_of(1));
SB_DAMAGE(sb_block_size_0, data_block_size, le32_of(0));
SB_DAMAGE(sb_block_size_4k, data_block_size, le32_of(8));
SB_DAMAGE(sb_metadata_block_size, metadata_block_size, le32_of(16));
SB_DAMAGE(sb_metadata_nr_blocks, metadata_nr_blocks, le64_of(img->nr_blocks + 1));
SB_DAMAGE(sb_time, time, le32_of(THIN_MAX_TIME + 1));
SB_DAMAGE(sb_time_back, time, le32_of(0));

static void sb_checksum(struct image *img)
{
	image_sb(img)->uuid[3] = 1;
}

static void sb_mapping_root_0(struct image *img)
{
	image_sb(img)->data_mapping_root = le64_of(0);
	seal_sb(img);
}

static void file_short(struct image *img)
{
	img->nr_there = img->next;
}

static void file_shorter(struct image *img)
{
	img->nr_there = img->metadata_overflow;
}

static void blocknr(struct image *img)
{
	image_node(img, image_pool_leaf(img, 1, 1))->blocknr = le64_of(1);
	thin_block_seal(THIN_NODE, image_block(img, image_pool_leaf(img, 1, 1)), 1);
}

static void checksum(struct image *img)
{
	image_node(img, image_pool_leaf(img, 1, 1))->keys[250] = le64_of(1);
}

static void block_type(struct image *img)
{
	image_seal(img, THIN_BITMAP, image_pool_leaf(img, 1, 1));
}

static void out_of_range(struct image *img)
{
	struct le64 v = le64_of(img->nr_blocks);

	memcpy(thin_node_value_mut(image_node(img, image_root(img, 1)), 1), &v,
	       sizeof(v));
	image_seal(img, THIN_NODE, image_root(img, 1));
}

static void root_out_of_range(struct image *img)
{
	image_sb(img)->device_details_root = le64_of(UINT64_MAX);
	seal_sb(img);
}

static void two_uses(struct image *img)
{
	struct le64 v = le64_of(img->details);

	memcpy(thin_node_value_mut(image_node(img, image_root(img, 1)), 1), &v,
	       sizeof(v));
	image_seal(img, THIN_NODE, image_root(img, 1));
}

static void slack(struct image *img)
{
	image_node(img, image_pool_leaf(img, 1, 1))->keys[250] = le64_of(1);
	image_seal(img, THIN_NODE, image_pool_leaf(img, 1, 1));
}

static void node_set(struct image *img, size_t field, uint32_t value)
{
	uint64_t block = image_pool_leaf(img, 1, 1);
	struct le32 v = le32_of(value);

	memcpy((uint8_t *)image_block(img, block) + field, &v, sizeof(v));
	image_seal(img, THIN_NODE, block);
}

static void node_flags(struct image *img)
{
	node_set(img, offsetof(struct thin_disk_node, flags), 3);
}

static void node_value_size(struct image *img)
{
	node_set(img, offsetof(struct thin_disk_node, value_size), 16);
}

static void node_nr_entries(struct image *img)
{
	node_set(img, offsetof(struct thin_disk_node, nr_entries), 253);
}

static void max_entries_zero(struct image *img)
{
	node_set(img, offsetof(struct thin_disk_node, max_entries), 0);
}

static void max_entries_huge(struct image *img)
{
	node_set(img, offsetof(struct thin_disk_node, max_entries), 0x20000001);
}

/* Moves the values, so that only the capacity is wrong. */
static void set_capacity(struct image *img, uint64_t block, uint32_t max)
{
	struct thin_disk_node *n = image_node(img, block);
	uint64_t values[252];

	memcpy(values, thin_node_value(n, 0), thin_node_nr(n) * sizeof(values[0]));
	memset(&n->keys[thin_node_nr(n)], 0,
	       THIN_METADATA_BLOCK - sizeof(*n) - 8 * thin_node_nr(n));
	n->max_entries = le32_of(max);
	memcpy(thin_node_value_mut(n, 0), values, thin_node_nr(n) * sizeof(values[0]));
	image_seal(img, THIN_NODE, block);
}

static void max_entries_not_3(struct image *img)
{
	for (unsigned i = 0; i < 3; i++)
		set_capacity(img, image_pool_leaf(img, 1, i), 251);
	set_capacity(img, image_pool_leaf(img, 2, 0), 251);
}

static void max_entries_siblings(struct image *img)
{
	set_capacity(img, image_pool_leaf(img, 1, 0), 126);
}

static void key_order(struct image *img)
{
	struct thin_disk_node *n = image_node(img, image_pool_leaf(img, 1, 0));
	struct le64 key = n->keys[7];

	n->keys[7] = n->keys[8];
	n->keys[8] = key;
	image_seal(img, THIN_NODE, image_pool_leaf(img, 1, 0));
}

static void parent_key_high(struct image *img)
{
	image_node(img, image_root(img, 1))->keys[1] = le64_of(101);
	image_seal(img, THIN_NODE, image_root(img, 1));
}

static void child_key_high(struct image *img)
{
	uint64_t leaf = image_pool_leaf(img, 1, 0);

	image_node(img, leaf)->keys[99] = le64_of(100);
	image_seal(img, THIN_NODE, leaf);
}

static void underfull(struct image *img)
{
	uint64_t leaf = image_pool_leaf(img, 2, 0);
	struct thin_disk_node *n = image_node(img, leaf);

	/* 83 entries left: one too few. */
	n->nr_entries = le32_of(83);
	image_seal(img, THIN_NODE, leaf);
}

static void empty_node(struct image *img)
{
	uint64_t leaf = image_pool_leaf(img, 2, 0);

	memset(image_block(img, leaf), 0, THIN_METADATA_BLOCK);
	image_node(img, leaf)->flags = le32_of(THIN_NODE_LEAF);
	image_node(img, leaf)->max_entries = le32_of(252);
	image_node(img, leaf)->value_size = le32_of(8);
	image_seal(img, THIN_NODE, leaf);
}

/* Device 1's root gets device 2's for a child: leaves at depths 1 and 2. */
static void unequal_depth(struct image *img)
{
	struct le64 v = le64_of(image_root(img, 2));

	memcpy(thin_node_value_mut(image_node(img, image_root(img, 1)), 0), &v,
	       sizeof(v));
	image_seal(img, THIN_NODE, image_root(img, 1));
}

static void cycle(struct image *img)
{
	struct le64 v = le64_of(image_root(img, 1));

	memcpy(thin_node_value_mut(image_node(img, image_root(img, 1)), 2), &v,
	       sizeof(v));
	image_seal(img, THIN_NODE, image_root(img, 1));
}

static void set_mapping(struct image *img, uint64_t leaf, uint32_t i, uint64_t dblock,
			uint32_t time)
{
	struct le64 v = le64_of(thin_mapping_pack(dblock, time));

	memcpy(thin_node_value_mut(image_node(img, leaf), i), &v, sizeof(v));
	image_seal(img, THIN_NODE, leaf);
}

static void mapping_past_end(struct image *img)
{
	set_mapping(img, image_pool_leaf(img, 2, 0), 5, 1000, 1);
}

static void mapping_time(struct image *img)
{
	set_mapping(img, image_pool_leaf(img, 2, 0), 5, 305, 3);
}

/* Block 6 of device 2 has block 5's data, and the counts are right. */
static void double_mapping(struct image *img)
{
	struct thin_disk_bitmap *b = image_block(img, img->data_bitmap);

	set_mapping(img, image_pool_leaf(img, 2, 0), 6, 305, 0);
	set_mapping(img, image_pool_leaf(img, 2, 0), 5, 305, 0);
	thin_bitmap_set(b, 305, 2);
	thin_bitmap_set(b, 306, 0);
	image_seal(img, THIN_BITMAP, img->data_bitmap);
}

static void accounts_after_double(struct image *img)
{
	struct thin_disk_index_entry e;
	struct thin_disk_node *n = image_node(img, img->data_index);

	double_mapping(img);
	memcpy(&e, thin_node_value(n, 0), sizeof(e));
	e.nr_free = le32_of(le32_get(e.nr_free) + 1);
	e.none_free_before = le32_of(306);
	memcpy(thin_node_value_mut(n, 0), &e, sizeof(e));
	image_seal(img, THIN_NODE, img->data_index);
	image_sb(img)->data_space_map.nr_allocated = le64_of(399);
	seal_sb(img);
}

/* Device 3 would write the leaves that it shares with device 1 in place. */
static void shared_not_flagged(struct image *img)
{
	image_details(img, img->details, 3)->snapshotted_time = le32_of(0);
	image_details(img, img->details, 3)->creation_time = le32_of(0);
	image_seal(img, THIN_NODE, img->details);
}

static void truncate_node(struct image *img, uint64_t block, uint32_t nr)
{
	struct thin_disk_node *n = image_node(img, block);
	uint32_t size = thin_node_value_size(n);

	for (uint32_t i = nr; i < thin_node_nr(n); i++) {
		n->keys[i] = le64_of(0);
		memset(thin_node_value_mut(n, i), 0, size);
	}
	n->nr_entries = le32_of(nr);
	image_seal(img, THIN_NODE, block);
}

static void device_no_details(struct image *img)
{
	truncate_node(img, img->details, 3);
}

static void device_no_mapping(struct image *img)
{
	truncate_node(img, img->top, 3);
}

static void device_id(struct image *img)
{
	image_node(img, img->details)->keys[3] = le64_of(1 << 24);
	image_seal(img, THIN_NODE, img->details);
	image_node(img, img->top)->keys[3] = le64_of(1 << 24);
	image_seal(img, THIN_NODE, img->top);
}

static void mapped_blocks(struct image *img)
{
	image_details(img, img->details, 2)->mapped_blocks = le64_of(299);
	image_seal(img, THIN_NODE, img->details);
}

static void device_time(struct image *img)
{
	image_details(img, img->details, 2)->snapshotted_time = le32_of(3);
	image_seal(img, THIN_NODE, img->details);
}

static void device_time_order(struct image *img)
{
	image_details(img, img->details, 4)->snapshotted_time = le32_of(1);
	image_seal(img, THIN_NODE, img->details);
}

static void device_trans_id(struct image *img)
{
	image_details(img, img->details, 4)->transaction_id = le64_of(8);
	image_seal(img, THIN_NODE, img->details);
}

static void set_count(struct image *img, uint64_t bitmap, uint32_t i, uint32_t count)
{
	thin_bitmap_set(image_block(img, bitmap), i, count);
	image_seal(img, THIN_BITMAP, bitmap);
}

/* What the index says of a map's only bitmap, changed by so much. */
static void account(struct image *img, bool data, int nr_free, int none_free_before)
{
	struct thin_disk_index_entry e;
	struct thin_disk_index *index = image_block(img, img->index);
	void *where = data ? thin_node_value_mut(image_node(img, img->data_index), 0)
			   : (void *)&index->entries[0];

	memcpy(&e, where, sizeof(e));
	e.nr_free = le32_of(le32_get(e.nr_free) + (uint32_t)nr_free);
	e.none_free_before =
		le32_of(le32_get(e.none_free_before) + (uint32_t)none_free_before);
	memcpy(where, &e, sizeof(e));
	image_seal(img, THIN_INDEX, img->index);
	image_seal(img, THIN_NODE, img->data_index);
}

static void allocated(struct image *img, bool data, int more)
{
	struct thin_disk_space_map *root = data ? &image_sb(img)->data_space_map
						: &image_sb(img)->metadata_space_map;

	root->nr_allocated = le64_of(le64_get(root->nr_allocated) + (uint64_t)more);
	seal_sb(img);
}

static void metadata_leak(struct image *img)
{
	set_count(img, img->metadata_bitmap, (uint32_t)img->next, 1);
	account(img, false, -1, 1);
	allocated(img, false, 1);
}

static void metadata_high(struct image *img)
{
	set_count(img, img->metadata_bitmap, (uint32_t)img->details, 1);
}

static void metadata_low(struct image *img)
{
	set_count(img, img->metadata_bitmap, (uint32_t)image_root(img, 1), 1);
}

static void metadata_too_high(struct image *img)
{
	set_count(img, img->metadata_bitmap, (uint32_t)image_root(img, 2), 2);
}

static void data_leak(struct image *img)
{
	for (uint32_t i = 500; i < 510; i++)
		set_count(img, img->data_bitmap, i, 1);
	account(img, true, -10, 0);
	allocated(img, true, 10);
}

static void data_high(struct image *img)
{
	set_count(img, img->data_bitmap, 7, 2);
}

static void data_low(struct image *img)
{
	set_count(img, img->data_bitmap, 7, 0);
	account(img, true, 1, 7 - 400);
	allocated(img, true, -1);
}

static void overflow_missing(struct image *img)
{
	set_count(img, img->data_bitmap, 7, 3);
}

static void overflow_entry(struct image *img, uint64_t block, uint32_t value)
{
	struct le32 count = le32_of(value);

	image_add(img, img->data_overflow, block, &count);
}

static void overflow_stale(struct image *img)
{
	overflow_entry(img, 7, 3);
}

static void overflow_small(struct image *img)
{
	set_count(img, img->data_bitmap, 7, 3);
	overflow_entry(img, 7, 1);
}

static void overflow_past_end(struct image *img)
{
	overflow_entry(img, 1000, 3);
}

static void bits_past_end(struct image *img)
{
	set_count(img, img->data_bitmap, 1000, 1);
	set_count(img, img->data_bitmap, 1001, 2);
}

static void index_checksum(struct image *img)
{
	((uint8_t *)image_block(img, img->index))[4000] = 1;
}

static void index_missing(struct image *img)
{
	truncate_node(img, img->data_index, 0);
}

static void data_index_extra(struct image *img)
{
	struct thin_disk_index_entry e;
	struct thin_disk_node *n = image_node(img, img->data_index);

	memcpy(&e, thin_node_value(n, 0), sizeof(e));
	e.blocknr = le64_of(img->next);
	memcpy(image_block(img, img->next), image_block(img, img->data_bitmap),
	       THIN_METADATA_BLOCK);
	image_seal(img, THIN_BITMAP, img->next);
	image_add(img, img->data_index, 1, &e);
	set_count(img, img->metadata_bitmap, (uint32_t)img->next, 1);
	account(img, false, -1, 1);
	allocated(img, false, 1);
}

static void index_extra(struct image *img)
{
	struct thin_disk_index_entry e = {.nr_free = le32_of(1)};
	struct thin_disk_index *index = image_block(img, img->index);

	index->entries[1] = e;
	image_seal(img, THIN_INDEX, img->index);
}

static void nr_allocated(struct image *img)
{
	allocated(img, true, 1);
}

static void nr_free(struct image *img)
{
	account(img, true, -1, 0);
}

static void nr_free_truncated(struct image *img)
{
	account(img, true, -(int)(THIN_COUNTS_PER_BITMAP - 1000), 0);
}

/* As thin_restore leaves it: accounts with a block that is free again. */
static void restore_off_by_one(struct image *img)
{
	account(img, false, -1, 1);
	allocated(img, false, 1);
}

static void none_free_before(struct image *img)
{
	account(img, true, 0, 1);
}

static struct thin_disk_superblock *held(struct image *img)
{
	return image_block(img, img->held);
}

static void held_magic(struct image *img)
{
	held(img)->magic = le64_of(1);
	image_seal(img, THIN_SUPERBLOCK, img->held);
}

static void held_nested(struct image *img)
{
	held(img)->held_root = le64_of(img->held);
	image_seal(img, THIN_SUPERBLOCK, img->held);
}

static void held_space_maps(struct image *img)
{
	held(img)->data_space_map.nr_blocks = le64_of(1000);
	image_seal(img, THIN_SUPERBLOCK, img->held);
}

static void held_time(struct image *img)
{
	held(img)->time = le32_of(3);
	image_seal(img, THIN_SUPERBLOCK, img->held);
}

static void held_out_of_range(struct image *img)
{
	image_sb(img)->held_root = le64_of(img->nr_blocks);
	seal_sb(img);
}

static void held_is_a_node(struct image *img)
{
	image_sb(img)->held_root = le64_of(image_root(img, 1));
	seal_sb(img);
}

static void held_checksum(struct image *img)
{
	held(img)->uuid[0] = 1;
}

#define K(kind)	     THIN_AUDIT_##kind
#define MAX_EXPECTED 8

static const struct {
	const char *name;
	damage_fn *damage;
	size_t nr;
	enum thin_audit_kind expected[MAX_EXPECTED];
} damages[] = {
#define DAMAGE(fn, ...)                                                                  \
	{                                                                                \
#fn, fn,                                                                 \
			sizeof((enum thin_audit_kind[]){__VA_ARGS__}) /                  \
				sizeof(enum thin_audit_kind),                            \
		{                                                                        \
			__VA_ARGS__                                                      \
		}                                                                        \
	}
	DAMAGE(unformatted, K(UNFORMATTED)),
	DAMAGE(sb_magic, K(SB_MAGIC)),
	DAMAGE(sb_checksum, K(BAD_CHECKSUM)),
	DAMAGE(sb_version, K(SB_VERSION)),
	DAMAGE(sb_version_1, K(SB_VERSION_1)),
	DAMAGE(sb_needs_check, K(SB_NEEDS_CHECK)),
	DAMAGE(sb_flags, K(SB_FLAGS)),
	DAMAGE(sb_compat, K(SB_COMPAT)),
	DAMAGE(sb_compat_ro, K(SB_COMPAT_RO)),
	DAMAGE(sb_incompat, K(SB_INCOMPAT)),
	DAMAGE(sb_block_size_0, K(SB_DATA_BLOCK_SIZE)),
	DAMAGE(sb_block_size_4k, K(SB_BLOCK_SIZE_KERNEL)),
	DAMAGE(sb_metadata_block_size, K(SB_METADATA_BLOCK_SIZE)),
	DAMAGE(sb_metadata_nr_blocks, K(SB_METADATA_NR_BLOCKS)),
	DAMAGE(sb_time, K(SB_TIME)),
	DAMAGE(sb_time_back, K(MAPPING_TIME), K(DEVICE_TIME), K(HELD_TIME)),
	DAMAGE(sb_mapping_root_0, K(BLOCK_TWO_USES), K(METADATA_COUNT_LOW),
	       K(COUNTS_NOT_JUDGED)),
	DAMAGE(file_short, K(FILE_TOO_SHORT)),
	DAMAGE(file_shorter, K(FILE_TOO_SHORT), K(COUNTS_NOT_JUDGED)),
	DAMAGE(blocknr, K(BAD_BLOCKNR), K(COUNTS_NOT_JUDGED)),
	DAMAGE(checksum, K(BAD_CHECKSUM), K(COUNTS_NOT_JUDGED)),
	DAMAGE(block_type, K(WRONG_BLOCK_TYPE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(out_of_range, K(BLOCK_OUT_OF_RANGE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(root_out_of_range, K(BLOCK_OUT_OF_RANGE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(two_uses, K(BLOCK_TWO_USES), K(METADATA_COUNT_LOW), K(COUNTS_NOT_JUDGED)),
	DAMAGE(slack, K(SLACK_NONZERO)),
	DAMAGE(node_flags, K(NODE_FLAGS), K(COUNTS_NOT_JUDGED)),
	DAMAGE(node_value_size, K(NODE_VALUE_SIZE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(node_nr_entries, K(NODE_NR_ENTRIES), K(COUNTS_NOT_JUDGED)),
	DAMAGE(max_entries_zero, K(MAX_ENTRIES_TOO_LARGE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(max_entries_huge, K(MAX_ENTRIES_TOO_LARGE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(max_entries_not_3, K(MAX_ENTRIES_NOT_3)),
	DAMAGE(max_entries_siblings, K(MAX_ENTRIES_SIBLINGS), K(MAX_ENTRIES_UNUSUAL)),
	DAMAGE(key_order, K(KEY_ORDER)),
	DAMAGE(parent_key_high, K(PARENT_KEY_HIGH)),
	DAMAGE(child_key_high, K(CHILD_KEY_HIGH)),
	DAMAGE(underfull, K(UNDERFULL_NODE), K(MAPPED_BLOCKS), K(DATA_LEAK),
	       K(SLACK_NONZERO)),
	DAMAGE(empty_node, K(EMPTY_NODE), K(MAPPED_BLOCKS), K(DATA_LEAK)),
	DAMAGE(unequal_depth, K(UNEQUAL_DEPTH), K(CHILD_KEY_HIGH), K(UNDERFULL_NODE),
	       K(METADATA_COUNT_LOW), K(METADATA_LEAK), K(MAPPED_BLOCKS), K(DATA_LEAK),
	       K(SHARED_NOT_FLAGGED)),
	DAMAGE(cycle, K(CYCLE), K(METADATA_COUNT_LOW), K(COUNTS_NOT_JUDGED)),
	DAMAGE(mapping_past_end, K(MAPPING_PAST_END), K(DATA_LEAK)),
	DAMAGE(mapping_time, K(MAPPING_TIME)),
	DAMAGE(double_mapping, K(DOUBLE_MAPPING), K(DOUBLE_FLAGGED), K(NR_ALLOCATED),
	       K(NR_FREE), K(NONE_FREE_BEFORE)),
	DAMAGE(accounts_after_double, K(DOUBLE_MAPPING), K(DOUBLE_FLAGGED)),
	DAMAGE(shared_not_flagged, K(SHARED_NOT_FLAGGED)),
	DAMAGE(device_no_details, K(DEVICE_NO_DETAILS)),
	DAMAGE(device_no_mapping, K(DEVICE_NO_MAPPING), K(METADATA_LEAK)),
	DAMAGE(device_id, K(DEVICE_ID)),
	DAMAGE(mapped_blocks, K(MAPPED_BLOCKS)),
	DAMAGE(device_time, K(DEVICE_TIME)),
	DAMAGE(device_time_order, K(DEVICE_TIME_ORDER)),
	DAMAGE(device_trans_id, K(DEVICE_TRANS_ID)),
	DAMAGE(metadata_leak, K(METADATA_LEAK)),
	DAMAGE(metadata_high, K(METADATA_COUNT_LOW)),
	DAMAGE(metadata_low, K(METADATA_COUNT_LOW)),
	DAMAGE(metadata_too_high, K(METADATA_COUNT_HIGH)),
	DAMAGE(data_leak, K(DATA_LEAK)),
	DAMAGE(data_high, K(DATA_COUNT_HIGH)),
	DAMAGE(data_low, K(DATA_COUNT_LOW)),
	DAMAGE(overflow_missing, K(OVERFLOW_MISSING), K(DATA_COUNT_HIGH)),
	DAMAGE(overflow_stale, K(OVERFLOW_STALE)),
	DAMAGE(overflow_small, K(OVERFLOW_SMALL)),
	DAMAGE(overflow_past_end, K(OVERFLOW_PAST_END)),
	DAMAGE(bits_past_end, K(BITS_PAST_END)),
	DAMAGE(index_checksum, K(BAD_CHECKSUM), K(COUNTS_NOT_JUDGED)),
	DAMAGE(index_missing, K(INDEX_MISSING), K(METADATA_LEAK)),
	DAMAGE(index_extra, K(INDEX_EXTRA)),
	DAMAGE(data_index_extra, K(INDEX_EXTRA)),
	DAMAGE(nr_allocated, K(NR_ALLOCATED)),
	DAMAGE(nr_free, K(NR_FREE)),
	DAMAGE(nr_free_truncated, K(NR_FREE_TRUNCATED)),
	DAMAGE(restore_off_by_one, K(RESTORE_OFF_BY_ONE)),
	DAMAGE(none_free_before, K(NONE_FREE_BEFORE)),
	DAMAGE(held_magic, K(HELD_MAGIC)),
	DAMAGE(held_nested, K(HELD_NESTED)),
	DAMAGE(held_space_maps, K(HELD_SPACE_MAPS)),
	DAMAGE(held_time, K(HELD_TIME)),
	DAMAGE(held_out_of_range, K(BLOCK_OUT_OF_RANGE), K(COUNTS_NOT_JUDGED)),
	DAMAGE(held_is_a_node, K(BLOCK_TWO_USES), K(METADATA_COUNT_LOW),
	       K(COUNTS_NOT_JUDGED)),
	DAMAGE(held_checksum, K(BAD_CHECKSUM), K(COUNTS_NOT_JUDGED)),
};

static void test_damage(void **state)
{
	struct image pool, img;

	(void)state;
	image_pool(&pool, true);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		image_copy(&img, &pool);
		damages[i].damage(&img);
		print_message("%s\n", damages[i].name);
		assert_true(damages[i].nr <= MAX_EXPECTED);
		image_expect(&img, damages[i].expected, damages[i].nr);
		image_fini(&img);
	}
	image_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
