/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a pool.
 *
 *  N1  All that can be told from the arguments is checked before anything is
 *      made.
 *  N2  pool.conf comes last: without it the folder is no pool.  With --force
 *      over an old pool it goes first.
 *  N3  What was made before a failure is removed again; what was there
 *      before is left, except by --force.
 */
#include "service/init.h"

#include "service/new_device.h"
#include "util/checked.h"
#include "util/limits.h"
#include "util/size.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_BLOCK_SIZE (UINT64_C(64) << 10)

/*
 * Metadata that nobody asked for a size of: each data block takes 16 bytes
 * in a leaf at least half full, and snapshots copy leaves.  It is a sparse
 * file, so there is enough for several times that.
 */
#define METADATA_PER_BLOCK UINT64_C(256)
#define METADATA_LEAST	   (UINT64_C(8) << 20)

/* Larger ones are sparse files: nobody expects a new pool to take gigabytes. */
#define ALLOCATED_METADATA (UINT64_C(64) << 20)

struct init {
	const struct thin_args *args;
	const char *dir;
	bool force;
	bool made_dir;
	bool had_pool;
	uint64_t block_size, nr_data_blocks, metadata_bytes;
	struct thin_pool_conf conf;
	struct thin_pool_lock *lock;
	struct thin_files *files;
	struct thin_new_device metadata, data;
};

/* --- arguments (N1) ------------------------------------------------------ */

static int check_block_size(struct init *in, struct thin_error *e)
{
	uint64_t bs = in->block_size;
	bool power = !(bs & (bs - 1));

	if (bs >= THIN_BLOCK_SIZE_MIN && bs <= THIN_BLOCK_SIZE_MAX &&
	    (power || bs % THIN_BLOCK_SIZE_KERNEL == 0))
		return 0;
	return thin_error_set(
		e, -EINVAL,
		"%s: a block size of %llu bytes will not do: a power of two from "
		"4K, or a multiple of 64K, up to 1G",
		in->dir, (unsigned long long)bs);
}

static int check_data_size(struct init *in, uint64_t bytes, struct thin_error *e)
{
	in->nr_data_blocks = thin_div_up(bytes, in->block_size);
	if (in->nr_data_blocks > THIN_MAX_DATA_BLOCKS || bytes > THIN_MAX_VOLUME_SIZE)
		return thin_error_set(
			e, -ERANGE, "%s: the data size is too large for this block size",
			in->dir);
	return 0;
}

static uint64_t default_metadata_size(const struct init *in)
{
	uint64_t bytes = UINT64_MAX;

	(void)thin_mul_ok(in->nr_data_blocks, METADATA_PER_BLOCK, &bytes);
	bytes = thin_max(METADATA_LEAST, bytes);
	bytes = thin_min(bytes, THIN_MAX_METADATA_BLOCKS * THIN_METADATA_BLOCK);
	return bytes / THIN_METADATA_BLOCK * THIN_METADATA_BLOCK;
}

static int check_metadata_size(struct init *in, struct thin_error *e)
{
	uint64_t blocks = in->metadata_bytes / THIN_METADATA_BLOCK;
	char least[THIN_SIZE_TEXT], most[THIN_SIZE_TEXT];

	if (blocks >= THIN_MIN_METADATA_BLOCKS && blocks <= THIN_MAX_METADATA_BLOCKS)
		return 0;
	return thin_error_set(
		e, -ERANGE, "%s: the metadata size must be from %s to %s", in->dir,
		thin_size_exact(THIN_MIN_METADATA_BLOCKS * THIN_METADATA_BLOCK, least),
		thin_size_exact(THIN_MAX_METADATA_BLOCKS * THIN_METADATA_BLOCK, most));
}

static int read_sizes(struct init *in, struct thin_error *e)
{
	struct thin_error why = {0};
	uint64_t data_bytes;
	int r = thin_arg_size(in->args, "block_size", &in->block_size, &why);

	if (!r)
		r = thin_arg_size(in->args, "data_size", &data_bytes, &why);
	if (!r)
		r = thin_arg_size(in->args, "metadata_size", &in->metadata_bytes, &why);
	if (r)
		return thin_error_set(e, r, "%s: %s", in->dir, why.text);
	if (!in->block_size)
		in->block_size = DEFAULT_BLOCK_SIZE;
	r = check_block_size(in, e);
	if (!r)
		r = check_data_size(in, data_bytes, e);
	if (!r && !in->metadata_bytes)
		in->metadata_bytes = default_metadata_size(in);
	return r ? r : check_metadata_size(in, e);
}

static int make_uuid(struct init *in)
{
	uint8_t random[16];
	char text[THIN_UUID_TEXT];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	thin_uuid_print(random, text);
	return thin_string_set(&in->conf.uuid, text);
}

static int read_conf(struct init *in, struct thin_error *e)
{
	const char *data = thin_arg_text(in->args, "data");
	const char *metadata = thin_arg_text(in->args, "metadata");
	int r = thin_pool_conf_init(&in->conf);

	for (size_t i = 0; i < thin_arg_count(in->args, "set") && !r; i++)
		r = thin_pool_conf_set(&in->conf, thin_arg_nth(in->args, "set", i), e);
	if (!r && data)
		r = thin_string_set(&in->conf.data, data);
	if (!r && metadata)
		r = thin_string_set(&in->conf.metadata, metadata);
	if (!r)
		r = make_uuid(in);
	if (!r && !strcmp(in->conf.data, in->conf.metadata))
		r = thin_error_set(e, -EINVAL,
				   "%s: data and metadata can not be one device",
				   in->conf.data);
	return r;
}

/* --- the folder ---------------------------------------------------------- */

/* 0: it has none; -EEXIST; another error: pool.conf is there, and damaged. */
static int look_for_pool(struct init *in)
{
	_cleanup_pool_conf struct thin_pool_conf old = {0};
	int r = thin_pool_conf_read(in->files, &old, NULL);

	return r == -EMEDIUMTYPE ? 0 : -EEXIST;
}

static int open_folder(struct init *in, struct thin_error *e)
{
	in->made_dir = access(in->dir, F_OK) < 0;
	int r = thin_files_open(in->dir, THIN_FILES_CREATE, &in->files, e);

	if (!r)
		r = thin_pool_lock_take(in->dir, "thinbd init", &in->lock, e);
	if (r)
		return r;
	in->had_pool = look_for_pool(in) != 0;
	if (in->had_pool && !in->force)
		return thin_error_set(
			e, -EEXIST,
			"%s: there is a pool already; --force makes a new one in "
			"its place, and all that is in it is lost",
			in->dir);
	return 0;
}

static int forget(void *ctx, const char *name)
{
	struct thin_files *f = ctx;

	return f->ops->unlink(f, name);
}

/* The names are collected first: a folder must not change while it is listed. */
struct names {
	char *at[THIN_MAX_VOLUMES * 2];
	size_t nr;
};

static int note_name(void *ctx, const char *name)
{
	struct names *n = ctx;

	if (n->nr == sizeof(n->at) / sizeof(n->at[0]))
		return -EDQUOT;
	n->at[n->nr] = strdup(name);
	return n->at[n->nr++] ? 0 : -ENOMEM;
}

static int forget_volumes(struct thin_files *f)
{
	_cleanup_free struct names *n = calloc(1, sizeof(*n));
	int r = n ? f->ops->list(f, note_name, n) : -ENOMEM;

	for (size_t i = 0; n && i < n->nr; i++) {
		if (!r)
			r = forget(f, n->at[i]);
		free(n->at[i]);
	}
	return r;
}

/* The folder of volumes: new, or with --force emptied. */
static int make_volumes(struct init *in, struct thin_error *e)
{
	_cleanup_free char *path = NULL;
	_cleanup_files struct thin_files *f = NULL;

	if (asprintf(&path, "%s/volumes", in->dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	int r = thin_files_open(path, THIN_FILES_CREATE, &f, e);
	if (!r && in->had_pool)
		r = forget_volumes(f);
	return r ? r : f->ops->sync_folder(f);
}

/* --- all together -------------------------------------------------------- */

static int make_devices(struct init *in, struct thin_error *e)
{
	uint64_t data_bytes = in->nr_data_blocks * in->block_size;
	int r = thin_new_device_open(in->dir, in->conf.metadata, in->force,
				     in->metadata_bytes, &in->metadata, e);

	if (!r)
		r = thin_new_device_open(in->dir, in->conf.data, in->force, data_bytes,
					 &in->data, e);
	if (!r)
		r = thin_new_device_size(&in->metadata, e);
	if (!r && in->metadata_bytes <= ALLOCATED_METADATA)
		r = thin_new_device_allocate(&in->metadata, e);
	if (!r)
		r = thin_new_device_size(&in->data, e);
	if (!r)
		r = thin_metadata_format(in->metadata.storage,
					 (uint32_t)(in->block_size / THIN_SECTOR),
					 in->nr_data_blocks, e);
	return r ? r : thin_storage_flush(in->data.storage);
}

static int make_pool(struct init *in, struct thin_error *e)
{
	int r = 0;

	if (in->had_pool)
		r = in->files->ops->unlink(in->files, THIN_POOL_CONF);
	if (!r && in->had_pool)
		r = in->files->ops->sync_folder(in->files);
	if (!r)
		r = make_devices(in, e);
	if (!r)
		r = make_volumes(in, e);
	return r ? r : thin_pool_conf_write(in->files, &in->conf, e);
}

/* N3 */
static void undo(struct init *in)
{
	char path[PATH_MAX];

	thin_new_device_undo(&in->metadata);
	thin_new_device_undo(&in->data);
	if (in->had_pool)
		return;
	snprintf(path, sizeof(path), "%s/volumes", in->dir);
	(void)rmdir(path); /* only where it is empty */
	if (in->lock) {
		snprintf(path, sizeof(path), "%s/" THIN_POOL_LOCK, in->dir);
		(void)unlink(path);
	}
	if (in->made_dir)
		(void)rmdir(in->dir);
}

static void fini(struct init *in)
{
	thin_new_device_close(&in->metadata);
	thin_new_device_close(&in->data);
	thin_pool_conf_fini(&in->conf);
	thin_files_close(in->files);
	thin_pool_lock_release(in->lock);
}

/* --- the answer ---------------------------------------------------------- */

static struct json_object *notes_json(const struct init *in)
{
	struct json_object *notes = json_object_new_array();

	if (notes && in->block_size % THIN_BLOCK_SIZE_KERNEL)
		(void)json_object_array_add(
			notes,
			thin_json_string("the kernel's dm-thin can not activate this "
					 "pool: it wants a block size that is a "
					 "multiple of 64K"));
	return notes;
}

static struct json_object *init_json(const struct init *in)
{
	struct json_object *o = json_object_new_object();
	char path[PATH_MAX];

	thin_json_add(o, "pool",
		      thin_json_string(realpath(in->dir, path) ? path : in->dir));
	thin_json_add(o, "uuid", thin_json_string(in->conf.uuid));
	thin_json_add(o, "block_size", thin_json_number(in->block_size));
	thin_json_add(o, "data_bytes",
		      thin_json_number(in->nr_data_blocks * in->block_size));
	thin_json_add(o, "metadata_bytes", thin_json_number(in->metadata.bytes));
	thin_json_add(o, "existed", json_object_new_boolean(false));
	thin_json_add(o, "notes", notes_json(in));
	return o;
}

/* --if-not-exists, and there is one. */
static int answer_existing(const char *dir, struct json_object **ret)
{
	char request[] =
		"{\"verb\":\"init\",\"args\":{\"data_size\":1,\"if_not_exists\":true}}";
	struct thinbd_params params = {.dir = dir, .read_only = true};
	struct thin_error e = {0};
	struct thin_args args;
	struct thinbd *t;
	int r = thin_args_parse(request, &args, &e);

	if (r)
		return r;
	r = thin_service_open(&params, NULL, &t, &e);
	if (!r) {
		struct thin_call c = {.t = t, .args = &args};
		r = thin_do_init_again(&c, ret, &e);
		(void)thinbd_close(t);
	}
	thin_args_fini(&args);
	return r;
}

static int refuse_or_accept(struct init *in, int r, struct json_object **ret)
{
	if (r == -EEXIST && in->had_pool && thin_arg_flag(in->args, "if_not_exists")) {
		fini(in); /* its lock is in the way */
		*in = (struct init){.dir = in->dir};
		return answer_existing(in->dir, ret);
	}
	return r;
}

int thin_init(const char *dir, const struct thin_args *args, struct json_object **ret,
	      struct thin_error *e)
{
	struct init in = {
		.args = args,
		.dir = dir,
		.force = thin_arg_flag(args, "force"),
	};
	int r = read_sizes(&in, e);

	if (!r)
		r = read_conf(&in, e);
	if (!r) {
		r = open_folder(&in, e);
		if (!r)
			r = make_pool(&in, e);
		if (r && !(in.had_pool && r == -EEXIST))
			undo(&in);
		if (!r)
			*ret = init_json(&in);
		else
			r = refuse_or_accept(&in, r, ret);
	}
	fini(&in);
	return r ? thin_error_default(e, r, "%s: %s", dir, thin_strerror(r)) : 0;
}
