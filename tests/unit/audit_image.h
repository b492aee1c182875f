/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_AUDIT_IMAGE_H
#define THINBD_TESTS_AUDIT_IMAGE_H

/*
 * Metadata images made block by block, from lib/format alone, and audited.
 *
 * Whoever refers to a block says so with image_ref(), so the counts in the
 * space maps are right by construction.  image_commit() writes what is
 * left; after it a test damages what it likes and seals the block again.
 * The image is a storage that counts reads, and fails them on demand.
 */

#include "audit/audit.h"
#include "format/btree_node.h"
#include "format/device_details.h"
#include "format/space_map_layout.h"
#include "format/superblock.h"

#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define IMAGE_DEVICES	 8
#define IMAGE_FINDINGS	 256
#define IMAGE_NO_FAILURE UINT64_MAX

struct image_device {
	uint64_t id;
	uint64_t root;
	uint64_t mapped;
	uint32_t creation;
	uint32_t snapshotted;
};

struct image {
	struct thin_storage storage; /* first, for thin_storage's functions */
	uint8_t *bytes;
	uint64_t nr_blocks;
	uint64_t nr_there;  /* blocks of the storage; nr_blocks unless a test says else */
	uint64_t next;	    /* to be allocated */
	uint32_t *refs;	    /* of metadata blocks */
	uint32_t *reads;    /* likewise */
	unsigned segments;  /* of all reads */
	uint64_t fail_read; /* of this block, with -EIO */
	uint64_t nr_data;
	uint32_t *data_refs;
	uint32_t capacity; /* of new nodes; 0 is the usual one */
	uint32_t time;
	struct image_device devices[IMAGE_DEVICES];
	unsigned nr_devices;
	bool hold; /* image_commit() makes a held copy of the same trees */
	/* Where image_commit() put things. */
	uint64_t top, details, index, metadata_bitmap, metadata_overflow;
	uint64_t data_index, data_bitmap, data_overflow;
	uint64_t held, held_details;
	/* What an audit found. */
	struct thin_finding findings[IMAGE_FINDINGS];
	unsigned nr_findings;
	unsigned seen[THIN_AUDIT_KINDS];
	struct thin_audit_summary summary;
	struct thin_error error;
};

/* --- the storage -------------------------------------------------------- */

static inline int image_read(struct thin_storage *s, const struct thin_segment *seg,
			     size_t nr)
{
	struct image *img = (struct image *)s;

	img->segments += (unsigned)nr;
	for (size_t i = 0; i < nr; i++) {
		uint64_t first = seg[i].offset / THIN_METADATA_BLOCK;
		uint64_t end = first + seg[i].len / THIN_METADATA_BLOCK;

		for (uint64_t block = first; block < end; block++) {
			img->reads[block]++;
			if (block == img->fail_read)
				return -EIO;
		}
		memcpy(seg[i].buf, img->bytes + seg[i].offset, seg[i].len);
	}
	return 0;
}

static inline int image_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	*ret_bytes = ((struct image *)s)->nr_there * THIN_METADATA_BLOCK;
	return 0;
}

static const struct thin_storage_ops image_ops = {
	.name = "image",
	.read = image_read,
	.size = image_size,
};

/* --- making ------------------------------------------------------------- */

static inline void image_init(struct image *img, uint64_t nr_blocks, uint64_t nr_data)
{
	*img = (struct image){
		.storage = {.ops = &image_ops, .readonly = true},
		.nr_blocks = nr_blocks,
		.nr_there = nr_blocks,
		.next = 1,
		.nr_data = nr_data,
		.fail_read = IMAGE_NO_FAILURE,
		.bytes = calloc(nr_blocks, THIN_METADATA_BLOCK),
		.refs = calloc(nr_blocks, sizeof(uint32_t)),
		.reads = calloc(nr_blocks, sizeof(uint32_t)),
		.data_refs = calloc(nr_data + 1, sizeof(uint32_t)),
	};
	assert_true(img->bytes && img->refs && img->reads && img->data_refs);
}

static inline void image_fini(struct image *img)
{
	free(img->bytes);
	free(img->refs);
	free(img->reads);
	free(img->data_refs);
}

/* A copy that can be damaged apart. */
static inline void image_copy(struct image *to, const struct image *from)
{
	image_init(to, from->nr_blocks, from->nr_data);
	memcpy(to->bytes, from->bytes, from->nr_blocks * THIN_METADATA_BLOCK);
	memcpy(to->refs, from->refs, from->nr_blocks * sizeof(*to->refs));
	memcpy(to->data_refs, from->data_refs, from->nr_data * sizeof(*to->data_refs));
	memcpy(to->devices, from->devices, sizeof(to->devices));
	to->nr_devices = from->nr_devices;
	to->next = from->next;
	to->time = from->time;
	to->top = from->top;
	to->details = from->details;
	to->index = from->index;
	to->metadata_bitmap = from->metadata_bitmap;
	to->metadata_overflow = from->metadata_overflow;
	to->data_index = from->data_index;
	to->data_bitmap = from->data_bitmap;
	to->data_overflow = from->data_overflow;
	to->held = from->held;
	to->held_details = from->held_details;
}

static inline void *image_block(struct image *img, uint64_t block)
{
	assert_true(block < img->nr_blocks);
	return img->bytes + block * THIN_METADATA_BLOCK;
}

static inline struct thin_disk_node *image_node(struct image *img, uint64_t block)
{
	return image_block(img, block);
}

static inline struct thin_disk_superblock *image_sb(struct image *img)
{
	return image_block(img, 0);
}

static inline void image_seal(struct image *img, enum thin_block_kind kind,
			      uint64_t block)
{
	thin_block_seal(kind, image_block(img, block), block);
}

static inline uint64_t image_alloc(struct image *img)
{
	assert_true(img->next < img->nr_blocks);
	return img->next++;
}

static inline uint64_t image_ref(struct image *img, uint64_t block)
{
	img->refs[block]++;
	return block;
}

/* An empty node, to be filled with image_add() and sealed. */
static inline uint64_t image_new_node(struct image *img, uint32_t flags,
				      uint32_t value_size)
{
	uint64_t block = image_alloc(img);
	struct thin_disk_node *n = image_node(img, block);
	uint32_t usual = thin_node_capacity(value_size);

	n->flags = le32_of(flags);
	n->value_size = le32_of(value_size);
	n->max_entries = le32_of(img->capacity ? img->capacity : usual);
	image_seal(img, THIN_NODE, block);
	return block;
}

/* Append an entry and seal the node. */
static inline void image_add(struct image *img, uint64_t block, uint64_t key,
			     const void *value)
{
	struct thin_disk_node *n = image_node(img, block);
	uint32_t nr = thin_node_nr(n);

	assert_true(nr < thin_node_max(n));
	n->keys[nr] = le64_of(key);
	n->nr_entries = le32_of(nr + 1);
	memcpy(thin_node_value_mut(n, nr), value, thin_node_value_size(n));
	image_seal(img, THIN_NODE, block);
}

static inline void image_add64(struct image *img, uint64_t block, uint64_t key,
			       uint64_t value)
{
	struct le64 v = le64_of(value);

	image_add(img, block, key, &v);
}

/* A child, or a device's root: one more reference to it. */
static inline void image_add_child(struct image *img, uint64_t block, uint64_t key,
				   uint64_t child)
{
	image_add64(img, block, key, image_ref(img, child));
}

/* A mapping, which is one more reference to the data block. */
static inline void image_map(struct image *img, uint64_t leaf, uint64_t key,
			     uint64_t dblock, uint32_t time)
{
	image_add64(img, leaf, key, thin_mapping_pack(dblock, time));
	if (dblock < img->nr_data)
		img->data_refs[dblock]++;
}

/* A leaf that maps [@key, @key + @nr) to data from @dblock on. */
static inline uint64_t image_leaf(struct image *img, uint64_t key, uint64_t dblock,
				  uint32_t nr, uint32_t time)
{
	uint64_t leaf = image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);

	for (uint32_t i = 0; i < nr; i++)
		image_map(img, leaf, key + i, dblock + i, time);
	return leaf;
}

/* An internal node over @nr nodes, each with its own first key. */
static inline uint64_t image_internal(struct image *img, const uint64_t *children,
				      unsigned nr)
{
	uint64_t block = image_new_node(img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

	for (unsigned i = 0; i < nr; i++)
		image_add_child(img, block,
				thin_node_key(image_node(img, children[i]), 0),
				children[i]);
	return block;
}

static inline void image_device(struct image *img, uint64_t id, uint64_t root,
				uint64_t mapped, uint32_t creation, uint32_t snapshotted)
{
	assert_true(img->nr_devices < IMAGE_DEVICES);
	img->devices[img->nr_devices++] =
		(struct image_device){id, root, mapped, creation, snapshotted};
}

/* --- commit ------------------------------------------------------------- */

static inline void image_write_devices(struct image *img)
{
	img->details = image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_DETAILS);
	img->top = image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
	for (unsigned i = 0; i < img->nr_devices; i++) {
		const struct image_device *d = &img->devices[i];
		struct thin_disk_details details = {
			.mapped_blocks = le64_of(d->mapped),
			.transaction_id = le64_of(7), /* the pool's, too */
			.creation_time = le32_of(d->creation),
			.snapshotted_time = le32_of(d->snapshotted),
		};

		image_add(img, img->details, d->id, &details);
		image_add_child(img, img->top, d->id, d->root);
	}
}

static inline void image_fill_bitmap(struct thin_disk_bitmap *b, const uint32_t *refs,
				     uint64_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		thin_bitmap_set(b, i, refs[i] < 3 ? refs[i] : 3);
}

/* One bitmap of a map: its entry in the index. */
static inline struct thin_disk_index_entry image_entry(uint64_t block,
						       const uint32_t *refs, uint64_t nr)
{
	uint32_t used = 0, first_free = 0;

	for (uint64_t i = 0; i < nr; i++)
		used += refs[i] > 0;
	while (first_free < nr && refs[first_free])
		first_free++;
	return (struct thin_disk_index_entry){
		.blocknr = le64_of(block),
		.nr_free = le32_of(THIN_COUNTS_PER_BITMAP - used),
		.none_free_before = le32_of(first_free),
	};
}

static inline void image_fill_overflow(struct image *img, uint64_t leaf,
				       const uint32_t *refs, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		struct le32 count = le32_of(refs[i]);

		if (refs[i] >= 3)
			image_add(img, leaf, i, &count);
	}
}

static inline struct thin_disk_space_map image_map_root(uint64_t nr, const uint32_t *refs,
							uint64_t bitmap_root,
							uint64_t overflow)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < nr; i++)
		used += refs[i] > 0;
	return (struct thin_disk_space_map){
		.nr_blocks = le64_of(nr),
		.nr_allocated = le64_of(used),
		.bitmap_root = le64_of(bitmap_root),
		.ref_count_root = le64_of(overflow),
	};
}

static inline void image_write_data_map(struct image *img)
{
	uint64_t nr_bitmaps = thin_nr_bitmaps(img->nr_data);

	img->data_index =
		image_ref(img, image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_INDEX));
	img->data_overflow =
		image_ref(img, image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_COUNT));
	image_fill_overflow(img, img->data_overflow, img->data_refs, img->nr_data);
	for (uint64_t i = 0; i < nr_bitmaps; i++) {
		uint64_t block = image_ref(img, image_alloc(img));
		const uint32_t *refs = img->data_refs + i * THIN_COUNTS_PER_BITMAP;
		uint32_t nr = thin_bitmap_entries(img->nr_data, i);
		struct thin_disk_index_entry entry = image_entry(block, refs, nr);

		if (!i)
			img->data_bitmap = block;
		image_fill_bitmap(image_block(img, block), refs, nr);
		image_seal(img, THIN_BITMAP, block);
		image_add(img, img->data_index, i, &entry);
	}
}

/* Last of all: it counts itself. */
static inline void image_write_metadata_map(struct image *img)
{
	struct thin_disk_index *index;

	assert_true(img->nr_blocks <= THIN_COUNTS_PER_BITMAP);
	img->index = image_ref(img, image_alloc(img));
	img->metadata_bitmap = image_ref(img, image_alloc(img));
	img->metadata_overflow =
		image_ref(img, image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_COUNT));
	img->refs[0] = 1;
	image_fill_overflow(img, img->metadata_overflow, img->refs, img->nr_blocks);
	image_fill_bitmap(image_block(img, img->metadata_bitmap), img->refs,
			  img->nr_blocks);
	image_seal(img, THIN_BITMAP, img->metadata_bitmap);
	index = image_block(img, img->index);
	index->entries[0] = image_entry(img->metadata_bitmap, img->refs, img->nr_blocks);
	image_seal(img, THIN_INDEX, img->index);
}

/* A superblock without space maps, at @block. */
static inline void image_write_superblock(struct image *img, uint64_t block)
{
	struct thin_disk_superblock *sb = image_block(img, block);

	*sb = (struct thin_disk_superblock){
		.magic = le64_of(THIN_MAGIC),
		.version = le32_of(THIN_VERSION),
		.time = le32_of(img->time),
		.trans_id = le64_of(7),
		.data_mapping_root = le64_of(image_ref(img, img->top)),
		.device_details_root = le64_of(image_ref(img, img->details)),
		.data_block_size = le32_of(128),
		.metadata_block_size = le32_of(8),
		.metadata_nr_blocks = le64_of(img->nr_blocks),
	};
	image_seal(img, THIN_SUPERBLOCK, block);
}

static inline void image_write_held(struct image *img)
{
	img->held = image_ref(img, image_alloc(img));
	img->held_details = img->details;
	image_write_superblock(img, img->held);
}

/* Hold what there is; the live devices are to be made anew. */
static inline void image_hold(struct image *img)
{
	image_write_devices(img);
	image_write_held(img);
	img->nr_devices = 0;
}

static inline void image_commit(struct image *img)
{
	struct thin_disk_superblock *sb = image_sb(img);

	image_write_devices(img);
	if (img->hold)
		image_write_held(img);
	image_write_superblock(img, 0);
	sb->held_root = le64_of(img->held);
	image_write_data_map(img);
	image_write_metadata_map(img);
	sb->data_space_map = image_map_root(img->nr_data, img->data_refs, img->data_index,
					    img->data_overflow);
	sb->metadata_space_map = image_map_root(img->nr_blocks, img->refs, img->index,
						img->metadata_overflow);
	image_seal(img, THIN_SUPERBLOCK, 0);
}

/* --- auditing ----------------------------------------------------------- */

static inline int image_finding(void *ctx, const struct thin_finding *f)
{
	struct image *img = ctx;

	img->seen[f->kind]++;
	if (img->nr_findings < IMAGE_FINDINGS)
		img->findings[img->nr_findings++] = *f;
	return 0;
}

static inline int image_try_audit(struct image *img, const struct thin_audit_params *p)
{
	img->nr_findings = 0;
	memset(img->seen, 0, sizeof(img->seen));
	img->storage.known_size = 0;
	img->error.text[0] = '\0';
	return thin_audit(&img->storage, p, image_finding, img, &img->summary,
			  &img->error);
}

static inline void image_audit(struct image *img)
{
	assert_int_equal(image_try_audit(img, NULL), 0);
}

static inline void image_print_findings(const struct image *img)
{
	for (unsigned i = 0; i < img->nr_findings; i++) {
		char text[THIN_FINDING_TEXT];

		thin_finding_format(&img->findings[i], NULL, NULL, text, sizeof(text));
		print_error("%s: %s\n", thin_audit_kind_name(img->findings[i].kind),
			    text);
	}
}

/* Audit; nothing is found but the @nr kinds at @kinds, each of them at least once. */
static inline void image_expect(struct image *img, const enum thin_audit_kind *kinds,
				size_t nr)
{
	unsigned left = 0;

	image_audit(img);
	for (size_t i = 0; i < nr; i++) {
		if (!img->seen[kinds[i]]) {
			image_print_findings(img);
			fail_msg("%s was not found", thin_audit_kind_name(kinds[i]));
		}
		img->seen[kinds[i]] = 0;
	}
	for (int kind = 0; kind < THIN_AUDIT_KINDS; kind++)
		left += img->seen[kind];
	if (left) {
		image_print_findings(img);
		fail_msg("something else was found");
	}
}

#define IMAGE_EXPECT(img, ...)                                                           \
	image_expect(img, (const enum thin_audit_kind[]){__VA_ARGS__},                   \
		     sizeof((const enum thin_audit_kind[]){__VA_ARGS__}) /               \
			     sizeof(enum thin_audit_kind))

static inline void image_expect_clean(struct image *img)
{
	image_expect(img, NULL, 0);
	assert_true(img->summary.complete);
}

/* Is there a finding that reads like this? */
static inline void image_expect_text(const struct image *img, const char *text)
{
	for (unsigned i = 0; i < img->nr_findings; i++) {
		char line[THIN_FINDING_TEXT];

		thin_finding_format(&img->findings[i], NULL, NULL, line, sizeof(line));
		if (!strcmp(line, text))
			return;
	}
	image_print_findings(img);
	fail_msg("\"%s\" was not said", text);
}

/* The details of device @device, in a leaf with devices 1, 2, 3... */
static inline struct thin_disk_details *image_details(struct image *img, uint64_t leaf,
						      unsigned device)
{
	return thin_node_value_mut(image_node(img, leaf), device - 1);
}

/* --- pools -------------------------------------------------------------- */

/*
 * Device 1 has 300 blocks in three leaves of 100; device 2 is its snapshot
 * of time 1, which has its own first leaf since; 3 is a snapshot of 1 that
 * has changed nothing; 4 has nothing.  Data blocks 0..99 are shared by
 * three devices in two leaves; 300..399 are device 2's.
 */
static inline void image_pool(struct image *img, bool hold)
{
	uint64_t leaves[3], own[3], root;

	image_init(img, 64, 1000);
	img->hold = hold;
	img->time = 2;
	for (unsigned i = 0; i < 3; i++)
		own[i] = leaves[i] = image_leaf(img, i * 100, i * 100, 100, 0);
	own[0] = image_leaf(img, 0, 300, 100, 1);
	root = image_internal(img, leaves, 3);
	image_device(img, 1, root, 300, 0, 2);
	image_device(img, 2, image_internal(img, own, 3), 300, 1, 1);
	image_device(img, 3, root, 300, 2, 2);
	image_device(img, 4, image_new_node(img, THIN_NODE_LEAF, THIN_VALUE_BLOCK), 0, 2,
		     2);
	image_commit(img);
}

/* The root and the leaves of a device of image_pool(). */
static inline uint64_t image_root(struct image *img, unsigned device)
{
	return img->devices[device - 1].root;
}

static inline uint64_t image_pool_leaf(struct image *img, unsigned device, unsigned i)
{
	return thin_node_value64(image_node(img, image_root(img, device)), i);
}

#endif
