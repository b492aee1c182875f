/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_HOUSE_H
#define THINBD_TESTS_HOUSE_H

/*
 * The whole library as a front end has it, on storages and a registry's folder
 * that are recorded together: volumes have names here.  Volume i of the model
 * is called "v" and its number.
 *
 * thin_files_open() and thin_storage_open() are wrapped by the linker: what
 * the service opens in its folder is ours, but for pool.conf and the lock.
 */

#include "folder.h"
#include "monitor.h"
#include "ops.h"

#include "thinbd.h"

#define HOUSE_VOLUME UINT64_C(48) /* sectors: 6 blocks of 4 KiB */
#define HOUSE_SLOTS  8		  /* of the model's volumes */

struct house_base {
	struct disk disk[REC_FILES];
	struct folder folder;
	struct model model;
	uint32_t next_value;
	char name[16];
};

struct house {
	const struct house_base *base;
	struct disk disk[REC_FILES];
	struct folder folder;
	struct recorder *rec;
	struct monitor *mon;
	struct model model;
	struct thinbd *t;
	struct thinbd_volume *volume[HOUSE_SLOTS];
	uint32_t next_value, next_request;
	bool dead; /* what it says is not heard any more */
	char failure[512];
};

/* A folder with an empty pool in it, for all of them; gone with house_fini(). */
void house_found(void);
void house_fini(void);

/* An empty one. */
void house_base_new(struct house_base *b, const char *name);
void house_base_fini(struct house_base *b);

int house_open(struct house *h, const struct house_base *base);
int house_do(struct house *h, const struct op *op);
void house_crash(struct house *h);
void house_close(struct house *h);
/* What there is becomes a base. */
int house_to_base(struct house *h, struct house_base *ret);

/*
 * Is this what may be there after a crash?  It is opened, twice, and changed.
 * 0, or -EINVAL and why not.
 */
int house_verify(struct disk *disk, struct folder *folder, const struct model *model,
		 char *why, size_t len);

#endif
