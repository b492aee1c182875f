/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REPAIR_INTERNAL_H
#define THINBD_REPAIR_INTERNAL_H

/* What the parts of a repair share. */

#include "format/btree_node.h"
#include "format/device_details.h"
#include "format/superblock.h"
#include "repair/repair.h"
#include "util/limits.h"

/* Trees that are read. */
enum repair_tree {
	REPAIR_NO_TREE,
	REPAIR_TOP,
	REPAIR_DETAILS,
	REPAIR_DEVICE,
};

enum belief {
	BELIEF_UNSEEN,
	BELIEF_WALKING, /* between the root and where we are */
	BELIEF_SOUND,	/* all of it, down to the leaves: may stay as it is */
	BELIEF_PARTS,	/* readable, but something in it or below is wrong */
	BELIEF_NONE,	/* not one word */
};

/* What is known of a block of the old metadata. */
struct memo {
	uint64_t first, last;	      /* keys in it and below; where first > last: none */
	uint64_t nr;		      /* entries of leaves below */
	uint32_t max_time;	      /* of a mapping below */
	uint16_t leaf_max, inner_max; /* capacity of leaves, of nodes; 0: none */
	uint8_t belief;
	uint8_t tree;
	uint8_t height; /* of what is sound; 0 is a leaf */
	bool few;	/* entries, for what is no root */
};

/* A run of keys of one device. */
struct range {
	uint64_t first, last;
};

struct ranges {
	struct range *at;
	size_t nr, room;
};

struct repair_device {
	uint64_t id;
	uint64_t root; /* in the top level; becomes the new one */
	uint64_t nr;   /* mappings that stay */
	struct thin_disk_details details;
	bool in_top, in_details;
};

struct devices {
	struct repair_device *at;
	size_t nr, room;
};

/* Counts of data blocks, for as many as a bitmap has. */
struct count_page {
	bool wide; /* 32 bits each, not 8 */
	uint8_t counts[];
};

struct repair {
	const struct thin_repair_params *p;
	const struct thin_repair_fns *fns;
	void *ctx;
	struct thin_error *e;
	struct thin_repair_result result;

	struct thin_disk_superblock sb;
	uint64_t nr_old; /* blocks there are to read */
	struct memo *memo;
	uint64_t nr_data;    /* mappings end here */
	uint64_t max_dblock; /* of one that was believed */
	uint32_t time;	     /* no mapping is later; the new superblock's */
	bool bump;	     /* one more: some device is to be all shared */

	struct devices devices;
	size_t nr_top;		       /* of them are in the top level, and come first */
	bool top_sound, details_sound; /* the trees may stay */
	uint64_t held;		       /* its block, or 0 */
	uint64_t held_top, held_details;

	/* What is written. */
	uint64_t nr_new;
	uint64_t cursor; /* of the search for a free block */
	uint32_t *refs;	 /* nr_new of them; those in use or to be left alone */
	uint8_t *taken;	 /* nr_new of them: enum taken */
	struct count_page **pages;
	uint64_t nr_pages;
	uint64_t *made; /* hash table of new nodes: blocks, 0 is empty */
	size_t nr_made, made_room;
};

enum taken {
	TAKEN_NOT,
	TAKEN_OLD,	   /* something of the old metadata is there: hands off */
	TAKEN_FRESH,	   /* written by us */
	TAKEN_COUNTED_OLD, /* the same, met in the count */
	TAKEN_COUNTED_FRESH,
};

/* Say what, and return @err. */
THIN_MUST_CHECK int repair_refuse(struct repair *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
THIN_MUST_CHECK int repair_remark(struct repair *r, uint64_t device, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Room for one more in the array at *@array. */
THIN_MUST_CHECK int repair_room(void *array, size_t nr, size_t *room, size_t size);

/* --- ranges.c ------------------------------------------------------------ */

THIN_MUST_CHECK int ranges_add(struct ranges *rs, uint64_t first, uint64_t last);
/* In order, neighbours and what overlaps joined. */
void ranges_tidy(struct ranges *rs);
/* Take out what is in @away; both tidy. */
THIN_MUST_CHECK int ranges_subtract(struct ranges *rs, const struct ranges *away);
void ranges_fini(struct ranges *rs);

/* --- judge.c ------------------------------------------------------------- */

/*
 * What is to be believed of the subtree at @block: looked at once for each
 * block.  @ret: NULL where there is no such block or it is used otherwise.
 */
THIN_MUST_CHECK int judge(struct repair *r, enum repair_tree tree, uint64_t block,
			  unsigned depth, const struct memo **ret);

/* Is it sound, and are its keys in [@first, @last]? */
bool fits(const struct memo *m, uint64_t first, uint64_t last);

/* May the root @m stand as it is? */
static inline bool stays(const struct memo *m)
{
	return m && m->belief == BELIEF_SOUND;
}

/*
 * Read @block of the old metadata as a node of @tree.
 * Returns 0; -EILSEQ (it is none); -ENOMEM.
 */
THIN_MUST_CHECK int read_old_node(struct repair *r, enum repair_tree tree, uint64_t block,
				  struct thin_disk_node *ret);

/* May entry @i of leaf @n of a device stay? */
bool entry_stays(const struct repair *r, const struct thin_disk_node *n, uint32_t i);

uint32_t leaf_value_size(enum repair_tree tree);

/* --- salvage.c ----------------------------------------------------------- */

/* Who gets what stays; NULL: nobody. */
struct taker {
	int (*leaf)(void *ctx, const struct thin_disk_node *n); /* as a whole */
	int (*entry)(void *ctx, uint64_t key, const void *value);
	void *ctx;
};

/*
 * Take from the tree at @root what can be believed.
 * @lost: added to, tidy.  @ret_nr: entries that stay.
 */
THIN_MUST_CHECK int salvage(struct repair *r, enum repair_tree tree, uint64_t root,
			    const struct taker *to, struct ranges *lost,
			    uint64_t *ret_nr);

/* --- builder.c ----------------------------------------------------------- */

struct entry {
	uint64_t key;
	uint8_t value[THIN_VALUE_SIZE_MAX];
};

struct child {
	uint64_t key, block;
};

/* A tree made from the left to the right. */
struct builder {
	struct repair *r;
	uint32_t value_size;
	bool mappings;
	struct entry *pending; /* not in a leaf yet */
	size_t nr_pending, room_pending;
	struct child *children; /* leaves that are done */
	size_t nr_children, room_children;
};

/* @mappings: of a device, whose nodes others may share. */
void builder_init(struct builder *b, struct repair *r, uint32_t value_size,
		  bool mappings);
void builder_fini(struct builder *b);
THIN_MUST_CHECK int builder_add(struct builder *b, uint64_t key, const void *value);
/* What is salvaged goes to @b: leaves as they are, where that is possible. */
struct taker builder_taker(struct builder *b);
THIN_MUST_CHECK int builder_finish(struct builder *b, uint64_t *ret_root);

/* --- write.c ------------------------------------------------------------- */

/* A free block, taken from now on.  -ENOSPC. */
THIN_MUST_CHECK int take_block(struct repair *r, uint64_t *ret);
THIN_MUST_CHECK int write_new(struct repair *r, enum thin_block_kind kind, void *block,
			      uint64_t nr);
/* Write @n to a block of its own; of mappings: or find one that says the same. */
THIN_MUST_CHECK int write_node(struct repair *r, struct thin_disk_node *n, uint64_t *ret);
THIN_MUST_CHECK int write_mapping_node(struct repair *r, struct thin_disk_node *n,
				       uint64_t *ret);
/* Read a block as it will be. */
THIN_MUST_CHECK int read_new(struct repair *r, uint64_t block, void *ret);

/* --- counts.c ------------------------------------------------------------ */

/* Go through the new trees from @sb and the held ones, and count. */
THIN_MUST_CHECK int count_all(struct repair *r, uint64_t top, uint64_t details);
uint32_t data_count(const struct repair *r, uint64_t dblock);
void counts_fini(struct repair *r);

/* --- maps.c -------------------------------------------------------------- */

/* Write both space maps, and their roots into @sb. */
THIN_MUST_CHECK int write_maps(struct repair *r, uint64_t nr_data,
			       struct thin_disk_superblock *sb);
/* Leave alone the blocks of the maps that @r->sb names. */
void spare_old_maps(struct repair *r);

/* --- devices.c ----------------------------------------------------------- */

/* Read the devices and judge their trees; the held ones, too. */
THIN_MUST_CHECK int find_devices(struct repair *r);
THIN_MUST_CHECK int judge_held(struct repair *r);
/* Tell what each loses, and mend the details. */
THIN_MUST_CHECK int mend_devices(struct repair *r);
/* Write what is to be written of the trees. */
THIN_MUST_CHECK int build_trees(struct repair *r, uint64_t *ret_top,
				uint64_t *ret_details);

#endif
