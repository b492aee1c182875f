/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_FORMAT_DEVICE_DETAILS_H
#define THINBD_FORMAT_DEVICE_DETAILS_H

/* What the details tree holds for each thin device. */

#include "util/endian.h"

struct thin_disk_details {
	struct le64 mapped_blocks;
	struct le64 transaction_id; /* the pool's, when the device was made */
	struct le32 creation_time;
	struct le32 snapshotted_time;
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_details) == 24, "on-disk size");

#endif
