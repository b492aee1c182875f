/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_POOL_CONF_H
#define THINBD_REGISTRY_POOL_CONF_H

/*
 * DIR/pool.conf: where a pool's metadata and data are, and its policy.  It
 * is for people to edit; what they wrote there stays.
 * And /etc/thinbd/thinbd.conf, which says which pool is meant by default.
 */

#include "registry/files.h"
#include "util/cleanup.h"
#include "util/size.h"

#include <stdbool.h>
#include <stdint.h>

#define THIN_POOL_CONF "pool.conf"
#define THIN_MAIN_CONF "/etc/thinbd/thinbd.conf"

enum thin_when_full {
	THIN_WHEN_FULL_QUEUE,
	THIN_WHEN_FULL_ERROR
};
enum thin_conf_discard {
	THIN_CONF_DISCARD_PASSDOWN,
	THIN_CONF_DISCARD_NOPASSDOWN,
	THIN_CONF_DISCARD_IGNORE
};
enum thin_io {
	THIN_IO_AUTO,
	THIN_IO_URING,
	THIN_IO_SYNC
};

#define THIN_UUID_TEXT 37

/* One member for each key, of the same name.  Strings are owned. */
struct thin_pool_conf {
	uint32_t version;
	char *uuid;
	char *metadata;		 /* path, as written */
	char *data;		 /* path or NBD URI, as written */
	uint64_t metadata_cache; /* bytes */
	struct thin_amount low_water;
	struct thin_amount auto_extend_step; /* zero: off */
	uint64_t auto_extend_limit;	     /* bytes; UINT64_MAX: none */
	int when_full;			     /* enum thin_when_full */
	uint32_t no_space_timeout;	     /* seconds; 0: for ever */
	int discard;			     /* enum thin_conf_discard */
	uint32_t commit_interval;	     /* seconds */
	int io;				     /* enum thin_io */
	bool direct;
	uint32_t keep_metadata_backups;	   /* 0: none are made */
	uint32_t metadata_backup_interval; /* seconds, at least, between two */
};

/*
 * All defaults, and version 1; the uuid is not set.
 * Returns 0 or -ENOMEM.  fini in any case.
 */
THIN_MUST_CHECK int thin_pool_conf_init(struct thin_pool_conf *conf);

/* A zeroed one is fine too. */
void thin_pool_conf_fini(struct thin_pool_conf *conf);
#define _cleanup_pool_conf _cleanup_(thin_pool_conf_fini)

/* A random (version 4) UUID from 16 random bytes. */
void thin_uuid_print(const uint8_t random[static 16], char ret[static THIN_UUID_TEXT]);

/*
 * Set one key from "KEY=VALUE", VALUE as in the file but without quotes.
 * @e: which key, what was wrong, which keys there are.
 * Returns 0; -EINVAL; -ERANGE; -ENOMEM.
 */
THIN_MUST_CHECK int thin_pool_conf_set(struct thin_pool_conf *conf, const char *setting,
				       struct thin_error *e);

/*
 * Read pool.conf in the folder @f.
 * @ret: fini it.
 * Returns 0; -EMEDIUMTYPE (there is none: the folder is no pool); -EINVAL,
 * -ERANGE (@e: file, line, key, what was expected); -ENOMEM; what the
 * system said.
 */
THIN_MUST_CHECK int thin_pool_conf_read(struct thin_files *f, struct thin_pool_conf *ret,
					struct thin_error *e);

/*
 * Write a new pool.conf: what is not the default as settings, the rest as
 * comments, each with a word about it.  One that is there is replaced.
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_pool_conf_write(struct thin_files *f,
					 const struct thin_pool_conf *conf,
					 struct thin_error *e);

/*
 * Set one key ("KEY=VALUE") in the pool.conf that is there: its value is
 * replaced where it stands, or a line is added; all else, comments too,
 * stays.  A key that has this value already is left alone, and so is the
 * file.
 * Returns as thin_pool_conf_set() and thin_pool_conf_read().
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_pool_conf_change(struct thin_files *f, const char *setting,
					  struct thin_error *e);

/*
 * @where, as in pool.conf, as it is to be opened: what is relative is in
 * @dir; absolute paths and URIs stay.  @ret: free() it.
 * Returns 0 or -ENOMEM.
 */
THIN_MUST_CHECK int thin_pool_conf_locate(const char *dir, const char *where, char **ret);

/*
 * The key `pool` of the file at @path (THIN_MAIN_CONF, or what --config
 * says): an absolute path.  @ret: free() it.
 * Returns 0; -ENOENT (no such file); -ENODATA (it does not say); -EINVAL
 * (@e: file, line); -ENOMEM; what the system said.
 */
THIN_MUST_CHECK int thin_main_conf_pool(const char *path, char **ret,
					struct thin_error *e);

#endif
