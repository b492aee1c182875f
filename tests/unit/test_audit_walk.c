/* SPDX-License-Identifier: BSD-3-Clause */
/* The walk in order: what it tells, and that it stops at damage. */
#include "audit_image.h"

/* What a walk has told, as text. */
struct told {
	char text[4096];
	size_t len;
	int stop_after; /* calls; 0 is never */
};

__attribute__((format(printf, 2, 3))) static int tell(struct told *t, const char *fmt,
						      ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->len += (size_t)vsnprintf(t->text + t->len, sizeof(t->text) - t->len, fmt, ap);
	va_end(ap);
	assert_true(t->len < sizeof(t->text));
	return t->stop_after && !--t->stop_after ? 77 : 0;
}

static int tell_pool(void *ctx, const struct thin_walk_pool *p)
{
	return tell(ctx, "pool%.16s %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
		    (const char *)p->uuid, p->time, p->transaction_id, p->nr_data_blocks,
		    p->nr_metadata_blocks);
}

static int tell_device(void *ctx, const struct thin_walk_device *d)
{
	return tell(ctx, "device %" PRIu64 " %" PRIu64 " %u %u\n", d->id,
		    d->mapped_blocks, d->creation_time, d->snapshotted_time);
}

static int tell_run(void *ctx, const struct thin_walk_run *r)
{
	return tell(ctx, "%" PRIu64 "+%" PRIu64 " at %" PRIu64 " of %u\n", r->vblock,
		    r->length, r->dblock, r->time);
}

static int tell_end(void *ctx, const struct thin_walk_device *d)
{
	return tell(ctx, "end %" PRIu64 "\n", d->id);
}

static const struct thin_walk_fns fns = {tell_pool, tell_device, tell_run, tell_end};

static int walk(struct image *img, const struct thin_walk_params *p, struct told *t)
{
	*t = (struct told){.stop_after = t->stop_after};
	img->error.text[0] = '\0';
	return thin_audit_walk(&img->storage, p, &fns, t, &img->error);
}

#define ALL THIN_AUDIT_NO_DEVICE

static void test_pool(void **state)
{
	struct image img;
	struct told t = {.len = 0};

	(void)state;
	image_pool(&img, false);
	memcpy(image_sb(&img)->uuid, "0123456789abcdef", 16);
	image_seal(&img, THIN_SUPERBLOCK, 0);
	assert_int_equal(walk(&img, NULL, &t), 0);
	assert_string_equal(t.text, "pool0123456789abcdef 2 7 1000 64\n"
				    "device 1 300 0 2\n"
				    "0+300 at 0 of 0\n"
				    "end 1\n"
				    "device 2 300 1 1\n"
				    "0+100 at 300 of 1\n"
				    "100+200 at 100 of 0\n"
				    "end 2\n"
				    "device 3 300 2 2\n"
				    "0+300 at 0 of 0\n"
				    "end 3\n"
				    "device 4 0 2 2\n"
				    "end 4\n");
	image_fini(&img);
}

/* Runs end where a block is missing, the data jumps, or the time differs. */
static void test_runs(void **state)
{
	struct image img;
	struct told t = {.len = 0};
	uint64_t leaf;

	(void)state;
	image_init(&img, 64, 1000);
	leaf = image_leaf(&img, 0, 10, 3, 0);
	image_map(&img, leaf, 3, 13, 1);
	image_map(&img, leaf, 4, 15, 1);
	image_map(&img, leaf, 6, 17, 1);
	image_map(&img, leaf, 7, 18, 1);
	image_map(&img, leaf, UINT64_MAX, 19, 1);
	image_device(&img, 9, leaf, 8, 0, 0);
	img.time = 1;
	image_commit(&img);
	assert_int_equal(walk(&img, NULL, &t), 0);
	assert_string_equal(t.text, "pool 1 7 1000 64\n"
				    "device 9 8 0 0\n"
				    "0+3 at 10 of 0\n"
				    "3+1 at 13 of 1\n"
				    "4+1 at 15 of 1\n"
				    "6+2 at 17 of 1\n"
				    "18446744073709551615+1 at 19 of 1\n"
				    "end 9\n");
	image_fini(&img);
}

static void test_one_device(void **state)
{
	struct image img;
	struct told t = {.len = 0};
	struct thin_walk_params p = {.device = 2};

	(void)state;
	image_pool(&img, false);
	assert_int_equal(walk(&img, &p, &t), 0);
	assert_string_equal(t.text, "pool 2 7 1000 64\n"
				    "device 2 300 1 1\n"
				    "0+100 at 300 of 1\n"
				    "100+200 at 100 of 0\n"
				    "end 2\n");
	p.device = 7;
	assert_int_equal(walk(&img, &p, &t), -ENOENT);
	assert_has(img.error.text, "device 7");
	image_fini(&img);
}

static void test_held(void **state)
{
	struct image img;
	struct told t = {.len = 0};
	struct thin_walk_params p = {.held = true, .device = ALL};

	(void)state;
	image_init(&img, 64, 1000);
	image_device(&img, 1, image_leaf(&img, 0, 0, 10, 0), 10, 0, 0);
	image_hold(&img);
	image_device(&img, 1, image_leaf(&img, 0, 100, 9, 0), 9, 0, 0);
	image_commit(&img);
	assert_int_equal(walk(&img, &p, &t), 0);
	assert_string_equal(t.text, "pool 0 7 0 0\n"
				    "device 1 10 0 0\n"
				    "0+10 at 0 of 0\n"
				    "end 1\n");
	image_fini(&img);
	image_pool(&img, false);
	assert_int_equal(walk(&img, &p, &t), -ENOENT);
	assert_has(img.error.text, "no metadata snapshot");
	image_fini(&img);
}

/* Without run(), no mapping is read: damage there does not matter. */
static void test_devices_only(void **state)
{
	static const struct thin_walk_fns devices = {.device = tell_device};
	struct image img;
	struct told t = {.len = 0};

	(void)state;
	image_pool(&img, false);
	memset(image_block(&img, image_root(&img, 1)), 0, THIN_METADATA_BLOCK);
	assert_int_equal(thin_audit_walk(&img.storage, NULL, &devices, &t, NULL), 0);
	assert_string_equal(t.text, "device 1 300 0 2\n"
				    "device 2 300 1 1\n"
				    "device 3 300 2 2\n"
				    "device 4 0 2 2\n");
	image_fini(&img);
}

/* Whichever call wants to stop: its value comes back, and no call after it. */
static void test_stop(void **state)
{
	struct image img;
	struct told t = {.len = 0};

	(void)state;
	image_pool(&img, false);
	for (int calls = 1; calls <= 13; calls++) {
		t.stop_after = calls;
		assert_int_equal(walk(&img, NULL, &t), 77);
		assert_int_equal(t.stop_after, 0);
	}
	t.stop_after = 14;
	assert_int_equal(walk(&img, NULL, &t), 0);
	image_fini(&img);
}

/* Each block of the devices' trees, damaged, ends the walk and is named. */
static void test_damage(void **state)
{
	struct image img;
	struct told t = {.len = 0};
	char name[64];

	(void)state;
	image_pool(&img, false);
	for (uint64_t block = 1; block < img.data_index; block++) {
		((uint8_t *)image_block(&img, block))[4000] ^= 1;
		assert_int_equal(walk(&img, NULL, &t), -EILSEQ);
		snprintf(name, sizeof(name), "metadata block %" PRIu64 " ", block);
		assert_has(img.error.text, name);
		((uint8_t *)image_block(&img, block))[4000] ^= 1;
		img.fail_read = block;
		assert_int_equal(walk(&img, NULL, &t), -EIO);
		assert_has(img.error.text, name);
		img.fail_read = IMAGE_NO_FAILURE;
	}
	image_sb(&img)->version = le32_of(9);
	image_seal(&img, THIN_SUPERBLOCK, 0);
	assert_int_equal(walk(&img, NULL, &t), -ENOTSUP);
	image_sb(&img)->magic = le64_of(9);
	assert_int_equal(walk(&img, NULL, &t), -EMEDIUMTYPE);
	image_fini(&img);
}

static void expect_damage(struct image *img, const char *problem)
{
	struct told t = {.len = 0};

	assert_int_equal(walk(img, NULL, &t), -EILSEQ);
	assert_has(img->error.text, problem);
	image_fini(img);
}

/* Structure: what would make the walk go wrong, or never end. */
static void test_structure(void **state)
{
	struct image img;
	struct thin_disk_node *n;
	struct le64 v;
	uint64_t node;

	(void)state;
	image_pool(&img, false);
	n = image_node(&img, image_root(&img, 1));
	v = le64_of(image_root(&img, 1));
	memcpy(thin_node_value_mut(n, 2), &v, sizeof(v));
	image_seal(&img, THIN_NODE, image_root(&img, 1));
	expect_damage(&img, "keys that belong elsewhere");

	image_pool(&img, false);
	image_node(&img, image_pool_leaf(&img, 1, 0))->keys[99] = le64_of(100);
	image_seal(&img, THIN_NODE, image_pool_leaf(&img, 1, 0));
	expect_damage(&img, "keys that belong elsewhere");

	image_pool(&img, false);
	n = image_node(&img, image_root(&img, 1));
	n->keys[1] = n->keys[0];
	image_seal(&img, THIN_NODE, image_root(&img, 1));
	expect_damage(&img, "keys do not ascend");

	image_pool(&img, false);
	n = image_node(&img, image_root(&img, 1));
	v = le64_of(UINT64_MAX);
	memcpy(thin_node_value_mut(n, 2), &v, sizeof(v));
	image_seal(&img, THIN_NODE, image_root(&img, 1));
	expect_damage(&img, "there is no such block");

	image_pool(&img, false);
	n = image_node(&img, image_pool_leaf(&img, 2, 0));
	v = le64_of(thin_mapping_pack(1000, 0));
	memcpy(thin_node_value_mut(n, 0), &v, sizeof(v));
	image_seal(&img, THIN_NODE, image_pool_leaf(&img, 2, 0));
	expect_damage(&img, "past the end of the data");

	image_init(&img, 64, 10);
	node = image_leaf(&img, 0, 0, 1, 0);
	for (unsigned i = 0; i < THIN_MAX_TREE_DEPTH; i++) {
		uint64_t parent =
			image_new_node(&img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

		image_add_child(&img, parent, 0, node);
		node = parent;
	}
	image_device(&img, 1, node, 1, 0, 0);
	image_commit(&img);
	expect_damage(&img, "too deep");

	/* An empty leaf under every key: the keys alone would not stop it. */
	image_init(&img, 64, 10);
	node = image_new_node(&img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
	for (unsigned i = 0; i < 1; i++) {
		uint64_t parent =
			image_new_node(&img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

		for (unsigned j = 0; j < 252; j++)
			image_add_child(&img, parent, j, node);
		node = parent;
	}
	image_device(&img, 1, node, 0, 0, 0);
	image_commit(&img);
	expect_damage(&img, "an empty node");
}

static void drop_last(struct image *img, uint64_t block)
{
	struct thin_disk_node *n = image_node(img, block);

	n->nr_entries = le32_of(thin_node_nr(n) - 1);
	image_seal(img, THIN_NODE, block);
}

static void drop_first(struct image *img, uint64_t block)
{
	struct thin_disk_node *n = image_node(img, block);
	uint32_t nr = thin_node_nr(n), size = thin_node_value_size(n);

	memmove(&n->keys[0], &n->keys[1], (nr - 1) * sizeof(n->keys[0]));
	memmove(thin_node_value_mut(n, 0), thin_node_value(n, 1),
		(size_t)(nr - 1) * size);
	drop_last(img, block);
}

static void test_one_tree_only(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, false);
	drop_last(&img, img.details);
	expect_damage(&img, "device 4 has no details");
	image_pool(&img, false);
	drop_last(&img, img.top);
	expect_damage(&img, "device 4 has no mappings");
	image_pool(&img, false);
	drop_first(&img, img.details);
	expect_damage(&img, "device 1 has no details");
	image_pool(&img, false);
	drop_first(&img, img.top);
	expect_damage(&img, "device 1 has no mappings");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool),	      cmocka_unit_test(test_runs),
		cmocka_unit_test(test_one_device),    cmocka_unit_test(test_held),
		cmocka_unit_test(test_devices_only),  cmocka_unit_test(test_stop),
		cmocka_unit_test(test_damage),	      cmocka_unit_test(test_structure),
		cmocka_unit_test(test_one_tree_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
