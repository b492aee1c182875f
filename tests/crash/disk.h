/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_DISK_H
#define THINBD_TESTS_DISK_H

/*
 * Plain bytes as a storage, for the images that a crash leaves: made, looked
 * at and thrown away by the thousand.  It counts what is changed through it.
 * close() does nothing; one thread at a time may use it.
 */

#include "storage/storage.h"

struct disk {
	struct thin_storage base;
	uint8_t *bytes;
	uint64_t size;
	uint64_t room;	  /* how much @bytes has; zeros from @size on */
	unsigned changes; /* writes, zeroings, punches, resizes */
};

void disk_init(struct disk *d, uint64_t size);
void disk_fini(struct disk *d);
/* Nothing is counted: @size bytes, the new ones zeros. */
void disk_set_size(struct disk *d, uint64_t size);
/* @to becomes the same as @from. */
void disk_copy(struct disk *to, const struct disk *from);
/* @to gets what @s holds. */
void disk_load(struct disk *to, struct thin_storage *s);
/* Save to a file, with holes where there is nothing; 0 or -errno. */
THIN_MUST_CHECK int disk_save(const struct disk *d, const char *path);

#endif
